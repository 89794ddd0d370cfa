//! The data generation of a replica (R5): whether what lies in its range may be read, and whether it still is what it was.
//!
//! A strong read notes it, checks its lease, reads the engine without any lock, and believes what it read only if the
//! generation still holds and the lease does, too. An eventually consistent one does the same without the lease. Whoever
//! is about to replace or delete what lies in the range closes it first. Raft has a gate of its own before the same readers,
//! for what it knows before the applier does; this one closes for what only the applier knows.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mutation::{Mutation, planted};

/// Counts how often a replica's range was closed and opened. Shared by the replica's applier and its readers.
#[derive(Debug, Default)]
pub struct DataGeneration {
    /// Even while the range is closed, odd while it is open.
    changes: AtomicU64,
}

/// A generation during which the range was open, as a reader noted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted(u64);

impl DataGeneration {
    /// The generation now; `None` while the range may not be read.
    #[must_use]
    pub fn note(&self) -> Option<Noted> {
        let now = self.changes.load(Ordering::SeqCst);
        (now % 2 == 1).then_some(Noted(now))
    }

    /// Whether the range was open all the time since `noted`, so that what was read in between counts.
    #[must_use]
    pub fn holds(&self, noted: Noted) -> bool {
        self.changes.load(Ordering::SeqCst) == noted.0 || planted(Mutation::GenerationKept)
    }

    /// Closes the range: what is being read from it does not count any more. Only the range's applier calls this.
    pub(super) fn close(&self) {
        if self.note().is_some() {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Opens the range. Only the range's applier calls this.
    pub(super) fn open(&self) {
        if self.note().is_none() {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }
}
