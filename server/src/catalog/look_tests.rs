use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    outlasted: AtomicBool,
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

    async fn outlast_leases(&self) {
        self.outlasted.store(true, Ordering::Relaxed);
    }

    async fn free_name(&self, table: &TableRecord) -> Result<()> {
        let may_be_read = self.away.is_some() && !self.outlasted.load(Ordering::Relaxed);
        assert!(!may_be_read, "who does not answer may lead the old table still");
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
