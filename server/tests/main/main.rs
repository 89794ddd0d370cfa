//! Nodes of one process, over real sockets and real files.

mod catch_up;
mod cluster;
mod deadlines;
mod following;
mod founding;
mod hostile_calls;
mod hostile_peers;
mod hostile_snapshots;
mod peers;
mod silence;
mod tables;
mod watching;
