//! Frames of snapshots that no sound node sends: each is refused, and the node goes on.

use bytes::Bytes;
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::snapshot_frame::Frame;
use stator_server::Node;
use stator_storage::machine::{AppliedMark, GroupId};
use stator_storage::partition::{Counters, SnapshotHeader};
use tonic::Code;

use crate::cluster::{Cluster, get, put};
use crate::peers::Sender;

/// Sends frames, and gives the receipt, or why there is none.
async fn send(
    (node, from): (&Node, &Sender),
    frames: Vec<Frame>,
) -> Result<wire::SnapshotReceipt, Code> {
    let mut client = from.client(node).await;
    let frames: Vec<_> =
        frames.into_iter().map(|frame| wire::SnapshotFrame { frame: Some(frame) }).collect();
    let answer = client.send_snapshot(tokio_stream::iter(frames)).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.code())
}

fn chunk(number: u64, data: impl Into<Bytes>) -> Frame {
    let data = data.into();
    let crc32 = crc32fast::hash(&data);
    Frame::Chunk(wire::SnapshotChunk { number, data, crc32 })
}

/// A sound header for the only partition of a table, and its first frame.
async fn sound(node: &Node, from: &Sender) -> (wire::SnapshotHeader, SnapshotHeader) {
    let replicas = node.checksums().await.expect("checksums");
    let group = replicas.last().expect("a replica").group;
    let mut client = from.client(node).await;
    let asked = wire::ReplicaStatusRequest { groups: vec![group] };
    let status = client.replica_status(asked).await.expect("tells").into_inner().groups.remove(0);
    let first = SnapshotHeader {
        id: 7,
        group: GroupId(group),
        table_id: u32::try_from(group >> 32).expect("a table"),
        hash_start: 0,
        hash_end: u64::MAX,
        generation: status.generation,
        mark: AppliedMark { index: 1_000_000, term: 9, voters: vec![1, 2, 3] },
        highest_stamp: 0,
        counters: Counters::default(),
    };
    let header = wire::SnapshotHeader {
        snapshot_id: format!("{group:016x}-{:016x}", 7),
        format_version: 1,
        group,
        from_replica: status.replica_id % 3 + 1,
        to_replica: status.replica_id,
        index: 1_000_000,
        term: 9,
        generation: status.generation,
        message: Bytes::from_static(b"no message of Raft's"),
    };
    (header, first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_no_sound_node_sends_are_refused() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "value").await;
    let node = cluster.node(1);
    let from = Sender::of(&cluster, 0);
    let (header, first) = sound(&node, &from).await;
    let to = (node.as_ref(), &from);

    // What is announced.
    assert_eq!(send(to, vec![]).await, Err(Code::InvalidArgument));
    assert_eq!(send(to, vec![chunk(0, first.encode())]).await, Err(Code::InvalidArgument));
    type Change = fn(&mut wire::SnapshotHeader);
    let changes: [(Code, Change); 13] = [
        (Code::NotFound, |header| header.group = 99),
        (Code::InvalidArgument, |header| header.snapshot_id = "../../etc/passwd".into()),
        (Code::InvalidArgument, |header| header.snapshot_id = String::new()),
        (Code::InvalidArgument, |header| header.snapshot_id = format!("{:016x}-{:016x}", 99, 7)),
        (Code::InvalidArgument, |header| header.snapshot_id.make_ascii_uppercase()),
        (Code::InvalidArgument, |header| header.format_version = 2),
        (Code::InvalidArgument, |header| header.from_replica = 77),
        (Code::InvalidArgument, |header| header.from_replica = header.to_replica),
        (Code::InvalidArgument, |header| header.to_replica += 1),
        (Code::InvalidArgument, |header| header.generation += 1),
        (Code::InvalidArgument, |header| header.index = 0),
        (Code::InvalidArgument, |header| header.message = Bytes::new()),
        (Code::InvalidArgument, |header| header.message = vec![0; 1 << 20].into()),
    ];
    for (number, (code, change)) in changes.into_iter().enumerate() {
        let mut wrong = header.clone();
        change(&mut wrong);
        // An id of digits alone is the same in capitals.
        if wrong == header {
            continue;
        }
        assert_eq!(send(to, vec![Frame::Header(wrong)]).await, Err(code), "change {number}");
    }

    // What comes behind a sound announcement.
    let head = || Frame::Header(header.clone());
    let end = |chunks| Frame::End(wire::SnapshotEnd { chunks, applied_index: 1_000_000 });
    let mut other = first.clone();
    other.mark.term = 8;
    let damaged = Frame::Chunk(wire::SnapshotChunk { number: 0, data: first.encode(), crc32: 1 });
    let behind: [(Code, Vec<Frame>); 8] = [
        (Code::InvalidArgument, vec![head(), head()]),
        (Code::InvalidArgument, vec![head(), chunk(0, other.encode())]),
        (Code::InvalidArgument, vec![head(), chunk(0, b"nothing".as_slice())]),
        (Code::DataLoss, vec![head(), damaged]),
        (Code::InvalidArgument, vec![head(), chunk(1, first.encode())]),
        (Code::InvalidArgument, vec![head(), chunk(0, first.encode()), chunk(1, first.encode())]),
        (Code::InvalidArgument, vec![head(), chunk(0, first.encode()), end(7)]),
        (Code::InvalidArgument, vec![head(), end(0)]),
    ];
    for (number, (code, frames)) in behind.into_iter().enumerate() {
        assert_eq!(send(to, frames).await, Err(code), "frames {number}");
    }
    let long = chunk(0, vec![0; 3 << 20]);
    assert_eq!(send(to, vec![head(), long]).await, Err(Code::InvalidArgument));

    // A header alone asks how far it has come; what came is kept between streams.
    let receipt = send(to, vec![head()]).await.expect("a receipt");
    assert_eq!((receipt.next_chunk, receipt.complete), (1, false));

    // A whole snapshot that Raft never announced stays a file.
    let receipt = send(to, vec![head(), end(1)]).await.expect("a receipt");
    assert!(receipt.complete);
    put(&cluster.node(0), "music", "song", "another").await;
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("another"));
    cluster.wait_equal().await;
}
