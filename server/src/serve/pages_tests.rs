use std::collections::BTreeSet;
use std::time::Duration;

use stator_model::api::{CreateTable, DescribeTable, PutItem, Segment, Select};
use stator_model::schema::{KeyAttribute, TableStatus};
use stator_model::{Answer, EncodedItem, Request};

use super::*;
use crate::config::NodeConfig;
use crate::node::Node;
use crate::node::intake::AnswerRoom;

fn schema(partition: KeyType, sort: Option<KeyType>) -> KeySchema {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.into(), key_type };
    KeySchema {
        partition: attribute("id", partition),
        sort: sort.map(|key_type| attribute("at", key_type)),
    }
}

#[test]
fn there_is_a_key_in_each_of_a_thousand_partitions() {
    let width = u64::MAX / 1024;
    for (partition, sort) in [
        (KeyType::S, None),
        (KeyType::N, Some(KeyType::S)),
        (KeyType::B, Some(KeyType::N)),
        (KeyType::S, Some(KeyType::B)),
    ] {
        let schema = schema(partition, sort);
        for first in (0..1024).step_by(31).map(|n| n * width) {
            let key = key_within(&schema, first..first + width).expect("one");
            let hash = Key::of_key_attributes(&schema, &key).expect("a key").hash();
            assert!((first..first + width).contains(&hash));
        }
    }
    assert_eq!(key_within(&schema(KeyType::S, None), 5..6), None, "where there is none it ends");
}

/// As long as no test takes.
const LONG: Duration = Duration::from_secs(60);

async fn call(node: &Node, request: impl Into<Request>) -> Answer {
    node.call(request.into(), "test".into(), Some(LONG)).await.expect("answered")
}

/// A node with a table of so many partitions, with so many items.
async fn node_with(partitions: u32, items: usize) -> (Node, BTreeSet<String>) {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    node.wait_ready(LONG).await.expect("ready");
    let create = CreateTable {
        table_name: TABLE.to_owned(),
        key_schema: schema(KeyType::S, None),
        partitions: Some(partitions),
        deletion_protection: false,
    };
    call(&node, create).await;
    let is_active = async || {
        let told = call(&node, DescribeTable { table_name: TABLE.to_owned() }).await;
        matches!(told, Answer::DescribeTable(told) if told.table.status == TableStatus::Active)
    };
    while !is_active().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ids: BTreeSet<String> = (0..items).map(|n| format!("id-{n}")).collect();
    for id in &ids {
        let item = Item::from([
            ("id".to_owned(), AttributeValue::from(id.as_str())),
            ("is_even".to_owned(), AttributeValue::from(id.ends_with(['0', '2', '4', '6', '8']))),
            ("text".to_owned(), AttributeValue::from("x".repeat(2000).as_str())),
        ]);
        let item = EncodedItem::encode(&item);
        let put = PutItem { table_name: TABLE.to_owned(), item, ..PutItem::default() };
        call(&node, put).await;
    }
    (node, ids)
}

const TABLE: &str = "wide";

fn id_of(key: &Item) -> &str {
    key["id"].as_s().expect("a string")
}

fn ids_of(page: &ScanAnswer) -> impl Iterator<Item = String> {
    page.items.iter().map(|item| id_of(&item.decode().expect("an item")).to_owned())
}

#[tokio::test]
async fn a_scan_without_time_goes_on_by_a_partition_with_each_page() {
    let (node, ids) = node_with(24, 12).await;
    let mut request =
        Scan { table_name: TABLE.to_owned(), consistent_read: true, ..Scan::default() };
    let (mut pages, mut empty_ends, mut found) = (0, 0, Vec::new());
    loop {
        let cx = node.inner.own_context(LONG);
        let page = node.inner.scan_partitions(&request, &cx, || true).await.expect("read");
        let page = page.expect("the table is what it was");
        pages += 1;
        assert!(pages <= 48, "every page goes on");
        found.extend(ids_of(&page));
        let Some(key) = page.last_evaluated_key else { break };
        empty_ends += usize::from(!ids.contains(id_of(&key)));
        request.exclusive_start_key = Some(key);
    }
    assert!(pages > 6 && empty_ends > 0, "{pages} pages, {empty_ends} that end at no item");
    found.sort();
    assert!(found.iter().eq(&ids), "each item once: {found:?}");
}

/// All pages of a scan: how many, what they count, and what is in them.
async fn all_pages(node: &Node, mut request: Scan) -> (usize, u32, u32, Vec<String>) {
    let (mut pages, mut count, mut scanned_count, mut found) = (0, 0, 0, Vec::new());
    loop {
        let cx = node.inner.own_context(LONG);
        let page = node.inner.scan_partitions(&request, &cx, || false).await.expect("read");
        let page = page.expect("the table is what it was");
        pages += 1;
        count += page.count;
        scanned_count += page.scanned_count;
        found.extend(ids_of(&page));
        assert!(page.scanned_count > 0 || page.last_evaluated_key.is_none(), "every page goes on");
        match page.last_evaluated_key {
            Some(key) => request.exclusive_start_key = Some(key),
            None => return (pages, count, scanned_count, found),
        }
    }
}

/// All room that there is: there is none for anything from then on.
fn taken(node: &Node) -> AnswerRoom {
    let mut taken = node.inner.answer_room();
    for bytes in (10..31).rev().map(|power| 1 << power) {
        while taken.take(bytes) {}
    }
    taken
}

#[tokio::test]
async fn a_scan_without_room_ends_with_a_partition_and_goes_on_behind_it() {
    let (node, ids) = node_with(6, 60).await;
    let scan = || Scan { table_name: TABLE.to_owned(), consistent_read: true, ..Scan::default() };
    let filter = |text: &str| Scan {
        filter_expression: Some(text.to_owned()),
        expression_attribute_values: [(":yes".to_owned(), AttributeValue::from(true))].into(),
        ..scan()
    };
    let mut scans = vec![
        (scan(), 6, 60),
        (Scan { limit: Some(7), ..scan() }, 9, 60),
        (Scan { projection_expression: Some("id".to_owned()), ..scan() }, 1, 60),
        (Scan { select: Some(Select::Count), ..scan() }, 1, 60),
        (filter("is_even = :yes"), 6, 30),
        (filter("id = :yes"), 1, 0),
    ];
    let segment = |segment| Segment { segment: Some(segment), total_segments: Some(4) };
    scans.extend((0..4).map(|n| (Scan { segment: Some(segment(n)), ..scan() }, 2, 0)));
    let mut with_room = Vec::new();
    for (scan, _, _) in &scans {
        with_room.push(all_pages(&node, scan.clone()).await);
    }
    let _no_room = taken(&node);
    let mut of_segments = Vec::new();
    for ((scan, pages_min, count), (_, _, _, expected)) in scans.into_iter().zip(with_room) {
        let is_segment = scan.segment.is_some();
        let (pages, counted, scanned, found) = all_pages(&node, scan.clone()).await;
        assert!(pages >= pages_min, "{pages} pages of {scan:?}");
        assert_eq!(found, expected, "{scan:?}");
        if is_segment {
            assert_eq!(counted, scanned);
            of_segments.extend(found);
        } else {
            assert_eq!((counted, scanned), (count, 60), "{scan:?}");
        }
    }
    of_segments.sort();
    assert!(of_segments.iter().eq(&ids), "each item once: {of_segments:?}");
}

#[tokio::test]
async fn a_page_that_is_read_again_is_as_large_as_it_was() {
    let (node, _) = node_with(2, 0).await;
    let table = node.inner.table(TABLE, &node.inner.own_context(LONG)).await.expect("known");
    let mut ids = BTreeSet::new();
    for id in (0..).map(|n| format!("id-{n}")) {
        let mut item = Item::from([("id".to_owned(), AttributeValue::from(id.as_str()))]);
        let key = Key::of_key_attributes(table.schema(), &item).expect("a key");
        if table.index_of(key.hash()) == 0 {
            item.insert("text".to_owned(), AttributeValue::from("x".repeat(300_000).as_str()));
            let item = EncodedItem::encode(&item);
            let put = PutItem { table_name: TABLE.to_owned(), item, ..PutItem::default() };
            call(&node, put).await;
            ids.insert(id);
        }
        if ids.len() == 3 {
            break;
        }
    }
    let no_room = taken(&node);
    let scan = Scan { table_name: TABLE.to_owned(), consistent_read: true, ..Scan::default() };
    let cx = node.inner.own_context(LONG);
    let page = node.inner.scan_partitions(&scan, &cx, || false).await.expect("read");
    let page = page.expect("the table is what it was");
    assert!(page.last_evaluated_key.is_some(), "there is no room to ask the other partition");
    assert_eq!(ids_of(&page).collect::<BTreeSet<_>>(), ids, "900 KB are less than 1 MB");
    drop(no_room);
}
