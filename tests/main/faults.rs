//! What the world does to a node: full disks, damaged and foreign data.

mod full_disk;
mod refusals;
mod small_disk;
