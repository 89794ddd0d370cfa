//! What the log promises is there after a crash: everything that was completed, and of what was staged after that a prefix, in
//! the order of staging. Nothing else, nothing less.
//!
//! The log is followed by a shadow that keeps what each group would recover to.

use std::collections::{BTreeMap, VecDeque};

use stator_consensus::GroupId;
use stator_storage::log::{GroupRecovery, Record};

use super::Holds;

type State = BTreeMap<GroupId, GroupRecovery>;

/// What a log has promised.
#[derive(Clone, Default)]
pub(crate) struct Shadow {
    /// As of the write before the last one that was completed: what a later write vouches for. `None` as long as the last write is
    /// recovery's own copy of what it found, for which nothing vouches.
    vouched: Option<State>,
    /// As of the last write that was completed.
    completed: State,
    /// What was staged since, with the number of the write it goes with.
    staged: VecDeque<(u64, Record)>,
    /// Of these, what has been completed and is not vouched for.
    unvouched: Vec<Record>,
}

impl Shadow {
    /// The shadow of a log that has just been recovered.
    pub(crate) fn of(recovered: &State) -> Self {
        Self { completed: recovered.clone(), ..Self::default() }
    }

    /// A batch is staged. Hard states go behind the rest of it, and tombstones behind those.
    pub(crate) fn stage(&mut self, write: u64, batch: &[Record]) {
        let rank = |record: &&Record| match record {
            Record::HardState { .. } => 1,
            Record::Tombstone { .. } => 2,
            _ => 0,
        };
        let mut ordered: Vec<&Record> = batch.iter().collect();
        ordered.sort_by_key(rank);
        self.staged.extend(ordered.into_iter().map(|record| (write, record.clone())));
    }

    /// Whether a write under way has such a record.
    pub(crate) fn is_under_way(&self, write: u64, is_one: impl Fn(&Record) -> bool) -> bool {
        self.staged.iter().take_while(|(of, _)| *of <= write).any(|(_, record)| is_one(record))
    }

    /// A write is completed.
    pub(crate) fn complete(&mut self, write: u64) {
        let vouched = self.vouched.get_or_insert_with(|| self.completed.clone());
        for record in self.unvouched.drain(..) {
            apply(vouched, &record);
        }
        while self.staged.front().is_some_and(|(of, _)| *of <= write) {
            let Some((_, record)) = self.staged.pop_front() else { break };
            apply(&mut self.completed, &record);
            self.unvouched.push(record);
        }
    }

    /// Whether this is a state that a crash may leave.
    pub(crate) fn allows(&self, recovered: &State) -> Holds {
        let staged = self.staged.iter().map(|(_, record)| record);
        follows(&self.completed, staged, recovered)
            .then_some(())
            .ok_or_else(|| differs("completed", &self.completed, recovered))
    }

    /// Whether this is a state that damage to the last write may leave: damage before that must be refused.
    pub(crate) fn allows_damaged(&self, recovered: &State) -> Holds {
        let Some(vouched) = &self.vouched else { return Ok(()) };
        let staged = self.staged.iter().map(|(_, record)| record);
        follows(vouched, self.unvouched.iter().chain(staged), recovered)
            .then_some(())
            .ok_or_else(|| differs("vouched for", vouched, recovered))
    }
}

/// Whether `found` is `from`, brought on by some of the records.
fn follows<'a>(from: &State, records: impl Iterator<Item = &'a Record>, found: &State) -> bool {
    let mut state = from.clone();
    if state == *found {
        return true;
    }
    for record in records {
        apply(&mut state, record);
        if state == *found {
            return true;
        }
    }
    false
}

fn apply(state: &mut State, record: &Record) {
    let group = state.entry(record.group()).or_default();
    match record {
        Record::Entry { entry, .. } => {
            group.terms.truncate((entry.index - group.mark.index - 1) as usize);
            group.terms.push(entry.term);
        }
        Record::HardState { state, .. } => group.hard_state = *state,
        Record::Truncate { mark, .. } => {
            if mark.index > group.mark.index {
                let gone = (mark.index - group.mark.index) as usize;
                group.terms.drain(..gone.min(group.terms.len()));
                group.mark = *mark;
            }
        }
        Record::Reset { mark, .. } => {
            group.terms.clear();
            group.mark = *mark;
        }
        Record::Tombstone { .. } => {
            *group = GroupRecovery { tombstone: true, ..GroupRecovery::default() };
        }
    }
}

fn differs(what: &str, promised: &State, found: &State) -> String {
    let brief = |state: &State| {
        let groups = state.iter().map(|(group, it)| {
            let last = (it.last_index(), it.terms.last().copied().unwrap_or(it.mark.term));
            format!("group {}: {:?} behind {:?}, last {last:?}", group.0, it.hard_state, it.mark)
        });
        groups.collect::<Vec<_>>().join("; ")
    };
    format!("the log had {what} [{}] and came back with [{}]", brief(promised), brief(found))
}
