//! Tables: made, told of, listed, changed, deleted, made again.

use std::collections::BTreeSet;

use futures::future::join_all;
use stator::{Client, ErrorKind, KeyType, TableStatus};
use stator_model::size::item_size;

use super::items::item;
use super::places::{PATIENCE, Place, table_name, wait_until_gone};

async fn create(client: &Client, name: &str) -> stator::Result<()> {
    let create = client.create_table().table_name(name).partition_key("id", KeyType::S);
    create.timeout(PATIENCE).send().await.map(|_| ())
}

/// A refusal, in full.
pub(crate) fn refused<T: std::fmt::Debug>(result: stator::Result<T>, kind: ErrorKind, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.kind(), error.message()), (kind, text));
    assert!(!error.is_uncertain(), "a refusal is certain: {error:?}");
}

pub(crate) async fn a_table_lives_from_creation_to_deletion(place: Place) {
    let (client, name) = (place.client().await, table_name());
    let made = client
        .create_table()
        .table_name(&name)
        .partition_key("artist", KeyType::S)
        .sort_key("year", KeyType::N)
        .partitions(5)
        .send()
        .await
        .expect("created");
    assert_eq!(made.table.status, TableStatus::Creating);
    assert_eq!(made.table.partitions, 5);
    client.wait_until_active(&name).await.expect("active");

    let told = client.describe_table().table_name(&name).send().await.expect("described").table;
    assert_eq!(told.status, TableStatus::Active);
    assert_eq!(told.table_name, name);
    assert_eq!(told.table_id, made.table.table_id);
    assert_eq!(told.key_schema, made.table.key_schema);
    assert_eq!(told.key_schema.partition.name, "artist");
    assert_eq!(told.key_schema.sort.as_ref().map(|sort| sort.key_type), Some(KeyType::N));
    assert_eq!((told.partitions, told.item_count, told.size_bytes), (5, 0, 0));
    assert!(told.created_ms > 1_700_000_000_000 && !told.deletion_protection);

    for year in 0..20 {
        let put = client.put_item().table_name(&name).item("artist", "a").item("year", year);
        put.send().await.expect("put");
    }
    let told = client.describe_table().table_name(&name).send().await.expect("described").table;
    let size = |year: i32| item_size(&item([("artist", "a".into()), ("year", year.into())])) as u64;
    assert_eq!((told.item_count, told.size_bytes), (20, (0..20).map(size).sum()));

    let gone = client.delete_table().table_name(&name).send().await.expect("deleted");
    assert_eq!(gone.table.status, TableStatus::Deleting);
    let text = "Requested resource not found";
    let put = client.put_item().table_name(&name).item("artist", "a").item("year", 1).send();
    refused(put.await, ErrorKind::ResourceNotFound, text);
    wait_until_gone(&client, &name).await;
    let get = client.get_item().table_name(&name).key("artist", "a").key("year", 1).send();
    refused(get.await, ErrorKind::ResourceNotFound, text);
}

pub(crate) async fn tables_are_listed_in_pages(place: Place) {
    let client = place.client().await;
    // Of a prefix that sorts before all others here, and is nobody else's.
    let prefix = format!("aa-{}", table_name());
    let names: Vec<_> = (0..5).map(|number| format!("{prefix}-{number}")).collect();
    for made in join_all(names.iter().map(|name| create(&client, name))).await {
        made.expect("created");
    }
    let mut found = Vec::new();
    let mut start = Some(prefix.clone());
    for page in 0.. {
        assert!(page < 3, "too many pages: {found:?}");
        let mut list = client.list_tables().limit(2);
        if let Some(start) = &start {
            list = list.exclusive_start_table_name(start);
        }
        let page = list.send().await.expect("listed");
        assert_eq!(page.table_names.len(), 2);
        assert_eq!(page.last_evaluated_table_name.as_ref(), page.table_names.last());
        found.extend(page.table_names);
        if found.len() >= names.len() {
            break;
        }
        start = page.last_evaluated_table_name;
    }
    assert_eq!(found[..names.len()], names);
    let all = client.list_tables().exclusive_start_table_name("zzz").send().await.expect("listed");
    assert_eq!((all.table_names, all.last_evaluated_table_name), (Vec::new(), None));
}

pub(crate) async fn a_protected_table_is_not_deleted(place: Place) {
    let (client, name) = (place.client().await, table_name());
    let create = client.create_table().table_name(&name).partition_key("id", KeyType::S);
    create.deletion_protection(true).send().await.expect("created");
    client.wait_until_active(&name).await.expect("active");
    let text = format!(
        "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first. \
         Table: {name}"
    );
    refused(client.delete_table().table_name(&name).send().await, ErrorKind::Validation, &text);
    let change = |protect| client.update_table().table_name(&name).deletion_protection(protect);
    let changed = change(false).send().await.expect("changed");
    assert!(!changed.table.deletion_protection);
    assert_eq!(changed.table.status, TableStatus::Active);
    // Changing to what is so already changes nothing.
    change(false).send().await.expect("changed");
    change(true).send().await.expect("changed");
    let told = client.describe_table().table_name(&name).send().await.expect("described");
    assert!(told.table.deletion_protection);
    change(false).send().await.expect("changed");
    client.delete_table().table_name(&name).send().await.expect("deleted");
    wait_until_gone(&client, &name).await;
}

pub(crate) async fn a_table_made_again_is_empty(place: Place) {
    let (client, name) = place.table(("id", KeyType::S), None).await;
    let before = client.describe_table().table_name(&name).send().await.expect("described");
    for n in 0..30 {
        let put = client.put_item().table_name(&name).item("id", format!("{n}"));
        put.send().await.expect("put");
    }
    client.delete_table().table_name(&name).send().await.expect("deleted");
    wait_until_gone(&client, &name).await;
    // Another key type, so that a node that remembers the old table would not even understand the new one's keys.
    let create = client.create_table().table_name(&name).partition_key("number", KeyType::N);
    create.partitions(2).send().await.expect("created again");
    client.wait_until_active(&name).await.expect("active");
    let after = client.describe_table().table_name(&name).send().await.expect("described");
    assert!(after.table.table_id > before.table.table_id);
    for n in 0..30 {
        let put = client.put_item().table_name(&name).item("number", n).item("n", n).send().await;
        put.expect("put into the new table");
        let got = client.get_item().table_name(&name).key("number", n).send().await;
        assert!(got.expect("got").item.is_some());
    }
    let page = client.scan().table_name(&name).send().await.expect("scanned");
    assert_eq!(page.count, 30);
}

pub(crate) async fn what_tables_refuse(place: Place) {
    let (client, name) = place.table(("id", KeyType::S), None).await;
    let text = format!("Table already exists: {name}");
    refused(create(&client, &name).await, ErrorKind::ResourceInUse, &text);

    let text = "1 validation error detected: Value 'ab' at 'tableName' failed to satisfy constraint: Member must have \
                length greater than or equal to 3";
    refused(create(&client, "ab").await, ErrorKind::Validation, text);
    let text = "1 validation error detected: Value 'a b c' at 'tableName' failed to satisfy constraint: Member must \
                satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
    refused(create(&client, "a b c").await, ErrorKind::Validation, text);
    let both = client.create_table().table_name("keys").partition_key("k", KeyType::S);
    refused(
        both.sort_key("k", KeyType::N).send().await,
        ErrorKind::Validation,
        "Both the Hash Key and the Range Key element in the KeySchema have the same name",
    );
    let none = client.create_table().table_name("partitions").partition_key("k", KeyType::S);
    let text = "1 validation error detected: Value '0' at 'partitions' failed to satisfy constraint: Member must have \
                value greater than or equal to 1";
    refused(none.partitions(0).send().await, ErrorKind::Validation, text);
    refused(
        client.list_tables().limit(101).send().await,
        ErrorKind::Validation,
        "1 validation error detected: Value '101' at 'limit' failed to satisfy constraint: Member must have value less \
         than or equal to 100",
    );

    let absent = table_name();
    let text = format!("Requested resource not found: Table: {absent} not found");
    let kind = ErrorKind::ResourceNotFound;
    refused(client.describe_table().table_name(&absent).send().await, kind, &text);
    refused(client.delete_table().table_name(&absent).send().await, kind, &text);
    let update = client.update_table().table_name(&absent).deletion_protection(true);
    refused(update.send().await, kind, &text);
    refused(client.wait_until_active(&absent).await, kind, &text);
}

pub(crate) async fn one_of_many_creators_wins(place: Place) {
    let client = place.client().await;
    let name = table_name();
    let made = join_all((0..8).map(|_| create(&client, &name))).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
    for error in made.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), ErrorKind::ResourceInUse, "{error}");
    }
    client.wait_until_active(&name).await.expect("active");
    client.put_item().table_name(&name).item("id", "a").send().await.expect("put");

    // Of many deletions every one is told the same: it goes.
    let deleted = join_all((0..8).map(|_| client.delete_table().table_name(&name).send())).await;
    assert!(deleted.iter().any(Result::is_ok), "{deleted:?}");
    for error in deleted.into_iter().filter_map(Result::err) {
        let kind = error.kind();
        let gone = kind == ErrorKind::ResourceNotFound;
        assert!(gone || kind == ErrorKind::ResourceInUse, "{error}");
    }
    wait_until_gone(&client, &name).await;
}

/// Whatever was acknowledged after a table was made again is in the new table, though all nodes knew the old one.
pub(crate) async fn a_table_is_deleted_and_made_again_under_load(place: Place) {
    let (client, name) = place.table(("id", KeyType::S), None).await;
    for round in 0..4 {
        // Every node learns of the table.
        for n in 0..12 {
            let put = client.put_item().table_name(&name).item("id", format!("old-{n}"));
            put.send().await.expect("put");
        }
        client.delete_table().table_name(&name).send().await.expect("deleted");
        // As soon as the name is free, it is taken.
        loop {
            match create(&client, &name).await {
                Ok(()) => break,
                Err(error) => assert!(error.is_resource_in_use(), "{error}"),
            }
        }
        client.wait_until_active(&name).await.expect("active");
        let puts = (0..60).map(|n| {
            let put = client.put_item().table_name(&name).item("id", format!("{round}-{n}"));
            async move { (n, put.send().await) }
        });
        for (n, put) in join_all(puts).await {
            put.unwrap_or_else(|error| panic!("put {n} of round {round}: {error}"));
        }
        let page = client.scan().table_name(&name).send().await.expect("scanned");
        let found: BTreeSet<_> =
            page.items.iter().filter_map(|item| item.get("id")?.as_s()).collect();
        let wanted: BTreeSet<_> = (0..60).map(|n| format!("{round}-{n}")).collect();
        assert_eq!(found, wanted.iter().map(String::as_str).collect());
    }
}
