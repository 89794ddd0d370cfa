//! The partition: a contiguous range of a table's key-hash space, as a replicated state machine.
//!
//! What a partition is, stands in a [`PartitionSpec`], which each node keeps for every replica that it holds. The leader's
//! [`PartitionEvaluator`] turns requests into an [`entry`] of absolute puts and deletes, judged against the engine and the
//! [`overlay`] of what is on its way; every replica's [`PartitionApplier`] puts committed entries into the engine, together
//! with an [`AppliedRecord`] of how far it came. [`read`] answers from the engine alone.
//!
//! ```text
//!   request ──▶ evaluator ──▶ entry ──▶ (Raft) ──▶ applier ──▶ engine: items + applied record
//!                  ▲  └─ overlay ◀── applied / refused           │    └──▶ read, checksum, snapshot
//!                  └──────────── old image ──────────────────────┘                    │
//!                                        another replica's applier ◀── install ◀──────┘
//! ```
//!
//! Read it in this order: [`spec`] and [`record`], what is kept beside the items; [`entry`], [`overlay`], [`evaluator`] and
//! [`applier`], the way of a write; [`read`]; [`snapshot`] and [`install`], the way of a whole partition; [`lifecycle`], how a
//! replica begins and ends; [`mod@checksum`], how two replicas compare.
//!
//! # Invariants
//! - Replicas that applied the same entries hold the same bytes, applied record included: apply is blind, and what it writes
//!   follows from the entries alone.
//! - The applied record is in the same batch as what it speaks of, and lies outside every range of items.
//! - No replica writes outside its own range, whatever an entry or a snapshot says (R19).
//! - Nothing here reads a clock, draws a random number or starts a thread; nothing blocks but the engine.

pub mod applier;
pub mod checksum;
mod cursor;
pub mod entry;
pub mod evaluator;
pub mod generation;
pub mod install;
pub mod lifecycle;
pub mod overlay;
pub mod read;
pub mod record;
pub mod snapshot;
pub mod spec;

pub use applier::PartitionApplier;
pub use checksum::{PartitionChecksum, checksum};
pub use evaluator::{
    PartitionEvaluator, PartitionOutcome, PartitionRequest, WriteAnswer, WriteError, WriteOutcome,
};
pub use generation::DataGeneration;
pub use lifecycle::{Deletion, initialise, initialise_all};
pub use read::{ReadError, Stop, get, query, scan};
pub use record::{AppliedRecord, Counters, ReplicaState};
pub use snapshot::{SnapshotHeader, SnapshotPosition, SnapshotReader, SnapshotWriter};
pub use spec::{Member, PartitionSpec};

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;
