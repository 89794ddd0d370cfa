//! What no sound node sends: the node that gets it refuses it, and its groups go on.

use bytes::Bytes;
use prost::Message;
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::peer_frame::Frame;
use stator_server::Node;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::cluster::{Cluster, PATIENCE, get, put};
use crate::peers::Sender;
use crate::watching::{Before, Rng};

/// A message of Raft, as it goes over the wire.
#[derive(Clone, PartialEq, Message)]
struct RaftMessage {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    #[prost(uint64, tag = "5")]
    log_term: u64,
    #[prost(uint64, tag = "6")]
    index: u64,
    #[prost(message, repeated, tag = "7")]
    entries: Vec<RaftEntry>,
    #[prost(uint64, tag = "8")]
    commit: u64,
    #[prost(bool, tag = "10")]
    reject: bool,
    #[prost(uint64, tag = "11")]
    reject_hint: u64,
    #[prost(bytes, tag = "12")]
    context: Vec<u8>,
    #[prost(uint64, tag = "13")]
    request_snapshot: u64,
}

#[derive(Clone, PartialEq, Message)]
struct RaftEntry {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
    #[prost(bytes, tag = "4")]
    data: Vec<u8>,
}

const HEARTBEAT: i32 = 8;
const APPEND: i32 = 3;

async fn statuses(node: &Node, from: &Sender) -> Vec<wire::GroupStatus> {
    let mut client = from.client(node).await;
    let all = client.replica_status(wire::ReplicaStatusRequest::default()).await;
    all.expect("statuses").into_inner().groups
}

/// Says hello, sends messages, and waits until the node has taken the last of them.
pub(crate) async fn send(
    node: &Node,
    from: &Sender,
    hello: wire::Hello,
    batches: Vec<Vec<wire::GroupMessage>>,
) {
    let (frames, outgoing) = mpsc::channel(4);
    let mut client = from.client(node).await;
    let feed = tokio::spawn(async move {
        let frame = |frame| wire::PeerFrame { frame: Some(frame) };
        let _ = frames.send(frame(Frame::Hello(hello))).await;
        for messages in batches {
            let _ = frames
                .send(frame(Frame::Batch(wire::MessageBatch { messages, ..Default::default() })))
                .await;
        }
    });
    if let Ok(answer) = client.messages(ReceiverStream::new(outgoing)).await {
        // It ends once the node has read what there was.
        let _ = timeout(PATIENCE, answer.into_inner().message()).await.expect("it ends");
    }
    feed.await.expect("fed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_no_sound_replica_sends_stop_nothing() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let node = cluster.node(1);
    let before = Before::of(&node);
    let from = Sender::of(&cluster, 0);
    let hello = from.hello();
    let statuses = statuses(&node, &from).await;
    let message = |group: u64, payload: Vec<u8>, class: i32| wire::GroupMessage {
        group,
        from_replica: 1,
        to_replica: 2,
        message: Bytes::from(payload),
        message_class: class,
    };
    let mut batches = Vec::new();
    for status in &statuses {
        let sound = RaftMessage {
            kind: APPEND,
            to: 2,
            from: 1,
            term: status.term,
            log_term: status.term,
            index: status.last_index,
            commit: status.commit_index,
            ..RaftMessage::default()
        };
        let huge = [1 << 62, (1 << 62) + 1, u64::MAX - 1, u64::MAX];
        let mut absurd = Vec::new();
        for number in huge {
            absurd.push(RaftMessage { term: number.max((1 << 62) + 1), ..sound.clone() });
            absurd.push(RaftMessage { index: number, ..sound.clone() });
            absurd.push(RaftMessage { commit: number.max((1 << 62) + 1), ..sound.clone() });
            absurd.push(RaftMessage { kind: HEARTBEAT, commit: number, ..sound.clone() });
            absurd.push(RaftMessage { log_term: number, ..sound.clone() });
            absurd.push(RaftMessage { from: number, ..sound.clone() });
            absurd.push(RaftMessage { to: number, ..sound.clone() });
            let entry = RaftEntry { term: number, index: number, ..RaftEntry::default() };
            absurd.push(RaftMessage { entries: vec![entry; 3], ..sound.clone() });
            let next = status.last_index + 1;
            let entry = RaftEntry { term: number, index: next, ..RaftEntry::default() };
            absurd.push(RaftMessage { entries: vec![entry.clone()], ..sound.clone() });
            let entry = RaftEntry { kind: 2, term: status.term, ..entry };
            absurd.push(RaftMessage { entries: vec![entry], ..sound.clone() });
        }
        absurd.extend((-1..25).map(|kind| RaftMessage { kind, term: 0, ..sound.clone() }));
        let wrapped = absurd.iter().map(|absurd| message(status.group, absurd.encode_to_vec(), 2));
        batches.push(wrapped.collect());
    }
    let mut rng = Rng(7);
    for round in 0..200 {
        let group = statuses[round % statuses.len()].group;
        let payload = rng.bytes(round);
        batches.push(vec![
            message(group, payload.clone(), (round % 5) as i32),
            message(rng.next(), payload, 1),
        ]);
    }
    send(&node, &from, hello.clone(), batches).await;

    // And frames, rather than messages, that nobody sends.
    let strangers = [
        wire::Hello { cluster_id: "another".into(), ..hello.clone() },
        wire::Hello { node_id: 2, ..hello.clone() },
        wire::Hello { incarnation: 1, ..hello.clone() },
        wire::Hello { format_version: 0, ..hello.clone() },
    ];
    for stranger in strangers {
        let mut client = from.client(&node).await;
        let frame = wire::PeerFrame { frame: Some(Frame::Hello(stranger)) };
        client.messages(tokio_stream::once(frame)).await.expect_err("not believed");
    }
    let nothing = wire::PeerFrame { frame: None };
    from.client(&node).await.messages(tokio_stream::once(nothing)).await.expect_err("no hello");
    let mut client = from.client(&node).await;
    let silent = timeout(PATIENCE, client.messages(tokio_stream::pending())).await;
    let refused = silent.expect("it is not waited for without end").expect_err("no hello");
    assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused}");
    drop(client);

    for number in 0..3 {
        put(&cluster.node(number), "music", "song", "still served").await;
        assert_eq!(get(&cluster.node(number), "music", "song").await.unwrap(), "still served");
    }
    cluster.wait_equal().await;
    before.comes_back(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_no_sound_node_makes_change_nothing() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let node = cluster.node(1);
    let before = Before::of(&node);
    let from = Sender::of(&cluster, 0);
    let held = statuses(&node, &from).await;
    let mut rng = Rng(9);
    let mut client = from.client(&node).await;
    for round in 0..200 {
        // Rubbish that happens to be read is one more kind of rubbish.
        let bytes = rng.bytes(round);
        if let Ok(request) = wire::ForwardRequest::decode(bytes.as_slice()) {
            let _ = client.forward(request).await;
        }
        let forward = wire::ForwardRequest {
            operation: (round % 16) as i32,
            request: bytes.into(),
            request_id: "\n\u{7f}".repeat(round % 50),
            deadline_ms: if round % 2 == 0 { u32::MAX } else { 0 },
            target: Some(wire::PartitionTarget {
                group: held[round % held.len()].group,
                generation: held[0].generation,
            }),
            page_bytes_max: u64::MAX,
        };
        client.forward(forward).await.expect("an answer of some kind");
    }
    let group = held.last().expect("a replica").group;
    let of = |group, replica_id| wire::RemoveReplicasRequest {
        replicas: vec![wire::ReplicaName { group, replica_id }],
    };
    for replica_id in [0, 1, 3, u64::MAX] {
        let remove = of(group, replica_id);
        client.remove_replicas(remove).await.expect_err("another's replica");
    }
    client.remove_replicas(of(0, 2)).await.expect_err("the catalog stays");
    let many = wire::RemoveReplicasRequest { replicas: vec![Default::default(); 257] };
    client.remove_replicas(many).await.expect_err("too many at once");
    for specs in [vec![wire::ReplicaSpec::default()], vec![Default::default(); 257]] {
        let ensure = wire::EnsureReplicasRequest { specs };
        client.ensure_replicas(ensure).await.expect_err("no replicas of anything");
    }
    let groups: Vec<u64> = (0..10_000).collect();
    let status = client.replica_status(wire::ReplicaStatusRequest { groups }).await;
    assert!(status.expect("those that are here").into_inner().groups.len() <= held.len());
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
    drop(client);
    cluster.wait_equal().await;
    before.comes_back(&node).await;
}
