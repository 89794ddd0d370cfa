//! Stamps grow strictly within a partition, over all changes of its leader.

use std::collections::BTreeMap;

use stator_consensus::GroupId;

use super::Holds;

/// The greatest stamp of each group's committed entries.
#[derive(Default)]
pub(crate) struct Stamps(BTreeMap<GroupId, u64>);

impl Stamps {
    /// An item in a committed entry has a stamp; in the order of entries, and of writes within.
    pub(crate) fn stamped(&mut self, group: GroupId, time: u64) -> Holds {
        let before = self.0.insert(group, time).unwrap_or_default();
        if before < time {
            return Ok(());
        }
        Err(format!("stamp {time} of group {} follows {before}", group.0))
    }
}
