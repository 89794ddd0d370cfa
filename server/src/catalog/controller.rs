//! The controller: carries out what the catalog's records say. Runs on the node that leads the catalog.
//!
//! It looks at the records and at the world, and does the next step for each table; a step that fails is simply tried again at the
//! next look. Every step may be repeated, and may be done by two controllers at once while the catalog's leadership moves: replicas
//! are made at most once, and records change only from what they were.
//!
//! - A table that is `CREATING`: its replicas are made on their nodes; once every partition has a leader that serves, it is `ACTIVE`.
//! - A table that is `DELETING`: its replicas are noted down as dropped, and removed on their nodes. Once no partition has a majority
//!   of them left, and no leader a lease, nobody can serve the table any more: its record goes, and with it its name is free.
//! - A dropped table: what could not be removed yet is; once all nodes have said so, the note goes.
//!
//! # Invariants
//! - A name is free only when nothing can be acknowledged or strongly read under it any more, whatever a node remembers of it.
//! - A record is changed or removed only as what it was read as: another table may have come under its name.

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

/// How often to look while something is under way: each look that changes nothing makes the pause to the next half as long again.
const BUSY: Duration = Duration::from_millis(20);
/// How often to look when nothing is, and at most when nothing moves.
const IDLE: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to answer one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a leader may go on serving reads that has lost its majority: no lease lasts longer (R2).
const LEASE_NS_MAX: u64 = 1_000_000_000;

/// When this node first saw that the replicas left of a table are in the minority, by the table's id, in nanoseconds.
type Minorities = BTreeMap<u32, u64>;

/// Runs until the node stops.
pub(crate) async fn run(node: Arc<Inner>) {
    let mut seen = None;
    let mut pause = BUSY;
    let mut minorities = Minorities::new();
    loop {
        let mut wait = IDLE;
        if node.leads_catalog() {
            let applied = || node.replicas.get(CATALOG_GROUP).map(|replica| replica.view.applied());
            let before = applied();
            // Nothing was written to the catalog since a look that left nothing to do: then there is nothing to do.
            if before != seen {
                let cx = node.own_context(LOOK_TIMEOUT);
                match look(&node, &mut minorities, &cx).await {
                    Ok(true) => seen = before,
                    Ok(false) => {
                        pause = if applied() == before { (pause * 3 / 2).min(IDLE) } else { BUSY };
                        wait = pause;
                    }
                    Err(error) => tracing::warn!(%error, "the catalog could not be looked at"),
                }
            }
        } else {
            seen = None;
            minorities.clear();
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = node.controller.notified() => pause = BUSY,
            () = node.stopping() => return,
        }
    }
}

/// One look: does the next step for each table. Answers whether nothing is left to do.
async fn look(node: &Inner, minorities: &mut Minorities, cx: &CallContext) -> Result<bool> {
    let mut done = true;
    let tables = node.table_records(cx).await?;
    for table in &tables {
        done &= match table.status {
            TableStatus::Creating => create(node, table, cx).await?,
            TableStatus::Deleting => delete(node, table, minorities, cx).await?,
            _ => true,
        };
    }
    minorities.retain(|id, _| tables.iter().any(|table| table.id == *id));
    for item in node.catalog_list("dropped", None, None, cx).await? {
        let (id, partitions) = dropped_from_item(&item)?;
        // A table that still has its record was just seen to.
        if tables.iter().any(|table| table.id == id) {
            continue;
        }
        if remove_replicas(node, &partitions).await == Removed::All {
            let expected = [("kind", "dropped".into())];
            node.catalog_delete(record_key("dropped", &id.to_string()), &expected, cx).await?;
        } else {
            done = false;
        }
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
    let expected = table.expected(TableStatus::Creating);
    let to = TableStatus::Active.name().into();
    node.catalog_change(record_key("table", &table.name), &expected, "status", to, cx).await
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

async fn delete(
    node: &Inner,
    table: &TableRecord,
    minorities: &mut Minorities,
    cx: &CallContext,
) -> Result<bool> {
    // The replicas are noted down before the name is free again, so that none is ever forgotten.
    node.catalog_create(&dropped_to_item(table), cx).await?;
    let over = match remove_replicas(node, &table.partitions).await {
        Removed::All => true,
        Removed::Majorities => {
            let now_ns = node.clock.monotonic_ns();
            now_ns >= *minorities.entry(table.id).or_insert(now_ns) + LEASE_NS_MAX
        }
        Removed::Few => false,
    };
    if over {
        let expected = table.expected(TableStatus::Deleting);
        node.catalog_delete(record_key("table", &table.name), &expected, cx).await?;
    }
    Ok(false)
}

/// How many of a table's replicas are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removed {
    /// All of them.
    All,
    /// Of each partition so many that those left cannot elect a leader or commit anything.
    Majorities,
    /// Some partition may still be served.
    Few,
}

impl Removed {
    /// What it comes to that these groups' replicas were removed, a group being named once for each.
    fn of(partitions: &[PartitionRecord], removed: &[GroupId]) -> Self {
        let counts = partitions.iter().map(|partition| {
            let gone = removed.iter().filter(|group| **group == partition.group).count();
            (gone, partition.members.len())
        });
        if counts.clone().all(|(gone, of)| gone >= of) {
            Self::All
        } else if counts.clone().all(|(gone, of)| gone * 2 >= of) {
            Self::Majorities
        } else {
            Self::Few
        }
    }
}

/// Removes a table's replicas on all of its nodes, as far as they can be reached.
async fn remove_replicas(node: &Inner, partitions: &[PartitionRecord]) -> Removed {
    let nodes = by_node(partitions);
    let removals = nodes.iter().map(|(at, partitions)| remove_on(node, *at, partitions));
    let removed: Vec<GroupId> = join_all(removals).await.into_iter().flatten().collect();
    Removed::of(partitions, &removed)
}

/// Removes replicas on a node; answers the groups of those that are gone. A node that cannot be reached is asked only once.
async fn remove_on(node: &Inner, at: NodeId, partitions: &[&PartitionRecord]) -> Vec<GroupId> {
    let mut gone = Vec::new();
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
            break;
        }
        gone.push(partition.group);
    }
    gone
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
    fn a_partition_is_over_once_those_left_are_no_majority() {
        let partition = |group, members: u64| PartitionRecord {
            group: GroupId(group),
            generation: 1,
            first_hash: 0,
            last_hash: u64::MAX,
            members: (1..=members)
                .map(|id| Member { replica: ReplicaId(id), node: NodeId(id) })
                .collect(),
        };
        let of = |members, removed: &[u64]| {
            let removed: Vec<_> = removed.iter().copied().map(GroupId).collect();
            Removed::of(&[partition(1, members), partition(2, members)], &removed)
        };
        assert_eq!(of(3, &[1, 2, 1, 2, 1, 2]), Removed::All);
        assert_eq!(of(3, &[1, 2, 1, 2]), Removed::Majorities);
        assert_eq!(of(3, &[1, 2, 1, 2, 1]), Removed::Majorities);
        assert_eq!(of(3, &[1, 2, 1, 1]), Removed::Few);
        assert_eq!(of(3, &[]), Removed::Few);
        // Of two, one alone has no majority; of one, nothing is left.
        assert_eq!(of(2, &[1, 2]), Removed::Majorities);
        assert_eq!(of(1, &[1, 2]), Removed::All);
        assert_eq!(of(1, &[2]), Removed::Few);
    }
}
