use stator_consensus::Class;

use super::*;

const FOUNDERS: [&str; 3] = ["a:1", "b:1", "c:1"];

fn peers() -> Arc<Peers> {
    let own = Introduction::new(NodeId(1), 11, &FOUNDERS.map(str::to_owned));
    let runtime = tokio::runtime::Handle::current();
    let metrics = Arc::new(Metrics::new(1, 0));
    let (orders, _) = tokio::sync::mpsc::unbounded_channel();
    let room = Arc::new(Room::new(None, 0, Arc::new(crate::clock::RealClock)));
    let around = Around {
        unreachable: Box::new(|_| {}),
        snapshots: orders,
        room,
        queue_bytes_max: 1 << 20,
        metrics,
        runtime,
    };
    Peers::new(own, None, around)
}

fn from(node: u64, incarnation: u64, cluster_id: &str) -> Introduced<'_> {
    let founders = "a:1,b:1,c:1";
    Introduced { cluster_id, node: NodeId(node), incarnation, founders }
}

#[tokio::test]
async fn one_directory_speaks_for_a_node() {
    let peers = peers();
    let other = Err(Stranger::OtherDirectory(NodeId(2)));
    assert_eq!(peers.admit(&from(2, 22, "")), Ok(NodeId(2)));
    let twin = Err(Stranger::Twin(NodeId(2)));
    assert_eq!(peers.admit(&from(2, 23, "")), twin, "another directory under the same id");
    peers.expect(NodeId(2), 23);
    assert_eq!(peers.admit(&from(2, 23, "")), Ok(NodeId(2)), "the catalog knows better");
    assert_eq!(peers.admit(&from(2, 22, "")), other);
    for number in [0, 1] {
        let nobody = Err(Stranger::NotAMember(NodeId(number)));
        assert_eq!(peers.admit(&from(number, 11, "")), nobody, "none of the others");
    }
}

#[tokio::test]
async fn other_clusters_and_founders_are_told_apart() {
    let peers = peers();
    let name = |who: Introduced<'_>| peers.admit(&who).map_err(|why| why.name());
    let lists = |founders| Introduced { founders, ..from(3, 33, "") };
    for founders in ["", "b:1,a:1,c:1", "a:1,b:1", "a:1,b:1,d:1", "a:1,b:1,d:1,c:1"] {
        assert_eq!(name(lists(founders)), Err("other-founders"), "{founders}");
    }
    let why = peers.admit(&lists("b:1,a:1,c:1")).expect_err("another list").to_string();
    assert!(why.contains("[b:1,a:1,c:1]") && why.contains("[a:1,b:1,c:1]"), "{why}");
    assert_eq!(name(lists("a:1,b:1,c:1,d:1")), Ok(NodeId(3)), "of which three are remembered");
    peers.set_cluster_id("ours");
    assert_eq!(name(from(3, 33, "theirs")), Err("other-cluster"));
    assert_eq!(name(from(3, 33, "")), Ok(NodeId(3)), "it has not heard of one yet");
    assert_eq!(name(lists("b:1,a:1,c:1")), Err("other-founders"));
    let moved = Introduced { founders: "d:1", ..from(3, 33, "ours") };
    assert_eq!(name(moved), Ok(NodeId(3)), "the id says enough");
    assert_eq!(name(from(4, 44, "ours")), Err("not-a-member"));
    peers.expect(NodeId(4), 44);
    assert_eq!(name(from(4, 44, "ours")), Ok(NodeId(4)));
}

#[tokio::test]
async fn who_waited_for_an_attempt_in_vain_makes_none_of_their_own() {
    let peers = peers();
    // Nobody answers there: RFC 5737.
    peers.know(NodeId(2), "192.0.2.1:1");
    let begun = Instant::now();
    let calls = (0..8).map(|_| peers.client(NodeId(2)));
    let failed = futures::future::join_all(calls).await;
    assert!(failed.iter().all(Result::is_err));
    assert!(begun.elapsed() < 3 * CONNECT_TIMEOUT, "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_message_without_room_is_counted() {
    let peers = peers();
    peers.know(NodeId(2), "192.0.2.1:1");
    let send = |class, bytes| {
        let payload = vec![0; bytes].into();
        let (from, to) = (ReplicaId(1), ReplicaId(2));
        peers.send(NodeId(2), PeerMessage { group: GroupId(1), from, to, class, payload });
        let text = peers.metrics.encode();
        let name = "stator_peer_dropped_messages_total ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|count| count.parse::<u64>().ok())
    };
    assert_eq!(send(Class::Entries, 1), Some(0), "there is no connection: that is no want of room");
    peers.peer(NodeId(2)).expect("known").queue.open();
    assert_eq!(send(Class::Entries, 16 << 20), Some(0));
    assert_eq!(send(Class::Entries, 1), Some(1));
    assert_eq!(send(Class::Control, 1), Some(1));
}
