//! Scans: every item once, over all partitions, alone or in parallel.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use futures::future::join_all;
use stator::{Client, ErrorKind, Item, KeyType, Select, put};

use super::items::item;
use super::places::{Place, table_name};
use super::tables::refused;

/// A table of so many partitions that holds the items 0 to `count`.
async fn filled(place: Place, partitions: u32, count: i32) -> (Client, String) {
    let (client, table) = (place.client().await, table_name());
    let create = client.create_table().table_name(&table).partition_key("id", KeyType::N);
    create.partitions(partitions).send().await.expect("created");
    client.wait_until_active(&table).await.expect("active");
    let items = (0..count).map(|n| item([("id", n.into()), ("even", (n % 2 == 0).into())]));
    let left = client.write_all(&table, items.map(put)).await.expect("written");
    assert!(left.is_empty());
    (client, table)
}

fn ids(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item["id"].as_n().and_then(|n| n.to_u64()).expect("an id")).collect()
}

/// Whether these are the numbers up to `count`, each once.
fn assert_each_once(mut found: Vec<u64>, count: u64) {
    found.sort_unstable();
    assert_eq!(found, (0..count).collect::<Vec<_>>());
}

pub(crate) async fn a_scan_sees_every_item_once(place: Place) {
    let (client, table) = filled(place, 7, 150).await;
    let whole = client.scan().table_name(&table).send().await.expect("scanned");
    assert_eq!((whole.count, whole.scanned_count), (150, 150));
    assert_eq!(whole.last_evaluated_key, None);
    assert_each_once(ids(&whole.items), 150);
    let order = ids(&whole.items);
    for size in [1, 7, 50, 150] {
        let pages = client.scan().table_name(&table).into_paginator().page_size(size).send();
        let pages: Vec<_> = pages.try_collect().await.expect("scanned");
        assert!(pages.iter().all(|page| page.scanned_count <= size), "pages of {size}");
        let found: Vec<_> = pages.iter().flat_map(|page| ids(&page.items)).collect();
        assert_eq!(found, order, "pages of {size} are the same in the same order");
    }
    let eventual = client.scan().table_name(&table).consistent_read(false).send().await;
    assert!(eventual.expect("scanned").count <= 150);
}

pub(crate) async fn segments_cover_every_item_once(place: Place) {
    let (client, table) = filled(place, 3, 100).await;
    for total in [1, 2, 3, 10] {
        let segments = (0..total).map(|segment| {
            let scan = client.scan().table_name(&table).segment(segment).total_segments(total);
            scan.into_paginator().page_size(9).items().send().try_collect::<Vec<_>>()
        });
        let found: Vec<_> =
            join_all(segments).await.into_iter().collect::<Result<_, _>>().expect("scanned");
        assert_each_once(found.iter().flat_map(|items| ids(items)).collect(), 100);
        if total == 3 {
            assert!(found.iter().all(|items| items.len() > 10), "they share the work");
        }
    }
    let none = client.scan().table_name(&table).segment(999_999).total_segments(1_000_000);
    assert!(none.send().await.expect("scanned").count <= 1);
}

pub(crate) async fn scans_filter_and_count(place: Place) {
    let (client, table) = filled(place, 4, 60).await;
    let evens = || {
        let scan = client.scan().table_name(&table).filter_expression("even = :yes");
        scan.expression_attribute_values(":yes", true)
    };
    let page = evens().send().await.expect("scanned");
    assert_eq!((page.count, page.scanned_count), (30, 60));
    assert!(ids(&page.items).iter().all(|id| id % 2 == 0));
    let page = evens().select(Select::Count).send().await.expect("scanned");
    assert_eq!((page.items.len(), page.count, page.scanned_count), (0, 30, 60));
    let page = evens().projection_expression("id").limit(10).send().await.expect("scanned");
    assert!(page.items.iter().all(|item| item.len() == 1));
    assert_eq!(page.scanned_count, 10);
    assert!(page.last_evaluated_key.is_some());
    // A page may be all filtered out, and there is more behind it.
    let one = client.scan().table_name(&table).filter_expression("id = :id");
    let one = one.expression_attribute_values(":id", 7).into_paginator().page_size(5);
    let found: Vec<_> = one.items().send().try_collect().await.expect("scanned");
    assert_eq!(ids(&found), [7]);
}

pub(crate) async fn pages_of_a_scan_keep_to_their_size(place: Place) {
    let (client, table) = place.table(("id", KeyType::N), None).await;
    let text = "x".repeat(100_000);
    let puts = (0..24).map(|n: i32| {
        let put = client.put_item().table_name(&table).item("id", n).item("text", text.clone());
        put.send()
    });
    for put in join_all(puts).await {
        put.expect("put");
    }
    for filter in [false, true] {
        let mut found = BTreeSet::new();
        let (mut pages, mut scanned, mut start) = (0, 0, None);
        loop {
            let mut scan = client.scan().table_name(&table).set_exclusive_start_key(start);
            if filter {
                scan = scan.filter_expression("attribute_not_exists(id)").select(Select::Count);
            }
            let page = scan.send().await.expect("scanned");
            // 1 MB is read, and the item that takes it over that.
            assert!(page.scanned_count <= 11, "{} items in a page", page.scanned_count);
            found.extend(ids(&page.items));
            (pages, scanned) = (pages + 1, scanned + page.scanned_count);
            assert!(pages < 24, "there is no end");
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        assert_eq!(scanned, 24);
        assert_eq!(found.len(), if filter { 0 } else { 24 });
    }
}

pub(crate) async fn what_scans_refuse(place: Place) {
    let (client, table) = filled(place, 2, 3).await;
    let kind = ErrorKind::Validation;
    let scan = || client.scan().table_name(&table);
    refused(
        scan().segment(2).total_segments(2).send().await,
        kind,
        "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: 2 is not less than \
         TotalSegments: 2",
    );
    refused(
        scan().segment(2).send().await,
        kind,
        "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
    );
    refused(
        scan().set_exclusive_start_key(Some(item([("id", "text".into())]))).send().await,
        kind,
        "The provided starting key is invalid: The provided key element does not match the schema",
    );
    refused(
        scan().filter_expression("id = :id").send().await,
        kind,
        "Invalid FilterExpression: An expression attribute value used in expression is not defined; attribute value: \
         :id",
    );
}
