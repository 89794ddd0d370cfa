//! Nodes of one process, over real sockets and real files.

mod astray;
mod catch_up;
mod cluster;
mod deadlines;
mod faults;
mod following;
mod founding;
mod hostile_answers;
mod hostile_calls;
mod hostile_peers;
mod hostile_snapshots;
mod joining;
mod peers;
mod rebuild;
mod rewriting;
mod silence;
#[path = "../../../tests/main/faults/small_disk.rs"]
mod small_disk;
mod standard;
mod stopping;
mod streams;
mod tables;
mod watching;
mod wire;
