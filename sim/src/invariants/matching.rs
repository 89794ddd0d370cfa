//! Logs match: where two logs of a group have an entry of the same index and term, it is the same entry, behind one of the same
//! term, and so they are the same all the way back (Raft's Log Matching, section 5.3 of its paper).
//!
//! It is looked at as entries are staged, committed or not, so that logs that part are seen before anything is applied from them.

use std::collections::BTreeMap;

use stator_consensus::GroupId;
use stator_storage::log::Record;

use super::Holds;
use crate::items::short;

/// An entry as some log has it: the term of the one before it, its kind, and its data.
type Shape = (u64, u8, u64);

/// What each entry looked like first, by group, index and term.
#[derive(Default)]
pub(crate) struct Matching {
    entries: BTreeMap<(GroupId, u64, u64), Shape>,
}

impl Matching {
    /// A batch is given to a log, whose terms until then are told.
    pub(crate) fn staged<'a>(
        &mut self,
        batch: impl IntoIterator<Item = &'a Record>,
        term: impl Fn(GroupId, u64) -> Option<u64>,
    ) -> Holds {
        // Where each group's log would end if the batch ended here: index and term.
        let mut ends = BTreeMap::new();
        for record in batch {
            let group = record.group();
            match record {
                Record::Entry { entry, .. } => {
                    let before = entry.index - 1;
                    let behind = match ends.get(&group) {
                        Some(&(index, term)) if index == before => Some(term),
                        _ => term(group, before),
                    };
                    let shape = (behind.unwrap_or(0), entry.kind, short(&entry.data));
                    self.judge((group, entry.index, entry.term), shape)?;
                    ends.insert(group, (entry.index, entry.term));
                }
                Record::Reset { mark, .. } => {
                    ends.insert(group, (mark.index, mark.term));
                }
                Record::HardState { .. } | Record::Truncate { .. } | Record::Tombstone { .. } => {}
            }
        }
        Ok(())
    }

    fn judge(&mut self, at: (GroupId, u64, u64), shape: Shape) -> Holds {
        let first = *self.entries.entry(at).or_insert(shape);
        if first == shape {
            return Ok(());
        }
        let (group, index, term) = at;
        Err(format!(
            "entry {index} of term {term} of group {} is {shape:?} in one log (term before it, kind, data) and {first:?} in another",
            group.0
        ))
    }
}

#[cfg(test)]
mod tests {
    use stator_storage::log::{LogEntry, Mark};

    use super::*;

    const GROUP: GroupId = GroupId(7);

    fn entry(index: u64, term: u64, data: &'static [u8]) -> Record {
        Record::Entry { group: GROUP, entry: LogEntry { index, term, kind: 0, data: data.into() } }
    }

    /// The terms of a log that has this many entries of term one.
    fn ones(last: u64) -> impl Fn(GroupId, u64) -> Option<u64> {
        move |_, index| (index <= last).then_some(u64::from(index > 0))
    }

    #[test]
    fn the_same_entries_may_come_in_any_batches() {
        let mut logs = Matching::default();
        let whole = [entry(1, 1, b"a"), entry(2, 1, b"b"), entry(3, 2, b"c")];
        logs.staged(&whole, ones(0)).expect("the first");
        logs.staged(&whole[..2], ones(0)).expect("another log");
        logs.staged(&whole[2..], ones(2)).expect("and its end");
        let other_end = [entry(3, 1, b"d"), entry(2, 3, b"e"), entry(3, 3, b"f")];
        logs.staged(&other_end, ones(2)).expect("other terms are other entries");
        let reset = Record::Reset { group: GROUP, mark: Mark { index: 2, term: 1 } };
        logs.staged(&[reset, entry(3, 2, b"c")], ones(0)).expect("behind a snapshot");
    }

    #[test]
    fn another_entry_of_the_same_term_and_another_before_it_are_found() {
        let mut logs = Matching::default();
        logs.staged(&[entry(1, 1, b"a"), entry(2, 2, b"b")], ones(0)).expect("the first");
        let told = logs.staged(&[entry(1, 1, b"x")], ones(0)).expect_err("other data");
        assert!(told.starts_with("entry 1 of term 1 of group 7 is "), "{told}");
        logs.staged(&[entry(2, 2, b"b")], ones(1)).expect("the same");
        logs.staged(&[entry(2, 2, b"b")], |_, _| Some(2)).expect_err("behind one of another term");
    }
}
