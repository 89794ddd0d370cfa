use std::sync::Arc;

use stator_model::api::{Query, Scan, Segment, Values};
use stator_model::{AttributeValue, Item};

use super::super::testing::*;
use super::*;
use crate::engine::Batch;
use crate::engine::memory::MemoryEngine;
use crate::item::Stamp;

/// Engines of both modes that hold artists `a` to `d`, with 40 songs each.
fn libraries() -> Vec<Arc<MemoryEngine>> {
    let engines = engines().map(|engine| {
        let mut leader = Leader::new(engine, &spec());
        for artist in ["a", "b", "c", "d"] {
            leader.propose_each((0..40).map(|s| put(artist, s, s * 10)));
        }
        leader.apply_all();
        leader.engine
    });
    engines.into()
}

fn query_of(artist: &str, condition: &str) -> Query {
    Query {
        key_condition_expression: format!("p = :p{condition}"),
        expression_attribute_values: Values::from([(":p".to_owned(), artist.into())]),
        ..Query::default()
    }
}

fn never() -> bool {
    false
}

fn songs(items: &[EncodedItem]) -> Vec<i64> {
    let number = |item: &EncodedItem| match item.attribute("s").unwrap().unwrap() {
        AttributeValue::N(number) => number.to_string().parse().unwrap(),
        other => panic!("{other:?}"),
    };
    items.iter().map(number).collect()
}

/// All pages of a query.
fn pages(engine: &MemoryEngine, mut request: Query, expired: &mut Expired<'_>) -> Vec<Page> {
    let mut pages = Vec::new();
    loop {
        let page = query(engine, &spec(), &request.prepare(&schema()).unwrap(), expired).unwrap();
        request.exclusive_start_key.clone_from(&page.last_evaluated_key);
        pages.push(page);
        if request.exclusive_start_key.is_none() {
            return pages;
        }
    }
}

#[test]
fn a_query_reads_one_partition_key_in_order() {
    for engine in libraries() {
        let forward = pages(&engine, query_of("b", ""), &mut never);
        assert_eq!(songs(&forward[0].items), (0..40).collect::<Vec<_>>());
        assert_eq!(forward.len(), 1);
        let mut some = query_of("c", " AND s BETWEEN :x AND :y");
        some.expression_attribute_values.insert(":x".into(), 5.into());
        some.expression_attribute_values.insert(":y".into(), 9.into());
        some.scan_index_forward = false;
        some.limit = Some(2);
        let backward = pages(&engine, some, &mut never);
        let found: Vec<_> = backward.iter().map(|page| songs(&page.items)).collect();
        assert_eq!(found, [vec![9, 8], vec![7, 6], vec![5]]);
        assert_eq!(songs(&pages(&engine, query_of("nobody", ""), &mut never)[0].items), []);
    }
}

#[test]
fn a_page_ends_at_its_deadline_and_says_where() {
    for engine in libraries() {
        let mut filtered = query_of("b", "");
        filtered.filter_expression = Some("v < :x".into());
        filtered.expression_attribute_values.insert(":x".into(), 20.into());
        let mut looks = 0;
        let found = pages(&engine, filtered, &mut || {
            looks += 1;
            looks == 1
        });
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scanned_count, ITEMS_BETWEEN_LOOKS);
        assert_eq!(found[0].last_evaluated_key, Some(key_item("b", 31)));
        assert_eq!(found[0].count + found[1].count, 2);
    }
}

#[test]
fn a_scan_goes_through_partitions_segments_and_pages_and_misses_nothing() {
    for engine in libraries() {
        let cut = key("b", 0).hash();
        let parts = [
            PartitionSpec { hash_end: cut - 1, ..spec() },
            PartitionSpec { hash_start: cut, ..spec() },
        ];
        let mut found = Vec::new();
        for segment in 0..3 {
            let mut request = Scan {
                limit: Some(7),
                segment: Some(Segment { segment: Some(segment), total_segments: Some(3) }),
                ..Scan::default()
            };
            loop {
                let page = scan_page(&engine, &parts, &request);
                found.extend(page.items.iter().map(|item| item.decode().unwrap()));
                request.exclusive_start_key = page.last_evaluated_key;
                if request.exclusive_start_key.is_none() {
                    break;
                }
            }
        }
        let name = |item: &Item| (item["p"].as_s().unwrap().to_owned(), item["s"].clone());
        assert_eq!(found.len(), 160);
        found.sort_by_key(|item| format!("{:?}", name(item)));
        found.dedup_by_key(|item| name(item));
        assert_eq!(found.len(), 160);
    }
}

/// A page of a scan, over all partitions, as a node that holds them all would make it.
fn scan_page(engine: &MemoryEngine, parts: &[PartitionSpec], request: &Scan) -> Page {
    let mut prepared = request.prepare(&schema()).unwrap();
    let whole = prepared.clone();
    let mut page = whole.page();
    loop {
        let at = prepared.start.hash;
        let part = parts.iter().find(|part| part.owns(at)).unwrap();
        match scan(engine, part, &prepared, &mut page, &mut never).unwrap() {
            Stop::Full | Stop::Expired => return page.finish(true).unwrap(),
            Stop::End { last_hash } if last_hash >= prepared.last_hash => {
                return page.finish(false).unwrap();
            }
            Stop::End { last_hash } => {
                prepared.start = Position { hash: last_hash + 1, key: Bytes::new() };
            }
        }
    }
}

#[test]
fn a_scan_reads_nothing_outside_of_its_partition() {
    let engine = &libraries()[0];
    let hash = key("b", 0).hash();
    let only_b = PartitionSpec { hash_start: hash, hash_end: hash, ..spec() };
    let prepared = Scan::default().prepare(&schema()).unwrap();
    let mut page = prepared.page();
    let stop = scan(engine.as_ref(), &only_b, &prepared, &mut page, &mut never).unwrap();
    assert_eq!(stop, Stop::End { last_hash: hash });
    assert_eq!(page.finish(false).unwrap().count, 40);

    let mut looks = 0;
    let mut page = prepared.page();
    let stop = scan(engine.as_ref(), &spec(), &prepared, &mut page, &mut || {
        looks += 1;
        looks == 2
    });
    assert_eq!(stop, Ok(Stop::Expired));
    assert_eq!(page.scanned_count(), 2 * ITEMS_BETWEEN_LOOKS);
}

#[test]
fn a_scan_that_began_before_the_partition_reads_all_of_it() {
    let engine = &libraries()[0];
    let mut artists = ["a", "b", "c", "d"];
    artists.sort_by_key(|artist| key(artist, 0).hash());
    let [.., before, last] = artists;
    let part = PartitionSpec { hash_start: key(last, 0).hash(), ..spec() };
    let request = Scan { exclusive_start_key: Some(key_item(before, 20)), ..Scan::default() };
    let prepared = request.prepare(&schema()).unwrap();
    let mut page = prepared.page();
    scan(engine.as_ref(), &part, &prepared, &mut page, &mut never).unwrap();
    assert_eq!(page.finish(false).unwrap().count, 40);
    // And one that began in it goes on from there.
    let whole = scan_page(engine, &[spec()], &request);
    assert_eq!(whole.count, 40 + 19);
}

#[test]
fn what_is_not_in_the_partition_is_sent_away() {
    let engine = &libraries()[0];
    let hash = key("b", 0).hash();
    let below = PartitionSpec { hash_end: hash - 1, ..spec() };
    let moved = ReadError::Moved { generation: 3 };
    assert_eq!(get(engine.as_ref(), &below, &key("b", 0)), Err(moved.clone()));
    let prepared = query_of("b", "").prepare(&schema()).unwrap();
    assert_eq!(query(engine.as_ref(), &below, &prepared, &mut never), Err(moved.clone()));
    let mut prepared = Scan::default().prepare(&schema()).unwrap();
    prepared.start.hash = hash;
    let whole = prepared.clone();
    let stop = scan(engine.as_ref(), &below, &prepared, &mut whole.page(), &mut never);
    assert_eq!(stop, Err(moved));
}

#[test]
fn what_a_page_refuses_is_answered_as_it_says() {
    let engine = &libraries()[0];
    let stored = item_key(7, &key("b", 3));
    let no_item = EncodedItem::from_bytes(Bytes::from_static(b"no item"));
    let sealed = StoredItem { stamp: Stamp::local(1), serialized: None, item: no_item };
    let mut batch = Batch::default();
    batch.put(stored.clone(), sealed.seal(&stored));
    engine.write(&batch).unwrap();
    let prepared = query_of("b", "").prepare(&schema()).unwrap();
    let result = query(engine.as_ref(), &spec(), &prepared, &mut never);
    let Err(ReadError::Refused(error)) = result else { panic!("{result:?}") };
    assert_eq!(error.kind(), stator_model::ErrorKind::InternalServerError);
}

#[test]
fn a_corrupt_item_is_a_fault_that_names_its_key() {
    let engine = &libraries()[0];
    let stored = item_key(7, &key("b", 3));
    let mut batch = Batch::default();
    batch.put(stored.clone(), Bytes::from_static(b"\x01\x00 damaged"));
    engine.write(&batch).unwrap();
    let prepared = query_of("b", "").prepare(&schema()).unwrap();
    let found = [
        get(engine.as_ref(), &spec(), &key("b", 3)).map(|_| ()),
        query(engine.as_ref(), &spec(), &prepared, &mut never).map(|_| ()),
    ];
    for result in found {
        let Err(ReadError::Fault(Error::Corruption { place, .. })) = result else {
            panic!("{result:?}")
        };
        assert!(place.contains(&crate::key::hex(&stored)), "{place}");
    }
}
