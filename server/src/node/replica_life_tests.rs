use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableStatus};

use super::*;
use crate::config::NodeConfig;
use crate::node::Node;

const GROUP: GroupId = GroupId(7 << 32);

async fn node() -> Node {
    Node::embedded(NodeConfig::default(), true).await.expect("a node in memory")
}

async fn ensure(node: &Node) -> Result<(), String> {
    let table = TableRecord {
        name: "music".to_owned(),
        id: 7,
        status: TableStatus::Creating,
        key_schema: KeySchema {
            partition: KeyAttribute { name: "id".to_owned(), key_type: KeyType::S },
            sort: None,
        },
        created_ms: 0,
        deletion_protection: false,
        partitions: Vec::new(),
    };
    let partition = PartitionRecord {
        group: GROUP,
        generation: 1,
        first_hash: 0,
        last_hash: u64::MAX,
        members: vec![Member { replica: ReplicaId(1), node: NodeId(1) }],
    };
    node.inner.ensure_replica(&table, &partition, true).await
}

fn is_held(node: &Node) -> bool {
    let specs = list_specs(node.inner.engine.as_ref()).expect("specs");
    specs.iter().any(|spec| spec.group == GROUP)
}

/// Until the log has heard of the replica.
async fn settled(node: &Node) {
    while node.inner.log.mark(GROUP).is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_replica_that_failed_does_not_begin_anew() {
    let node = node().await;
    ensure(&node).await.expect("made");
    ensure(&node).await.expect("once is enough");
    settled(&node).await;
    node.inner.stop_replica(GROUP, "a test");
    let why = ensure(&node).await.expect_err("it has failed");
    assert!(why.contains("damaged or lost"), "{why}");
}

#[tokio::test]
async fn a_replica_that_the_log_knows_and_the_engine_lost_does_not_begin_anew() {
    let node = node().await;
    ensure(&node).await.expect("made");
    settled(&node).await;
    let replica = node.inner.replicas.remove(GROUP).expect("it runs");
    while !delete_some(node.inner.engine.as_ref(), &replica.spec, DELETE_STEP).expect("deleted") {}
    let why = ensure(&node).await.expect_err("its votes are forgotten");
    assert!(why.contains("damaged or lost"), "{why}");
}

#[tokio::test]
async fn what_is_removed_leaves_nothing_and_is_never_made_again() {
    for is_failed in [false, true] {
        let node = node().await;
        ensure(&node).await.expect("made");
        settled(&node).await;
        if is_failed {
            node.inner.stop_replica(GROUP, "a test");
        }
        assert!(is_held(&node));
        node.inner.remove_replica(GROUP).await.expect("removed");
        node.inner.remove_replica(GROUP).await.expect("removed before");
        assert!(!is_held(&node), "failed: {is_failed}");
        assert!(node.inner.replicas.failures().is_empty());
        ensure(&node).await.expect_err("it was removed");
    }
}

#[tokio::test]
async fn what_is_removed_before_it_was_made_is_never_made() {
    let node = node().await;
    node.inner.remove_replica(GROUP).await.expect("nothing to remove");
    ensure(&node).await.expect_err("an order that came late");
}
