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

/// The groups of another table.
pub(in crate::node) const fn group(number: u64) -> GroupId {
    GroupId(9 << 32 | number)
}

/// A replica of a part of it.
pub(in crate::node) fn spec(number: u64) -> PartitionSpec {
    let id = KeyAttribute { name: "id".to_owned(), key_type: KeyType::S };
    PartitionSpec {
        group: group(number),
        table_id: 9,
        table_name: "films".to_owned(),
        generation: 1,
        hash_start: number * 10,
        hash_end: number * 10 + 9,
        key_schema: KeySchema { partition: id, sort: None },
        region: stator_storage::item::Region::default(),
        members: vec![stator_storage::partition::Member { replica: 1, node: 1 }],
        replica: 1,
    }
}

#[tokio::test]
async fn one_that_cannot_begin_does_not_keep_the_others() {
    let node = node().await;
    node.inner.remove_replicas(vec![group(1)]).await.expect("nothing to remove");
    let specs = || (0..4).map(spec).collect::<Vec<_>>();
    let why = node.inner.begin_replicas(specs(), true).await.expect_err("one was removed");
    assert!(why.contains("removed"), "{why}");
    let runs = |number: u64| node.inner.replicas.get(group(number)).is_some();
    assert_eq!([runs(0), runs(1), runs(2), runs(3)], [true, false, true, true]);
    let groups = (0..5).map(group).collect();
    node.inner.remove_replicas(groups).await.expect("removed, those that were there");
    let specs_left = list_specs(node.inner.engine.as_ref()).expect("specs");
    assert!(specs_left.iter().all(|spec| spec.table_id != 9), "{specs_left:?}");
    node.inner.begin_replicas(specs(), true).await.expect_err("none begins again");
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
    let mut deletion = Deletion::new(&[], PartitionSpec::clone(&replica.spec));
    while !deletion.step(node.inner.engine.as_ref(), DELETE_STEP).expect("deleted") {}
    let why = ensure(&node).await.expect_err("its votes are forgotten");
    assert!(why.contains("damaged or lost"), "{why}");
}

#[tokio::test]
async fn what_is_left_of_replicas_is_deleted_one_after_another() {
    let node = node().await;
    let engine = node.inner.engine.clone();
    initialise_all(engine.as_ref(), &[(spec(0), None), (spec(1), None)]).expect("begun");
    let left =
        || list_specs(engine.as_ref()).expect("specs").iter().filter(|it| it.table_id == 9).count();
    let turn = node.inner.deleting.lock().await;
    for number in 0..2 {
        node.inner.delete_in_background(Deletion::new(&[], spec(number)));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(left(), 2, "another has its turn");
    drop(turn);
    while left() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
        node.inner.remove_replicas(vec![GROUP]).await.expect("removed");
        node.inner.remove_replicas(vec![GROUP]).await.expect("removed before");
        assert!(!is_held(&node), "failed: {is_failed}");
        assert!(node.inner.replicas.failures().is_empty());
        ensure(&node).await.expect_err("it was removed");
    }
}

#[tokio::test]
async fn what_is_removed_before_it_was_made_is_never_made() {
    let node = node().await;
    node.inner.remove_replicas(vec![GROUP]).await.expect("nothing to remove");
    ensure(&node).await.expect_err("an order that came late");
}

#[tokio::test]
async fn data_are_kept_until_the_log_knows_that_they_go() {
    let node = node().await;
    ensure(&node).await.expect("made");
    settled(&node).await;
    // Nobody tells the log any more.
    node.inner.hosts.iter().for_each(crate::shell::HostMailbox::close);
    let why = node.inner.remove_replicas(vec![GROUP]).await.expect_err("it has not synced it");
    assert!(why.contains("the log"), "{why}");
    assert!(is_held(&node));
}

#[tokio::test]
async fn what_cannot_be_applied_just_now_holds_up_no_other_replica() {
    let node = node().await;
    ensure(&node).await.expect("made");
    settled(&node).await;
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let hold = move |_: Option<&_>| {
        // Its other side is dropped.
        let _ = wait.recv();
    };
    let (group, act) = (GROUP, Box::new(hold));
    node.inner.applier_of(GROUP).0.push(ApplyEvent::With { group, act });
    let patience = Duration::from_secs(60);
    let removed = tokio::time::timeout(patience, node.inner.remove_replicas(vec![GROUP])).await;
    removed.expect("it comes to an end").expect_err("something may still be applied to it");
    assert!(is_held(&node));
    node.inner.begin_replicas(vec![spec(0)], true).await.expect("another one begins");
    drop(go_on);
    node.inner.remove_replicas(vec![GROUP]).await.expect("removed");
    assert!(!is_held(&node));
}
