//! Nodes of one process, over real sockets and real files.

mod cluster;
mod founding;
mod tables;
