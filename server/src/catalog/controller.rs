//! The controller: carries out what the catalog's records say. Runs on the node that leads the catalog.
//!
//! It looks at the records and at the world, and does the next step for each table; a step that fails is simply tried again at the
//! next look. Every step may be repeated, and may be done by two controllers at once while the catalog's leadership moves: replicas
//! are made at most once, and records change only from what they were.
//!
//! What a step is, is in [`look`](super::look).

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::{GroupId, NodeId};
use stator_model::Result;
use stator_model::schema::TableStatus;
use stator_proto::peer::v1 as wire;

use super::look::{Ground, look};
use super::records::{
    CATALOG_GROUP, PartitionRecord, TableRecord, dropped_from_item, dropped_to_item, record_key,
};
use crate::node::Inner;
use crate::serve::CallContext;

/// How soon to look again while something is under way. What does not get on, because a node is down, is looked at more rarely.
const BUSY: Duration = Duration::from_millis(20);
/// How often to look when nothing is, and the longest pause between looks.
const IDLE: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to tell how its replicas are doing.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to make or remove some.
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
                match look(&Here { node: &node, cx: &cx }).await {
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

/// The controller's ground on a node: the catalog by way of requests, the nodes by way of their peers' door.
struct Here<'a> {
    node: &'a Inner,
    cx: &'a CallContext,
}

impl Ground for Here<'_> {
    async fn tables(&self) -> Result<Vec<TableRecord>> {
        self.node.table_records(self.cx).await
    }

    async fn dropped(&self) -> Result<Vec<(u32, Vec<PartitionRecord>)>> {
        let items = self.node.catalog_list("dropped", None, None, self.cx).await?;
        items.iter().map(dropped_from_item).collect()
    }

    async fn activate(&self, table: &TableRecord) -> Result<bool> {
        let (from, to) = (TableStatus::Creating.name().into(), TableStatus::Active.name().into());
        self.node.catalog_change(table, "status", from, to, self.cx).await
    }

    async fn note_dropped(&self, table: &TableRecord) -> Result<()> {
        self.node.catalog_put(&dropped_to_item(table), self.cx).await
    }

    async fn free_name(&self, table: &TableRecord) -> Result<()> {
        self.node.catalog_free_name(table, self.cx).await
    }

    async fn forget_dropped(&self, id: u32) -> Result<()> {
        self.node.catalog_delete(record_key("dropped", &id.to_string()), self.cx).await
    }

    async fn ensure(
        &self,
        to: NodeId,
        table: &TableRecord,
        partitions: &[&PartitionRecord],
    ) -> Result<(), String> {
        if to == self.node.id() {
            let specs = partitions.iter().map(|partition| self.node.replica_spec(table, partition));
            return self.node.begin_replicas(specs.collect::<Result<_, _>>()?, true).await;
        }
        let Some(peers) = &self.node.peers else { return Err("this node has no peers".into()) };
        let specs = partitions.iter();
        let specs = specs.map(|partition| crate::wire::to_replica_spec(table, partition, to));
        let request = wire::EnsureReplicasRequest { specs: specs.collect() };
        let made = peers.ensure_replicas(to, request, REPLICAS_TIMEOUT).await;
        made.map(|_| ()).map_err(|why| why.to_string())
    }

    async fn remove(&self, at: NodeId, partitions: &[&PartitionRecord]) -> Result<(), String> {
        if at == self.node.id() {
            let groups = partitions.iter().map(|partition| partition.group).collect();
            return self.node.remove_replicas(groups).await;
        }
        let Some(peers) = &self.node.peers else { return Ok(()) };
        let name = |partition: &&PartitionRecord| {
            let own = partition.members.iter().find(|member| member.node == at)?;
            Some(wire::ReplicaName { group: partition.group.0, replica_id: own.replica.0 })
        };
        let request =
            wire::RemoveReplicasRequest { replicas: partitions.iter().filter_map(name).collect() };
        let removed = peers.remove_replicas(at, request, REPLICAS_TIMEOUT).await;
        removed.map(|_| ()).map_err(|why| why.to_string())
    }

    async fn served(&self, at: NodeId, groups: &[u64]) -> Vec<GroupId> {
        let statuses = self.node.replica_statuses(at, groups, CALL_TIMEOUT).await;
        let statuses = statuses.into_iter().flatten();
        statuses.filter(|status| status.serves).map(|status| GroupId(status.group)).collect()
    }
}
