//! raft-rs' view of a group's log: the terms of all entries since the truncation mark, the newest entries in memory, the rest
//! read back from the node's log when a follower that lags, or the applier after a restart, asks for them.
//!
//! # Invariants
//! - What is not synced, and what is not handed to the applier, is in memory: only such entries are read back as are on disk
//!   for sure, and applying reads nothing back but what a restart left to apply.
//! - What is read back is what was written: an entry of another index or term than the one noted here is refused.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use stator_storage::log::LogEntry;
use stator_storage::machine::{Committed, GroupId};

/// The most entries that are named to raft-rs in one ready without their content.
const LISTED_MAX: usize = 4096;

/// Reads entries back from the node's log; only such as were reported persisted are asked for.
pub trait LogReader: Send + Sync + 'static {
    /// The entries of a group in a range of indexes, at least one, then as many as fit in `bytes_max`.
    ///
    /// # Errors
    /// A fault of the log.
    fn entries(
        &self,
        group: GroupId,
        range: Range<u64>,
        bytes_max: u64,
    ) -> stator_storage::Result<Vec<LogEntry>>;
}

pub(crate) struct Store {
    group: GroupId,
    reader: Arc<dyn LogReader>,
    hard_state: HardState,
    conf_state: ConfState,
    /// Index and term of the last entry that is gone (or never was: R14).
    mark: (u64, u64),
    /// The terms of the entries after the mark.
    terms: VecDeque<u64>,
    /// The newest of them, up to the last.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// While raft-rs makes a ready: it only wants to know which entries are committed, not what is in them.
    listing: bool,
    /// A snapshot that is ready to be sent, and for whom.
    offer: Option<(u64, Snapshot)>,
    /// Who asked for a snapshot that is not there.
    wanted_by: Cell<Option<u64>>,
}

impl Store {
    pub(crate) fn new(
        group: GroupId,
        reader: Arc<dyn LogReader>,
        mark: (u64, u64),
        terms: &[u64],
        voters: Vec<u64>,
    ) -> Self {
        let mut conf_state = ConfState::default();
        conf_state.set_voters(voters);
        Self {
            group,
            reader,
            hard_state: HardState::default(),
            conf_state,
            mark,
            terms: terms.iter().copied().collect(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            listing: false,
            offer: None,
            wanted_by: Cell::new(None),
        }
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) const fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub(crate) const fn mark(&self) -> (u64, u64) {
        self.mark
    }

    pub(crate) fn last(&self) -> u64 {
        self.mark.0 + self.terms.len() as u64
    }

    pub(crate) const fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// The term of an entry, or of the mark.
    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.mark.0 {
            return Some(self.mark.1);
        }
        let offset = index.checked_sub(self.mark.0 + 1)?;
        self.terms.get(usize::try_from(offset).ok()?).copied()
    }

    /// Appends entries, in place of those that stand from the first one's index on.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        self.cut_from(first.index);
        for entry in entries {
            self.terms.push_back(entry.term);
            self.cache_bytes += entry.data.len();
            self.cache.push_back(entry);
        }
    }

    fn cut_from(&mut self, index: u64) {
        let keep = usize::try_from(index.saturating_sub(self.mark.0 + 1)).unwrap_or(usize::MAX);
        self.terms.truncate(keep);
        while self.cache.back().is_some_and(|entry| entry.index >= index) {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= entry.data.len();
            }
        }
    }

    /// Forgets the content (not the place) of old entries up to `free` until the cache is within its bound.
    pub(crate) fn shrink_cache(&mut self, bytes_max: usize, free: u64) {
        while self.cache_bytes > bytes_max && self.forget_oldest(free) {}
    }

    fn forget_oldest(&mut self, free: u64) -> bool {
        if self.cache.front().is_none_or(|entry| entry.index > free) {
            return false;
        }
        self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| entry.data.len());
        true
    }

    /// The entries up to `index` are needed no more. Answers the new mark.
    pub(crate) fn truncate(&mut self, index: u64) -> (u64, u64) {
        if index > self.mark.0
            && let Some(term) = self.term_of(index)
        {
            let gone = usize::try_from(index - self.mark.0).unwrap_or(usize::MAX);
            self.terms.drain(..gone);
            self.mark = (index, term);
            while self.forget_oldest(index) {}
        }
        self.mark
    }

    /// A snapshot takes the place of the whole log.
    pub(crate) fn reset(&mut self, index: u64, term: u64) {
        self.mark = (index, term);
        self.terms.clear();
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Offers a snapshot to a replica, or no more.
    pub(crate) fn offer(&mut self, offer: Option<(u64, Snapshot)>) {
        self.offer = offer;
    }

    /// Which replica asked for a snapshot that was not there since the last call.
    pub(crate) fn take_wanted(&self) -> Option<u64> {
        self.wanted_by.take()
    }

    /// raft-rs is about to make a ready, or has made it.
    pub(crate) fn set_listing(&mut self, listing: bool) {
        self.listing = listing;
    }

    /// The committed entries in `low..high` for the applier: at least one, then as many as fit in `bytes_max`.
    pub(crate) fn committed(
        &self,
        low: u64,
        high: u64,
        bytes_max: u64,
    ) -> raft::Result<(Vec<Committed>, usize)> {
        let mut taken = Vec::new();
        let mut bytes = 0usize;
        let mut take = |index: u64, term: u64, data: &bytes::Bytes| {
            if !taken.is_empty() && (bytes + data.len()) as u64 > bytes_max {
                return false;
            }
            bytes += data.len();
            taken.push(Committed { index, term, data: data.clone() });
            true
        };
        if let Some(skip) = low.checked_sub(self.cached_from()) {
            let cached = self.cache.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX));
            let mut cached = cached.take_while(|entry| entry.index < high);
            let _ = cached.all(|entry| take(entry.index, entry.term, &entry.data));
        } else {
            let read = self.read_back(low, high.min(self.cached_from()), bytes_max)?;
            let _ = read.iter().all(|entry| take(entry.index, entry.term, &entry.data));
        }
        Ok((taken, bytes))
    }

    fn cached_from(&self) -> u64 {
        self.cache.front().map_or(self.last() + 1, |entry| entry.index)
    }

    /// Entries that are only on disk.
    fn read_back(&self, low: u64, high: u64, bytes_max: u64) -> raft::Result<Vec<LogEntry>> {
        let other = |error: Box<dyn std::error::Error + Send + Sync>| {
            raft::Error::Store(StorageError::Other(error))
        };
        let read = self.reader.entries(self.group, low..high, bytes_max);
        let read = read.map_err(|error| other(error.into()))?;
        let as_noted = (low..high)
            .zip(&read)
            .all(|(index, entry)| entry.index == index && Some(entry.term) == self.term_of(index));
        if read.is_empty() || read.len() as u64 > high - low || !as_noted {
            let what = format!("entries {low}..{high} are not in the log as they were written");
            return Err(other(what.into()));
        }
        Ok(read)
    }

    /// The entries `low..high`, at least one, then as many as fit in `bytes_max`.
    fn range(&self, low: u64, high: u64, bytes_max: u64) -> raft::Result<Vec<Entry>> {
        let cached_from = self.cached_from();
        let mut run = Run { taken: Vec::new(), bytes: 0, bytes_max };
        let mut next = low;
        while next < cached_from.min(high) {
            if self.listing {
                // The host hands committed entries to the applier itself, when that has room: reading a long unapplied tail
                // here, after a restart, would be reading it for nothing.
                if run.taken.len() >= LISTED_MAX {
                    return Ok(run.taken);
                }
                let term = self.term_of(next).unwrap_or_default();
                run.taken.push(Entry { index: next, term, ..Entry::default() });
                next += 1;
                continue;
            }
            let left = bytes_max.saturating_sub(run.bytes);
            for entry in self.read_back(next, cached_from.min(high), left)? {
                next = entry.index + 1;
                if !run.take(to_raft(entry)) {
                    return Ok(run.taken);
                }
            }
        }
        let skip = usize::try_from(next.saturating_sub(cached_from)).unwrap_or(usize::MAX);
        for entry in self.cache.iter().skip(skip).take_while(|entry| entry.index < high) {
            if !run.take(entry.clone()) {
                break;
            }
        }
        Ok(run.taken)
    }
}

/// Entries taken one after another until a bound is reached.
struct Run {
    taken: Vec<Entry>,
    bytes: u64,
    bytes_max: u64,
}

impl Run {
    fn take(&mut self, entry: Entry) -> bool {
        let bytes = self.bytes.saturating_add(entry.data.len() as u64);
        if bytes > self.bytes_max && !self.taken.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.taken.push(entry);
        true
    }
}

/// An entry as the log keeps it.
pub(crate) fn to_log(entry: &Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    LogEntry { index: entry.index, term: entry.term, kind, data: entry.data.clone() }
}

fn to_raft(entry: LogEntry) -> Entry {
    let mut raft_entry = Entry::default();
    raft_entry.set_entry_type(match entry.kind {
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => EntryType::EntryNormal,
    });
    raft_entry.index = entry.index;
    raft_entry.term = entry.term;
    raft_entry.data = entry.data;
    raft_entry
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.mark.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        self.range(low, high, max_size.into().unwrap_or(u64::MAX))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.mark.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.term_of(index).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.mark.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        match &self.offer {
            Some((whom, offer))
                if *whom == to && offer.get_metadata().index >= request_index.max(self.mark.0) =>
            {
                Ok(offer.clone())
            }
            _ => {
                self.wanted_by.set(Some(to));
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests;
