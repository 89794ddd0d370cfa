//! What must be so in the end.

use std::collections::BTreeSet;

use stator_consensus::GroupId;

use super::World;
use crate::toy::open;

impl World {
    /// All replicas of a group are up to date and the same.
    pub(crate) fn is_converged(&self, group: GroupId) -> bool {
        let holders = self.nodes.iter().filter(|(_, node)| node.specs.contains_key(&group));
        let mut data = holders.clone().map(|(_, node)| open(&node.engines[&group]).data.clone());
        let Some(first) = data.next() else { return true };
        data.all(|other| other == first)
            && holders.clone().all(|(id, _)| {
                let status = self.status(*id, group);
                status.is_some_and(|status| status.applied == status.last_index)
            })
    }

    /// Logs agree where they overlap, nothing failed, and everybody was answered once.
    pub(crate) fn check(&self) {
        assert_eq!(self.faults, [], "no replica stops");
        let groups: BTreeSet<GroupId> =
            self.nodes.values().flat_map(|node| node.specs.keys().copied()).collect();
        for group in groups {
            let logs =
                self.nodes.iter().filter(|(_, node)| node.is_up()).filter_map(|(id, node)| {
                    Some((node.disk.terms(group), self.status(*id, group)?.committed))
                });
            let logs: Vec<_> = logs.collect();
            for (one, to) in &logs {
                for (other, other_to) in &logs {
                    for (index, term) in one.range(..=*to.min(other_to)) {
                        let theirs = other.get(index);
                        assert!(
                            theirs.is_none_or(|theirs| theirs == term),
                            "logs differ at {index}"
                        );
                    }
                }
            }
        }
        for node in self.nodes.values() {
            assert_eq!(node.skipped, 0, "entries are applied in the term they were made in");
        }
        self.history.check();
    }
}
