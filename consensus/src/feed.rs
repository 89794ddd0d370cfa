//! How far a replica's entries have got on their way into the engine.
//!
//! ```text
//!   durable ≤ applied ≤ handed ≤ committed (and persisted here)
//! ```
//!
//! What is handed to the applier and not yet applied is bounded in bytes: the applier may stall (R11), and a campaign loads all
//! that is committed and not applied (R12).

use std::collections::VecDeque;

/// The marks, and the jobs between `applied` and `handed`.
#[derive(Debug)]
pub(crate) struct Feed {
    committed: u64,
    handed: u64,
    applied: u64,
    durable: u64,
    /// The last index and the bytes of each job.
    jobs: VecDeque<(u64, usize)>,
    bytes: usize,
    /// Bytes of entries known committed and not yet handed out, but for those that only a restart has left.
    unhanded: usize,
    /// The snapshot that the log begins behind is lost: nothing can be applied before another one comes.
    lacking: bool,
}

impl Feed {
    /// A replica whose engine holds `applied`, and whose log says `committed`.
    pub(crate) const fn new(applied: u64, committed: u64) -> Self {
        Self {
            committed,
            handed: applied,
            applied,
            durable: applied,
            jobs: VecDeque::new(),
            bytes: 0,
            unhanded: 0,
            lacking: false,
        }
    }

    /// A replica whose log begins behind `mark`, and whose engine holds less than that.
    pub(crate) fn lacking(applied: u64, mark: u64, committed: u64) -> Self {
        Self { handed: mark, lacking: true, ..Self::new(applied, committed) }
    }

    /// The snapshot that all of it rests on is lost, installed or not: the applier has dropped what it was handed.
    pub(crate) fn lack(&mut self) {
        self.lacking = true;
        self.jobs.clear();
        self.bytes = 0;
    }

    /// Whether nothing can be applied before another snapshot comes.
    pub(crate) const fn is_lacking(&self) -> bool {
        self.lacking
    }

    /// The last entry that may be handed out.
    pub(crate) const fn committed(&self) -> u64 {
        self.committed
    }

    /// The last entry handed to the applier.
    pub(crate) const fn handed(&self) -> u64 {
        self.handed
    }

    /// The last entry applied.
    pub(crate) const fn applied(&self) -> u64 {
        self.applied
    }

    /// Up to where the engine holds the data durably.
    pub(crate) const fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes handed and not yet applied.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes in memory that go away by being applied: committed, handed or not. None count while nothing can be applied.
    pub(crate) const fn backlog(&self) -> usize {
        if self.lacking { 0 } else { self.bytes + self.unhanded }
    }

    /// Entries up to `index` are committed; those that are news have so many bytes in memory.
    pub(crate) fn commit(&mut self, index: u64, bytes: usize) {
        if index > self.committed {
            self.committed = index;
            self.unhanded += bytes;
        }
    }

    /// Whether everything is handed out, and what is not yet applied is within the bound.
    pub(crate) const fn is_near(&self, bytes_max: usize) -> bool {
        self.handed == self.committed && self.bytes <= bytes_max
    }

    /// Whether there is something to hand out, and room for it.
    pub(crate) const fn wants(&self, bytes_max: usize) -> bool {
        self.handed < self.committed && self.bytes <= bytes_max && !self.lacking
    }

    /// Entries up to `last` were handed out.
    pub(crate) fn hand(&mut self, last: u64, bytes: usize) {
        self.handed = last;
        self.bytes += bytes;
        self.unhanded = if last < self.committed { self.unhanded.saturating_sub(bytes) } else { 0 };
        self.jobs.push_back((last, bytes));
    }

    /// The applier has got to `index`. Answers whether that is news.
    pub(crate) fn apply(&mut self, index: u64) -> bool {
        // Beyond what was handed out it is word of a former life of this replica.
        if index <= self.applied || index > self.handed {
            return false;
        }
        self.applied = index;
        while let Some((last, bytes)) = self.jobs.front().copied()
            && last <= index
        {
            self.jobs.pop_front();
            self.bytes -= bytes;
        }
        true
    }

    pub(crate) fn flush(&mut self, index: u64) {
        self.durable = self.durable.max(index.min(self.applied));
    }

    /// A snapshot that ends at `index` takes the place of everything; jobs still under way come before it.
    pub(crate) fn reset(&mut self, index: u64) {
        self.committed = index;
        self.handed = index;
        self.jobs.clear();
        self.bytes = 0;
        self.unhanded = 0;
        self.lacking = false;
    }
}

#[cfg(test)]
mod tests;
