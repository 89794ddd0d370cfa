//! A term of a group has one leader at most.

use std::collections::BTreeMap;

use stator_consensus::GroupId;

use super::Holds;

/// Who led which term.
#[derive(Default)]
pub(crate) struct Leaders(BTreeMap<(GroupId, u64), usize>);

impl Leaders {
    /// A node takes itself for the leader of a term.
    pub(crate) fn leads(&mut self, group: GroupId, term: u64, node: usize) -> Holds {
        let first = *self.0.entry((group, term)).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("nodes {first} and {node} both lead group {} in term {term}", group.0))
    }
}
