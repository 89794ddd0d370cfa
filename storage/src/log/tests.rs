//! Tests of the log as a whole: golden scripts, and random runs with crashes against a model.

mod damage;
mod golden;
mod groups;
mod node;
mod random;
mod release;
mod trace;

use bytes::Bytes;

use crate::log::{HardState, LogEntry, LogOptions, Mark, Record};
use crate::machine::GroupId;

/// Options with small segments.
pub(super) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 16 << 10,
        budget_bytes: 6 * (16 << 10),
        pending_bytes: 8 << 10,
        pending_batches: 64,
        spare_segments: 2,
        salt: 7,
    }
}

pub(super) fn entry(group: u64, index: u64, term: u64, data: impl Into<Bytes>) -> Record {
    Record::Entry {
        group: GroupId(group),
        entry: LogEntry { index, term, kind: 0, data: data.into() },
    }
}

pub(super) fn hard(group: u64, term: u64, vote: u64, commit: u64) -> Record {
    Record::HardState { group: GroupId(group), state: HardState { term, vote, commit } }
}

pub(super) fn truncate(group: u64, index: u64, term: u64) -> Record {
    Record::Truncate { group: GroupId(group), mark: Mark { index, term } }
}

pub(super) fn reset(group: u64, index: u64, term: u64) -> Record {
    Record::Reset { group: GroupId(group), mark: Mark { index, term } }
}

pub(super) fn tombstone(group: u64) -> Record {
    Record::Tombstone { group: GroupId(group) }
}
