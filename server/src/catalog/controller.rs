//! The controller: carries out what the catalog's records say. Runs on the node that leads the catalog.
//!
//! It looks at the records and at the world, and does the next step for each table; a step that fails is simply tried again at the
//! next look. Every step may be repeated, and may be done by two controllers at once while the catalog's leadership moves: replicas
//! are made at most once, and records change only from what they were.
//!
//! What a step is, is in [`look`](super::look).
//!
//! A node may take what it is asked, and never answer: one that is stopped, or whose disk hangs. It holds up a look once, by one
//! call: for the rest of that look it counts as away, and for those that follow until it answers a question.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use stator_consensus::{GroupId, NodeId};
use stator_model::Result;
use stator_model::schema::TableStatus;
use stator_proto::peer::v1 as wire;
use tokio::time::{Instant, timeout};

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
/// How long one read or write of the catalog may take.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to tell how its replicas are doing.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to make or remove some.
const REPLICAS_TIMEOUT: Duration = Duration::from_secs(10);
/// Who has failed after so long is not asked again in the same look.
const HELD_UP: Duration = Duration::from_secs(1);
/// How long such a node may take to tell that it is there, before the next one.
const BACK_TIMEOUT: Duration = Duration::from_millis(500);

/// Looks for as long as it is let. Being stopped between any two steps is as good as a crash there.
pub(crate) async fn run(node: Arc<Inner>) {
    let here = Here { node: &node, silent: Mutex::default() };
    let mut seen = None;
    let mut busy = BUSY;
    loop {
        let mut pause = IDLE;
        if node.leads_catalog() {
            let applied = node.replicas.get(CATALOG_GROUP).map(|replica| replica.view.applied());
            // Nothing was written to the catalog since a look that left nothing to do: then there is nothing to do.
            if applied != seen {
                here.ask_the_silent().await;
                match look(&here).await {
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
    /// The nodes that have held up the last look.
    silent: Mutex<BTreeSet<NodeId>>,
}

impl Here<'_> {
    fn cx(&self) -> CallContext {
        self.node.own_context(CATALOG_TIMEOUT)
    }

    fn silent(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a node answers, unless it has held up this look already.
    async fn heard<T>(
        &self,
        from: NodeId,
        asked: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        if self.silent().contains(&from) {
            return Err("it did not answer a moment ago".to_owned());
        }
        let begun = Instant::now();
        let answer = asked.await;
        if answer.is_err() && begun.elapsed() >= HELD_UP {
            self.silent().insert(from);
        }
        answer
    }

    /// Whoever has held up a look is part of the next one if it answers a question before.
    async fn ask_the_silent(&self) {
        let silent = self.silent().clone();
        let back = join_all(silent.iter().map(|node| async {
            let told = self.node.replica_statuses(*node, &[CATALOG_GROUP.0], BACK_TIMEOUT).await;
            told.ok().map(|_| *node)
        }));
        for node in back.await.into_iter().flatten() {
            self.silent().remove(&node);
        }
    }
}

impl Ground for Here<'_> {
    async fn tables(&self) -> Result<Vec<TableRecord>> {
        self.node.table_records(&self.cx()).await
    }

    async fn dropped(&self) -> Result<Vec<(u32, Vec<PartitionRecord>)>> {
        let items = self.node.catalog_list("dropped", None, None, &self.cx()).await?;
        items.iter().map(dropped_from_item).collect()
    }

    async fn activate(&self, table: &TableRecord) -> Result<bool> {
        let (from, to) = (TableStatus::Creating.name().into(), TableStatus::Active.name().into());
        self.node.catalog_change(table, "status", from, to, &self.cx()).await
    }

    async fn note_dropped(&self, table: &TableRecord) -> Result<()> {
        self.node.catalog_put(&dropped_to_item(table), &self.cx()).await
    }

    async fn outlast_leases(&self) {
        tokio::time::sleep(self.node.config.timing.election_timeout()).await;
    }

    async fn free_name(&self, table: &TableRecord) -> Result<()> {
        self.node.catalog_free_name(table, &self.cx()).await
    }

    async fn forget_dropped(&self, id: u32) -> Result<()> {
        self.node.catalog_delete(record_key("dropped", &id.to_string()), &self.cx()).await
    }

    async fn ensure(
        &self,
        to: NodeId,
        table: &TableRecord,
        partitions: &[&PartitionRecord],
    ) -> Result<(), String> {
        let asked = async {
            if to == self.node.id() {
                let specs =
                    partitions.iter().map(|partition| self.node.replica_spec(table, partition));
                let made = self.node.begin_replicas(specs.collect::<Result<_, _>>()?, true);
                return in_time(made).await;
            }
            let Some(peers) = &self.node.peers else {
                return Err("this node has no peers".to_owned());
            };
            let specs = partitions.iter();
            let specs = specs.map(|partition| crate::wire::to_replica_spec(table, partition, to));
            let request = wire::EnsureReplicasRequest { specs: specs.collect() };
            let made = peers.ensure_replicas(to, request, REPLICAS_TIMEOUT).await;
            made.map(|_| ()).map_err(|why| why.to_string())
        };
        self.heard(to, asked).await
    }

    async fn remove(&self, at: NodeId, partitions: &[&PartitionRecord]) -> Result<(), String> {
        let asked = async {
            if at == self.node.id() {
                let groups = partitions.iter().map(|partition| partition.group).collect();
                return in_time(self.node.remove_replicas(groups)).await;
            }
            let Some(peers) = &self.node.peers else { return Ok(()) };
            let name = |partition: &&PartitionRecord| {
                let own = partition.members.iter().find(|member| member.node == at)?;
                Some(wire::ReplicaName { group: partition.group.0, replica_id: own.replica.0 })
            };
            let replicas = partitions.iter().filter_map(name).collect();
            let request = wire::RemoveReplicasRequest { replicas };
            let removed = peers.remove_replicas(at, request, REPLICAS_TIMEOUT).await;
            removed.map(|_| ()).map_err(|why| why.to_string())
        };
        self.heard(at, asked).await
    }

    async fn served(&self, at: NodeId, groups: &[u64]) -> Vec<GroupId> {
        let asked = async {
            let statuses = self.node.replica_statuses(at, groups, CALL_TIMEOUT).await;
            statuses.map_err(|why| why.to_string())
        };
        let statuses = self.heard(at, asked).await.into_iter().flatten();
        statuses.filter(|status| status.serves).map(|status| GroupId(status.group)).collect()
    }
}

/// What this node does itself, within the time that another has for it.
async fn in_time(done: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let done = timeout(REPLICAS_TIMEOUT, done).await;
    done.unwrap_or_else(|_| Err("it took this node too long".to_owned()))
}
