//! raft-rs' view of a group's log: an index of all entries since the truncation mark, the newest of them in memory, the rest read
//! back from the node's log when a follower that lags asks for them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use stator_storage::log::LogEntry;
use stator_storage::machine::GroupId;

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
    /// A snapshot that is ready to be sent, and who asked for one.
    offer: Option<Snapshot>,
    wanted_by: Cell<Option<u64>>,
}

impl Store {
    pub(crate) fn new(
        group: GroupId,
        reader: Arc<dyn LogReader>,
        mark: (u64, u64),
        voters: &[u64],
    ) -> Self {
        let mut conf_state = ConfState::default();
        conf_state.set_voters(voters.to_vec());
        Self {
            group,
            reader,
            hard_state: HardState::default(),
            conf_state,
            mark,
            terms: VecDeque::new(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            offer: None,
            wanted_by: Cell::new(None),
        }
    }

    /// The term of an entry found at recovery; its content stays in the log until it is asked for.
    pub(crate) fn recover(&mut self, term: u64) {
        self.terms.push_back(term);
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    pub(crate) fn mark(&self) -> (u64, u64) {
        self.mark
    }

    pub(crate) fn last(&self) -> u64 {
        self.mark.0 + self.terms.len() as u64
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
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        self.cut_from(first.index);
        for entry in entries {
            self.terms.push_back(entry.term);
            self.cache_bytes += entry.data.len();
            self.cache.push_back(entry.clone());
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

    /// Forgets the content (not the place) of old entries until the cache is within its bound; only such as are persisted.
    pub(crate) fn shrink_cache(&mut self, bytes_max: usize, persisted: u64) {
        while self.cache_bytes > bytes_max
            && self.cache.front().is_some_and(|entry| entry.index <= persisted)
        {
            if let Some(entry) = self.cache.pop_front() {
                self.cache_bytes -= entry.data.len();
            }
        }
    }

    /// The entries up to `index` are needed no more. Answers the new mark.
    pub(crate) fn truncate(&mut self, index: u64) -> (u64, u64) {
        if index > self.mark.0
            && let Some(term) = self.term_of(index)
        {
            let gone = usize::try_from(index - self.mark.0).unwrap_or(usize::MAX);
            self.terms.drain(..gone);
            self.mark = (index, term);
            while self.cache.front().is_some_and(|entry| entry.index <= index) {
                if let Some(entry) = self.cache.pop_front() {
                    self.cache_bytes -= entry.data.len();
                }
            }
        }
        self.mark
    }

    /// A snapshot takes the place of the whole log.
    pub(crate) fn reset(&mut self, index: u64, term: u64, conf_state: ConfState) {
        self.mark = (index, term);
        self.conf_state = conf_state;
        self.terms.clear();
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// Offers a snapshot to whoever needs one next.
    pub(crate) fn offer(&mut self, snapshot: Option<Snapshot>) {
        self.offer = snapshot;
    }

    /// Which replica needs a snapshot, if one asked since the last call.
    pub(crate) fn take_wanted(&self) -> Option<u64> {
        self.wanted_by.take()
    }

    /// The entries `low..high`, at least one, then as many as fit in `bytes_max`.
    pub(crate) fn read(&self, low: u64, high: u64, bytes_max: u64) -> raft::Result<Vec<Entry>> {
        if low <= self.mark.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let cached_from = self.cache.front().map_or(self.last() + 1, |entry| entry.index);
        if low >= cached_from {
            let skip = usize::try_from(low - cached_from).unwrap_or(usize::MAX);
            let take = usize::try_from(high - low).unwrap_or(usize::MAX);
            return Ok(within(self.cache.iter().skip(skip).take(take).cloned(), bytes_max));
        }
        let read = self.reader.entries(self.group, low..high.min(cached_from), bytes_max);
        let read = read.map_err(|error| raft::Error::Store(StorageError::Other(error.into())))?;
        Ok(within(read.into_iter().map(to_raft), bytes_max))
    }
}

fn within(entries: impl Iterator<Item = Entry>, bytes_max: u64) -> Vec<Entry> {
    let mut bytes = 0u64;
    let mut taken = Vec::new();
    for entry in entries {
        bytes = bytes.saturating_add(entry.data.len() as u64);
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry);
    }
    taken
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
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        // raft-rs takes a run that a size bound cut short as it is, but only from one call: so a run that begins in the log and
        // ends in the cache is put together here.
        let mut entries = self.read(low, high, bytes_max)?;
        let mut bytes: u64 = entries.iter().map(|entry| entry.data.len() as u64).sum();
        while let Some(next) = entries.last().map(|entry| entry.index + 1)
            && next < high
            && bytes < bytes_max
        {
            let more = self.read(next, high, bytes_max - bytes)?;
            let more_bytes: u64 = more.iter().map(|entry| entry.data.len() as u64).sum();
            if more.is_empty() || bytes + more_bytes > bytes_max {
                break;
            }
            bytes += more_bytes;
            entries.extend(more);
        }
        Ok(entries)
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
            Some(offer) if offer.get_metadata().index >= request_index.max(self.mark.0) => {
                Ok(offer.clone())
            }
            _ => {
                self.wanted_by.set(Some(to));
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
