//! Queries: ranges of one partition key, in order, page by page.

use futures::TryStreamExt as _;
use futures::future::join_all;
use stator::{AttributeValue, Client, ErrorKind, Item, KeyType, Select, put};
use stator_client::request::read::QueryBuilder;

use super::items::{item, number};
use super::places::Place;
use super::tables::refused;

/// A table of so many items with sort keys `s` from 0 under the partition key `p`, and others under keys beside it.
async fn numbered(place: Place, count: i32) -> (Client, String) {
    let (client, table) = place.table(("pk", KeyType::S), Some(("s", KeyType::N))).await;
    let of = |pk: &str, s: i32| {
        item([("pk", pk.into()), ("s", s.into()), ("even", (s % 2 == 0).into()), ("x", "x".into())])
    };
    let beside = ["o", "p\0", "pp", "q"].map(|pk| of(pk, 1));
    let items = (0..count).map(|s| of("p", s)).chain(beside);
    let left = client.write_all(&table, items.map(put)).await.expect("written");
    assert!(left.is_empty());
    (client, table)
}

fn query(client: &Client, table: &str, sort: &str) -> QueryBuilder {
    let and = if sort.is_empty() { "" } else { " AND " };
    let query = client.query().table_name(table);
    query
        .key_condition_expression(format!("pk = :p{and}{sort}"))
        .expression_attribute_values(":p", "p")
}

fn sort_keys(items: &[Item]) -> Vec<u64> {
    let key = |item: &Item| item["s"].as_n().and_then(|n| n.to_u64()).expect("a sort key");
    items.iter().map(key).collect()
}

pub(crate) async fn sort_keys_are_in_order_both_ways(place: Place) {
    let (client, table) = place.table(("pk", KeyType::S), Some(("s", KeyType::N))).await;
    let ordered =
        ["-1e100", "-1000", "-2.5", "-2", "-1e-100", "0", "1e-100", "1", "9", "10", "1e100"];
    for at in [5, 0, 10, 3, 8, 1, 9, 2, 7, 4, 6] {
        let put = client.put_item().table_name(&table).item("pk", "p");
        put.item("s", number(ordered[at])).send().await.expect("put");
    }
    let mut wanted: Vec<AttributeValue> = ordered.map(number).into();
    for forward in [true, false] {
        let page = query(&client, &table, "").scan_index_forward(forward).send().await;
        let found: Vec<_> = page
            .expect("read")
            .items
            .into_iter()
            .map(|mut item| item.remove("s").expect("s"))
            .collect();
        assert_eq!(found, wanted);
        wanted.reverse();
    }
    let (client, table) = place.table(("pk", KeyType::S), Some(("s", KeyType::S))).await;
    let ordered = ["A", "B", "Z", "a", "a\0", "aa", "b", "é", "🎵"];
    for text in ordered.iter().rev() {
        let put = client.put_item().table_name(&table).item("pk", "p").item("s", *text);
        put.send().await.expect("put");
    }
    let page = query(&client, &table, "").send().await.expect("read");
    let found: Vec<_> = page.items.iter().filter_map(|item| item["s"].as_s()).collect();
    assert_eq!(found, ordered);
    let page = query(&client, &table, "begins_with(s, :a)");
    let page = page.expression_attribute_values(":a", "a").send().await.expect("read");
    let found: Vec<_> = page.items.iter().filter_map(|item| item["s"].as_s()).collect();
    assert_eq!(found, ["a", "a\0", "aa"]);
}

pub(crate) async fn key_conditions_of_every_kind(place: Place) {
    let (client, table) = numbered(place, 10).await;
    for (condition, wanted) in [
        ("s = :a", vec![3]),
        ("s < :a", vec![0, 1, 2]),
        ("s <= :a", vec![0, 1, 2, 3]),
        ("s > :a", vec![4, 5, 6, 7, 8, 9]),
        ("s >= :a", vec![3, 4, 5, 6, 7, 8, 9]),
        ("s BETWEEN :a AND :a", vec![3]),
    ] {
        let page = query(&client, &table, condition).expression_attribute_values(":a", 3);
        let forward = page.clone().send().await.expect("read");
        assert_eq!(sort_keys(&forward.items), wanted, "{condition}");
        assert_eq!(forward.count as usize, wanted.len());
        assert_eq!(forward.last_evaluated_key, None);
        let backward = page.scan_index_forward(false).send().await.expect("read");
        let reversed: Vec<_> = wanted.into_iter().rev().collect();
        assert_eq!(sort_keys(&backward.items), reversed, "{condition}");
    }
    let between = query(&client, &table, "s BETWEEN :a AND :b")
        .expression_attribute_values(":a", number("2.5"))
        .expression_attribute_values(":b", 5);
    assert_eq!(sort_keys(&between.send().await.expect("read").items), [3, 4, 5]);
    let absent = client.query().table_name(&table).key_condition_expression("pk = :p");
    let absent = absent.expression_attribute_values(":p", "absent").send().await.expect("read");
    assert_eq!((absent.items.len(), absent.count, absent.scanned_count), (0, 0, 0));
}

pub(crate) async fn filters_projections_and_counts(place: Place) {
    let (client, table) = numbered(place, 10).await;
    let evens = || {
        let query = query(&client, &table, "").filter_expression("even = :yes");
        query.expression_attribute_values(":yes", true)
    };
    let page = evens().send().await.expect("read");
    assert_eq!(sort_keys(&page.items), [0, 2, 4, 6, 8]);
    assert_eq!((page.count, page.scanned_count), (5, 10));
    // The limit counts what is read, not what is answered.
    let page = evens().limit(3).send().await.expect("read");
    assert_eq!((page.count, page.scanned_count), (2, 3));
    assert_eq!(page.last_evaluated_key, Some(item([("pk", "p".into()), ("s", 2.into())])));
    let page = evens().projection_expression("s").send().await.expect("read");
    assert_eq!(page.items[1], item([("s", 2.into())]));
    let page = evens().select(Select::Count).send().await.expect("read");
    assert_eq!((page.items.len(), page.count, page.scanned_count), (0, 5, 10));
}

pub(crate) async fn pages_by_limit_go_to_the_end(place: Place) {
    let (client, table) = numbered(place, 10).await;
    for (forward, size) in [(true, 3), (false, 4), (true, 5), (false, 10), (true, 11)] {
        let mut found = Vec::new();
        let mut start = None;
        let mut pages = 0;
        loop {
            let page = query(&client, &table, "").limit(size).scan_index_forward(forward);
            let page = page.set_exclusive_start_key(start).send().await.expect("read");
            assert!(page.items.len() <= size as usize);
            found.extend(sort_keys(&page.items));
            pages += 1;
            assert!(pages <= 5, "there is no end: {found:?}");
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        let mut wanted: Vec<_> = (0..10).collect();
        if !forward {
            wanted.reverse();
        }
        assert_eq!(found, wanted, "pages of {size}");
        // A page that is just full cannot know that nothing follows.
        assert_eq!(pages, 10 / size + 1);
    }
    let pages = query(&client, &table, "").into_paginator().page_size(3).items().send();
    let items: Vec<_> = pages.try_collect().await.expect("read");
    assert_eq!(sort_keys(&items), (0..10).collect::<Vec<_>>());
}

pub(crate) async fn pages_by_size_go_to_the_end(place: Place) {
    let (client, table) = place.table(("pk", KeyType::S), Some(("s", KeyType::N))).await;
    let text = "x".repeat(150_000);
    let puts = (0..10).map(|s: i32| {
        let put = client.put_item().table_name(&table).item("pk", "p").item("s", s);
        put.item("text", text.clone()).send()
    });
    for put in join_all(puts).await {
        put.expect("put");
    }
    let mut found = Vec::new();
    let mut start = None;
    loop {
        let page = query(&client, &table, "").set_exclusive_start_key(start);
        let page = page.send().await.expect("read");
        // A page ends with the item that takes it over 1 MB: the seventh.
        assert!(page.items.len() <= 7, "{}", page.items.len());
        found.extend(sort_keys(&page.items));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    assert_eq!(found, (0..10).collect::<Vec<_>>());
    // What is filtered out was read all the same.
    let filtered = query(&client, &table, "").filter_expression("attribute_not_exists(#t)");
    let filtered = filtered.expression_attribute_names("#t", "text").send().await.expect("read");
    assert_eq!(filtered.count, 0);
    assert!(filtered.scanned_count <= 7 && filtered.last_evaluated_key.is_some());
}

pub(crate) async fn what_queries_refuse(place: Place) {
    let (client, table) = numbered(place, 2).await;
    let kind = ErrorKind::Validation;
    refused(
        query(&client, &table, "x = :x").expression_attribute_values(":x", 1).send().await,
        kind,
        "Query condition missed key schema element: s",
    );
    refused(
        query(&client, &table, "s <> :x").expression_attribute_values(":x", 1).send().await,
        kind,
        "Invalid operator used in KeyConditionExpression: <>",
    );
    refused(
        query(&client, &table, "s = :x").expression_attribute_values(":x", "text").send().await,
        kind,
        "One or more parameter values were invalid: Condition parameter type does not match schema type",
    );
    refused(
        query(&client, &table, "").filter_expression("s = :p").send().await,
        kind,
        "Filter Expression can only contain non-primary key attributes: Primary key attribute: s",
    );
    refused(
        query(&client, &table, "").limit(0).send().await,
        kind,
        "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value \
         greater than or equal to 1",
    );
    let elsewhere = item([("pk", "q".into()), ("s", 1.into())]);
    refused(
        query(&client, &table, "").set_exclusive_start_key(Some(elsewhere)).send().await,
        kind,
        "The provided starting key is outside query boundaries based on provided conditions",
    );
    refused(
        client.query().table_name(&table).send().await,
        kind,
        "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
    );
}
