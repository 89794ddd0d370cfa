use std::time::Duration;

use stator_model::api::CreateTable;
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, Item};
use stator_storage::partition::{WriteAnswer, WriteError};

use super::*;
use crate::config::NodeConfig;
use crate::node::Node;
use crate::node::intake::Intake;

fn refused() -> WriteError {
    WriteError::Refused(Error::new(ErrorKind::Throttling, "no room"))
}

#[test]
fn a_share_of_which_some_is_done_is_never_said_to_be_undone() {
    for failed in [refused(), WriteError::Moved { generation: 2 }] {
        for outcomes in [
            vec![Ok(WriteAnswer::default()), Err(failed.clone())],
            vec![Err(failed.clone()), Ok(WriteAnswer::default())],
        ] {
            let Attempt::Done(Err(error)) = all_done(outcomes) else { panic!("an error") };
            assert_eq!(error.applied(), Applied::Unknown);
        }
    }
}

#[test]
fn a_share_of_which_nothing_is_done_may_be_tried_elsewhere() {
    let moved = all_done(vec![Err(WriteError::Moved { generation: 2 })]);
    assert!(matches!(moved, Attempt::StaleRoute));
    let Attempt::Done(Err(error)) = all_done(vec![Err(refused())]) else { panic!("an error") };
    assert_eq!(error.applied(), Applied::No);
    let done = all_done(vec![Ok(WriteAnswer::default())]);
    assert!(matches!(done, Attempt::Done(Ok(left)) if left.is_empty()));
}

#[test]
fn the_largest_key_is_no_larger_than_what_a_delete_counts() {
    let attribute = |name: &str| KeyAttribute { name: name.into(), key_type: KeyType::B };
    let schema = KeySchema { partition: attribute("a"), sort: Some(attribute("b")) };
    // A zero is what takes two bytes.
    let zeros = |count| AttributeValue::B(vec![0; count].into());
    let key = Item::from([
        ("a".to_owned(), zeros(PARTITION_KEY_BYTES_MAX)),
        ("b".to_owned(), zeros(SORT_KEY_BYTES_MAX)),
    ]);
    let key = Key::of_key_attributes(&schema, &key).expect("as long as it may be");
    assert!(key.bytes().len() <= KEY_BYTES_MAX, "{}", key.bytes().len());
}

/// Reads a batch of 100 items of 399 KB each: what was found, and how many were looked at for it.
fn read_large(intake: &Intake, projection: Option<&str>) -> (Found, usize) {
    let value = AttributeValue::from("x".repeat(399_000));
    read_all(intake, projection, &EncodedItem::encode(&Item::from([("value".to_owned(), value)])))
}

/// The same for 100 times one item.
fn read_all(intake: &Intake, projection: Option<&str>, item: &EncodedItem) -> (Found, usize) {
    let schema = KeySchema {
        partition: KeyAttribute { name: "id".into(), key_type: KeyType::S },
        sort: None,
    };
    let key = |n: usize| Item::from([("id".to_owned(), AttributeValue::from(n.to_string()))]);
    let wanted = KeysAndAttributes {
        keys: (0..100).map(key).collect(),
        projection_expression: projection.map(str::to_owned),
        ..Default::default()
    };
    let looked = std::cell::Cell::new(0);
    let prepared = wanted.prepare(&schema).expect("sound");
    let found = Found::read(&prepared, intake.answer_room(), |_| {
        looked.set(looked.get() + 1);
        Ok(Some(item.clone()))
    });
    (found.expect("read"), looked.get())
}

#[test]
fn a_batch_reads_1_mb_of_a_partition_and_leaves_the_rest() {
    // Two items of 399 KB are less than 1 MB, and three are more.
    let (found, looked) = read_large(&Intake::new(1, 64 << 20), None);
    assert_eq!((found.items.len(), looked), (3, 3));
    assert!(found.left == Left::From(3) && !found.is_short);
    // It is what is read that counts, and not what is left of it.
    let (found, looked) = read_large(&Intake::new(1, 64 << 20), Some("absent"));
    assert_eq!((found.items.len(), looked), (3, 3));
    assert!(found.items.iter().all(|item| item.as_bytes().len() < 100));
}

#[test]
fn a_batch_counts_the_bytes_that_a_page_does() {
    // Encoded, each name and each value takes something for its length, which is no part of the item's size.
    let value = |n: u32| (format!("{n:06}"), AttributeValue::from(""));
    let item = EncodedItem::encode(&(0..66_000).map(value).collect());
    let size = item.check().expect("an item").size;
    let times =
        [item.as_bytes().len(), size].map(|bytes| 2 * bytes / BATCH_GET_PARTITION_BYTES_MAX);
    assert_eq!(times, [1, 0], "two of them are 1 MB as bytes, and not as items");
    let (found, looked) = read_all(&Intake::new(1, 64 << 20), None, &item);
    assert_eq!((found.items.len(), looked), (3, 3));
}

#[test]
fn what_batches_find_has_room_or_is_left() {
    let intake = Intake::new(1, 16 << 20);
    let bytes = |found: &Found| found.items.iter().map(|item| item.as_bytes().len()).sum::<usize>();
    let held: Vec<_> = (0..20).map(|_| read_large(&intake, None).0).collect();
    let sum: usize = held.iter().map(bytes).sum();
    assert!(sum > 15 << 20 && sum <= 16 << 20, "{sum}");
    let last = held.last().expect("twenty");
    assert!(last.is_short && last.items.is_empty() && last.left == Left::From(0));
    let items =
        vec![EncodedItem::encode(&Item::from([("a".to_owned(), "x".repeat(900_000).into())]))];
    let sent = Found::sent(items.clone(), None, intake.answer_room());
    assert!(sent.is_short && sent.items.is_empty(), "nor is there room for what another sends");
    drop((held, sent));
    let sent = Found::sent(items, None, intake.answer_room());
    assert!(!sent.is_short && sent.items.len() == 1 && sent.left == Left::Keys(Vec::new()));
}

/// How long a batch may take of which a part cannot be served; the rest of it has long been served then.
const TIME: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

fn item(id: &str) -> Item {
    Item::from([("id".to_owned(), AttributeValue::from(id))])
}

/// A node alone with a table of two partitions, of which the second one's replica is gone; and ids of either partition.
async fn with_half_a_table() -> (Node, [Vec<String>; 2]) {
    let config = NodeConfig { table_partitions: 2, ..NodeConfig::default() };
    let node = Node::embedded(config, true).await.expect("a node in memory");
    node.wait_ready(PATIENCE).await.expect("ready");
    let inner = &node.inner;
    let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    let schema = KeySchema { partition: id, sort: None };
    let cx = inner.own_context(PATIENCE);
    let create = CreateTable {
        table_name: "music".into(),
        key_schema: schema.clone(),
        partitions: None,
        deletion_protection: false,
    };
    inner.create_table(create, &cx).await.expect("created");
    let table = loop {
        match inner.table("music", &cx).await {
            Ok(table) => break table,
            Err(error) => assert!(!cx.left(inner.clock.monotonic_ns()).is_zero(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let mut ids = [Vec::new(), Vec::new()];
    for id in (0..10).map(|n| n.to_string()) {
        let key = Key::of_key_attributes(&schema, &item(&id)).expect("a key");
        ids[table.index_of(key.hash())].push(id);
    }
    assert!(ids.iter().all(|ids| !ids.is_empty()));
    inner.remove_replicas(vec![table.partitions()[1].group]).await.expect("removed");
    (node, ids)
}

fn sorted(items: &[Item]) -> Vec<String> {
    let mut ids: Vec<_> =
        items.iter().filter_map(|item| item["id"].as_s().map(str::to_owned)).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn what_nobody_serves_in_time_is_left_and_the_rest_is_done() {
    let (node, [served, lost]) = with_half_a_table().await;
    let write = |ids: &[&Vec<String>]| {
        let put = |id: &String| WriteRequest::Put(EncodedItem::encode(&item(id)));
        let writes = ids.iter().flat_map(|ids| ids.iter().map(put)).collect();
        BatchWriteItem { request_items: [("music".to_owned(), writes)].into() }
    };
    let read = |ids: &[&Vec<String>]| {
        let keys = ids.iter().flat_map(|ids| ids.iter().map(|id| item(id))).collect();
        let wanted = KeysAndAttributes { keys, consistent_read: true, ..Default::default() };
        BatchGetItem { request_items: [("music".to_owned(), wanted)].into() }
    };
    let context = || node.inner.own_context(TIME);

    // What is not there has been read, too.
    let answer = node.inner.batch_get_item(read(&[&lost, &served]), &context()).await;
    let answer = answer.expect("some of it was read");
    assert!(answer.responses["music"].is_empty());
    assert_eq!(sorted(&answer.unprocessed_keys["music"].keys), lost);
    let answer = node.inner.batch_write_item(write(&[&lost, &served]), &context()).await;
    let left: Vec<_> = answer.expect("some of it is done").unprocessed_items["music"]
        .iter()
        .map(|write| match write {
            WriteRequest::Put(item) => item.decode().expect("an item"),
            WriteRequest::Delete(_) => panic!("nothing was to be deleted"),
        })
        .collect();
    assert_eq!(sorted(&left), lost);
    let answer = node.inner.batch_get_item(read(&[&lost, &served]), &context()).await;
    let answer = answer.expect("some of it was read");
    let found: Vec<_> =
        answer.responses["music"].iter().map(|item| item.decode().expect("an item")).collect();
    assert_eq!(sorted(&found), served);
    let left = &answer.unprocessed_keys["music"];
    assert!(left.consistent_read && sorted(&left.keys) == lost);

    // An error only where nothing at all could be done.
    let refused = node.inner.batch_get_item(read(&[&lost]), &context()).await;
    assert_eq!(refused.expect_err("nothing was read").kind(), ErrorKind::Unavailable);
    let refused = node.inner.batch_write_item(write(&[&lost]), &context()).await;
    let refused = refused.expect_err("nothing was written");
    assert_eq!((refused.kind(), refused.applied()), (ErrorKind::Unavailable, Applied::No));
    node.shutdown().await;
}
