//! A term of a group is led by one process at most: not by two nodes, and not by one node before and after a crash, which may
//! have forgotten what it said in that term. A group's only voter counts from when it serves: raft-rs has it lead before its vote is
//! synced, and a crash may make it lead that term again; nobody has heard of it in between.

use std::collections::BTreeMap;

use stator_consensus::GroupId;

use super::Holds;

/// Who led which term.
#[derive(Default)]
pub(crate) struct Leaders(BTreeMap<(GroupId, u64), (usize, u64)>);

impl Leaders {
    /// A process, the `life`-th of a node, takes itself for the leader of a term.
    pub(crate) fn leads(&mut self, group: GroupId, term: u64, node: usize, life: u64) -> Holds {
        let first = *self.0.entry((group, term)).or_insert((node, life));
        if first == (node, life) {
            return Ok(());
        }
        Err(format!(
            "process {} of node {} and process {life} of node {node} both lead group {} in term {term}",
            first.1, first.0, group.0
        ))
    }
}
