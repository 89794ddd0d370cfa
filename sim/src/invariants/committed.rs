//! What was committed stays: no node ever applies another entry in its place, and a quorum's logs hold it, over crashes.

use std::collections::BTreeMap;

use stator_consensus::GroupId;
use stator_storage::machine::Committed as Entry;

use super::Holds;
use crate::items::short;

/// What was applied first, by group and index.
#[derive(Default)]
pub(crate) struct Committed {
    entries: BTreeMap<(GroupId, u64), (u64, u64)>,
    last: BTreeMap<GroupId, u64>,
}

impl Committed {
    /// A node applies an entry. Answers whether it is the first to do so.
    pub(crate) fn applied(&mut self, group: GroupId, entry: &Entry) -> Result<bool, String> {
        let this = (entry.term, short(&entry.data));
        let mut is_new = false;
        let first = *self.entries.entry((group, entry.index)).or_insert_with(|| {
            is_new = true;
            this
        });
        if first != this {
            return Err(format!(
                "entry {} of group {} was committed in term {} and is now another, of term {}",
                entry.index, group.0, first.0, this.0
            ));
        }
        if is_new {
            let last = self.last.insert(group, entry.index);
            if last.is_some_and(|last| last + 1 != entry.index) {
                return Err(format!(
                    "entry {} of group {} is applied before those in between",
                    entry.index, group.0
                ));
            }
        }
        Ok(is_new)
    }

    /// The last entry that some node has applied: index and term.
    pub(crate) fn last(&self, group: GroupId) -> Option<(u64, u64)> {
        let index = *self.last.get(&group)?;
        Some((index, self.entries.get(&(group, index))?.0))
    }

    /// With all nodes up: whether a quorum of their logs holds the last committed entry. Each tells whether it does.
    pub(crate) fn held(&self, group: GroupId, holders: &[bool]) -> Holds {
        let count = holders.iter().filter(|holds| **holds).count();
        if 2 * count > holders.len() {
            return Ok(());
        }
        let (index, term) = self.last(group).unwrap_or_default();
        Err(format!(
            "entry {index} of term {term} of group {} was committed, and only {count} logs hold it",
            group.0
        ))
    }
}
