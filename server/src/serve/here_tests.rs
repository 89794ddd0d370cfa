use std::sync::Arc;

use stator_consensus::ReplicaView;

use super::*;
use crate::config::NodeConfig;
use crate::mailbox::{Inbox, mailbox};
use crate::node::Node;

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
