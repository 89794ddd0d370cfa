//! Batches: their parts go to many partitions and tables, and what is left over comes back.

use std::collections::BTreeMap;

use stator::{ErrorKind, Item, KeyType, KeysAndAttributes, delete, put};

use super::items::{get, item};
use super::places::{Place, wait_until_gone};
use super::tables::refused;

fn key(id: impl std::fmt::Display) -> Item {
    item([("id", id.to_string().into())])
}

fn sorted(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by_key(|item| item["id"].as_s().map(str::to_owned));
    items
}

pub(crate) async fn batches_write_and_read_across_tables(place: Place) {
    let (client, one) = place.table(("id", KeyType::S), None).await;
    let (_, two) = place.table(("id", KeyType::S), None).await;
    let whole = |id: i32| item([("id", id.to_string().into()), ("n", id.into())]);
    let mut write = client.batch_write_item();
    for id in 0..10 {
        write = write.put(&one, whole(id)).put(&two, whole(id + 100));
    }
    let answer = write.send().await.expect("written");
    assert!(answer.unprocessed_items.is_empty());
    let write = client.batch_write_item().delete(&one, key(3)).put(&one, whole(20));
    write.delete(&one, key("absent")).delete(&two, key(103)).send().await.expect("written");

    let mut read = client.batch_get_item();
    for id in 0..10 {
        read = read.key(&one, key(id)).key(&two, key(id + 100));
    }
    let answer = read.key(&one, key(20)).key(&one, key("absent")).send().await.expect("read");
    assert!(answer.unprocessed_keys.is_empty());
    let wanted =
        |from: i32, to: i32, gone: i32| (from..to).filter(move |id| *id != gone).map(whole);
    let ones = wanted(0, 10, 3).chain([whole(20)]).collect();
    assert_eq!(sorted(answer.responses[&one].clone()), sorted(ones));
    assert_eq!(sorted(answer.responses[&two].clone()), sorted(wanted(100, 110, 103).collect()));

    let part = KeysAndAttributes {
        keys: vec![key(1), key("absent")],
        projection_expression: Some("#n".into()),
        expression_attribute_names: [("#n".to_owned(), "n".to_owned())].into(),
        consistent_read: true,
    };
    let answer = client.batch_get_item().request_items(&one, part).send().await.expect("read");
    assert_eq!(answer.responses[&one], [item([("n", 1.into())])]);
}

pub(crate) async fn batches_up_to_their_limits(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let puts = |count: usize| (0..count).map(|id| put(key(id))).collect::<Vec<_>>();
    let write = |writes| {
        client
            .batch_write_item()
            .set_request_items(BTreeMap::from([(table.clone(), writes)]))
            .send()
    };
    write(puts(25)).await.expect("just fits");
    let error = write(puts(26)).await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    let text = "Member must have length less than or equal to 25, Member must have length greater than or equal to 1";
    assert!(error.message().contains(text), "{error}");

    let left = client.write_all(&table, (0..100).map(|id| put(key(id)))).await.expect("written");
    assert!(left.is_empty());
    let read = |count: usize| {
        let wanted =
            KeysAndAttributes { keys: (0..count).map(key).collect(), ..Default::default() };
        client.batch_get_item().request_items(&table, wanted).send()
    };
    let answer = read(100).await.expect("just fits");
    // Eventually consistent, so a replica may be behind; but nothing is read twice, or left over.
    assert!(answer.responses[&table].len() <= 100 && answer.unprocessed_keys.is_empty());
    let error = read(101).await.expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    let (found, left) = client.get_all(&table, (0..130).map(key)).await.expect("read");
    assert_eq!((found.len(), left.len()), (100, 0));
}

pub(crate) async fn what_batches_refuse(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let kind = ErrorKind::Validation;
    let twice = "Provided list of item keys contains duplicates";
    let write = client.batch_write_item().put(&table, key(1)).delete(&table, key(1));
    refused(write.send().await, kind, twice);
    let read = client.batch_get_item().key(&table, key(1)).key(&table, key(1));
    refused(read.send().await, kind, twice);
    let write = client.batch_write_item().put(&table, key(1)).put("absent-table", key(1));
    refused(write.send().await, ErrorKind::ResourceNotFound, "Requested resource not found");
    let read = client.batch_get_item().key("absent-table", key(1)).send();
    refused(read.await, ErrorKind::ResourceNotFound, "Requested resource not found");
    let write =
        client.batch_write_item().put(&table, key(1)).delete(&table, item([("x", 1.into())]));
    refused(write.send().await, kind, "The provided key element does not match the schema");
    // What was refused has written nothing.
    assert_eq!(get(&client, &table, "1").await, None);
    let error = client.batch_write_item().send().await.expect_err("empty");
    assert_eq!(error.kind(), kind, "{error}");
}

pub(crate) async fn large_batches_leave_a_remainder(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let large =
        |id: usize| item([("id", id.to_string().into()), ("text", "x".repeat(390_000).into())]);
    let mut left: Vec<usize> = (0..50).collect();
    while !left.is_empty() {
        let batch: Vec<_> = left.drain(..left.len().min(25)).collect();
        let rest = client.write_all(&table, batch.into_iter().map(|id| put(large(id)))).await;
        assert!(rest.expect("written").is_empty());
    }
    // Each partition gives 1 MB, with the item that makes it so much: three of these.
    let wanted = KeysAndAttributes {
        keys: (0..50).map(key).collect(),
        consistent_read: true,
        ..KeysAndAttributes::default()
    };
    let answer = client.batch_get_item().request_items(&table, wanted).send().await.expect("read");
    let mut found: Vec<_> =
        answer.responses[&table].iter().map(|item| item["id"].clone()).collect();
    let rest = &answer.unprocessed_keys[&table];
    let partitions = client.describe_table().table_name(&table).send().await.expect("told");
    let most = 3 * partitions.table.partitions.max(1) as usize;
    assert!(rest.consistent_read && (3..=most).contains(&found.len()), "{}", found.len());
    found.extend(rest.keys.iter().map(|key| key["id"].clone()));
    let mut found: Vec<_> =
        found.iter().filter_map(|id| id.as_s()?.parse::<usize>().ok()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..50).collect::<Vec<_>>(), "each is found or left over");
    let (found, rest) = client.get_all(&table, (0..50).map(key)).await.expect("read");
    assert_eq!((found.len(), rest.len()), (50, 0));
    let deletes = (0..50).map(|id| delete(key(id)));
    assert!(client.write_all(&table, deletes).await.expect("deleted").is_empty());
    client.delete_table().table_name(&table).send().await.expect("deleted");
}

/// All nodes know the old table when the new one is made: batches must not wait for it to come back.
pub(crate) async fn a_batch_to_a_table_made_again_goes_to_the_new_one(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    for _ in 0..3 {
        let write = client.batch_write_item().put(&table, key("old")).send().await;
        assert!(write.expect("written").unprocessed_items.is_empty());
    }
    client.delete_table().table_name(&table).send().await.expect("deleted");
    wait_until_gone(&client, &table).await;
    let create = client.create_table().table_name(&table).partition_key("id", KeyType::S);
    create.partitions(5).send().await.expect("created again");
    client.wait_until_active(&table).await.expect("active");
    for round in 0..3 {
        let mut write = client.batch_write_item();
        for id in 0..20 {
            write = write.put(&table, key(format!("{round}-{id}")));
        }
        let written = write.send().await.expect("written");
        assert!(written.unprocessed_items.is_empty(), "{written:?}");
        let keys = (0..20).map(|id| key(format!("{round}-{id}")));
        let (found, left) = client.get_all(&table, keys).await.expect("read");
        assert_eq!((found.len(), left.len()), (20, 0), "round {round}");
    }
}
