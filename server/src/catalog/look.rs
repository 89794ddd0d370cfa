//! What the controller does in one look, over whatever gives it the records and reaches the nodes. A node gives it the real ones,
//! the simulator its own: this file and those of the records, requests and placement know of neither.
//!
//! - A table that is `CREATING`: its replicas are made on their nodes; once every partition has a leader that serves, it is `ACTIVE`.
//! - A table that is `DELETING`: its replicas are noted down as dropped, and removed on their nodes; once no partition has a quorum
//!   left, its record goes, and with it its name is free.
//! - A dropped table: its replicas are removed on the nodes that were away; once all have said so, the note goes.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use stator_consensus::{GroupId, NodeId};
use stator_model::Result;
use stator_model::schema::TableStatus;

use super::records::{PartitionRecord, TableRecord};

/// How many replicas a node is asked to make or remove at once: they share one flush of its engine.
pub(crate) const REPLICAS_AT_ONCE: usize = 256;
/// How many tables are seen to at once: one whose nodes do not answer does not hold up the others.
const TABLES_AT_ONCE: usize = 16;

/// What the controller works on.
pub(crate) trait Ground {
    /// The records of all tables.
    async fn tables(&self) -> Result<Vec<TableRecord>>;
    /// The notes of deleted tables: their ids and partitions.
    async fn dropped(&self) -> Result<Vec<(u32, Vec<PartitionRecord>)>>;
    /// A table that is being made is ready, unless its record says another thing by now.
    async fn activate(&self, table: &TableRecord) -> Result<bool>;
    /// Notes that a table's replicas are to be removed.
    async fn note_dropped(&self, table: &TableRecord) -> Result<()>;
    /// Waits for as long as a lease may go on that nobody renews any more.
    async fn outlast_leases(&self);
    /// Removes a table's record.
    async fn free_name(&self, table: &TableRecord) -> Result<()>;
    /// All replicas of a deleted table are gone.
    async fn forget_dropped(&self, id: u32) -> Result<()>;
    /// Has a node make its replicas of these partitions, those that it does not have.
    async fn ensure(
        &self,
        to: NodeId,
        table: &TableRecord,
        partitions: &[&PartitionRecord],
    ) -> Result<(), String>;
    /// Has a node remove its replicas of these partitions for good.
    async fn remove(&self, at: NodeId, partitions: &[&PartitionRecord]) -> Result<(), String>;
    /// Which of these groups are led on a node by a replica that takes requests; none if it does not answer.
    async fn served(&self, at: NodeId, groups: &[u64]) -> Vec<GroupId>;
}

/// What there is something to do for.
enum Matter<'a> {
    Table(&'a TableRecord),
    Dropped(u32, &'a [PartitionRecord]),
}

/// One look: does the next step for each table. Answers whether nothing is left to do. A step that fails keeps no other from being
/// done.
pub(crate) async fn look(ground: &impl Ground) -> Result<bool> {
    let (tables, dropped) = (ground.tables().await?, ground.dropped().await?);
    // The replicas of a table that still has its record are removed with that.
    let is_deleting = |id: u32| {
        tables.iter().any(|table| table.id == id && table.status == TableStatus::Deleting)
    };
    let of_tables = tables.iter().map(Matter::Table);
    let of_dropped = dropped
        .iter()
        .filter(|(id, _)| !is_deleting(*id))
        .map(|(id, partitions)| Matter::Dropped(*id, partitions));
    let matters: Vec<Matter<'_>> = of_tables.chain(of_dropped).collect();
    let mut done = true;
    for some in matters.chunks(TABLES_AT_ONCE) {
        let steps = join_all(some.iter().map(|matter| step(ground, matter))).await;
        done &= steps.into_iter().all(|is_done| is_done);
    }
    Ok(done)
}

/// The next step for one table. Answers whether it was the last.
async fn step(ground: &impl Ground, matter: &Matter<'_>) -> bool {
    let (id, stepped) = match matter {
        Matter::Table(table) => (table.id, next(ground, table).await),
        Matter::Dropped(id, partitions) => (*id, finish(ground, *id, partitions).await),
    };
    stepped.unwrap_or_else(|error| {
        tracing::warn!(table_id = id, %error, "nothing could be done for a table just now");
        false
    })
}

async fn next(ground: &impl Ground, table: &TableRecord) -> Result<bool> {
    match table.status {
        TableStatus::Creating => create(ground, table).await,
        TableStatus::Deleting => delete(ground, table).await,
        _ => Ok(true),
    }
}

async fn create(ground: &impl Ground, table: &TableRecord) -> Result<bool> {
    let nodes = by_node(&table.partitions);
    let made = nodes.iter().map(|(to, partitions)| ensure(ground, *to, table, partitions));
    join_all(made).await;
    if !all_served(ground, &table.partitions).await {
        return Ok(false);
    }
    ground.activate(table).await
}

/// Makes a table's replicas on a node. What cannot be reached is tried again at the next look, and looks by itself when it starts.
async fn ensure(
    ground: &impl Ground,
    to: NodeId,
    table: &TableRecord,
    partitions: &[&PartitionRecord],
) {
    for some in partitions.chunks(REPLICAS_AT_ONCE) {
        if let Err(why) = ground.ensure(to, table, some).await {
            let table = &table.name;
            tracing::debug!(node = to.0, table, why, "some replicas could not be made yet");
            return;
        }
    }
}

/// Whether every partition has a leader that takes requests.
async fn all_served(ground: &impl Ground, partitions: &[PartitionRecord]) -> bool {
    let nodes = by_node(partitions);
    let groups: Vec<u64> = partitions.iter().map(|partition| partition.group.0).collect();
    let served = join_all(nodes.keys().map(|at| ground.served(*at, &groups))).await;
    let served: BTreeSet<GroupId> = served.into_iter().flatten().collect();
    partitions.iter().all(|partition| served.contains(&partition.group))
}

/// The name is free once no partition of the table has a quorum left, nor a lease from before: until then some node that has not heard
/// of it yet may route a request for the new table of that name to the old one, and have it answered there.
async fn delete(ground: &impl Ground, table: &TableRecord) -> Result<bool> {
    ground.note_dropped(table).await?;
    let gone = remove_replicas(ground, &table.partitions).await;
    if table.partitions.iter().all(|partition| has_lost_its_quorum(partition, &gone)) {
        if by_node(&table.partitions).keys().any(|at| !gone.contains(at)) {
            ground.outlast_leases().await;
        }
        ground.free_name(table).await?;
    }
    Ok(false)
}

/// Whether the nodes that have let go of their replicas leave too few for a quorum.
fn has_lost_its_quorum(partition: &PartitionRecord, gone: &BTreeSet<NodeId>) -> bool {
    let members = &partition.members;
    let left = members.iter().filter(|member| !gone.contains(&member.node)).count();
    left < members.len() / 2 + 1
}

/// Removes the replicas of a table that is dropped. The note of them goes when all are gone.
async fn finish(ground: &impl Ground, id: u32, partitions: &[PartitionRecord]) -> Result<bool> {
    let gone = remove_replicas(ground, partitions).await;
    let all = by_node(partitions).keys().all(|at| gone.contains(at));
    if all {
        ground.forget_dropped(id).await?;
    }
    Ok(all)
}

/// Has nodes remove their replicas of these partitions. Answers which have none left.
async fn remove_replicas(ground: &impl Ground, partitions: &[PartitionRecord]) -> BTreeSet<NodeId> {
    let nodes = by_node(partitions);
    let removed = nodes.iter().map(|(at, partitions)| async move {
        for some in partitions.chunks(REPLICAS_AT_ONCE) {
            if let Err(why) = ground.remove(*at, some).await {
                tracing::debug!(node = at.0, why, "some replicas could not be removed yet");
                return None;
            }
        }
        Some(*at)
    });
    join_all(removed).await.into_iter().flatten().collect()
}

/// The partitions that each node holds a replica of.
fn by_node(partitions: &[PartitionRecord]) -> BTreeMap<NodeId, Vec<&PartitionRecord>> {
    let mut nodes: BTreeMap<NodeId, Vec<&PartitionRecord>> = BTreeMap::new();
    for partition in partitions {
        for member in &partition.members {
            nodes.entry(member.node).or_default().push(partition);
        }
    }
    nodes
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
