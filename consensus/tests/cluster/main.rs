//! Hosts of a few nodes in one thread, with virtual time: a toy register over a toy log, engine and network.
//!
//! - `toy`: the state machine. `disk`: a log that syncs late and loses what it has not synced.
//! - `node`: a host and its shell. `world`: the nodes, the network and the agenda. `history`: what callers saw, and whether that
//!   is what a register does.
//! - `stories`, `snapshots`, `sleeping`, `hostile`, `random`, `golden`: the tests.

mod disk;
mod golden;
mod history;
mod hostile;
mod node;
mod random;
mod sleeping;
mod snapshots;
mod stories;
mod toy;
mod world;
