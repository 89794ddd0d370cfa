//! The controller: carries out what the catalog's records say. Runs on the node that leads the catalog.
//!
//! It looks at the records and at the world, and does the next step for each table; a step that fails is simply tried again at the
//! next look. Every step may be repeated, and may be done by two controllers at once while the catalog's leadership moves: replicas
//! are made at most once, and records change only from what they were.
//!
//! - A table that is `CREATING`: its replicas are made on their nodes; once every partition has a leader that serves, it is `ACTIVE`.
//! - A table that is `DELETING`: once its replicas are noted down as dropped, its record goes, and with it its name is free.
//! - A dropped table: its replicas are removed on their nodes; once all have said so, the note goes.

use std::collections::BTreeMap;
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

/// How often to look while something is under way.
const BUSY: Duration = Duration::from_millis(20);
/// How often to look when nothing is.
const IDLE: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs until the node stops.
pub(crate) async fn run(node: Arc<Inner>) {
    let mut seen = None;
    loop {
        let mut pause = IDLE;
        if node.leads_catalog() {
            let applied = node.replicas.get(CATALOG_GROUP).map(|replica| replica.view.applied());
            // Nothing was written to the catalog since a look that left nothing to do: then there is nothing to do.
            if applied != seen {
                let cx = node.own_context(LOOK_TIMEOUT);
                // Every step may be repeated, so a look may end anywhere.
                let looked = tokio::select! {
                    looked = look(&node, &cx) => looked,
                    () = node.stopping() => return,
                };
                match looked {
                    Ok(true) => seen = applied,
                    Ok(false) => pause = BUSY,
                    Err(error) => tracing::warn!(%error, "the catalog could not be looked at"),
                }
            }
        } else {
            seen = None;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.controller.notified() => {}
            () = node.stopping() => return,
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
        done &= remove_replicas(node, id, &partitions, cx).await?;
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
    let key = record_key("table", &table.name);
    node.catalog_change(key, "status", from, to, cx).await
}

/// Makes a table's replicas on a node. What cannot be reached is tried again at the next look, and looks by itself when it starts.
async fn ensure(node: &Inner, to: NodeId, table: &TableRecord, partitions: &[&PartitionRecord]) {
    for partition in partitions {
        let made = if to == node.id() {
            node.ensure_replica(table, partition, true).await
        } else {
            match &node.peers {
                Some(peers) => {
                    let spec = crate::wire::to_replica_spec(table, partition, to);
                    let ask = |mut client: crate::peers::Client| async move {
                        client.ensure_replica(wire::EnsureReplicaRequest { spec: Some(spec) }).await
                    };
                    peers
                        .ask(to, CALL_TIMEOUT, ask)
                        .await
                        .map(|_| ())
                        .map_err(|why| why.to_string())
                }
                None => return,
            }
        };
        if let Err(why) = made {
            tracing::debug!(
                node = to.0,
                table = table.name,
                why,
                "a replica could not be made yet"
            );
            return;
        }
    }
}

/// Whether every partition has a leader that takes requests.
async fn all_served(node: &Inner, partitions: &[PartitionRecord]) -> bool {
    let mut served: Vec<GroupId> = Vec::new();
    for (at, _) in by_node(partitions) {
        let statuses = node.replica_statuses(at, CALL_TIMEOUT).await.unwrap_or_default();
        served.extend(
            statuses.iter().filter(|status| status.serves).map(|status| GroupId(status.group)),
        );
    }
    partitions.iter().all(|partition| served.contains(&partition.group))
}

async fn delete(node: &Inner, table: &TableRecord, cx: &CallContext) -> Result<bool> {
    node.catalog_put(&dropped_to_item(table), cx).await?;
    node.catalog_delete(record_key("table", &table.name), cx).await?;
    Ok(false)
}

async fn remove_replicas(
    node: &Inner,
    id: u32,
    partitions: &[PartitionRecord],
    cx: &CallContext,
) -> Result<bool> {
    let mut all = true;
    for (at, partitions) in by_node(partitions) {
        for partition in partitions {
            let Some(member) = partition.members.iter().find(|member| member.node == at) else {
                continue;
            };
            let removed: Result<(), CallFailure> = if at == node.id() {
                node.remove_replica(partition.group).await.map_err(CallFailure::NotSent)
            } else if let Some(peers) = &node.peers {
                let request = wire::RemoveReplicaRequest {
                    group: partition.group.0,
                    replica_id: member.replica.0,
                };
                let ask = |mut client: crate::peers::Client| async move {
                    client.remove_replica(request).await
                };
                peers.ask(at, CALL_TIMEOUT, ask).await.map(|_| ())
            } else {
                Ok(())
            };
            if removed.is_err() {
                all = false;
                break;
            }
        }
    }
    if all {
        node.catalog_delete(record_key("dropped", &id.to_string()), cx).await?;
    }
    Ok(all)
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
