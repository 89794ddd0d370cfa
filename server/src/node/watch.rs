//! What can be seen of a node: states of replicas, routes, the cluster, figures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use stator_consensus::NodeId;
use stator_model::{Error, Result};
use stator_proto::peer::v1 as wire;
use stator_proto::v1;
use stator_storage::partition::{AppliedRecord, Counters};
use tokio::sync::OwnedSemaphorePermit;

use super::Inner;
use super::overview::Statuses;
use crate::catalog::records::{CATALOG_GROUP, NodeRecord, TableRecord};
use crate::peers::CallFailure;
use crate::replicas::Replica;
use crate::serve::CallContext;

/// How long another node may take to tell of itself.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How many are told of many replicas here at once: it reads the engine, for each replica. The others wait in turn.
pub(super) const LOOKS_MAX: usize = 2;
/// Who names no more than so many waits for nobody.
const FEW: usize = 16;
/// How long to wait for the catalog before telling what is known without it.
const CATALOG_PATIENCE: Duration = Duration::from_millis(1500);

impl Inner {
    /// The states of the replicas on this node: of these groups, or of all if none are named.
    pub(crate) async fn own_statuses(&self, wanted: &[u64]) -> Vec<wire::GroupStatus> {
        let wanted: BTreeSet<u64> = wanted.iter().copied().collect();
        let is_wanted = |group: u64| wanted.is_empty() || wanted.contains(&group);
        let mut replicas = self.replicas.all();
        replicas.retain(|replica| is_wanted(replica.spec.group.0));
        let are_few = (1..=FEW).contains(&wanted.len());
        let leave = if are_few { None } else { self.looks.clone().acquire_owned().await.ok() };
        let counters = self.counters_of(&replicas, leave).await;
        let states = replicas.iter().zip(counters);
        let mut statuses: Vec<_> =
            states.map(|(replica, counters)| self.status_of(replica, counters)).collect();
        let failed = self.replicas.failures().into_iter().map(|(group, _)| wire::GroupStatus {
            group: group.0,
            role: wire::ReplicaRole::Stopped.into(),
            ..wire::GroupStatus::default()
        });
        // Their groups are known by the log; what they are the catalog will tell.
        let lost = self.rebuild.lost().into_iter().map(|group| wire::GroupStatus {
            group: group.0,
            role: wire::ReplicaRole::Lacking.into(),
            ..wire::GroupStatus::default()
        });
        statuses.extend(failed.chain(lost).filter(|status| is_wanted(status.group)));
        statuses
    }

    /// What the engine says that these replicas hold, read on a thread that may wait for the disk.
    async fn counters_of(
        &self,
        replicas: &[Arc<Replica>],
        leave: Option<OwnedSemaphorePermit>,
    ) -> Vec<Counters> {
        let groups: Vec<_> = replicas.iter().map(|replica| replica.spec.group).collect();
        let engine = self.engine.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _leave = leave;
            let record = |group| AppliedRecord::read(engine.as_ref(), group).ok().flatten();
            let counters = |group| record(group).map(|record| record.counters).unwrap_or_default();
            groups.into_iter().map(counters).collect()
        });
        read.await.unwrap_or_else(|_| vec![Counters::default(); replicas.len()])
    }

    fn status_of(&self, replica: &Replica, counters: Counters) -> wire::GroupStatus {
        let spec = &replica.spec;
        let leader = replica.view.leader();
        let leads = leader == Some(self.own);
        let of_node = |node: NodeId| {
            spec.members.iter().find(|member| member.node == node.0).map(|member| member.replica)
        };
        let state = self.replicas.state(spec.group);
        let role = match replica.data.note() {
            _ if leads => wire::ReplicaRole::Leader,
            Some(_) => wire::ReplicaRole::Follower,
            None => wire::ReplicaRole::Lacking,
        };
        wire::GroupStatus {
            group: spec.group.0,
            replica_id: spec.replica,
            role: role.into(),
            leader_replica_id: leader.and_then(of_node),
            term: state.as_ref().map_or(0, |state| state.term),
            commit_index: state.as_ref().map_or(0, |state| state.committed),
            applied_index: replica.view.applied(),
            first_index: state.as_ref().map_or(0, |state| state.first_index),
            last_index: state.as_ref().map_or(0, |state| state.last_index),
            generation: spec.generation,
            item_count: counters.item_count,
            size_bytes: counters.size_bytes,
            serves: leads && replica.view.serves(),
            cannot_apply: self.room.reads_refusal().is_some(),
        }
    }

    /// The states of the replicas on a node: of these groups, or of all if none are named.
    pub(crate) async fn replica_statuses(
        &self,
        at: NodeId,
        groups: &[u64],
        timeout: Duration,
    ) -> Result<Vec<wire::GroupStatus>, CallFailure> {
        if at == self.own {
            let statuses = tokio::time::timeout(timeout, self.own_statuses(groups)).await;
            return statuses.map_err(|_| CallFailure::NotSent("too many look at this node".into()));
        }
        let Some(peers) = &self.peers else {
            return Err(CallFailure::NotSent("this node has no peers".into()));
        };
        let request = wire::ReplicaStatusRequest { groups: groups.to_vec() };
        Ok(peers.replica_status(at, request, timeout).await?.groups)
    }

    /// The states of the replicas on several nodes; a node that does not answer has none.
    async fn statuses_on(&self, nodes: impl Iterator<Item = NodeId>, groups: &[u64]) -> Statuses {
        let asked = nodes.map(|node| async move {
            let statuses = self.replica_statuses(node, groups, ASK_TIMEOUT).await;
            match &statuses {
                Ok(_) => self.heard.heard(node, self.clock.monotonic_ns()),
                Err(_) => self.heard.missed(node),
            }
            statuses.ok().map(|statuses| (node, statuses))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Those of these nodes that answer now.
    pub(crate) async fn answering(&self, nodes: impl Iterator<Item = NodeId>) -> BTreeSet<NodeId> {
        self.statuses_on(nodes, &[CATALOG_GROUP.0]).await.into_keys().collect()
    }

    /// How many items a table holds and their size, as its leaders say; the parts of those that do not answer are left out.
    pub(crate) async fn count_items(&self, table: &TableRecord) -> (u64, u64) {
        let mut nodes: Vec<NodeId> = table
            .partitions
            .iter()
            .flat_map(|partition| partition.members.iter().map(|member| member.node))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        let groups: Vec<u64> = table.partitions.iter().map(|partition| partition.group.0).collect();
        let statuses = self.statuses_on(nodes.into_iter(), &groups).await;
        let mut best: BTreeMap<u64, &wire::GroupStatus> = BTreeMap::new();
        for status in statuses.values().flatten() {
            if u32::try_from(status.group >> 32) == Ok(table.id) {
                let known = best.entry(status.group).or_insert(status);
                if status.applied_index > known.applied_index {
                    *known = status;
                }
            }
        }
        let items = best.values().map(|status| status.item_count).sum();
        (items, best.values().map(|status| status.size_bytes).sum())
    }

    /// Who serves a table, for clients that go straight to the leaders.
    pub(crate) async fn describe_routes(
        &self,
        name: &str,
        cx: &CallContext,
    ) -> Result<v1::DescribeRoutesResponse> {
        let table = self.table(name, cx).await?;
        let mut nodes = BTreeMap::new();
        let mut partitions = Vec::new();
        for partition in table.partitions() {
            let leader = match self.replicas.get(partition.group) {
                Some(replica) => replica.view.leader(),
                None => self.tables.leader(partition.group),
            };
            for member in &partition.members {
                if let Some(endpoint) = self.endpoint_of(member.node) {
                    nodes.insert(member.node, endpoint);
                }
            }
            partitions.push(v1::PartitionRoute {
                group: partition.group.0,
                first_hash: partition.first_hash,
                last_hash: partition.last_hash,
                leader_node_id: leader.map(|leader| leader.0),
                replica_node_ids: partition.members.iter().map(|member| member.node.0).collect(),
            });
        }
        let nodes = nodes.into_iter().map(|(node, endpoint)| v1::NodeEndpoint {
            node_id: node.0,
            endpoint,
            zone: String::new(),
        });
        Ok(v1::DescribeRoutesResponse {
            table_id: table.record.id,
            key_schema: Some(table.schema().clone().into()),
            hash_name: stator_model::key::HASH_NAME.to_owned(),
            generation: table
                .partitions()
                .iter()
                .map(|partition| partition.generation)
                .max()
                .unwrap_or(0),
            nodes: nodes.collect(),
            partitions,
        })
    }

    pub(crate) fn endpoint_of(&self, node: NodeId) -> Option<String> {
        self.address_of(node).map(|address| format!("http://{address}"))
    }

    /// Where others reach a node, if this one knows.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<String> {
        if node == self.own {
            Some(self.address.clone())
        } else {
            self.peers.as_ref()?.address(node)
        }
    }

    /// The state of the cluster, as this node sees it. While the catalog has no leader that is what it knows by itself: the nodes that
    /// it has met, and no tables.
    pub(crate) async fn describe_cluster(&self, cx: &CallContext) -> v1::DescribeClusterResponse {
        let patience = cx.for_at_most(CATALOG_PATIENCE, self.clock.monotonic_ns());
        let known = async {
            Ok::<_, Error>((
                self.node_records(&patience).await?,
                self.table_records(&patience).await?,
            ))
        };
        let (records, tables) = known.await.unwrap_or_else(|_| (self.nodes_met(), Vec::new()));
        // From when they are asked: the slowest of them does not make the others silent.
        let now_ns = self.clock.monotonic_ns();
        let statuses = self.statuses_on(records.iter().map(|record| record.id), &[]).await;
        let nodes = records.iter().map(|record| {
            let own = statuses.get(&record.id);
            let (liveness, silent_ms) = self.heard.of(record.id, now_ns);
            let count = |wanted: &dyn Fn(&wire::GroupStatus) -> bool| {
                own.map_or(0, |own| own.iter().filter(|status| wanted(status)).count())
            };
            v1::NodeDescription {
                node_id: record.id.0,
                endpoint: format!("http://{}", record.address),
                zone: record.zone.clone(),
                version: record.version.clone(),
                liveness: liveness.into(),
                silent_ms,
                partitions_led: u32::try_from(count(&|status| {
                    status.role() == wire::ReplicaRole::Leader
                }))
                .unwrap_or(u32::MAX),
                replicas: u32::try_from(count(&|_| true)).unwrap_or(u32::MAX),
            }
        });
        let catalog_leader = match self.replicas.get(CATALOG_GROUP) {
            Some(replica) => replica.view.leader(),
            None => self.tables.leader(CATALOG_GROUP),
        };
        let cluster_id = self.peers.as_ref().and_then(|peers| peers.cluster_id());
        let catalog = self.catalog_table();
        let all = std::iter::once(&catalog.record).chain(&tables);
        let (partitions, partition_count) = super::overview::partitions(all, &statuses);
        v1::DescribeClusterResponse {
            cluster_id: cluster_id.unwrap_or_default(),
            answering_node_id: self.own.0,
            catalog_leader_node_id: catalog_leader.map(|leader| leader.0),
            format_version: self.catalog_format.load(Ordering::Relaxed),
            nodes: nodes.collect(),
            partitions,
            partition_count: u32::try_from(partition_count).unwrap_or(u32::MAX),
        }
    }

    /// This node and those that it knows to reach, as far as can be told without the catalog.
    fn nodes_met(&self) -> Vec<NodeRecord> {
        let others = self.peers.as_ref().map(|peers| peers.nodes()).unwrap_or_default();
        let mut nodes: BTreeSet<NodeId> = others.into_iter().collect();
        nodes.insert(self.own);
        let met = |id: NodeId| {
            let address = self.address_of(id)?;
            let (zone, version) = (String::new(), String::new());
            Some(NodeRecord { id, address, zone, version, incarnation: 0 })
        };
        nodes.into_iter().filter_map(met).collect()
    }

    /// Sets the metrics that are levels.
    #[cfg(feature = "server")]
    pub(crate) fn gather(&self) {
        let replicas = self.replicas.all();
        let leads =
            replicas.iter().filter(|replica| replica.view.leader() == Some(self.own)).count();
        let states =
            || replicas.iter().filter_map(|replica| self.replicas.state(replica.spec.group));
        self.metrics.groups(crate::metrics::GroupCounts {
            replicas: replicas.len() as u64,
            leading: leads as u64,
            asleep: states().filter(|state| state.asleep).count() as u64,
            failed: self.replicas.failures().len() as u64,
            unapplied: states().filter(stator_consensus::GroupStatus::is_unapplied).count() as u64,
            behind: states().map(|state| state.behind as u64).sum(),
        });
        self.metrics.log(&self.log.stats(), self.config.log_budget.bytes());
        self.metrics.engine(self.engine.size());
        for (number, host) in self.hosts.iter().enumerate() {
            self.metrics.mailbox(number, host.len());
        }
        self.metrics.apply_backlog(self.appliers.iter().map(|applier| applier.0.len()).sum());
        if let Some(dir) = &self.dir
            && let Ok(free) = crate::dir::free_bytes(dir.path())
        {
            self.metrics.disk_free(free);
        }
    }
}
