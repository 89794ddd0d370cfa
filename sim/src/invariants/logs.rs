//! Logs match: entries of one index and term are the same entry, with the same entry before it, in every log that ever had one.

use std::collections::BTreeMap;

use stator_consensus::GroupId;
use stator_storage::log::LogEntry;

use super::Holds;
use crate::items::short;

/// By group, index and term: the term before, and a hash of the content.
#[derive(Default)]
pub(crate) struct Logs(BTreeMap<(GroupId, u64, u64), (Option<u64>, u64)>);

impl Logs {
    /// An entry is written to a log, behind one of this term, if that is known.
    pub(crate) fn written(
        &mut self,
        group: GroupId,
        before: Option<u64>,
        entry: &LogEntry,
    ) -> Holds {
        let hash = short(&entry.data);
        let noted = self.0.entry((group, entry.index, entry.term)).or_insert((before, hash));
        let same_before = noted.0.is_none() || before.is_none() || noted.0 == before;
        if same_before && noted.1 == hash {
            noted.0 = noted.0.or(before);
            return Ok(());
        }
        Err(format!(
            "group {} has two entries {} of term {}: behind terms {:?} and {:?}, of content {:x} and {:x}",
            group.0, entry.index, entry.term, noted.0, before, noted.1, hash
        ))
    }
}
