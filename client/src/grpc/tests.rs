//! The transport against real servers of the generated service, with scripted answers.

mod fake;

use std::time::Instant as StdInstant;

use stator_model::api::*;
use stator_model::key::{HASH_NAME, hash64, partition_prefix};
use stator_model::{AttributeValue, EncodedItem, Item};
use stator_proto::metadata::{DETAIL_BYTES_MAX, EXCEPTION, REQUEST_ID};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tonic::Status;

use self::fake::{Fake, Reply, answers, table};
use super::*;
use crate::Client;

fn transport(endpoints: &[&str]) -> GrpcTransport {
    GrpcTransport::builder().endpoints(endpoints.iter().copied()).build().unwrap()
}

fn options(timeout: Duration) -> CallOptions {
    CallOptions { deadline: StdInstant::now() + timeout, request_id: "the-id".into() }
}

async fn call(transport: &GrpcTransport, request: impl Into<Request>) -> Result<Answer> {
    transport.call(request.into(), options(Duration::from_secs(5))).await
}

fn key(name: &str) -> Item {
    Item::from([("p".to_owned(), AttributeValue::from(name))])
}

fn put(name: &str) -> PutItem {
    let item = EncodedItem::encode(&key(name));
    PutItem { table_name: "t".to_owned(), item, ..PutItem::default() }
}

fn get(name: &str, consistent_read: bool) -> GetItem {
    let key = key(name);
    GetItem { table_name: "t".to_owned(), key, consistent_read, ..GetItem::default() }
}

/// The endpoint of a node that is not there.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A node that takes a connection, reads what comes first, and breaks it off.
async fn breaker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    endpoint
}

const MIDDLE: u64 = 1 << 63;

fn is_low(name: &str) -> bool {
    let schema = table().key_schema;
    hash64(&partition_prefix(&schema, &AttributeValue::from(name)).unwrap()) < MIDDLE
}

/// A key of the lower, and one of the upper half of the hash space.
fn low_and_high() -> (String, String) {
    let names = || (0..).map(|i| format!("key {i}"));
    (names().find(|name| is_low(name)).unwrap(), names().find(|name| !is_low(name)).unwrap())
}

/// Routes over two nodes: the lower half led by `low`, the upper by `high`, both with both replicas.
fn routes(low: &str, high: &str, generation: u64) -> v1::DescribeRoutesResponse {
    let node = |node_id, endpoint: &str| {
        let endpoint = endpoint.to_owned();
        v1::NodeEndpoint { node_id, endpoint, zone: String::new() }
    };
    let partition = |group, first_hash, last_hash, leader| v1::PartitionRoute {
        group,
        first_hash,
        last_hash,
        leader_node_id: Some(leader),
        replica_node_ids: vec![1, 2],
    };
    v1::DescribeRoutesResponse {
        table_id: 7,
        key_schema: Some(table().key_schema.into()),
        hash_name: HASH_NAME.to_owned(),
        generation,
        nodes: vec![node(1, low), node(2, high)],
        partitions: vec![partition(1, 0, MIDDLE - 1, 1), partition(2, MIDDLE, u64::MAX, 2)],
    }
}

/// Two nodes that know these routes, and a transport that does too.
async fn two_nodes() -> (Arc<Fake>, Arc<Fake>, GrpcTransport) {
    let (one, two) = (Fake::start().await, Fake::start().await);
    for node in [&one, &two] {
        node.set_routes(routes(&one.endpoint, &two.endpoint, 1));
    }
    let transport = transport(&[&one.endpoint, &two.endpoint]);
    transport.load_routes("t").await.unwrap();
    (one, two, transport)
}

/// Waits for what happens in the background.
async fn until(what: impl Fn() -> bool) {
    let all = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all).await.expect("it never happens");
}

#[tokio::test]
async fn every_operation_gets_through() {
    let node = Fake::start().await;
    let transport = transport(&[&node.endpoint]);
    let table_name = "t".to_owned();
    let requests: [Request; 13] = [
        CreateTable {
            table_name: table_name.clone(),
            key_schema: table().key_schema,
            partitions: None,
            deletion_protection: false,
        }
        .into(),
        DescribeTable { table_name: table_name.clone() }.into(),
        ListTables::default().into(),
        UpdateTable { table_name: table_name.clone(), deletion_protection: None }.into(),
        DeleteTable { table_name }.into(),
        put("a").into(),
        get("a", true).into(),
        UpdateItem::default().into(),
        DeleteItem::default().into(),
        Query::default().into(),
        Scan::default().into(),
        BatchGetItem::default().into(),
        BatchWriteItem::default().into(),
    ];
    for (request, answer) in requests.into_iter().zip(answers()) {
        assert_eq!(call(&transport, request.clone()).await.unwrap(), answer);
        let (got, metadata) = node.take_calls().pop().unwrap();
        assert_eq!(got, request);
        assert_eq!(metadata.get(REQUEST_ID).unwrap(), "the-id");
        assert!(metadata.contains_key(DETAIL_BYTES_MAX) && metadata.contains_key("grpc-timeout"));
    }
    assert_eq!(transport.describe_cluster().await.unwrap().cluster_id, "c");
}

#[tokio::test]
async fn errors_come_back_whole_even_with_the_largest_item() {
    let node = Fake::start().await;
    let transport = transport(&[&node.endpoint]);
    let text = AttributeValue::from("x".repeat(400 * 1024));
    let item = EncodedItem::encode(&Item::from([("text".to_owned(), text)]));
    let error = Error::conditional_check_failed(Some(item.clone()));
    node.then(Reply::Refuse(error.clone(), None));
    let received = call(&transport, put("a")).await.unwrap_err();
    assert_eq!(received, error);
    assert_eq!(received.item(), Some(&item));
    // The connection has taken no harm.
    call(&transport, put("a")).await.unwrap();
}

#[tokio::test]
async fn a_request_that_never_left_goes_to_another_node() {
    let node = Fake::start().await;
    let dead = nobody().await;
    let transport = transport(&[&dead, &node.endpoint]);
    for _ in 0..4 {
        call(&transport, put("a")).await.unwrap();
    }
    assert_eq!(node.take_calls().len(), 4);
}

#[tokio::test]
async fn without_any_node_nothing_was_applied() {
    let (one, two) = (nobody().await, nobody().await);
    let error = call(&transport(&[&one, &two]), put("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.applied(), Applied::No);
    assert!(error.message().contains(&one) && error.message().contains(&two), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_makes_a_write_uncertain() {
    let node = Fake::start().await;
    let broken = breaker().await;
    let transport = transport(&[&broken, &node.endpoint]);
    let error = call(&transport, put("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
    assert_eq!(node.take_calls().len(), 0, "it must not be sent again");
}

#[tokio::test]
async fn a_connection_that_breaks_sends_a_read_to_another_node() {
    let node = Fake::start().await;
    let broken = breaker().await;
    let client = Client::new(transport(&[&broken, &node.endpoint]));
    client.get_item().table_name("t").key("p", "a").send().await.unwrap();
    assert_eq!(node.take_calls().len(), 1);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let node = Fake::start().await;
    let transport = transport(&[&node.endpoint]);
    for (request, kind, applied) in [
        (Request::from(put("a")), ErrorKind::Uncertain, Applied::Unknown),
        (get("a", true).into(), ErrorKind::DeadlineExceeded, Applied::No),
    ] {
        node.then(Reply::Silence);
        let begun = StdInstant::now();
        let error = transport.call(request, options(Duration::from_millis(60))).await.unwrap_err();
        assert_eq!((error.kind(), error.applied()), (kind, applied));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn statuses_of_others_are_no_promise() {
    let node = Fake::start().await;
    let transport = transport(&[&node.endpoint]);
    node.then(Reply::Status(Status::unavailable("a proxy")));
    assert_eq!(call(&transport, put("a")).await.unwrap_err().kind(), ErrorKind::Uncertain);
    node.then(Reply::Status(Status::unavailable("a proxy")));
    let error = call(&transport, get("a", true)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Elsewhere));
    let mut named = Status::unavailable("a proxy");
    named.metadata_mut().insert(EXCEPTION, "ThrottlingException".parse().unwrap());
    node.then(Reply::Status(named));
    assert_eq!(call(&transport, put("a")).await.unwrap_err().kind(), ErrorKind::Uncertain);
}

#[tokio::test]
async fn requests_go_straight_to_the_leader() {
    let (one, two, transport) = two_nodes().await;
    let mut by_node = [0, 0];
    for i in 0..40 {
        let name = format!("item {i}");
        let query = Query {
            table_name: "t".to_owned(),
            key_condition_expression: "p = :p".to_owned(),
            expression_attribute_values: [(":p".to_owned(), name.as_str().into())].into(),
            consistent_read: true,
            ..Query::default()
        };
        let update =
            UpdateItem { table_name: "t".to_owned(), key: key(&name), ..UpdateItem::default() };
        let delete =
            DeleteItem { table_name: "t".to_owned(), key: key(&name), ..DeleteItem::default() };
        let scan = Scan {
            table_name: "t".to_owned(),
            exclusive_start_key: Some(key(&name)),
            consistent_read: true,
            ..Scan::default()
        };
        let requests: [Request; 6] = [
            put(&name).into(),
            get(&name, true).into(),
            update.into(),
            delete.into(),
            query.into(),
            scan.into(),
        ];
        for request in requests {
            call(&transport, request).await.unwrap();
        }
        let low = usize::from(is_low(&name));
        assert_eq!(one.take_calls().len(), 6 * low, "{name}");
        assert_eq!(two.take_calls().len(), 6 * (1 - low), "{name}");
        by_node[low] += 1;
    }
    assert!(by_node.iter().all(|&count| count > 5), "the keys do not spread: {by_node:?}");
}

#[tokio::test]
async fn reads_that_may_be_stale_spread_over_the_replicas() {
    let (one, two, transport) = two_nodes().await;
    for _ in 0..10 {
        call(&transport, get("a", false)).await.unwrap();
    }
    assert_eq!((one.take_calls().len(), two.take_calls().len()), (5, 5));
}

#[tokio::test]
async fn batches_go_to_any_node() {
    let (one, two, transport) = two_nodes().await;
    for _ in 0..10 {
        call(&transport, BatchWriteItem::default()).await.unwrap();
    }
    assert_eq!((one.take_calls().len(), two.take_calls().len()), (5, 5));
}

#[tokio::test]
async fn routes_are_asked_for_beside_the_first_request() {
    let (one, two) = (Fake::start().await, Fake::start().await);
    let told = routes(&one.endpoint, &two.endpoint, 1);
    one.set_routes(told);
    let transport = transport(&[&one.endpoint]);
    call(&transport, put("a")).await.unwrap();
    until(|| transport.shared.routes.knows("t")).await;
    let (_, high) = low_and_high();
    call(&transport, put(&high)).await.unwrap();
    assert_eq!(two.take_calls().len(), 1, "a node that nobody named at the start");
    assert_eq!(one.routes_asked() + two.routes_asked(), 1);
}

#[tokio::test]
async fn whoever_stays_behind_proxies_never_asks_for_routes() {
    let node = Fake::start().await;
    node.set_routes(routes(&node.endpoint, &node.endpoint, 1));
    let builder = GrpcTransport::builder().endpoint(&node.endpoint).direct(false);
    let transport = builder.build().unwrap();
    call(&transport, put("a")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(node.routes_asked(), 0);
}

#[tokio::test]
async fn a_leader_that_is_gone_is_passed_over() {
    let (one, _, transport) = two_nodes().await;
    let dead = nobody().await;
    transport.shared.routes.install("t", routes(&one.endpoint, &dead, 2)).unwrap();
    let (_, high) = low_and_high();
    for _ in 0..3 {
        call(&transport, put(&high)).await.unwrap();
    }
    assert_eq!(one.take_calls().len(), 3, "its replica is the next best");
}

#[tokio::test]
async fn a_hint_corrects_the_route_without_asking() {
    let (one, two, transport) = two_nodes().await;
    let (low, _) = low_and_high();
    let moved = v1::RouteHint {
        table_id: 7,
        generation: 1,
        first_hash: 0,
        last_hash: MIDDLE - 1,
        leader_endpoint: two.endpoint.clone(),
    };
    let error = Error::new(ErrorKind::Unavailable, "the leader moved");
    one.then(Reply::Refuse(error, Some(moved)));
    let asked = one.routes_asked() + two.routes_asked();
    let client = Client::new(transport.clone());
    client.put_item().table_name("t").item("p", low.as_str()).send().await.unwrap();
    client.put_item().table_name("t").item("p", low.as_str()).send().await.unwrap();
    assert_eq!((one.take_calls().len(), two.take_calls().len()), (1, 2));
    assert_eq!(one.routes_asked() + two.routes_asked(), asked);
}

#[tokio::test]
async fn a_leader_that_is_none_any_more_is_doubted_and_routes_are_asked_for() {
    let (one, two, transport) = two_nodes().await;
    let (low, _) = low_and_high();
    for node in [&one, &two] {
        node.set_routes(routes(&two.endpoint, &one.endpoint, 2));
    }
    one.then(Reply::Refuse(Error::new(ErrorKind::Unavailable, "not the leader"), None));
    call(&transport, put(&low)).await.unwrap_err();
    assert_eq!(one.take_calls().len(), 1);
    until(|| transport.shared.routes.preference(&put(&low).into()).leads(&two.endpoint)).await;
    call(&transport, put(&low)).await.unwrap();
    assert_eq!((one.take_calls().len(), two.take_calls().len()), (0, 1));
}

#[tokio::test]
async fn an_answer_that_was_forwarded_makes_routes_be_asked_for() {
    let (one, two, transport) = two_nodes().await;
    let (low, _) = low_and_high();
    for node in [&one, &two] {
        node.set_routes(routes(&two.endpoint, &one.endpoint, 2));
    }
    one.then(Reply::Forward);
    call(&transport, put(&low)).await.unwrap();
    until(|| transport.shared.routes.preference(&put(&low).into()).leads(&two.endpoint)).await;
}

#[tokio::test]
async fn a_table_that_is_gone_is_forgotten() {
    let (one, _, transport) = two_nodes().await;
    let (low, _) = low_and_high();
    one.then(Reply::Refuse(Error::new(ErrorKind::ResourceNotFound, "gone"), None));
    call(&transport, put(&low)).await.unwrap_err();
    assert!(!transport.shared.routes.knows("t"));
}

/// A channel dies with the runtime that it was made on; the next runtime gets a new one.
#[test]
fn a_transport_outlives_the_runtime_that_it_was_first_used_on() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let servers = runtime();
    let node = servers.block_on(Fake::start());
    let transport = transport(&[&node.endpoint]);
    for _ in 0..2 {
        runtime().block_on(call(&transport, put("a"))).unwrap();
    }
}

#[test]
fn routes_are_asked_for_again_after_a_runtime_that_ended_meanwhile() {
    let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let node = servers.block_on(Fake::start());
    node.set_routes(routes(&node.endpoint, &node.endpoint, 1));
    let transport = transport(&[&node.endpoint]);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // What it leaves to the background never runs.
    runtime().block_on(call(&transport, put("a"))).unwrap();
    assert_eq!(node.routes_asked(), 0);
    let asks_again = async {
        while !transport.shared.routes.knows("t") {
            call(&transport, put("a")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let patience = Duration::from_secs(60);
    runtime().block_on(async { tokio::time::timeout(patience, asks_again).await }).unwrap();
}

#[tokio::test]
async fn that_no_node_is_reached_is_told_apart() {
    let nobody = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
    let client = Client::builder(transport(&nobody)).retry(crate::RetryPolicy::never()).build();
    let error = client.get_item().table_name("t").key("p", "a").send().await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(nobody.iter().all(|endpoint| error.message().contains(endpoint)), "{error}");
    let error = transport(&nobody).describe_cluster().await.unwrap_err();
    assert!(crate::Error::from(error.clone()).is_unreachable(), "{error}");
    assert!(nobody.iter().all(|endpoint| error.message().contains(endpoint)), "{error}");

    let node = Fake::start().await;
    for _ in 0..2 {
        let lost = Error::new(ErrorKind::Unavailable, "nobody leads the partition");
        node.then(Reply::Refuse(lost, None));
    }
    let client = Client::builder(transport(&[nobody[0], &node.endpoint]))
        .retry(crate::RetryPolicy::default().with_attempts_max(2))
        .build();
    let error = client.get_item().table_name("t").key("p", "a").send().await.unwrap_err();
    assert!(error.is_unavailable() && !error.is_unreachable(), "{error}");
    assert!(error.message().contains("nobody leads"), "{error}");
}

#[test]
fn endpoints_are_checked() {
    assert!(GrpcTransport::builder().build().is_err());
    for endpoint in ["", "127.0.0.1", "https://a:1", "http://", "h ttp://a", "a b:1", ":"] {
        let built = GrpcTransport::builder().endpoint(endpoint).build();
        assert!(built.is_err(), "{endpoint:?} passes");
    }
    // Routes name a node in the whole form, and must find the same one.
    let transport = transport(&["127.0.0.1:7400", "http://127.0.0.1:7401/"]);
    let nodes = transport.shared.nodes.candidates(&["http://127.0.0.1:7400".to_owned()]);
    let names: Vec<_> = nodes.iter().map(|node| node.endpoint()).collect();
    assert_eq!(names, ["http://127.0.0.1:7400", "http://127.0.0.1:7401"]);
}

#[test]
fn a_client_takes_one_endpoint_or_several() {
    let [a, b] = ["127.0.0.1:7400", "http://127.0.0.1:7401"];
    let owned = vec![a.to_owned(), b.to_owned()];
    let clients = [
        Client::connect(a),
        Client::connect(b.to_owned()),
        Client::connect(&owned[0]),
        Client::connect([a, b]),
        Client::connect(&[a, b][..]),
        Client::connect(&owned),
        Client::connect(owned.as_slice()),
        Client::connect(owned.clone()),
    ];
    assert!(clients.iter().all(Result::is_ok));
    assert!(Client::connect(Vec::<String>::new()).is_err());
}
