//! The log: one segmented write-ahead log per node, shared by all its replicas.
//!
//! # What it holds
//! [`Record`]s of many groups, in the order they were staged. Consensus hands in the records of a turn as one batch; the
//! batches that wait are written together and synced once (group commit).
//!
//! # The parts
//! - [`format`](mod@format): the bytes of segments and records.
//! - [`LogCore`]: the pure core. Batches in, [`DiskOp`]s out, completions in. It knows segments, positions and what is live.
//! - [`recover`]: reads the segments, tells a torn tail from corruption, and gives each group's state.
//! - [`Files`]: does [`DiskOp`]s against a [`Disk`](crate::disk::Disk), one by one.
//! - [`Log`]: the thread that runs the core. The simulator has its own driver instead.
//!
//! # Promises
//! - What was completed survives; of what was staged and not completed, a prefix may (in the order of staging).
//! - Damage below what is known to be synced is [`Error::Corruption`](crate::Error::Corruption), never a shorter log.
//! - A failed sync stops the log for good, as does damage found while entries are rewritten ahead: no later batch is taken,
//!   and none is reported done.
//! - The segments' bytes, spare ones included, never exceed [`LogOptions::budget_bytes`].
//!
//! # Caveats
//! - A tombstone is kept for as long as the log: 17 bytes a removed group.
//! - A batch is not atomic: a crash may leave its first records. Hard states are written after everything else in a batch,
//!   so that a commit index is never ahead of its entries.
//! - The last write before a crash is not vouched for by a later one: damage to it looks like a torn tail. [`Log::close`]
//!   writes a last mark, so that it is vouched for after a clean stop.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::machine::GroupId;

mod core;
mod files;
pub mod format;
mod index;
mod read;
mod recovery;
mod writer;

#[cfg(test)]
mod tests;

pub use self::core::{DiskOp, LogCore, Pressure, SegmentFile, Write};
pub use self::files::Files;
pub use self::format::fuzz_segment;
pub use self::index::{Located, Place};
pub use self::read::{Source, read_entries, read_sources};
pub use self::recovery::recover;
pub use self::writer::Log;

/// An entry of a group's Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// What kind of entry it is: opaque to the log.
    pub kind: u8,
    /// Its content: opaque to the log.
    pub data: Bytes,
}

/// What a Raft replica must not forget besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The highest term seen.
    pub term: u64,
    /// Whom the replica voted for in that term, zero for nobody.
    pub vote: u64,
    /// The commit index known.
    pub commit: u64,
}

/// The entry that a group's log begins behind: it and all before it are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// What is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An entry. It replaces all entries of the group at its index and above; there may be no gap before it.
    Entry {
        /// The group.
        group: GroupId,
        /// The entry.
        entry: LogEntry,
    },
    /// The group's hard state, in place of the former one. Written after everything else in its batch.
    HardState {
        /// The group.
        group: GroupId,
        /// The hard state.
        state: HardState,
    },
    /// The group's entries up to the mark are not needed any more. The mark may not lie behind the last entry.
    Truncate {
        /// The group.
        group: GroupId,
        /// The last entry not needed.
        mark: Mark,
    },
    /// The group's log begins anew behind the mark, without entries: a snapshot was installed, or the group was made with
    /// a made-up first snapshot (R14). The hard state stays.
    Reset {
        /// The group.
        group: GroupId,
        /// What the log begins behind.
        mark: Mark,
    },
    /// The group is removed from this node for good; no record of it is taken any more.
    Tombstone {
        /// The group.
        group: GroupId,
    },
}

impl Record {
    /// The group that the record is of.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        match self {
            Self::Entry { group, .. }
            | Self::HardState { group, .. }
            | Self::Truncate { group, .. }
            | Self::Reset { group, .. }
            | Self::Tombstone { group } => *group,
        }
    }
}

/// A group's state as the log holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecovery {
    /// The last hard state; the default one if none was written. Its commit index may be past the last entry (R12).
    pub hard_state: HardState,
    /// What the group's log begins behind.
    pub mark: Mark,
    /// The terms of the entries from `mark.index + 1` on, without gaps.
    pub terms: Vec<u64>,
    /// Whether the group was removed for good: nothing else is known of it then.
    pub tombstone: bool,
}

impl GroupRecovery {
    /// The index of the last entry, or of the mark if there is none.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.mark.index + self.terms.len() as u64
    }
}

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The groups of which the log knows anything.
    pub groups: BTreeMap<GroupId, GroupRecovery>,
    /// Bytes behind the end of the log that were recognizably written for it and lost: a torn tail.
    pub torn: bool,
}

/// How a log is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The length of a segment file, in bytes: a multiple of 4,096, at least 16 KiB and at most 1 GiB. A record may be a
    /// quarter of it.
    pub segment_bytes: u64,
    /// The most that all segment files may take, in bytes: at least four segments, of which one is kept for opening the log.
    pub budget_bytes: u64,
    /// The most that may wait to be written, in bytes; at most half a segment.
    pub pending_bytes: u64,
    /// The most batches that may wait to be written.
    pub pending_batches: usize,
    /// Segments made ahead of their use.
    pub spare_segments: usize,
    /// Mixed into the checksums, so that no one can forge records inside of entries: any value that users cannot guess.
    /// A log keeps the one it was made with.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            budget_bytes: 1 << 30,
            pending_bytes: 32 << 20,
            pending_batches: 4096,
            spare_segments: 2,
            salt: 0,
        }
    }
}

/// A place in the log: segments are ordered by incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The segment's incarnation, counted from one and never used again.
    pub segment: u64,
    /// The offset in its file, in bytes.
    pub offset: u64,
}

/// What a log has to say of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// The bytes of all segment files, spare ones included.
    pub file_bytes: u64,
    /// The bytes of the segments that hold records needed or not yet released.
    pub used_bytes: u64,
    /// The bytes of the records still needed.
    pub live_bytes: u64,
    /// Segments in use.
    pub segments: usize,
    /// Segments ready to be used.
    pub spares: usize,
    /// Everything below is synced.
    pub synced: Position,
    /// Writes completed.
    pub writes: u64,
    /// Syncs of files completed.
    pub syncs: u64,
    /// Records completed, rewritten ones included.
    pub records: u64,
    /// Records rewritten ahead to release a segment.
    pub rewritten: u64,
    /// Bytes staged and not yet completed.
    pub pending_bytes: u64,
}
