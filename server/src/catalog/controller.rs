//! The controller: carries out what the catalog's records say. Runs on the node that leads the catalog.
//!
//! It looks at the records and at the world, and does the next step for each table; a step that fails is simply tried again at the
//! next look. Every step may be repeated, and may be done by two controllers at once while the catalog's leadership moves: replicas
//! are made at most once, and records change only from what they were.
//!
//! - A table that is `CREATING`: its replicas are made on their nodes; once every partition has a leader that serves, it is `ACTIVE`.
//! - A table that is `DELETING`: its replicas are noted down as dropped, and removed on their nodes; once no partition has a quorum
//!   left, its record goes, and with it its name is free.
//! - A dropped table: its replicas are removed on the nodes that were away; once all have said so, the note goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stator_consensus::{GroupId, NodeId};
use stator_model::Result;
use stator_model::schema::TableStatus;
use stator_proto::peer::v1 as wire;

use super::records::{
    CATALOG_GROUP, PartitionRecord, TableRecord, dropped_from_item, dropped_to_item, record_key,
};
use crate::node::Inner;
use crate::peers::CallFailure;
use crate::serve::CallContext;

/// How soon to look again while something is under way. What does not get on, because a node is down, is looked at more rarely.
const BUSY: Duration = Duration::from_millis(20);
/// How often to look when nothing is, and the longest pause between looks.
const IDLE: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to tell how its replicas are doing.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How many replicas a node is asked to make or remove at once: they share one flush of its engine.
pub(crate) const REPLICAS_AT_ONCE: usize = 256;
/// How long it may take for that.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks for as long as it is let. Being stopped between any two steps is as good as a crash there.
pub(crate) async fn run(node: Arc<Inner>) {
    let mut seen = None;
    let mut busy = BUSY;
    loop {
        let mut pause = IDLE;
        if node.leads_catalog() {
            let applied = node.replicas.get(CATALOG_GROUP).map(|replica| replica.view.applied());
            // Nothing was written to the catalog since a look that left nothing to do: then there is nothing to do.
            if applied != seen {
                let cx = node.own_context(LOOK_TIMEOUT);
                match look(&node, &cx).await {
                    Ok(true) => (seen, busy) = (applied, BUSY),
                    Ok(false) => {
                        pause = busy;
                        busy = (busy * 2).min(IDLE);
                    }
                    Err(error) => tracing::warn!(%error, "the catalog could not be looked at"),
                }
            }
        } else {
            seen = None;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.controller.notified() => busy = BUSY,
        }
    }
}

/// One look: does the next step for each table. Answers whether nothing is left to do.
async fn look(node: &Inner, cx: &CallContext) -> Result<bool> {
    let mut done = true;
    for table in node.table_records(cx).await? {
        done &= match table.status {
            TableStatus::Creating => create(node, &table, cx).await?,
            TableStatus::Deleting => delete(node, &table, cx).await?,
            _ => true,
        };
    }
    for item in node.catalog_list("dropped", None, None, cx).await? {
        let (id, partitions) = dropped_from_item(&item)?;
        done &= finish(node, id, &partitions, cx).await?;
    }
    Ok(done)
}

async fn create(node: &Inner, table: &TableRecord, cx: &CallContext) -> Result<bool> {
    let nodes = by_node(&table.partitions);
    let made = nodes.iter().map(|(to, partitions)| ensure(node, *to, table, partitions));
    join_all(made).await;
    if !all_served(node, &table.partitions).await {
        return Ok(false);
    }
    let (from, to) = (TableStatus::Creating.name().into(), TableStatus::Active.name().into());
    node.catalog_change(table, "status", from, to, cx).await
}

/// Makes a table's replicas on a node. What cannot be reached is tried again at the next look, and looks by itself when it starts.
async fn ensure(node: &Inner, to: NodeId, table: &TableRecord, partitions: &[&PartitionRecord]) {
    for some in partitions.chunks(REPLICAS_AT_ONCE) {
        if let Err(why) = ensure_some(node, to, table, some).await {
            tracing::debug!(
                node = to.0,
                table = table.name,
                why,
                "some replicas could not be made yet"
            );
            return;
        }
    }
}

async fn ensure_some(
    node: &Inner,
    to: NodeId,
    table: &TableRecord,
    partitions: &[&PartitionRecord],
) -> std::result::Result<(), String> {
    if to == node.id() {
        let specs = partitions.iter().map(|partition| node.replica_spec(table, partition));
        return node.begin_replicas(specs.collect::<std::result::Result<_, _>>()?, true).await;
    }
    let Some(peers) = &node.peers else { return Err("this node has no peers".to_owned()) };
    let specs = partitions.iter();
    let specs = specs.map(|partition| crate::wire::to_replica_spec(table, partition, to));
    let request = wire::EnsureReplicasRequest { specs: specs.collect() };
    let ask =
        |mut client: crate::peers::Client| async move { client.ensure_replicas(request).await };
    let made = peers.ask(to, REPLICAS_TIMEOUT, ask).await;
    made.map(|_| ()).map_err(|why| why.to_string())
}

/// Whether every partition has a leader that takes requests.
async fn all_served(node: &Inner, partitions: &[PartitionRecord]) -> bool {
    let nodes = by_node(partitions);
    let groups: Vec<u64> = partitions.iter().map(|partition| partition.group.0).collect();
    let statuses = nodes.keys().map(|at| node.replica_statuses(*at, &groups, CALL_TIMEOUT));
    let statuses = join_all(statuses).await.into_iter().flatten().flatten();
    let served: BTreeSet<GroupId> =
        statuses.filter(|status| status.serves).map(|status| GroupId(status.group)).collect();
    partitions.iter().all(|partition| served.contains(&partition.group))
}

/// The name is free once no partition of the table has a quorum left: until then some node that has not heard of it yet may route
/// a request for the new table of that name to the old one, and have it acknowledged there.
async fn delete(node: &Inner, table: &TableRecord, cx: &CallContext) -> Result<bool> {
    node.catalog_put(&dropped_to_item(table), cx).await?;
    let gone = remove_replicas(node, &table.partitions).await;
    if !table.partitions.iter().all(|partition| has_lost_its_quorum(partition, &gone)) {
        return Ok(false);
    }
    node.catalog_free_name(table, cx).await?;
    Ok(false)
}

/// Whether the nodes that have let go of their replicas leave too few for a quorum.
fn has_lost_its_quorum(partition: &PartitionRecord, gone: &BTreeSet<NodeId>) -> bool {
    let members = &partition.members;
    let left = members.iter().filter(|member| !gone.contains(&member.node)).count();
    left < members.len() / 2 + 1
}

/// Removes the replicas of a table that is dropped. The note of them goes when all are gone.
async fn finish(
    node: &Inner,
    id: u32,
    partitions: &[PartitionRecord],
    cx: &CallContext,
) -> Result<bool> {
    let gone = remove_replicas(node, partitions).await;
    let all = by_node(partitions).keys().all(|at| gone.contains(at));
    if all {
        node.catalog_delete(record_key("dropped", &id.to_string()), cx).await?;
    }
    Ok(all)
}

/// Has nodes remove their replicas of these partitions. Answers which have none left.
async fn remove_replicas(node: &Inner, partitions: &[PartitionRecord]) -> BTreeSet<NodeId> {
    let nodes = by_node(partitions);
    let removed = nodes.iter().map(|(at, partitions)| async move {
        for some in partitions.chunks(REPLICAS_AT_ONCE) {
            if let Err(why) = remove(node, *at, some).await {
                tracing::debug!(node = at.0, %why, "some replicas could not be removed yet");
                return None;
            }
        }
        Some(*at)
    });
    join_all(removed).await.into_iter().flatten().collect()
}

async fn remove(
    node: &Inner,
    at: NodeId,
    partitions: &[&PartitionRecord],
) -> Result<(), CallFailure> {
    if at == node.id() {
        let groups = partitions.iter().map(|partition| partition.group).collect();
        return node.remove_replicas(groups).await.map_err(CallFailure::NotSent);
    }
    let Some(peers) = &node.peers else { return Ok(()) };
    let name = |partition: &&PartitionRecord| {
        let own = partition.members.iter().find(|member| member.node == at)?;
        Some(wire::ReplicaName { group: partition.group.0, replica_id: own.replica.0 })
    };
    let replicas = partitions.iter().filter_map(name).collect();
    let request = wire::RemoveReplicasRequest { replicas };
    let ask =
        |mut client: crate::peers::Client| async move { client.remove_replicas(request).await };
    peers.ask(at, REPLICAS_TIMEOUT, ask).await.map(|_| ())
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
mod tests {
    use stator_consensus::{Member, ReplicaId};

    use super::*;

    #[test]
    fn a_name_is_kept_while_the_old_table_could_take_a_write() {
        let members = [1, 2, 3].map(|id| Member { replica: ReplicaId(id), node: NodeId(id) });
        let mut partition = PartitionRecord {
            group: GroupId(1),
            generation: 1,
            first_hash: 0,
            last_hash: u64::MAX,
            members: members.to_vec(),
        };
        let lost = |partition: &PartitionRecord, gone: &[u64]| {
            has_lost_its_quorum(partition, &gone.iter().copied().map(NodeId).collect())
        };
        assert!(!lost(&partition, &[]));
        assert!(!lost(&partition, &[1]));
        assert!(lost(&partition, &[1, 3]));
        partition.members.truncate(1);
        assert!(!lost(&partition, &[2]));
        assert!(lost(&partition, &[1]));
    }
}
