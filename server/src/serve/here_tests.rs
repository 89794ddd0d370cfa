use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stator_consensus::ReplicaView;
use stator_model::api::CreateTable;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::machine::AppliedMark;
use stator_storage::partition::{PartitionApplier, initialise};

use super::*;
use crate::config::NodeConfig;
use crate::mailbox::{Inbox, mailbox};
use crate::node::{Node, Sockets};
use crate::snapshots::tests::{TERM, spec};

async fn node() -> Node {
    Node::embedded(NodeConfig::default(), true).await.expect("a node in memory")
}

/// The catalog's replica as it would be if its host said nothing to anybody: it has no lease, and a read of it is never confirmed.
fn silenced(node: &Inner) -> (Replica, Inbox<HostEvent>) {
    let real = node.replicas.get(CATALOG_GROUP).expect("it is there");
    let (host, inbox) = mailbox(16);
    let (spec, data) = (real.spec.clone(), real.data.clone());
    (Replica { spec, view: Arc::new(ReplicaView::default()), data, host }, inbox)
}

async fn read(node: &Inner, replica: &Replica, time: Duration) -> Result<u32> {
    let cx = node.own_context(time);
    let read = || async { Ok::<_, ReadError>(7) };
    match node.read_here(replica, Freshness::Strong, &cx, read).await {
        Attempt::Done(result) => result,
        _ => panic!("nobody else was to be asked"),
    }
}

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_read_that_needs_what_cannot_be_applied_is_refused_before_its_time_is_over() {
    let node = node().await;
    let (replica, _inbox) = silenced(&node.inner);
    node.inner.room.note_waited_for(true);
    let refused = tokio::time::timeout(LONG / 10, read(&node.inner, &replica, LONG)).await;
    let error = refused.expect("its own time is not waited for").expect_err("not confirmed");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.applied(), Applied::No);
    assert_eq!(error.retry(), Retry::After(FULL_DISK_PAUSE));
    assert!(error.message().contains("cannot be read until there is room"), "{error}");
}

#[tokio::test]
async fn a_read_that_waits_is_refused_when_the_disk_fills_up_meanwhile() {
    let node = node().await;
    let (replica, mut inbox) = silenced(&node.inner);
    let room = node.inner.room.clone();
    let filled = async {
        // It waits once its host has been asked.
        let mut asked = Vec::new();
        while asked.is_empty() {
            inbox.drain(&mut asked, Some(Duration::ZERO));
            tokio::task::yield_now().await;
        }
        room.note_waited_for(true);
        // Whoever asks is gone if these are dropped.
        asked
    };
    let both = async { tokio::join!(read(&node.inner, &replica, LONG), filled) };
    let (refused, _) = tokio::time::timeout(LONG / 10, both).await.expect("not for ever");
    assert_eq!(refused.expect_err("not confirmed").kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_read_is_refused_for_a_full_disk_only() {
    let node = node().await;
    let (replica, _inbox) = silenced(&node.inner);
    let error = read(&node.inner, &replica, 3 * APPLY_PATIENCE).await.expect_err("not confirmed");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "there is room: it just takes its time");
}

#[tokio::test]
async fn other_reads_go_on() {
    let node = node().await;
    node.inner.room.note_waited_for(true);
    let replica = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
    assert_eq!(read(&node.inner, &replica, LONG).await.expect("nothing is missing"), 7);
}

#[tokio::test]
async fn a_write_whose_fate_is_not_known_is_counted() {
    let node = node().await;
    let (replica, mut inbox) = silenced(&node.inner);
    let count = || {
        let text = node.inner.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix("stator_raft_uncertain_total "));
        line.and_then(|count| count.parse::<u64>().ok())
    };
    assert_eq!(count(), Some(0));
    for (begins, uncertain) in [(false, 0), (true, 1)] {
        let cx = node.inner.own_context(LONG);
        let written = node.inner.write_here(&replica, PartitionRequest::Writes(Vec::new()), &cx);
        let dropped = async {
            let mut asked = Vec::new();
            while asked.is_empty() {
                inbox.drain(&mut asked, Some(Duration::ZERO));
                tokio::task::yield_now().await;
            }
            if begins && let Some(Event::Submit { token, .. }) = asked.first() {
                assert!(token.claim.take(), "the host begins with it");
            }
        };
        let (written, ()) = tokio::join!(written, dropped);
        match written {
            Attempt::Done(Err(error)) => assert_eq!(error.applied(), Applied::Unknown),
            Attempt::NotHere(None) => assert!(!begins),
            _ => panic!("nobody answered"),
        }
        assert_eq!(count(), Some(uncertain));
    }
}

/// The catalog's replica as it is, but for its data, which are in the hands of an applier of the test's own.
fn applied_by(node: &Inner) -> (Replica, PartitionApplier) {
    let engine = Arc::new(MemoryEngine::new());
    let mark = AppliedMark { index: 10, term: TERM, voters: vec![1] };
    initialise(engine.as_ref(), &spec(1), Some(&mark)).expect("begun");
    let applier = PartitionApplier::open(engine, spec(1)).expect("opens");
    let real = node.replicas.get(CATALOG_GROUP).expect("it is there");
    let data = applier.data_generation();
    let (spec, view, host) = (real.spec.clone(), real.view.clone(), real.host.clone());
    (Replica { spec, view, data, host }, applier)
}

/// Reads, with something done while the engine is read for the nth time. Answers what came of it, and how often it was read.
async fn read_while<F: Future<Output = ()> + Send>(
    node: &Inner,
    replica: &Replica,
    freshness: Freshness,
    meanwhile: impl Fn(usize) -> F + Send + Sync,
) -> (Attempt<usize>, usize) {
    let (cx, count) = (node.own_context(LONG), AtomicUsize::new(0));
    let read = || {
        let this = count.fetch_add(1, Ordering::SeqCst) + 1;
        let done = meanwhile(this);
        async move {
            done.await;
            Ok::<_, ReadError>(this)
        }
    };
    let attempt = node.read_here(replica, freshness, &cx, read).await;
    (attempt, count.into_inner())
}

const FRESHNESSES: [Freshness; 2] = [Freshness::Strong, Freshness::Eventual];

#[tokio::test]
async fn what_was_read_while_the_data_were_replaced_does_not_count() {
    let node = node().await;
    let replica = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
    for freshness in FRESHNESSES {
        let read = read_while(&node.inner, &replica, freshness, async |this| {
            if this == 1 {
                replica.view.replace_data(0);
                replica.view.data_restored();
            }
        });
        let (attempt, _) = read.await;
        assert!(matches!(attempt, Attempt::Done(Ok(2))), "{freshness:?}: it is read again");
    }
}

#[tokio::test]
async fn what_was_read_while_the_range_was_closed_does_not_count() {
    let node = node().await;
    let (replica, applier) = applied_by(&node.inner);
    for freshness in FRESHNESSES {
        let read = read_while(&node.inner, &replica, freshness, async |this| {
            if this == 1 {
                applier.suspend_reads();
                applier.resume_reads().expect("nothing was lost");
            }
        });
        assert!(matches!(read.await.0, Attempt::Done(Ok(2))), "{freshness:?}: it is read again");
        let read = read_while(&node.inner, &replica, freshness, async |_| applier.suspend_reads());
        let (attempt, count) = read.await;
        assert!(matches!(attempt, Attempt::NotHere(_)), "{freshness:?}: it stays closed");
        assert_eq!(count, 1);
        applier.resume_reads().expect("nothing was lost");
    }
}

#[tokio::test]
async fn data_that_change_hands_all_the_time_are_read_elsewhere() {
    let node = node().await;
    let replica = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
    for freshness in FRESHNESSES {
        let read = read_while(&node.inner, &replica, freshness, async |_| {
            replica.view.replace_data(0);
            replica.view.data_restored();
        });
        let (attempt, count) = read.await;
        assert!(matches!(attempt, Attempt::NotHere(_)), "{freshness:?}");
        assert_eq!(count, READ_ATTEMPTS);
    }
}

#[tokio::test]
async fn what_was_read_while_the_lease_ended_is_no_strong_read() {
    let node = node().await;
    let replica = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
    let has_lease = || replica.view.begin(node.inner.clock.monotonic_ns()).is_some();
    while !has_lease() {
        tokio::task::yield_now().await;
    }
    let read = read_while(&node.inner, &replica, Freshness::Strong, async |_| {
        let reason = "as it was told".to_owned();
        replica.host.push(Event::Stop { group: CATALOG_GROUP, reason });
        while has_lease() {
            tokio::task::yield_now().await;
        }
    });
    let (attempt, count) = tokio::time::timeout(LONG / 10, read).await.expect("not for ever");
    assert!(matches!(attempt, Attempt::NotHere(_)), "nobody leads any more");
    assert_eq!(count, 1);
}

#[tokio::test]
async fn what_is_known_of_the_catalog_here_is_looked_at_again_too() {
    let node = node().await;
    let (replica, applier) = applied_by(&node.inner);
    assert_eq!(replica.read(|| Some(7)), Some(7));
    let replaced = replica.read(|| {
        replica.view.replace_data(0);
        replica.view.data_restored();
        Some(7)
    });
    assert_eq!(replaced, None);
    let closed = replica.read(|| {
        applier.suspend_reads();
        applier.resume_reads().expect("nothing was lost");
        Some(7)
    });
    assert_eq!(closed, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalog_is_not_written_while_most_logs_are_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = ([127, 0, 0, 1], 0).into();
    let any = NodeConfig { listen: port, admin_listen: Some(port), ..NodeConfig::default() };
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(Sockets::bind(&any).await.expect("a port"));
    }
    let addresses: Vec<_> =
        sockets.iter().map(|bound| bound.address().expect("an address")).collect();
    let mut nodes = Vec::new();
    for (listen, sockets) in addresses.iter().zip(sockets) {
        let config = NodeConfig {
            data_dir: directory.path().join(listen.port().to_string()),
            initial_nodes: addresses.iter().map(ToString::to_string).collect(),
            listen: *listen,
            ..any.clone()
        };
        nodes.push(Node::serve(config, sockets).await.expect("starts"));
    }
    for node in &nodes {
        node.wait_ready(LONG).await.expect("ready");
    }
    let create = async |node: &Node, n: u32| {
        let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
        let request = CreateTable {
            table_name: format!("table-{n}"),
            key_schema: KeySchema { partition: id, sort: None },
            partitions: Some(1),
            deletion_protection: false,
        };
        node.call(request.into(), "test".into(), Some(LONG / 10)).await.map(|_| ())
    };
    // Their rooms alone say so: what they are sent they take. Who follows may lead a little later: those meant are the same then.
    let followers = loop {
        let followers: Vec<_> = nodes.iter().filter(|node| !node.inner.leads_catalog()).collect();
        if followers.len() == 2 {
            break followers;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    followers.iter().for_each(|node| node.inner.room.note_log_full(true));
    let mut n = 0;
    let refused = tokio::time::timeout(LONG / 10, async {
        loop {
            n += 1;
            if let Err(error) = create(&nodes[0], n).await {
                return error;
            }
        }
    });
    let error = refused.await.expect("the leader is told");
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Throttling, Applied::No), "{error}");
    assert_eq!(error.message(), LOGS_ARE_FULL);
    assert_eq!(error.retry(), Retry::After(FULL_DISK_PAUSE));
    followers.iter().for_each(|node| node.inner.room.note_log_full(false));
    let taken = tokio::time::timeout(LONG / 10, async {
        while create(&nodes[0], n).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    taken.await.expect("there is room again");
    // Joining threads would block the runtime.
    tokio::task::spawn_blocking(move || drop(nodes)).await.expect("dropped");
}
