//! The whole of it, end to end: the database in the process, and the program as its users run it.
//!
//! Programs run with free ports and directories of their own, everything waits for a sign and for a bounded time, and only
//! processes that a test started are ended.

mod api;
#[cfg(feature = "cli")]
mod bench;
mod catalog;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cluster;
mod embedded;
#[cfg(feature = "cli")]
mod etcd;
#[cfg(feature = "cli")]
mod faults;
#[cfg(feature = "cli")]
mod first_command;
mod fuzz;
#[cfg(feature = "cli")]
mod readme;
#[cfg(feature = "cli")]
mod support;
