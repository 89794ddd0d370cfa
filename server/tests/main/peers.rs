//! Calls between nodes: who makes them, and what a node does with those that no sound node of its cluster makes.

use std::time::Duration;

use bytes::Bytes;
use stator_model::api::{
    BatchWriteItem, CreateTable, GetItem, PutItem, Query, Scan, Segment, WriteRequest,
};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item, Request};
use stator_proto::metadata::{
    PEER_CLUSTER, PEER_FOUNDERS, PEER_INCARNATION, PEER_NODE, PEER_REFUSED, PEER_TO,
    PEER_TO_INCARNATION,
};
use stator_proto::operation::encode_request;
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::forward_response::Result as Forwarded;
use stator_proto::peer::v1::peer_client::PeerClient;
use stator_proto::peer::v1::peer_frame::Frame;
use stator_server::Node;
use stator_server::config::NodeConfig;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::cluster::{Cluster, PATIENCE, get, put};
use crate::silence::leader;

/// What a call says of its sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    said: Vec<(&'static str, String)>,
}

impl Sender {
    /// One that says what this node of the cluster does.
    pub(crate) fn of(cluster: &Cluster, number: usize) -> Self {
        let config = cluster.config(number);
        let record = std::fs::read_to_string(config.data_dir.join("node.toml")).expect("a record");
        let value = |name: &str| {
            let line = record.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            line.expect("it is there").trim_matches('"').trim_start_matches("0x").to_owned()
        };
        let said = [
            (PEER_CLUSTER, value("cluster_id")),
            (PEER_NODE, value("node_id")),
            (PEER_INCARNATION, value("incarnation")),
            (PEER_FOUNDERS, config.initial_nodes.join(",")),
        ];
        Self { said: said.into() }
    }

    /// The first frame of its stream of messages.
    pub(crate) fn hello(&self) -> wire::Hello {
        let text = |name| {
            let said = self.said.iter().find(|(said, _)| *said == name);
            said.map(|(_, value)| value.clone()).expect("it says so")
        };
        wire::Hello {
            format_version: 1,
            cluster_id: text(PEER_CLUSTER),
            node_id: text(PEER_NODE).parse().expect("a number"),
            incarnation: u64::from_str_radix(&text(PEER_INCARNATION), 16).expect("a number"),
            founders: text(PEER_FOUNDERS),
        }
    }

    /// The same, but for this.
    fn saying(mut self, name: &'static str, value: &str) -> Self {
        self.said.retain(|(said, _)| *said != name);
        self.said.push((name, value.to_owned()));
        self
    }

    /// A client of a node's peer door.
    pub(crate) async fn client(
        &self,
        node: &Node,
    ) -> PeerClient<InterceptedService<Channel, Self>> {
        let address = format!("http://{}", node.listening().expect("it listens"));
        let channel = Channel::from_shared(address).expect("an address").connect().await;
        PeerClient::with_interceptor(channel.expect("connects"), self.clone())
    }
}

impl Interceptor for Sender {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        for (name, value) in &self.said {
            let value: MetadataValue<Ascii> = value.parse().expect("plain text");
            request.metadata_mut().insert(*name, value);
        }
        Ok(request)
    }
}

fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    let Err(status) = answer else { panic!("it was believed") };
    let name = status.metadata().get(PEER_REFUSED).expect("a word for it");
    (status.code(), name.to_str().expect("a text").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_strangers_are_refused_with_a_word() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let node = cluster.node(1);
    let sound = Sender::of(&cluster, 0);
    let strangers = [
        (Sender::default(), Code::Unauthenticated, "nameless"),
        (sound.clone().saying(PEER_CLUSTER, "another"), Code::FailedPrecondition, "other-cluster"),
        (sound.clone().saying(PEER_NODE, "2"), Code::PermissionDenied, "not-a-member"),
        (sound.clone().saying(PEER_NODE, "0"), Code::PermissionDenied, "not-a-member"),
        (sound.clone().saying(PEER_NODE, "77"), Code::PermissionDenied, "not-a-member"),
        (sound.clone().saying(PEER_INCARNATION, "1"), Code::FailedPrecondition, "other-directory"),
        (
            sound.clone().saying(PEER_CLUSTER, "").saying(PEER_FOUNDERS, "a:1,b:1,c:1"),
            Code::FailedPrecondition,
            "other-founders",
        ),
        // No stranger, but it means another: the one that had this one's address before, or its data directory.
        (sound.clone().saying(PEER_TO, "3"), Code::FailedPrecondition, "other-node"),
        (
            sound.clone().saying(PEER_TO, "2").saying(PEER_TO_INCARNATION, "1"),
            Code::FailedPrecondition,
            "other-node",
        ),
    ];
    let group = node.checksums().await.expect("checksums").last().expect("a replica").group;
    // Until the catalog has told of the first node, another one under its number is its twin.
    let mut twin = sound.clone().saying(PEER_INCARNATION, "1").client(&node).await;
    let deadline = Instant::now() + PATIENCE;
    while refusal(twin.forward(wire::ForwardRequest::default()).await).1 == "twin" {
        assert!(Instant::now() < deadline, "the catalog is not heard");
        sleep(Duration::from_millis(20)).await;
    }
    for (stranger, code, name) in strangers {
        let mut client = stranger.client(&node).await;
        let word = (code, name.to_owned());
        assert_eq!(refusal(client.forward(wire::ForwardRequest::default()).await), word);
        let ensure = wire::EnsureReplicasRequest::default();
        assert_eq!(refusal(client.ensure_replicas(ensure).await), word);
        let replicas = vec![wire::ReplicaName { group, replica_id: 2 }];
        let remove = wire::RemoveReplicasRequest { replicas };
        assert_eq!(refusal(client.remove_replicas(remove).await), word);
        let status = wire::ReplicaStatusRequest::default();
        assert_eq!(refusal(client.replica_status(status).await), word);
        assert_eq!(refusal(client.send_snapshot(tokio_stream::empty()).await), word);
        assert_eq!(refusal(client.messages(tokio_stream::empty()).await), word);
    }
    let mut client = sound.saying(PEER_TO, "2").client(&node).await;
    let status = client.replica_status(wire::ReplicaStatusRequest::default()).await;
    assert_eq!(status.expect("a member is believed").into_inner().groups.len(), 2);
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"));
}

/// A stream of messages that a node has taken.
async fn stream(
    node: &Node,
    from: &Sender,
) -> (mpsc::Sender<wire::PeerFrame>, Streaming<wire::PeerFrame>) {
    let (frames, outgoing) = mpsc::channel(4);
    let hello = wire::PeerFrame { frame: Some(Frame::Hello(from.hello())) };
    frames.send(hello).await.expect("there is room");
    let answer = from.client(node).await.messages(ReceiverStream::new(outgoing)).await;
    (frames, answer.expect("it is taken").into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_another_has_taken_the_place_of_is_heard_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let any = NodeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        ..NodeConfig::default()
    };
    let bound = stator_server::Sockets::bind(&any).await.expect("a port");
    // The other two never come, so this one has not begun: whoever comes last is believed.
    let own = bound.address().expect("an address").to_string();
    let list = [own, "127.0.0.1:1".into(), "127.0.0.1:2".into()];
    let node = founder(directory.path(), bound, &list).await;
    let second = |incarnation: &str| {
        let sender = Sender::default().saying(PEER_CLUSTER, "").saying(PEER_NODE, "2");
        sender.saying(PEER_INCARNATION, incarnation).saying(PEER_FOUNDERS, &list.join(","))
    };
    let nothing = || wire::PeerFrame { frame: Some(Frame::Batch(wire::MessageBatch::default())) };
    let (frames, mut former) = stream(&node, &second("21")).await;
    frames.send(nothing()).await.expect("it stands");
    let _latter = stream(&node, &second("22")).await;
    frames.send(nothing()).await.expect("it stands until it is looked at");
    let end =
        timeout(PATIENCE, former.message()).await.expect("what the former sends is not taken");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    tokio::task::spawn_blocking(move || drop(node)).await.expect("dropped");
}

/// What a node answers to a request that was sent on to it.
async fn forwarded(
    node: &Node,
    from: &Sender,
    group: u64,
    operation: wire::Operation,
    request: Bytes,
) -> Forwarded {
    let message = wire::ForwardRequest {
        operation: operation.into(),
        request,
        request_id: "hostile".into(),
        deadline_ms: 5000,
        target: Some(wire::PartitionTarget { group, generation: 1 }),
        page_bytes_max: 0,
    };
    let answer = from.client(node).await.forward(message).await.expect("an answer");
    answer.into_inner().result.expect("a result")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_sends_on_is_judged_as_what_a_client_sends() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    let node = cluster.node(1);
    let from = Sender::of(&cluster, 0);
    let group = node.checksums().await.expect("checksums").last().expect("a replica").group;
    let key = Item::from([("id".to_owned(), AttributeValue::from("song"))]);
    let get = GetItem { table_name: "music".into(), key, ..GetItem::default() };
    let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    let of_id = Query {
        table_name: "music".into(),
        key_condition_expression: "id = :id".into(),
        expression_attribute_values: [(":id".to_owned(), "song".into())].into(),
        ..Query::default()
    };
    let scan = Scan { table_name: "music".into(), ..Scan::default() };
    let bad: [(Request, &str); 5] = [
        (GetItem { table_name: "m".into(), ..get.clone() }.into(), "ValidationException"),
        (Query { limit: Some(0), ..of_id }.into(), "ValidationException"),
        (Scan { limit: Some(0), ..scan.clone() }.into(), "ValidationException"),
        (
            Scan { segment: Some(Segment { segment: Some(7), total_segments: Some(2) }), ..scan }
                .into(),
            "ValidationException",
        ),
        (
            CreateTable {
                table_name: "films".into(),
                key_schema: KeySchema { partition: id, sort: None },
                partitions: None,
                deletion_protection: false,
            }
            .into(),
            "UnknownOperationException",
        ),
    ];
    for (request, exception) in bad {
        let as_client = node.call(request.clone(), "test".into(), None).await;
        let (operation, bytes) = encode_request(request).expect("encoded");
        match forwarded(&node, &from, group, operation, bytes).await {
            Forwarded::Error(detail) => {
                assert_eq!(detail.exception, exception);
                if exception == "ValidationException" {
                    let told = as_client.expect_err("refused, too");
                    assert_eq!(detail.message, told.message(), "the same words as to a client");
                }
            }
            other => panic!("answered {other:?}"),
        }
    }
    let (operation, bytes) = encode_request(get.into()).expect("encoded");
    let cut = bytes.slice(..bytes.len() - 1);
    let error = forwarded(&node, &from, group, operation, cut).await;
    assert!(matches!(error, Forwarded::Error(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_sends_on_goes_no_further() {
    let cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let node = cluster.node(0);
    let group = node.checksums().await.expect("checksums").last().expect("a replica").group;
    let key = Item::from([("id".to_owned(), AttributeValue::from("song"))]);
    let mut item = key.clone();
    item.insert("value".into(), "from afar".into());
    let item = EncodedItem::encode(&item);
    let put = PutItem { table_name: "music".into(), item: item.clone(), ..PutItem::default() };
    let read = |consistent_read| GetItem {
        table_name: "music".into(),
        key: key.clone(),
        consistent_read,
        ..GetItem::default()
    };
    let batch = [("music".to_owned(), vec![WriteRequest::Put(item)])];
    let scan = Scan { table_name: "music".into(), consistent_read: true, ..Scan::default() };
    let requests: [Request; 4] = [
        read(true).into(),
        put.into(),
        BatchWriteItem { request_items: batch.into() }.into(),
        scan.into(),
    ];
    let leader = leader(&cluster).await;
    for number in (0..3).filter(|number| *number != leader) {
        let (node, from) = (cluster.node(number), Sender::of(&cluster, leader));
        for request in requests.clone() {
            let (operation, bytes) = encode_request(request).expect("encoded");
            // Who leads is named; to go there is the sender's.
            match forwarded(&node, &from, group, operation, bytes).await {
                Forwarded::NotHere(told) => {
                    let leads = Some(cluster.node(leader).id());
                    assert_eq!((told.leader_node_id, told.stale_route), (leads, false));
                }
                other => panic!("{operation:?} was answered {other:?}"),
            }
        }
        // What any replica may answer is answered.
        let (operation, bytes) = encode_request(read(false).into()).expect("encoded");
        let answer = forwarded(&node, &from, group, operation, bytes.clone()).await;
        assert!(matches!(answer, Forwarded::Answer(_)), "{answer:?}");
        // And a partition that is not here is looked up anew.
        let answer = forwarded(&node, &from, group + 1, operation, bytes).await;
        assert!(matches!(&answer, Forwarded::NotHere(told) if told.stale_route), "{answer:?}");
    }
    assert_eq!(get(&node, "music", "song").await.as_deref(), Some("kept"), "nothing was written");
}

/// Starts a founder with a list of its own.
async fn founder(
    directory: &std::path::Path,
    sockets: stator_server::Sockets,
    list: &[String],
) -> Node {
    let address = sockets.address().expect("an address");
    let mut config = NodeConfig {
        data_dir: directory.join(address.port().to_string()),
        listen: address,
        admin_listen: None,
        initial_nodes: list.to_vec(),
        min_free: stator_server::config::ByteSize::mib(1),
        memory: stator_server::config::ByteSize::mib(128),
        ..NodeConfig::default()
    };
    config.timing.tick = Duration::from_millis(20);
    Node::serve(config, sockets).await.expect("starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_with_different_lists_name_both() {
    let directory = tempfile::tempdir().expect("a directory");
    let any = NodeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        ..NodeConfig::default()
    };
    let (mut sockets, mut list) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let bound = stator_server::Sockets::bind(&any).await.expect("a port");
        list.push(bound.address().expect("an address").to_string());
        sockets.push(bound);
    }
    // The last two are exchanged, so that two of the nodes take themselves for the second.
    let other = [list[0].clone(), list[2].clone(), list[1].clone()];
    let mut nodes = Vec::new();
    for (bound, list) in sockets.into_iter().zip([&list[..], &list[..], &other[..]]) {
        nodes.push(founder(directory.path(), bound, list).await);
    }
    let names_both = |reasons: &[String]| {
        reasons.iter().any(|why| {
            why.contains(&format!("[{}]", list.join(",")))
                && why.contains(&format!("[{}]", other.join(",")))
        })
    };
    let deadline = Instant::now() + PATIENCE;
    while !names_both(&nodes[2].unready()) {
        assert!(Instant::now() < deadline, "it does not say why: {:?}", nodes[2].unready());
        sleep(Duration::from_millis(20)).await;
    }
    // The two that agree do not begin without it.
    for node in &nodes[..2] {
        let reasons = node.unready();
        assert!(
            reasons.iter().any(|why| why.contains("once its founders have met")),
            "{reasons:?}"
        );
    }
    tokio::task::spawn_blocking(move || drop(nodes)).await.expect("dropped");
}
