//! A node's log as the host sees it: batches are staged, then synced; a crash keeps what was synced and a prefix of the rest.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use stator_consensus::{GroupId, LogReader, Recovered};
use stator_storage::Result;
use stator_storage::log::{HardState, LogEntry, Mark, Record};

/// One group's records.
#[derive(Clone, Debug, Default)]
struct GroupLog {
    mark: Mark,
    entries: BTreeMap<u64, LogEntry>,
    hard_state: HardState,
    tombstone: bool,
}

impl GroupLog {
    fn last(&self) -> u64 {
        self.entries.last_key_value().map_or(self.mark.index, |(index, _)| *index)
    }

    /// Takes a record, and refuses loudly what the real log refuses.
    fn take(&mut self, record: &Record) {
        assert!(!self.tombstone, "a record after the tombstone: {record:?}");
        match record {
            Record::Entry { entry, .. } => {
                assert!(entry.index > self.mark.index, "an entry behind the mark: {entry:?}");
                assert!(entry.index <= self.last() + 1, "a gap before entry {entry:?}");
                self.entries.split_off(&entry.index);
                self.entries.insert(entry.index, entry.clone());
            }
            Record::HardState { state, .. } => {
                assert!(state.term >= self.hard_state.term, "a term is forgotten: {state:?}");
                self.hard_state = *state;
            }
            Record::Truncate { mark, .. } => {
                assert!(mark.index <= self.last(), "a mark behind the last entry: {mark:?}");
                assert_eq!(self.entries.get(&mark.index).map(|entry| entry.term), Some(mark.term));
                self.entries = self.entries.split_off(&(mark.index + 1));
                self.mark = *mark;
            }
            Record::Reset { mark, .. } => {
                self.entries.clear();
                self.mark = *mark;
            }
            Record::Tombstone { .. } => *self = Self { tombstone: true, ..Self::default() },
        }
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    groups: BTreeMap<GroupId, GroupLog>,
}

impl State {
    fn take(&mut self, record: &Record) {
        self.groups.entry(record.group()).or_default().take(record);
    }
}

#[derive(Debug, Default)]
struct Inner {
    synced: State,
    /// With everything that was staged.
    front: State,
    staged: VecDeque<(u64, Vec<Record>)>,
}

/// Shared by the shell, which writes, and the host, which reads back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

impl Disk {
    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(crate) fn stage(&self, turn: u64, mut records: Vec<Record>) {
        // As the log does: hard states come last, so that a commit is never ahead of its entries.
        records.sort_by_key(|record| matches!(record, Record::HardState { .. }));
        self.with(|inner| {
            records.iter().for_each(|record| inner.front.take(record));
            inner.staged.push_back((turn, records));
        });
    }

    pub(crate) fn sync(&self, turn: u64) {
        self.with(|inner| {
            while inner.staged.front().is_some_and(|(staged, _)| *staged <= turn) {
                let (_, records) = inner.staged.pop_front().expect("there is one");
                records.iter().for_each(|record| inner.synced.take(record));
            }
        });
    }

    /// How many records a crash may lose.
    pub(crate) fn unsynced(&self) -> usize {
        self.with(|inner| inner.staged.iter().map(|(_, records)| records.len()).sum())
    }

    /// A crash keeps the first `kept` records of what was not synced.
    pub(crate) fn crash(&self, kept: usize) {
        self.with(|inner| {
            let staged = std::mem::take(&mut inner.staged);
            let records = staged.into_iter().flat_map(|(_, records)| records);
            records.take(kept).for_each(|record| inner.synced.take(&record));
            inner.front = inner.synced.clone();
        });
    }

    /// What recovery finds of a group, but for what the engine holds.
    pub(crate) fn recover(&self, group: GroupId) -> Option<Recovered> {
        self.with(|inner| {
            let log = inner.synced.groups.get(&group).filter(|log| !log.tombstone)?;
            (log.mark.index > 0).then(|| Recovered {
                term: log.hard_state.term,
                vote: log.hard_state.vote,
                commit: log.hard_state.commit,
                mark: (log.mark.index, log.mark.term),
                terms: log.entries.values().map(|entry| entry.term).collect(),
                applied: (0, 0),
            })
        })
    }

    /// The entries of a group that are on disk, as (index, term).
    pub(crate) fn terms(&self, group: GroupId) -> BTreeMap<u64, u64> {
        self.with(|inner| {
            let log = inner.synced.groups.get(&group);
            let entries = log.into_iter().flat_map(|log| log.entries.values());
            entries.map(|entry| (entry.index, entry.term)).collect()
        })
    }
}

impl LogReader for Disk {
    fn entries(&self, group: GroupId, range: Range<u64>, bytes_max: u64) -> Result<Vec<LogEntry>> {
        self.with(|inner| {
            let log = inner.synced.groups.entry(group).or_default();
            assert!(range.start > log.mark.index, "read behind the mark: {range:?}");
            let mut bytes = 0;
            let mut read = Vec::new();
            for entry in log.entries.range(range).map(|(_, entry)| entry) {
                bytes += entry.data.len() as u64;
                if bytes > bytes_max && !read.is_empty() {
                    break;
                }
                read.push(entry.clone());
            }
            Ok(read)
        })
    }
}
