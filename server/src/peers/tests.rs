use futures::FutureExt as _;
use stator_consensus::Class;
use stator_proto::metadata::{PEER_INCARNATION, PEER_NODE, PEER_TO, PEER_TO_INCARNATION};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::codegen::http::{HeaderValue, Response};

use super::*;

const FOUNDERS: [&str; 3] = ["a:1", "b:1", "c:1"];

const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes that were reported to the hosts.
type Reported = Arc<Mutex<Vec<NodeId>>>;

fn peers() -> Arc<Peers> {
    reporting().0
}

fn reporting() -> (Arc<Peers>, Reported) {
    let reported = Reported::default();
    let told = reported.clone();
    let own = Introduction::new(NodeId(1), 11, &FOUNDERS.map(str::to_owned));
    let runtime = tokio::runtime::Handle::current();
    let metrics = Arc::new(Metrics::new(1, 0));
    let (orders, _) = tokio::sync::mpsc::unbounded_channel();
    let room = Arc::new(Room::new(None, 0, Arc::new(crate::clock::RealClock)));
    let around = Around {
        unreachable: Box::new(move |node| told.lock().expect("no panic").push(node)),
        snapshots: orders,
        room,
        queue_bytes_max: 1 << 20,
        metrics,
        runtime,
        fatal: Arc::new(|why| panic!("{why}")),
    };
    (Peers::new(own, None, around), reported)
}

fn from(node: u64, incarnation: u64, cluster_id: &str) -> Introduced<'_> {
    let founders = "a:1,b:1,c:1";
    Introduced { cluster_id, node: NodeId(node), incarnation, founders, to: None }
}

#[tokio::test]
async fn one_directory_speaks_for_a_node() {
    let peers = peers();
    let other = Err(Stranger::OtherDirectory(NodeId(2)));
    assert_eq!(peers.admit(&from(2, 21, "")), Ok(NodeId(2)));
    assert_eq!(peers.admit(&from(2, 22, "")), Ok(NodeId(2)), "nothing has begun");
    assert_eq!(peers.incarnation(NodeId(2)), Some(22), "whose streams are heard");
    peers.settle();
    let twin = Err(Stranger::Twin(NodeId(2)));
    assert_eq!(peers.admit(&from(2, 23, "")), twin, "another directory under the same id");
    assert_eq!(peers.incarnation(NodeId(2)), Some(22));
    peers.expect(NodeId(2), 23);
    assert_eq!(peers.admit(&from(2, 23, "")), Ok(NodeId(2)), "the catalog knows better");
    assert_eq!(peers.admit(&from(2, 22, "")), other);
    assert_eq!(peers.incarnation(NodeId(2)), Some(23));
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
async fn what_is_for_another_is_refused_and_nobody_is_believed_by_it() {
    let peers = peers();
    let to = |node, directory| {
        let to = Some((NodeId(node), directory));
        peers.admit(&Introduced { to, ..from(2, 21, "") })
    };
    let other =
        |meant| Err::<NodeId, _>(Stranger::OtherNode { meant: NodeId(meant), own: NodeId(1) });
    assert_eq!([to(3, None), to(3, Some(11))], [other(3), other(3)]);
    assert_eq!(to(1, Some(12)), other(1), "this node's number, and another directory");
    assert_eq!(peers.incarnation(NodeId(2)), None);
    assert_eq!([to(1, None), to(1, Some(11))], [Ok(NodeId(2)), Ok(NodeId(2))]);
    let words = |meant| other(meant).expect_err("refused").to_string();
    assert_eq!(words(3), "the call is for node 3, and this is node 1");
    assert_eq!(words(1), "the call is for another data directory of node 1 than this one");
    // Who is of another cluster hears of that first: whom it means says nothing here.
    peers.set_cluster_id("ours");
    let theirs = Introduced { to: Some((NodeId(3), None)), ..from(2, 21, "theirs") };
    assert_eq!(peers.admit(&theirs).expect_err("a stranger").name(), "other-cluster");
}

#[tokio::test]
async fn all_who_wait_share_an_attempt_and_the_next_begins_another() {
    let peers = peers();
    peers.know(NodeId(2), &nobody().await);
    let way = || peers.way(NodeId(2)).expect("known");
    let first = way();
    assert!(way().now_or_never().is_none(), "it has no time to wait");
    assert!(way().ptr_eq(&first), "the attempt goes on");
    let waiting: Vec<_> = (0..8).map(|_| way()).collect();
    let failed = futures::future::join_all(waiting).await;
    assert!(failed.iter().all(Result::is_err));
    assert!(!way().ptr_eq(&first));
}

#[tokio::test]
async fn an_attempt_that_nobody_waits_for_comes_to_its_end() {
    let peers = peers();
    peers.know(NodeId(2), &nobody().await);
    let first = peers.way(NodeId(2)).expect("known");
    until(|| matches!(first.peek(), Some(Err(_)))).await;
    assert!(!peers.way(NodeId(2)).expect("known").ptr_eq(&first), "what failed then says nothing");
}

#[tokio::test]
async fn a_connection_that_failed_does_not_take_a_newer_one_with_it() {
    let peers = peers();
    let node = NodeId(2);
    let way = || peers.way(node).expect("known");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    peers.know(node, &address);
    let first = way();
    assert!(way().await.is_ok() && way().ptr_eq(&first), "it serves all calls");
    peers.disconnect(node, &first);
    let second = way();
    assert!(!second.ptr_eq(&first));
    // Another call on the first one finds out only now, while the second is being made.
    peers.disconnect(node, &first);
    assert!(way().ptr_eq(&second));
    peers.know(node, "192.0.2.1:1");
    assert!(!way().ptr_eq(&second), "it leads elsewhere");
}

#[tokio::test]
async fn a_message_without_room_is_counted_and_refused() {
    let (peers, reported) = reporting();
    peers.know(NodeId(2), "192.0.2.1:1");
    let send = |class, bytes| {
        let payload = vec![0; bytes].into();
        let (from, to) = (ReplicaId(1), ReplicaId(2));
        let message = PeerMessage { group: GroupId(1), from, to, class, payload };
        let is_taken = peers.send(NodeId(2), message);
        let text = peers.metrics.encode();
        let name = "stator_peer_dropped_messages_total ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        (is_taken, line.and_then(|count| count.parse::<u64>().ok()))
    };
    let no_way = "there is no connection: that is no want of room";
    assert_eq!(send(Class::Entries, 1), (false, Some(0)), "{no_way}");
    peers.peer(NodeId(2)).expect("known").queue.open();
    assert_eq!(send(Class::Entries, 16 << 20), (true, Some(0)), "it waits");
    assert_eq!(send(Class::Entries, 1), (false, Some(1)));
    assert_eq!(send(Class::Control, 1), (true, Some(1)));
    assert_eq!(*reported.lock().expect("no panic"), [], "the way stands: other groups are well");
}

fn message(node: u64) -> PeerMessage {
    let (from, to) = (ReplicaId(1), ReplicaId(node));
    PeerMessage { group: GroupId(1), from, to, class: Class::Control, payload: "x".into() }
}

#[tokio::test]
async fn a_message_to_a_node_that_nobody_knows_is_refused() {
    assert!(!peers().send(NodeId(7), message(7)));
}

/// Takes one stream of messages as this node, and lets it go when it is told to. What else comes is not answered. Answers whom the
/// stream was for.
async fn one_stream(
    node: u64,
    listener: TcpListener,
    end: oneshot::Receiver<()>,
) -> [Option<String>; 2] {
    let (stream, _) = listener.accept().await.expect("a connection");
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    let (call, mut respond) = connection.accept().await.expect("a call").expect("sound");
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.header(PEER_NODE, node).header(PEER_INCARNATION, "15").body(());
    let _answer = respond.send_response(head.expect("a head"), false).expect("sent");
    tokio::select! {
        // It has to be driven for anything to go out.
        _ = connection.accept() => {}
        _ = end => {}
    }
    let text = |value: &HeaderValue| value.to_str().expect("a text").to_owned();
    [PEER_TO, PEER_TO_INCARNATION].map(|name| call.headers().get(name).map(text))
}

/// An address where nobody is.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Waits until something is so.
async fn until(condition: impl Fn() -> bool) {
    let is_so = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_so).await.expect("in time");
}

#[tokio::test]
async fn only_the_node_itself_is_met_at_its_address() {
    let peers = peers();
    let node = NodeId(2);
    let taken = |from: Option<(u64, u64)>| {
        let from = from.map(|(other, incarnation)| (NodeId(other), incarnation));
        let is_there = peers.note_taken(node, "b:1", from);
        let met = peers.has_met(node);
        assert_eq!(met, peers.amiss().is_empty(), "the node, or somebody else");
        peers.note_left(node);
        (is_there, met)
    };
    assert_eq!(taken(Some((3, 33))), (false, false));
    assert_eq!(peers.amiss(), ["the address b:1 of node 2 leads to node 3"]);
    assert_eq!([2, 3].map(|node| peers.incarnation(NodeId(node))), [None, None]);
    assert_eq!(taken(None), (true, false), "it does not say");
    assert_eq!(peers.incarnation(node), None);
    assert_eq!(taken(Some((2, 20))), (true, true));
    assert_eq!(taken(Some((2, 21))), (true, true), "nothing has begun");
    assert_eq!(peers.incarnation(node), Some(21));
    peers.settle();
    assert_eq!(taken(Some((2, 22))), (false, false), "its twin");
    assert_eq!(taken(Some((2, 21))), (true, true));
    peers.expect(node, 23);
    assert_eq!(taken(Some((2, 21))), (false, false), "the catalog knows better");
    assert!(peers.amiss()[0].contains("another data directory"), "{:?}", peers.amiss());
    assert_eq!(taken(Some((2, 23))), (true, true));
}

#[tokio::test]
async fn what_was_amiss_at_an_address_is_not_said_of_one_where_nobody_is() {
    let peers = peers();
    let node = NodeId(2);
    let misled = || peers.note_taken(node, "b:1", Some((NodeId(3), 33)));
    assert!(!misled());
    let refused = |word: Option<&str>| {
        let refusal = word.map(str::to_owned);
        let failed = Failed { refusal, message: "so it is".into(), ..Failed::silence() };
        peers.note_failed(node, &failed)
    };
    let elsewhere = "the address of node 2 leads elsewhere: so it is";
    assert_eq!(refused(Some(OTHER_NODE)), elsewhere);
    assert_eq!(peers.amiss(), [elsewhere]);
    assert!(!peers.is_disowned(), "that is nothing of this node");
    assert_eq!(refused(Some(OTHER_DIRECTORY)), "node 2 refuses this one: so it is");
    assert_eq!(peers.amiss(), ["node 2 refuses this one: so it is"], "what was last");
    assert!(peers.is_disowned());
    assert_eq!(refused(None), "so it is");
    assert_eq!(peers.amiss(), [""; 0], "nobody said anything");

    assert!(!misled());
    peers.know(node, &nobody().await);
    until(|| peers.amiss().is_empty()).await;
}

#[tokio::test]
async fn a_stream_that_another_node_has_taken_is_none() {
    let peers = peers();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    peers.expect(NodeId(2), 0x2a);
    peers.know(NodeId(2), &listener.local_addr().expect("an address").to_string());
    let (_end, ended) = oneshot::channel();
    let other = tokio::spawn(one_stream(3, listener, ended));
    let meant = other.await.expect("the stream is given up");
    assert_eq!(meant, [Some("2".to_owned()), Some("2a".to_owned())], "it says whom it is for");
    assert!(!peers.has_met(NodeId(2)));
    assert!(!peers.send(NodeId(2), message(2)), "what is for one goes to no other");
}

#[tokio::test]
async fn a_stream_that_breaks_is_reported() {
    let (peers, reported) = reporting();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    peers.know(NodeId(2), &listener.local_addr().expect("an address").to_string());
    let (end, ended) = oneshot::channel();
    let other = tokio::spawn(one_stream(2, listener, ended));
    until(|| peers.has_met(NodeId(2))).await;
    assert_eq!(peers.incarnation(NodeId(2)), Some(0x15), "who was met is known");
    assert!(peers.send(NodeId(2), message(2)), "there is room, and a way");
    assert_eq!(*reported.lock().expect("no panic"), []);
    end.send(()).expect("it waits");
    let meant = other.await.expect("no panic");
    assert_eq!(meant, [Some("2".to_owned()), None], "its directory nobody has told of");
    // What was on its way may be lost (R9).
    until(|| reported.lock().expect("no panic").contains(&NodeId(2))).await;
}
