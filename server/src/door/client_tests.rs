use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use stator_consensus::{GroupId, ReplicaView};
use stator_model::api::{CreateTable, PutItem, Query};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item, Request};
use stator_proto::status::from_status;

use super::*;
use crate::catalog::records::CATALOG_GROUP;
use crate::config::NodeConfig;
use crate::door::lobby::Lobby;
use crate::door::{answers, budget};
use crate::mailbox::{Inbox, mailbox};
use crate::node::Node;
use crate::replicas::Replica;
use crate::shell::HostEvent;

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(600);

fn of(text: &str) -> Option<Duration> {
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-timeout", text.parse().expect("text"));
    timeout(&metadata)
}

#[test]
fn timeouts_are_read_as_grpc_writes_them() {
    assert_eq!(timeout(&MetadataMap::new()), None);
    assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
    assert_eq!(of("3M"), Some(Duration::from_secs(180)));
    assert_eq!(of("4S"), Some(Duration::from_secs(4)));
    assert_eq!(of("5m"), Some(Duration::from_millis(5)));
    assert_eq!(of("6u"), Some(Duration::from_micros(6)));
    assert_eq!(of("7n"), Some(Duration::from_nanos(7)));
    assert_eq!(of("0S"), Some(Duration::ZERO));
    assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)), "the longest");
    for no in ["", "S", "5", "5s", "5h", "100000000S", "-5S", "+5S", "5.5S", " 5S", "5 S", "5SS"] {
        assert_eq!(of(no), None, "{no:?}");
    }
}

#[tokio::test]
async fn a_call_ends_a_little_before_its_time() {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    let door = ClientDoor::new(node.inner.clone());
    let left = |text: Option<&str>| {
        let mut metadata = MetadataMap::new();
        if let Some(text) = text {
            metadata.insert("grpc-timeout", text.parse().expect("text"));
        }
        let now = node.inner.clock.monotonic_ns();
        let cx = door.context(&metadata);
        // What has passed meanwhile is not what is asked for here.
        (cx.deadline_ns - now, node.inner.clock.monotonic_ns() - now)
    };
    let default = node.inner.config.request_timeout;
    let kept = LEFT_FOR_WORDS;
    for (text, wanted) in [
        (None, default),
        (Some("rubbish"), default),
        (Some("59S"), Duration::from_secs(59) - kept),
        (Some("600S"), Duration::from_secs(60)),
        (Some("99999999H"), Duration::from_secs(60)),
        (Some("50m"), Duration::from_millis(45)),
        (Some("0S"), Duration::ZERO),
    ] {
        let (left, passed) = left(text);
        let wanted = u64::try_from(wanted.as_nanos()).expect("fits");
        assert!((wanted..=wanted + passed).contains(&left), "{text:?}: {left}, not {wanted}");
    }
}

#[tokio::test]
async fn a_node_that_is_set_so_gives_calls_more_than_a_minute() {
    let config = NodeConfig { request_timeout: LONG, ..NodeConfig::default() };
    let node = Node::embedded(config, true).await.expect("a node in memory");
    for timeout in [None, Some(LONG), Some(2 * LONG)] {
        let now = node.inner.clock.monotonic_ns();
        let left = node.inner.context("mine".into(), timeout).left(now);
        assert!(left >= LONG && left < 2 * LONG, "{timeout:?}: {left:?}");
    }
}

#[tokio::test]
async fn few_descriptions_of_the_cluster_are_made_at_once() {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    let inbox = silence(&node, CATALOG_GROUP);
    let door = ClientDoor::new(node.inner.clone());
    let describe = || door.describe_cluster(tonic::Request::new(v1::DescribeClusterRequest {}));
    // They wait for the catalog, all of them.
    let told = futures::future::join_all((0..20).map(|_| describe())).await;
    let refused: Vec<_> = told.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 20 - DESCRIPTIONS_MAX);
    let kinds = refused.iter().map(|status| from_status(status, Effect::Read).error.kind());
    assert!(kinds.into_iter().all(|kind| kind == ErrorKind::Throttling), "{refused:?}");
    describe().await.expect("there is room again");
    drop(inbox);
}

#[test]
fn who_looks_at_replicas_holds_up_no_other_task() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
    runtime.block_on(async {
        let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
        // The one thread that may wait for the disk does.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || ended.recv());
        let mut statuses = Box::pin(node.inner.own_statuses(&[]));
        assert!((&mut statuses).now_or_never().is_none(), "the engine is read by this thread");
        drop(end);
        assert_eq!(statuses.await.len(), 1);
        busy.await.expect("it ran").expect_err("it is to end");
        // And few look at once: others wait in turn, for as long as they like.
        let leaves = node.inner.looks.acquire_many(2).await.expect("nobody looks");
        let asked = async |time| node.inner.replica_statuses(node.inner.own, &[], time).await;
        assert!(asked(Duration::from_millis(20)).await.is_err(), "there is room for more");
        drop(leaves);
        assert_eq!(asked(LONG).await.expect("told").len(), 1);
    });
}

#[tokio::test]
async fn a_call_of_a_silent_leader_is_told_that_its_time_is_over() {
    let config = NodeConfig { request_timeout: LONG, ..NodeConfig::default() };
    let node = Node::embedded(config, true).await.expect("a node in memory");
    let _inbox = silence(&node, CATALOG_GROUP);
    let door = ClientDoor::new(node.inner.clone());
    let mut request = tonic::Request::new(v1::ListTablesRequest::default());
    request.metadata_mut().insert("grpc-timeout", "100m".parse().expect("text"));
    request.metadata_mut().insert(REQUEST_ID, "mine".parse().expect("text"));
    let answer = tokio::time::timeout(LONG / 10, door.list_tables(request)).await;
    let status = answer.expect("the node's own time is not waited for").expect_err("no answer");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    assert_eq!(status.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok()), Some("mine"));
    let told = from_status(&status, Effect::Read);
    assert!(told.from_stator, "in the node's own words");
    assert_eq!(told.error.applied(), stator_model::error::Applied::No);
}

/// A group's replica as it would be if its host said nothing to anybody; what it is told comes out here.
fn silence(node: &Node, group: GroupId) -> Inbox<HostEvent> {
    let real = node.inner.replicas.get(group).expect("it is there");
    let (host, inbox) = mailbox(16);
    let (spec, data) = (real.spec.clone(), real.data.clone());
    let view = Arc::new(ReplicaView::default());
    node.inner.replicas.insert(Arc::new(Replica { spec, view, data, host }));
    inbox
}

/// What an item is filled with, in bytes.
const FILLING: usize = 300_000;

/// A node with an item of the table `songs`.
async fn songs() -> Node {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    node.wait_ready(LONG).await.expect("ready");
    fill(&node, "songs").await;
    node
}

/// Makes a table with an item in it.
async fn fill(node: &Node, table: &str) {
    let call = async |request: Request| node.call(request, "test".into(), Some(LONG)).await;
    let artist = KeyAttribute { name: "artist".into(), key_type: KeyType::S };
    let create = CreateTable {
        table_name: table.into(),
        key_schema: KeySchema { partition: artist, sort: None },
        partitions: Some(1),
        deletion_protection: false,
    };
    call(create.into()).await.expect("created");
    let mut item = artist_a();
    item.insert("song".to_owned(), AttributeValue::from("x".repeat(FILLING).as_str()));
    let item = EncodedItem::encode(&item);
    let put = PutItem { table_name: table.into(), item, ..PutItem::default() };
    while call(put.clone().into()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn artist_a() -> Item {
    Item::from([("artist".to_owned(), AttributeValue::from("a"))])
}

/// A request to read all of one artist, from a connection.
fn query(guest: Option<&Arc<Guest>>) -> tonic::Request<v1::QueryRequest> {
    query_of("songs", guest)
}

fn query_of(table: &str, guest: Option<&Arc<Guest>>) -> tonic::Request<v1::QueryRequest> {
    let query = Query {
        table_name: table.into(),
        consistent_read: true,
        key_condition_expression: "artist = :a".into(),
        expression_attribute_values: [(":a".to_owned(), AttributeValue::from("a"))].into(),
        ..Query::default()
    };
    let mut request = tonic::Request::new(query.into());
    if let Some(guest) = guest {
        request.extensions_mut().insert(guest.clone());
    }
    request
}

/// What a metric counts.
fn count(node: &Node, name: &str) -> u64 {
    let text = node.inner.metrics.encode();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let count = lines.find_map(|(of, count)| (of == name).then(|| count.parse().ok())?);
    count.expect("it is counted")
}

#[tokio::test]
async fn streams_leave_room_for_other_answers_and_all_have_their_turn() {
    let node = songs().await;
    let door = ClientDoor::new(node.inner.clone());
    let metrics = &node.inner.metrics;
    let lobby = Lobby::new(9, metrics.clone(), answers::Whole::new(0, metrics.clone()));
    let read = budget::Whole::new(0, metrics.clone());
    let guests: Vec<_> =
        (0..3).map(|_| lobby.enter(budget::Budget::of_connection(&read))).collect();

    // No page is read for now: those that are to be have their room, or wait for it.
    let threads = u32::try_from(node.inner.config.query_threads).expect("a few");
    let pages_max = TURNS_PER_THREAD * node.inner.config.query_threads;
    let threads = node.inner.pool.acquire_many(threads).await.expect("none is at work");
    let mut streams = Vec::new();
    for n in 0..24 {
        let stream = door.query_pages(query(Some(&guests[n % 2]))).await.expect("begun");
        streams.push(stream.into_inner());
    }
    let mut pages: Vec<_> = streams.iter_mut().map(StreamExt::next).collect();
    assert!(pages.iter_mut().all(|page| page.now_or_never().is_none()));
    let reserved = || count(&node, "stator_waiting_answers_bytes");
    let wanted = u64::try_from(pages_max * PAGE_ROOM).expect("some megabytes");
    while reserved() < wanted {
        tokio::task::yield_now().await;
    }
    // As many as can begin now have begun.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(reserved(), wanted);

    // Answers of 3 MB, which nobody takes.
    let mut unread = Vec::new();
    for _ in 0..10 {
        let get =
            api::GetItem { table_name: "songs".into(), key: artist_a(), ..Default::default() };
        let mut request = tonic::Request::new(v1::GetItemRequest::from(get));
        request.extensions_mut().insert(guests[2].clone());
        unread.push(door.get_item(request).await.expect("there is room for it"));
    }
    assert!(unread.iter().all(|answer| answer.get_ref().item.is_some()));

    drop(threads);
    for page in futures::future::join_all(pages).await {
        assert_eq!(page.expect("a page").expect("it had its turn").items.len(), 1);
    }
}

#[tokio::test]
async fn a_page_is_not_asked_for_all_the_time_where_the_node_takes_no_more() {
    let node = songs().await;
    let door = ClientDoor::new(node.inner.clone());
    let refused = || count(&node, "stator_throttled_total");
    let all = Request::from(Query::default());
    let mut leaves: Vec<_> = std::iter::from_fn(|| node.inner.admit(&all, 0).ok()).collect();
    let before = refused();
    let mut request = query(None);
    request.metadata_mut().insert("grpc-timeout", "1S".parse().expect("text"));
    let mut stream = door.query_pages(request).await.expect("begun").into_inner();
    let status = stream.next().await.expect("an answer").expect_err("there is no room");
    assert_eq!(from_status(&status, Effect::Read).error.kind(), ErrorKind::Throttling);
    // After 20, 40, 80 ms and so on: six times in its second, and once more is counted that it was given up.
    assert!((2..=8).contains(&(refused() - before)), "{} times", refused() - before);

    let mut stream = door.query_pages(query(None)).await.expect("begun").into_inner();
    let mut page = stream.next();
    assert!((&mut page).now_or_never().is_none(), "it waits");
    leaves.clear();
    assert_eq!(page.await.expect("a page").expect("there is room again").items.len(), 1);
}

#[tokio::test]
async fn pages_that_wait_for_a_leader_do_not_hold_up_others() {
    let node = songs().await;
    let door = ClientDoor::new(node.inner.clone());
    fill(&node, "silent").await;
    let replicas = node.inner.replicas.all();
    let replica = replicas.iter().find(|replica| replica.spec.table_name == "silent");
    let _inbox = silence(&node, replica.expect("the table's").spec.group);
    let mut streams = Vec::new();
    for _ in 0..TURNS_PER_THREAD * node.inner.config.query_threads {
        let mut request = query_of("silent", None);
        request.metadata_mut().insert("grpc-timeout", "1H".parse().expect("text"));
        streams.push(door.query_pages(request).await.expect("begun").into_inner());
    }
    let mut silent = futures::future::select_all(streams.iter_mut().map(StreamExt::next));
    assert!((&mut silent).now_or_never().is_none(), "they have all turns");
    let mut request = query(None);
    request.metadata_mut().insert("grpc-timeout", "1H".parse().expect("text"));
    let mut stream = door.query_pages(request).await.expect("begun").into_inner();
    let page = tokio::select! {
        biased;
        _ = silent => panic!("a minute is not over"),
        page = tokio::time::timeout(LONG / 10, stream.next()) => page.expect("it has its turn"),
    };
    assert_eq!(page.expect("a page").expect("as ever").items.len(), 1);
}
