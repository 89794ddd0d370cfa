//! What the hosts are told is durable is what was applied before a flush that came to its end (R16).

use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

use stator_model::api::CreateTable;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_storage::Result;
use stator_storage::engine::memory::MemoryEngine;

use super::*;
use crate::catalog::records::CATALOG_GROUP;
use crate::clock::RealClock;
use crate::config::NodeConfig;
use crate::mailbox::{Inbox, mailbox};
use crate::node::Node;
use crate::replicas::Replica;
use crate::shell::HostEvent;
use crate::shell::scripted::{Script, Scripted};

const PATIENCE: Duration = Duration::from_secs(60);
/// A group beside the catalog's.
const OTHER: GroupId = GroupId(9);

/// Flushes begin when the test has seen them, and come to what it says.
struct Asking {
    begun: SyncSender<()>,
    verdicts: Mutex<Receiver<Result<()>>>,
}

impl Script for Asking {
    fn flush(&self, _: &MemoryEngine) -> Result<()> {
        // The test that is over asks for nothing more.
        let _ = self.begun.send(());
        self.verdicts.lock().expect("no panic").recv().unwrap_or(Ok(()))
    }
}

/// A flush thread over two groups, both of which have applied what the catalog of a node has.
struct Lab {
    node: Node,
    losses: Arc<Losses>,
    begun: Receiver<()>,
    verdicts: Sender<Result<()>>,
    inbox: Inbox<HostEvent>,
    tables: u32,
    _stop: Sender<()>,
}

impl Lab {
    async fn start(behind: &[GroupId]) -> Self {
        let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
        node.wait_ready(PATIENCE).await.expect("ready");
        let replicas = Arc::new(Replicas::default());
        let (host, inbox) = mailbox(usize::MAX);
        let real = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
        for group in [CATALOG_GROUP, OTHER] {
            let mut spec = (*real.spec).clone();
            spec.group = group;
            let (view, data, host) = (real.view.clone(), real.data.clone(), host.clone());
            replicas.insert(Arc::new(Replica { spec: Arc::new(spec), view, data, host }));
        }
        let losses = Arc::<Losses>::default();
        losses.begin(behind.iter().copied());
        let ((began, begun), (verdicts, verdict)) = (sync_channel(0), channel());
        let script = Asking { begun: began, verdicts: Mutex::new(verdict) };
        let (stop, stopped) = channel();
        let shell = FlushShell {
            every: Duration::from_millis(1),
            engine: Arc::new(Scripted { memory: MemoryEngine::new(), script }),
            log: node.inner.log.clone(),
            replicas,
            metrics: Arc::new(Metrics::new(1, 0)),
            snapshots: None,
            losses: losses.clone(),
            room: Arc::new(Room::new(None, 0, Arc::new(RealClock))),
            fatal: Arc::new(|why| panic!("{why}")),
            stop: stopped,
        };
        shell.spawn().expect("a thread");
        Self { node, losses, begun, verdicts, inbox, tables: 0, _stop: stop }
    }

    fn applied(&self) -> u64 {
        self.node.inner.replicas.get(CATALOG_GROUP).expect("it is there").view.applied()
    }

    /// Has something applied.
    async fn apply_more(&mut self) {
        let before = self.applied();
        let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
        self.tables += 1;
        let request = CreateTable {
            table_name: format!("table-{}", self.tables),
            key_schema: KeySchema { partition: id, sort: None },
            partitions: None,
            deletion_protection: false,
        };
        self.node.call(request.into(), "test".into(), None).await.expect("created");
        assert!(self.applied() > before);
    }

    /// Waits until a flush is under way.
    fn await_flush(&self) {
        self.begun.recv_timeout(PATIENCE).expect("the engine is flushed");
    }

    fn end_flush(&self, verdict: Result<()>) {
        self.verdicts.send(verdict).expect("it waits for that");
    }

    /// What the hosts have been told is durable.
    fn told(&mut self, patience: Duration) -> Vec<(GroupId, u64)> {
        let mut events = Vec::new();
        self.inbox.drain(&mut events, Some(patience));
        let durable = events.iter().filter_map(|event| match event {
            Event::Durable { group, index } => Some((*group, *index)),
            _ => None,
        });
        durable.collect()
    }

    /// Waits until so many replicas have been told.
    fn await_told(&mut self, count: usize) -> Vec<(GroupId, u64)> {
        let mut told = Vec::new();
        while told.len() < count {
            let more = self.told(PATIENCE);
            assert!(!more.is_empty(), "told no more than {told:?}");
            told.extend(more);
        }
        told
    }
}

fn fault() -> Result<()> {
    Err(stator_storage::Error::Engine("as it was told".into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_during_a_flush_is_durable_after_the_next() {
    let mut lab = Lab::start(&[]).await;
    // What the node itself still has to apply is not to be mistaken for what is applied here.
    lab.apply_more().await;
    lab.await_flush();
    lab.end_flush(Ok(()));
    lab.await_told(2);
    lab.apply_more().await;
    lab.await_flush();
    let before = lab.applied();
    lab.apply_more().await;
    let after = lab.applied();
    assert_eq!(lab.told(Duration::ZERO), [], "the flush is not over");
    lab.end_flush(Ok(()));
    let told = lab.await_told(2);
    assert!(told.iter().all(|(_, index)| *index <= before), "{told:?}, and {before} was applied");
    lab.await_flush();
    lab.end_flush(Ok(()));
    let told = lab.await_told(2);
    assert!(told.iter().all(|(_, index)| *index >= after), "{told:?}, and {after} was applied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_makes_nothing_durable() {
    let mut lab = Lab::start(&[]).await;
    lab.await_flush();
    for _ in 0..3 {
        lab.end_flush(fault());
        lab.await_flush();
        assert_eq!(lab.told(Duration::ZERO), []);
    }
    lab.end_flush(Ok(()));
    let told: BTreeSet<GroupId> = lab.await_told(2).iter().map(|(group, _)| *group).collect();
    assert_eq!(told, [CATALOG_GROUP, OTHER].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_opened_again_meanwhile_makes_nothing_durable() {
    let mut lab = Lab::start(&[]).await;
    lab.await_flush();
    lab.losses.begin([OTHER].into_iter());
    lab.losses.recovered(OTHER);
    lab.end_flush(Ok(()));
    lab.await_flush();
    assert_eq!(lab.told(Duration::ZERO), [], "part of what was flushed may be gone");
    lab.end_flush(Ok(()));
    lab.await_told(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_has_lost_is_not_durable() {
    let mut lab = Lab::start(&[OTHER]).await;
    lab.await_flush();
    lab.end_flush(Ok(()));
    assert!(lab.await_told(1).iter().all(|(group, _)| *group == CATALOG_GROUP));
    lab.losses.recovered(OTHER);
    let mut told = Vec::new();
    while !told.contains(&OTHER) {
        lab.await_flush();
        lab.end_flush(Ok(()));
        told.extend(lab.await_told(1).iter().map(|(group, _)| *group));
    }
}
