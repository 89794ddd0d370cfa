use std::collections::BTreeSet;
use std::time::Duration;

use stator_model::api::{CreateTable, DescribeTable, PutItem};
use stator_model::schema::{KeyAttribute, TableStatus};
use stator_model::{Answer, EncodedItem, Request};

use super::*;
use crate::config::NodeConfig;
use crate::node::Node;

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

#[tokio::test]
async fn a_scan_without_time_goes_on_by_a_partition_with_each_page() {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    node.wait_ready(LONG).await.expect("ready");
    let table_name = "wide".to_owned();
    call(
        &node,
        CreateTable {
            table_name: table_name.clone(),
            key_schema: schema(KeyType::S, None),
            partitions: Some(24),
            deletion_protection: false,
        },
    )
    .await;
    let is_active = async || {
        let told = call(&node, DescribeTable { table_name: table_name.clone() }).await;
        matches!(told, Answer::DescribeTable(told) if told.table.status == TableStatus::Active)
    };
    while !is_active().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ids: BTreeSet<String> = (0..12).map(|n| format!("id-{n}")).collect();
    for id in &ids {
        let item = Item::from([("id".to_owned(), AttributeValue::from(id.as_str()))]);
        let item = EncodedItem::encode(&item);
        call(&node, PutItem { table_name: table_name.clone(), item, ..PutItem::default() }).await;
    }
    let mut request = Scan { table_name, consistent_read: true, ..Scan::default() };
    let (mut pages, mut empty_ends, mut found) = (0, 0, Vec::new());
    loop {
        let cx = node.inner.own_context(LONG);
        let page = node.inner.scan_partitions(&request, &cx, || true).await.expect("read");
        let page = page.expect("the table is what it was");
        pages += 1;
        assert!(pages <= 48, "every page goes on");
        for item in &page.items {
            let item = item.decode().expect("an item");
            found.push(item["id"].as_s().expect("a string").to_owned());
        }
        let Some(key) = page.last_evaluated_key else { break };
        empty_ends += usize::from(!ids.contains(key["id"].as_s().expect("a string")));
        request.exclusive_start_key = Some(key);
    }
    assert!(pages > 6 && empty_ends > 0, "{pages} pages, {empty_ends} that end at no item");
    found.sort();
    assert!(found.iter().eq(&ids), "each item once: {found:?}");
}
