//! Who leads each partition, and which replicas are behind, from what all nodes say of their own: pure.

use std::collections::BTreeMap;

use stator_consensus::NodeId;
use stator_model::schema::TableStatus;
use stator_proto::peer::v1 as wire;
use stator_proto::v1;

use crate::catalog::records::{PartitionRecord, TableRecord};

/// Partitions that are told of at once.
const TOLD_MAX: usize = 10_000;

/// What the nodes that answered say of their replicas.
pub(super) type Statuses = BTreeMap<NodeId, Vec<wire::GroupStatus>>;

/// The partitions of these tables: as many as are told of, and how many there are.
pub(super) fn partitions<'a>(
    tables: impl Iterator<Item = &'a TableRecord>,
    statuses: &Statuses,
) -> (Vec<v1::PartitionDescription>, usize) {
    let by_place: BTreeMap<(u64, NodeId), &wire::GroupStatus> = statuses
        .iter()
        .flat_map(|(node, groups)| groups.iter().map(|status| ((status.group, *node), status)))
        .collect();
    let (mut wrong, mut right) = (Vec::new(), Vec::new());
    // Partitions of a table that is being deleted go one by one: nothing is wrong with those that are gone.
    for table in tables.filter(|table| table.status != TableStatus::Deleting) {
        for partition in &table.partitions {
            let status_on = |node: NodeId| by_place.get(&(partition.group.0, node)).copied();
            let told = describe(&table.name, partition, status_on);
            let is_right = told.leader_node_id.is_some()
                && told
                    .replicas
                    .iter()
                    .all(|replica| replica.behind == Some(0) && !replica.lacking);
            if is_right { right.push(told) } else { wrong.push(told) }
        }
    }
    let count = wrong.len() + right.len();
    wrong.append(&mut right);
    wrong.truncate(TOLD_MAX);
    wrong.sort_by_key(|told| told.group);
    (wrong, count)
}

fn describe<'a>(
    table_name: &str,
    partition: &PartitionRecord,
    status_on: impl Fn(NodeId) -> Option<&'a wire::GroupStatus>,
) -> v1::PartitionDescription {
    let runs = |node| status_on(node).filter(|own| own.role() != wire::ReplicaRole::Stopped);
    let nodes = || partition.members.iter().map(|member| member.node);
    // Of two that take themselves for the leader, the one of the former term does not know better yet.
    let leader = nodes()
        .filter_map(|node| Some((node, runs(node)?)))
        .filter(|(_, own)| own.role() == wire::ReplicaRole::Leader)
        .max_by_key(|(_, own)| own.term);
    // Without a leader nobody knows better than the one who knows most. What is applied is committed, though the word of that comes
    // a little later.
    let known = |own: &wire::GroupStatus| own.commit_index.max(own.applied_index);
    let committed = match leader {
        Some((_, own)) => known(own),
        None => nodes().filter_map(|node| runs(node).map(known)).max().unwrap_or(0),
    };
    let replicas = nodes().map(|node| v1::ReplicaDescription {
        node_id: node.0,
        behind: runs(node).map(|own| committed.saturating_sub(own.applied_index)),
        lacking: runs(node).is_some_and(|own| own.role() == wire::ReplicaRole::Lacking),
    });
    v1::PartitionDescription {
        group: partition.group.0,
        table_name: table_name.to_owned(),
        leader_node_id: leader.map(|(node, _)| node.0),
        replicas: replicas.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::Table;

    fn own(role: wire::ReplicaRole, term: u64, commit: u64, applied: u64) -> wire::GroupStatus {
        wire::GroupStatus {
            role: role.into(),
            term,
            commit_index: commit,
            applied_index: applied,
            ..wire::GroupStatus::default()
        }
    }

    fn told(statuses: &[(u64, wire::GroupStatus)]) -> (Option<u64>, Vec<Option<u64>>) {
        let table = Table::catalog(&[1, 2, 3].map(NodeId)).record;
        let statuses =
            statuses.iter().map(|(node, status)| (NodeId(*node), vec![*status])).collect();
        let (told, count) = partitions([&table].into_iter(), &statuses);
        assert_eq!((told.len(), count), (1, 1));
        let behind = told[0].replicas.iter().map(|replica| replica.behind);
        (told[0].leader_node_id, behind.collect())
    }

    #[test]
    fn replicas_are_behind_what_their_leader_knows() {
        use wire::ReplicaRole::{Follower, Leader, Stopped};
        let leader = (1, own(Leader, 5, 90, 100));
        let seen = told(&[leader, (2, own(Follower, 5, 100, 98)), (3, own(Follower, 5, 7, 7))]);
        assert_eq!(seen, (Some(1), vec![Some(0), Some(2), Some(93)]));
        let seen = told(&[leader, (2, own(Follower, 5, 120, 101)), (3, own(Stopped, 0, 0, 0))]);
        assert_eq!(seen, (Some(1), vec![Some(0), Some(0), None]), "one is ahead of what is told");
        let seen = told(&[leader, (3, own(Leader, 6, 110, 100))]);
        assert_eq!(seen, (Some(3), vec![Some(10), None, Some(10)]), "the later term leads");
        let seen = told(&[(2, own(Follower, 5, 50, 40)), (3, own(Follower, 5, 45, 45))]);
        assert_eq!(seen, (None, vec![None, Some(10), Some(5)]));
        assert_eq!(told(&[]), (None, vec![None; 3]));
    }

    #[test]
    fn what_is_wrong_is_told_before_what_is_not() {
        let mut table = Table::catalog(&[1].map(NodeId)).record;
        let first = table.partitions[0].clone();
        table.partitions = (0..TOLD_MAX as u64 + 5)
            .map(|group| PartitionRecord {
                group: stator_consensus::GroupId(group),
                ..first.clone()
            })
            .collect();
        let leads = |group| wire::GroupStatus { group, ..own(wire::ReplicaRole::Leader, 1, 1, 1) };
        let statuses = [(NodeId(1), (0..TOLD_MAX as u64 + 4).map(leads).collect())].into();
        let (told, count) = partitions([&table].into_iter(), &statuses);
        assert_eq!((told.len(), count), (TOLD_MAX, TOLD_MAX + 5));
        let last = told.last().expect("some");
        assert_eq!((last.group, last.leader_node_id), (TOLD_MAX as u64 + 4, None));
        table.status = TableStatus::Deleting;
        assert_eq!(partitions([&table].into_iter(), &statuses).1, 0);
    }
}
