//! Nodes of one process, over real sockets and real files.

mod catch_up;
mod cluster;
mod faults;
mod founding;
mod hostile_snapshots;
#[path = "../../../tests/main/faults/small_disk.rs"]
mod small_disk;
mod tables;
