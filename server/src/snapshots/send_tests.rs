use std::collections::BTreeSet;

use stator_model::api::{CreateTable, PutItem};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item};

use super::*;
use crate::config::NodeConfig;
use crate::mailbox::{Inbox, mailbox};
use crate::node::Node;
use crate::replicas::Replica;
use crate::shell::HostEvent;

const TO: ReplicaId = ReplicaId(99);

/// A node in memory with a table of one partition that comes to so many mebibytes.
async fn node(mib: usize) -> (Node, GroupId) {
    let config = NodeConfig { table_partitions: 1, ..NodeConfig::default() };
    let node = Node::embedded(config, true).await.expect("a node in memory");
    node.wait_ready(Duration::from_secs(30)).await.expect("ready");
    let before: BTreeSet<_> = node.inner.replicas.applied().into_iter().collect();
    let before: BTreeSet<_> = before.into_iter().map(|(group, _)| group).collect();
    let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    let table = CreateTable {
        table_name: "music".into(),
        key_schema: KeySchema { partition: id, sort: None },
        partitions: None,
        deletion_protection: false,
    };
    node.call(table.into(), "test".into(), None).await.expect("made");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let group = loop {
        let mut groups = node.inner.replicas.applied().into_iter().map(|(group, _)| group);
        if let Some(group) = groups.find(|group| !before.contains(group)) {
            break group;
        }
        assert!(tokio::time::Instant::now() < deadline, "there is no replica of it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    for n in 0..4 * mib {
        let item = Item::from([
            ("id".to_owned(), AttributeValue::from(n.to_string())),
            ("value".to_owned(), AttributeValue::from("x".repeat(256 << 10))),
        ]);
        let item = EncodedItem::encode(&item);
        let put = PutItem { table_name: "music".into(), item, ..PutItem::default() };
        while let Err(error) = node.call(put.clone().into(), "test".into(), None).await {
            assert!(tokio::time::Instant::now() < deadline, "{n} could not be put: {error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    (node, group)
}

/// From now on what a group's host is told comes here.
fn overheard(node: &Inner, group: GroupId) -> Inbox<HostEvent> {
    let real = node.replicas.get(group).expect("it is there");
    let (host, inbox) = mailbox(1000);
    let (spec, view, data) = (real.spec.clone(), real.view.clone(), real.data.clone());
    node.replicas.insert(Arc::new(Replica { spec, view, data, host }));
    inbox
}

/// How often the host was told that the transfer goes on.
fn words(inbox: &mut Inbox<HostEvent>, group: GroupId) -> usize {
    let mut events = Vec::new();
    inbox.drain(&mut events, Some(Duration::ZERO));
    let is_word = |event: &HostEvent| match event {
        Event::SnapshotGoesOn { group: of, to } => (*of, *to) == (group, TO),
        _ => false,
    };
    events.iter().filter(|event| is_word(event)).count()
}

fn transfer(node: &Node, group: GroupId) -> Transfer {
    Transfer {
        node: node.inner.clone(),
        pace: Arc::new(Pace::new(u64::MAX)),
        group,
        to: TO,
        given_up: Arc::default(),
        told: AtomicU64::new(0),
    }
}

#[tokio::test]
async fn the_host_hears_of_what_is_sent_for_the_first_time() {
    let (node, group) = node(20).await;
    let mut inbox = overheard(&node.inner, group);
    let transfer = transfer(&node, group);
    let applier = node.inner.applier_of(group);
    let mut source = Source::begin(applier, group, 1).await.expect("begun");
    let header = frame(Frame::Header(wire::SnapshotHeader::default()));

    // Frame by frame: it is told while the transfer goes on, not at its end.
    let (frames, mut sent) = mpsc::channel(FRAMES_MAX);
    let mut told = Vec::new();
    let taken = async {
        let mut last = 0;
        while let Some(wire::SnapshotFrame { frame: Some(frame) }) = sent.recv().await {
            if let Frame::Chunk(chunk) = frame {
                last = chunk.number;
            }
            let more = words(&mut inbox, group);
            told.extend(std::iter::repeat_n(last, more));
        }
        last
    };
    let turns = Turns::new(1, Duration::MAX);
    let mut turn = turns.turn();
    let feed = transfer.feed(&mut source, &mut turn, frames, &header, 0);
    let (fed, last) = tokio::join!(feed, taken);
    fed.expect("sent");
    assert!(last >= 2 * FRAMES_PER_WORD, "{last} frames");
    assert_eq!(told.len() as u64 + words(&mut inbox, group) as u64, last / FRAMES_PER_WORD);
    let first = told.first().expect("told before the end");
    assert!((FRAMES_PER_WORD..=FRAMES_PER_WORD + 2).contains(first), "{told:?}");

    // A stream that broke is resumed: what went once already is no way forward.
    for from in [0, FRAMES_PER_WORD, last] {
        let (frames, mut sent) = mpsc::channel(FRAMES_MAX);
        let taken = async { while sent.recv().await.is_some() {} };
        let feed = transfer.feed(&mut source, &mut turn, frames, &header, from);
        let (fed, ()) = tokio::join!(feed, taken);
        fed.expect("sent once more");
        assert_eq!(words(&mut inbox, group), 0, "from {from}");
    }
}

#[tokio::test]
async fn a_slow_receiver_lets_others_have_a_turn() {
    let (node, group) = node(4).await;
    let transfer = transfer(&node, group);
    let mut source = Source::begin(node.inner.applier_of(group), group, 1).await.expect("begun");
    let header = frame(Frame::Header(wire::SnapshotHeader::default()));
    // So that a receiver is slow at once.
    let turns = Turns::new(1, Duration::ZERO);
    let mut turn = turns.turn();
    turn.take(TURN_TIMEOUT).await.expect("nobody has it");
    turn.stalled = FRAME_TIME * 1000;

    // As long as nobody waits it goes on.
    let (frames, mut sent) = mpsc::channel(FRAMES_MAX);
    let taken = async { while sent.recv().await.is_some() {} };
    let feed = transfer.feed(&mut source, &mut turn, frames, &header, 0);
    tokio::join!(feed, taken).0.expect("sent to the end");
    assert!(turn.held.is_some());

    let (frames, mut sent) = mpsc::channel(FRAMES_MAX);
    let taken = async {
        let mut count = 0;
        while sent.recv().await.is_some() {
            count += 1;
        }
        count
    };
    let mut other = turns.turn();
    let other_has_it = async {
        other.take(TURN_TIMEOUT).await.expect("it is given up");
        other
    };
    let feed = transfer.feed(&mut source, &mut turn, frames, &header, 0);
    let (other, fed, count) = tokio::join!(other_has_it, feed, taken);
    fed.expect_err("it is to be resumed");
    assert_eq!(count, 2, "the header and a frame");
    // It comes again once the other has had its turn, and counts anew.
    drop(other);
    turn.take(NEXT_TURN_TIMEOUT).await.expect("its next turn");
    assert_eq!((turn.frames, turn.stalled), (0, Duration::ZERO));
}

#[tokio::test]
async fn a_receiver_that_gets_on_keeps_its_turn() {
    let turns = Turns::new(1, Duration::from_secs(60));
    let mut turn = turns.turn();
    turn.take(TURN_TIMEOUT).await.expect("nobody has it");
    let _waiting = Waiting::among(&turns.waiting);
    for _ in 0..1000 {
        turn.taken(FRAME_TIME - Duration::from_millis(1));
        assert!(!turn.is_given_up(), "after {} frames", turn.frames);
    }
    turn.taken(FRAME_TIME * 2);
    assert!(turn.is_given_up() && turn.held.is_none());
}
