//! QueryPages and ScanPages: what Query and Scan answer page by page, without being asked for each.

use std::sync::Arc;

use stator_model::api::{CreateTable, DeleteTable, DescribeTable, PutItem, Query, Scan, Segment};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item};
use stator_proto::operation::Effect;
use stator_proto::status::from_status;
use stator_proto::v1;
use stator_proto::v1::stator_client::StatorClient;
use stator_server::Node;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::cluster::{Cluster, PATIENCE, call};
use crate::watching::Before;

const ITEMS: usize = 10;
/// More than what a node may send to the client here ahead of being read, so that not even two pages of one such item are.
const VALUE_BYTES: usize = 100_000;
const WINDOW: u32 = 65_535;

/// A node with the table `songs`: all of one artist, and large.
async fn songs() -> (Cluster, Arc<Node>, StatorClient<Channel>) {
    let cluster = Cluster::start(1, |config| config.table_partitions = 2).await;
    let node = cluster.node(0);
    let key = |name: &str| KeyAttribute { name: name.into(), key_type: KeyType::S };
    let create = CreateTable {
        table_name: "songs".into(),
        key_schema: KeySchema { partition: key("artist"), sort: Some(key("song")) },
        partitions: None,
        deletion_protection: false,
    };
    call(&node, create).await.expect("created");
    for n in 0..ITEMS {
        let item: Item = [
            ("artist".to_owned(), AttributeValue::from("a")),
            ("song".to_owned(), AttributeValue::from(format!("s{n}").as_str())),
            ("value".to_owned(), AttributeValue::from("x".repeat(VALUE_BYTES).as_str())),
        ]
        .into();
        let put = PutItem {
            table_name: "songs".into(),
            item: EncodedItem::encode(&item),
            ..PutItem::default()
        };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = call(&node, put.clone()).await {
            assert!(Instant::now() < deadline, "{error}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    let address = format!("http://{}", node.listening().expect("it listens"));
    let endpoint = Channel::from_shared(address).expect("an address");
    let endpoint = endpoint.initial_stream_window_size(WINDOW);
    let channel = endpoint.connect().await;
    let client = StatorClient::new(channel.expect("connects"));
    (cluster, node, client.max_decoding_message_size(4 << 20))
}

fn query(change: impl FnOnce(&mut Query)) -> v1::QueryRequest {
    let mut query = Query {
        table_name: "songs".into(),
        key_condition_expression: "artist = :a".into(),
        expression_attribute_values: [(":a".to_owned(), AttributeValue::from("a"))].into(),
        consistent_read: true,
        ..Query::default()
    };
    change(&mut query);
    query.into()
}

fn scan(change: impl FnOnce(&mut Scan)) -> v1::ScanRequest {
    let mut scan = Scan { table_name: "songs".into(), consistent_read: true, ..Scan::default() };
    change(&mut scan);
    scan.into()
}

/// The pages that are asked for one after another, each with the key that the one before ended at.
async fn asked<K, P>(mut ask: impl AsyncFnMut(Option<K>) -> (Option<K>, P)) -> Vec<P> {
    let mut pages = Vec::new();
    let mut start = None;
    loop {
        let (end, page) = ask(start).await;
        pages.push(page);
        if end.is_none() {
            return pages;
        }
        start = end;
    }
}

/// What a stream brings, and how it ends.
async fn drained<T>(mut stream: Streaming<T>) -> (Vec<T>, Result<(), Status>) {
    let mut pages = Vec::new();
    loop {
        match timeout(PATIENCE, stream.message()).await.expect("in time") {
            Ok(Some(page)) => pages.push(page),
            Ok(None) => return (pages, Ok(())),
            Err(status) => return (pages, Err(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_the_pages_that_one_could_ask_for() {
    let (_cluster, _node, mut client) = songs().await;
    for (request, pages) in [
        (query(|_| {}), 1),
        (query(|query| query.limit = Some(3)), 4),
        (query(|query| (query.limit, query.scan_index_forward) = (Some(4), false)), 3),
        (query(|query| query.key_condition_expression += " AND song > :a"), 1),
        (query(|query| query.key_condition_expression += " AND song < :a"), 1),
    ] {
        let asked = asked(async |exclusive_start_key| {
            let next = v1::QueryRequest { exclusive_start_key, ..request.clone() };
            let page = client.query(next).await.expect("a page").into_inner();
            (page.last_evaluated_key.clone(), page)
        });
        let asked = asked.await;
        assert_eq!(asked.len(), pages, "{request:?}");
        let stream = client.query_pages(request.clone()).await.expect("begun").into_inner();
        let (streamed, end) = drained(stream).await;
        end.expect("to its end");
        assert_eq!(streamed, asked, "{request:?}");
    }
    for (request, items) in [
        (scan(|_| {}), ITEMS),
        (scan(|scan| scan.limit = Some(3)), ITEMS),
        (
            scan(|scan| scan.segment = Some(Segment { segment: Some(0), total_segments: Some(1) })),
            ITEMS,
        ),
    ] {
        let asked = asked(async |exclusive_start_key| {
            let next = v1::ScanRequest { exclusive_start_key, ..request.clone() };
            let page = client.scan(next).await.expect("a page").into_inner();
            (page.last_evaluated_key.clone(), page)
        });
        let asked = asked.await;
        let stream = client.scan_pages(request.clone()).await.expect("begun").into_inner();
        let (streamed, end) = drained(stream).await;
        end.expect("to its end");
        assert_eq!(streamed, asked, "{request:?}");
        assert_eq!(asked.iter().map(|page| page.items.len()).sum::<usize>(), items);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_ends_a_stream_and_what_came_before_it_stands() {
    let (_cluster, node, mut client) = songs().await;
    // What is wrong from the beginning.
    let refused = client.query_pages(query(|query| query.limit = Some(0))).await;
    let refused = match refused {
        Ok(stream) => drained(stream.into_inner()).await.1.expect_err("refused"),
        Err(refused) => refused,
    };
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);

    let begun = client.query_pages(query(|query| query.limit = Some(1))).await;
    let mut stream = begun.expect("begun").into_inner();
    let first = stream.message().await.expect("a page").expect("the first");
    assert_eq!(first.items.len(), 1);
    call(&node, DeleteTable { table_name: "songs".into() }).await.expect("deleted");
    let deadline = Instant::now() + PATIENCE;
    while call(&node, DescribeTable { table_name: "songs".into() }).await.is_ok() {
        assert!(Instant::now() < deadline, "the table goes");
        sleep(std::time::Duration::from_millis(10)).await;
    }
    let (rest, end) = drained(stream).await;
    let error = from_status(&end.expect_err("the table is gone"), Effect::Read).error;
    assert!(error.to_string().contains("ResourceNotFound"), "{error}");
    assert!(rest.len() + 1 < ITEMS, "{} pages of {ITEMS}", rest.len() + 1);
    assert!(rest.iter().all(|page| page.items.len() == 1 && page.last_evaluated_key.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_readers_are_gone_leave_nothing() {
    let (_cluster, node, client) = songs().await;
    let before = Before::of(&node);
    // More, one after another, than there may be at once, of a connection and of all.
    for round in 0..5 {
        let mut streams = Vec::new();
        for _ in 0..60 {
            let begun = client.clone().query_pages(query(|query| query.limit = Some(1))).await;
            streams.push(begun.unwrap_or_else(|status| panic!("round {round}: {status}")));
        }
        drop(streams);
        before.comes_back(&node).await;
    }
}
