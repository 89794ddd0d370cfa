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

/// The name is free once no partition of the table has a quorum left: until then some node that has not heard of it yet may route
/// a request for the new table of that name to the old one, and have it acknowledged there.
async fn delete(ground: &impl Ground, table: &TableRecord) -> Result<bool> {
    ground.note_dropped(table).await?;
    let gone = remove_replicas(ground, &table.partitions).await;
    if table.partitions.iter().all(|partition| has_lost_its_quorum(partition, &gone)) {
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
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use stator_consensus::{Member, ReplicaId};
    use stator_model::Error;
    use stator_model::schema::{KeyAttribute, KeySchema, KeyType};

    use super::*;

    /// Where one table's record cannot be written, and one node does not answer.
    #[derive(Default)]
    struct Lame {
        tables: Vec<TableRecord>,
        dropped: Vec<(u32, Vec<PartitionRecord>)>,
        broken: u32,
        away: Option<NodeId>,
        activated: Mutex<BTreeSet<u32>>,
        freed: Mutex<BTreeSet<u32>>,
        forgotten: Mutex<BTreeSet<u32>>,
        asked: AtomicUsize,
    }

    impl Lame {
        fn write(&self, id: u32, into: &Mutex<BTreeSet<u32>>) -> Result<()> {
            if id == self.broken {
                return Err(Error::internal("a test"));
            }
            into.lock().expect("no panic").insert(id);
            Ok(())
        }

        fn answers(&self, node: NodeId) -> Result<(), String> {
            if self.away == Some(node) { Err("it is away".to_owned()) } else { Ok(()) }
        }
    }

    impl Ground for Lame {
        async fn tables(&self) -> Result<Vec<TableRecord>> {
            Ok(self.tables.clone())
        }

        async fn dropped(&self) -> Result<Vec<(u32, Vec<PartitionRecord>)>> {
            Ok(self.dropped.clone())
        }

        async fn activate(&self, table: &TableRecord) -> Result<bool> {
            self.write(table.id, &self.activated).map(|()| true)
        }

        async fn note_dropped(&self, _: &TableRecord) -> Result<()> {
            Ok(())
        }

        async fn free_name(&self, table: &TableRecord) -> Result<()> {
            self.write(table.id, &self.freed)
        }

        async fn forget_dropped(&self, id: u32) -> Result<()> {
            self.write(id, &self.forgotten)
        }

        async fn ensure(
            &self,
            to: NodeId,
            _: &TableRecord,
            _: &[&PartitionRecord],
        ) -> Result<(), String> {
            self.answers(to)
        }

        async fn remove(&self, at: NodeId, _: &[&PartitionRecord]) -> Result<(), String> {
            // Nobody answers before all nodes of two tables are asked.
            self.asked.fetch_add(1, Ordering::Relaxed);
            let enough = |_: &mut Context<'_>| match self.asked.load(Ordering::Relaxed) {
                6.. => Poll::Ready(()),
                _ => Poll::Pending,
            };
            std::future::poll_fn(enough).await;
            self.answers(at)
        }

        async fn served(&self, at: NodeId, groups: &[u64]) -> Vec<GroupId> {
            if at == NodeId(1) { groups.iter().copied().map(GroupId).collect() } else { Vec::new() }
        }
    }

    fn partition(group: u64) -> PartitionRecord {
        let members = [1, 2, 3].map(|id| Member { replica: ReplicaId(id), node: NodeId(id) });
        PartitionRecord {
            group: GroupId(group),
            generation: 1,
            first_hash: 0,
            last_hash: u64::MAX,
            members: members.to_vec(),
        }
    }

    fn table(id: u32, status: TableStatus) -> TableRecord {
        let key = KeyAttribute { name: "id".to_owned(), key_type: KeyType::S };
        TableRecord {
            name: id.to_string(),
            id,
            status,
            key_schema: KeySchema { partition: key, sort: None },
            created_ms: 0,
            deletion_protection: false,
            partitions: vec![partition(u64::from(id) << 32)],
        }
    }

    #[test]
    fn a_table_that_does_not_get_on_holds_up_no_other() {
        use TableStatus::{Active, Creating, Deleting};
        let note = |id| (id, table(id, Deleting).partitions);
        let ground = Lame {
            tables: [(1, Creating), (2, Creating), (3, Deleting), (4, Deleting), (5, Active)]
                .map(|(id, status)| table(id, status))
                .to_vec(),
            dropped: vec![note(4), note(6)],
            broken: 1,
            away: Some(NodeId(3)),
            ..Lame::default()
        };
        let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
        let done = |ids: &Mutex<BTreeSet<u32>>| ids.lock().expect("no panic").clone();
        let mut looking = pin!(look(&ground));
        let mut poll = || looking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let looked = (0..100).find_map(|_| match poll() {
            Poll::Ready(looked) => Some(looked),
            Poll::Pending => None,
        });
        let looked = looked.expect("several are asked at once").expect("looked");
        assert!(!looked, "there is more to do");
        assert_eq!(done(&ground.activated), set(&[2]));
        assert_eq!(done(&ground.freed), set(&[3, 4]));
        assert_eq!(done(&ground.forgotten), set(&[]), "a node has not let go of its replica");
    }

    #[test]
    fn a_name_is_kept_while_the_old_table_could_take_a_write() {
        let mut partition = partition(1);
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
