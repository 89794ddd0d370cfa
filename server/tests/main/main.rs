//! Nodes of one process, over real sockets and real files.

mod catch_up;
mod cluster;
mod founding;
mod hostile_snapshots;
mod peers;
mod tables;
