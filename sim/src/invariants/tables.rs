//! Tables and replicas are as the catalog says: a replica that a node has said to be rid of is never made there again (R8), a new
//! table is empty, and in the end no table is half made or half deleted, and nodes hold what there is a table for, and no more.

use std::collections::{BTreeMap, BTreeSet};

use stator_consensus::GroupId;
use stator_model::schema::TableStatus;
use stator_storage::log::GroupRecovery;
use stator_storage::partition::PartitionSpec;

use super::Holds;
use crate::catalog::records::TableRecord;
use crate::items::{Shape, founded, node_id};

/// Who is rid of what for good.
#[derive(Default)]
pub(crate) struct Tables(BTreeSet<(usize, GroupId)>);

impl Tables {
    /// A node has said that it is rid of its replica of a group.
    pub(crate) fn removed(&mut self, node: usize, group: GroupId) {
        self.0.insert((node, group));
    }

    /// A node begins with a replica, or goes on with it after a crash.
    pub(crate) fn made(&self, node: usize, group: GroupId) -> Holds {
        if !self.0.contains(&(node, group)) {
            return Ok(());
        }
        Err(format!("node {node} begins with a replica of group {} that it was rid of", group.0))
    }
}

/// After a crash: a group that the log knows is removed, or its replica is in the engine. Else nothing tells it from a replica
/// whose data are lost, and nobody ever truncates its entries.
pub(crate) fn known(
    node: usize,
    logged: &BTreeMap<GroupId, GroupRecovery>,
    held: &[PartitionSpec],
) -> Holds {
    let is_lost = |group: &GroupId| held.iter().all(|spec| spec.group != *group);
    let mut live = logged.iter().filter(|(_, known)| !known.tombstone).map(|(group, _)| group);
    match live.find(|group| is_lost(group)) {
        None => Ok(()),
        Some(group) => {
            Err(format!("the log of node {node} knows group {}, and the engine does not", group.0))
        }
    }
}

/// In the end.
pub(crate) fn settled(
    node: usize,
    shape: Shape,
    held: &[PartitionSpec],
    tables: &[TableRecord],
) -> Holds {
    if let Some(table) = tables.iter().find(|table| table.status != TableStatus::Active) {
        return Err(format!("table {} of id {} stays {:?}", table.name, table.id, table.status));
    }
    let ids: BTreeSet<u32> = tables.iter().map(|table| table.id).collect();
    if ids.len() != tables.len() {
        return Err("two tables have one id".to_owned());
    }
    let of_tables = tables.iter().flat_map(|table| &table.partitions);
    let mine = of_tables
        .filter(|partition| partition.members.iter().any(|member| member.node == node_id(node)));
    let founded = founded().filter(|group| shape.members(*group).contains(&node));
    let wanted: BTreeSet<GroupId> = founded.chain(mine.map(|partition| partition.group)).collect();
    let held: BTreeSet<GroupId> = held.iter().map(|spec| spec.group).collect();
    if wanted == held {
        return Ok(());
    }
    Err(format!("node {node} holds replicas of {held:?}, and the catalog says {wanted:?}"))
}
