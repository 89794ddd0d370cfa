use std::time::Duration;

use stator_consensus::NodeId;
use stator_model::api::{BatchWriteItem, WriteRequest};
use stator_model::error::Applied;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{EncodedItem, Error};

use super::*;
use crate::catalog::records::{CATALOG_NAME, record_key};
use crate::config::NodeConfig;
use crate::node::Node;

const PATIENCE: Duration = Duration::from_secs(60);

async fn one_node() -> Node {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    node.wait_ready(PATIENCE).await.expect("ready");
    node
}

fn named(name: &str) -> CreateTable {
    let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    CreateTable {
        table_name: name.into(),
        key_schema: KeySchema { partition: id, sort: None },
        partitions: None,
        deletion_protection: false,
    }
}

/// Refused, and worth another try later.
fn assert_limit(refused: &Error, message: &str) {
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::LimitExceeded, message));
    assert_eq!(refused.applied(), Applied::No);
}

#[tokio::test]
async fn there_are_2500_tables_and_no_more() {
    let node = one_node().await;
    let cx = node.inner.own_context(PATIENCE);
    let of_catalog = cx.to_catalog();
    // Their records alone: they are said to be on a node that there is not, and so nobody makes their replicas.
    let elsewhere = Candidate {
        node: NodeId(77),
        zone: String::new(),
        answers: true,
        replicas: 0,
        first_ranked: 0,
    };
    let record = |n: usize| {
        let CreateTable { table_name, key_schema, .. } = named(&format!("table-{n}"));
        let id = 1_000_000 + u32::try_from(n).expect("small");
        let record = TableRecord {
            name: table_name,
            id,
            status: TableStatus::Active,
            key_schema,
            created_ms: 0,
            deletion_protection: false,
            partitions: place(id, 1, 1, vec![elsewhere.clone()]),
        };
        WriteRequest::Put(EncodedItem::encode(&record.to_item()))
    };
    let records: Vec<WriteRequest> = (0..TABLES_MAX - 1).map(record).collect();
    for records in records.chunks(25) {
        let request_items = [(CATALOG_NAME.to_owned(), records.to_vec())].into();
        let written = node.inner.batch_write_item(BatchWriteItem { request_items }, &of_catalog);
        assert!(written.await.expect("written").unprocessed_items.is_empty());
    }
    node.inner.create_table(named("the-last-one"), &cx).await.expect("the 2,500th");
    let refused = node.inner.create_table(named("one-more"), &cx).await.expect_err("too many");
    assert_limit(
        &refused,
        "Subscriber limit exceeded: There is a limit of 2500 tables per subscriber",
    );
    // What exists is said to exist, and what goes makes room.
    let refused = node.inner.create_table(named("table-0"), &cx).await.expect_err("it exists");
    assert_eq!(refused.kind(), ErrorKind::ResourceInUse);
    node.inner.catalog_delete(record_key("table", "table-0"), &cx).await.expect("deleted");
    node.inner.create_table(named("one-more"), &cx).await.expect("there is room");
    node.shutdown().await;
}

#[tokio::test]
async fn a_table_waits_for_all_nodes_that_its_replicas_need() {
    let node = one_node().await;
    let cx = node.inner.own_context(PATIENCE);
    // The node writes its own record again now and then, so that a try may come too late.
    let refused = loop {
        let own = record_key("node", &node.id().to_string());
        node.inner.catalog_delete(own, &cx).await.expect("deleted");
        match node.inner.candidates(&[], &cx).await {
            Ok(_) => assert!(!cx.left(node.inner.clock.monotonic_ns()).is_zero(), "in vain"),
            Err(refused) => break refused,
        }
    };
    assert_limit(&refused, "Not all founding nodes have joined the cluster yet");
    node.shutdown().await;
}

#[tokio::test]
async fn a_table_is_not_protected_when_its_status_has_changed_meanwhile() {
    let node = one_node().await;
    let cx = node.inner.own_context(PATIENCE);
    node.inner.create_table(named("one"), &cx).await.expect("made");
    let record = loop {
        let record = node.inner.existing("one", &cx).await.expect("it is there");
        if record.status == TableStatus::Active {
            break record;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let change = |attribute, from, to| node.inner.catalog_change(&record, attribute, from, to, &cx);
    let (active, other) = (TableStatus::Active.name(), TableStatus::Updating.name());
    assert!(change("status", active.into(), other.into()).await.expect("an answer"));
    let was_protected = change("deletion_protection", false.into(), true.into());
    assert!(!was_protected.await.expect("an answer"));
}
