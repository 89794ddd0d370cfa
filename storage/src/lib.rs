//! What a node keeps: the shared [`log`], the [`engine`] under the state machines, the [`key`]space, and the
//! [`partition`] state machine that evaluates, applies and reads.
//!
//! The promise of durability is the log's: an entry is acknowledged once a quorum's logs have synced it. The engine
//! follows behind, unsynced, and is brought up by replaying the log from the applied index that it durably holds;
//! data and applied index go in one atomic batch, so that what the engine holds is always a prefix of the entries.
//!
//! IO happens only through two traits, [`disk::Disk`] and [`engine::Engine`]. No clock is read here, and no thread is
//! started but the log's writer (a thin shell around the pure [`log`] core) and those that an engine owns.
//!
//! # Vocabulary
//! A *request* is evaluated by a partition's leader to a *write set* of absolute puts and deletes; the write sets of one
//! turn travel as one *entry* through Raft; every replica applies entries blindly; what the caller gets is the *outcome*.

pub mod disk;
pub mod engine;
pub mod error;
pub mod item;
pub mod key;
pub mod log;
pub mod machine;
#[doc(hidden)]
pub mod mutation;
pub mod partition;

pub use error::{Error, Result};
