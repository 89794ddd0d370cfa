//! What reads become, and what pages hold.

use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::api::{
    GetItem, KeysAndAttributes, Names, Query, QueryAnswer, Scan, ScanAnswer, Segment, Select,
    Values,
};
use crate::error::ErrorKind;
use crate::key::{Key, KeyRange};
use crate::limits::PAGE_BYTES_MAX;
use crate::schema::{KeyAttribute, KeySchema, KeyType};
use crate::value::{AttributeValue, Item};

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".to_owned(), key_type: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".to_owned(), key_type: KeyType::N }),
    }
}

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn key(pk: &str, sk: i64) -> Item {
    item([("pk", pk.into()), ("sk", sk.into())])
}

fn encoded_key(pk: &str, sk: i64) -> Key {
    Key::of_key_attributes(&schema(), &key(pk, sk)).unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn refused<T: std::fmt::Debug>(result: Result<T>, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Validation, text));
}

/// A Query for `p`, with a condition on the sort key whose values are `:a` and `:b`.
fn query(sort: &str, bounds: &[i64]) -> Query {
    let mut values = Values::from([(":p".to_owned(), "p".into())]);
    for (placeholder, bound) in [":a", ":b"].iter().zip(bounds) {
        values.insert((*placeholder).to_owned(), (*bound).into());
    }
    let and = if sort.is_empty() { "" } else { " AND " };
    Query {
        table_name: "table".to_owned(),
        key_condition_expression: format!("pk = :p{and}{sort}"),
        expression_attribute_values: values,
        ..Query::default()
    }
}

/// The sort keys from 0 to 9 that a query would read under a partition key.
fn reads(query: &Query, pk: &str) -> Vec<i64> {
    let prepared = query.prepare(&schema()).unwrap();
    let range = &prepared.range;
    assert!(range.end.as_ref().is_none_or(|end| range.start <= *end));
    (0..10).filter(|sk| prepared.range.contains(encoded_key(pk, *sk).bytes())).collect()
}

#[test]
fn a_query_reads_its_range() {
    let all: Vec<_> = (0..10).collect();
    assert_eq!(reads(&query("", &[]), "p"), all);
    assert_eq!(reads(&query("", &[]), "q"), []);
    assert_eq!(reads(&query("sk = :a", &[3]), "p"), [3]);
    assert_eq!(reads(&query("sk < :a", &[3]), "p"), [0, 1, 2]);
    assert_eq!(reads(&query("sk BETWEEN :a AND :b", &[3, 5]), "p"), [3, 4, 5]);
    let prepared = query("", &[]).prepare(&schema()).unwrap();
    assert_eq!(prepared.hash, encoded_key("p", 0).hash());
    assert!(prepared.forward);
    assert!(
        !Query { scan_index_forward: false, ..query("", &[]) }.prepare(&schema()).unwrap().forward
    );
}

#[test]
fn a_query_goes_on_after_its_starting_key() {
    let after = |sk, forward| Query {
        exclusive_start_key: Some(key("p", sk)),
        scan_index_forward: forward,
        ..query("sk > :a", &[2])
    };
    assert_eq!(reads(&after(5, true), "p"), [6, 7, 8, 9]);
    assert_eq!(reads(&after(5, false), "p"), [3, 4]);
    assert_eq!(reads(&after(3, false), "p"), []);
    assert_eq!(reads(&after(9, true), "p"), []);
    let exact = Query { exclusive_start_key: Some(key("p", 3)), ..query("sk = :a", &[3]) };
    assert_eq!(reads(&exact, "p"), []);
    let exact_backwards = Query { scan_index_forward: false, ..exact };
    assert_eq!(reads(&exact_backwards, "p"), []);
}

#[test]
fn a_querys_starting_key_is_checked() {
    let from = |start: Item, query: Query| Query { exclusive_start_key: Some(start), ..query };
    let prepare = |query: Query| query.prepare(&schema());
    for start in [
        item([("pk", "p".into())]),
        item([("pk", "p".into()), ("x", 1.into())]),
        item([("pk", 1.into()), ("sk", 1.into())]),
        item([("pk", "p".into()), ("sk", 1.into()), ("x", 1.into())]),
    ] {
        refused(prepare(from(start, query("", &[]))), "The provided starting key is invalid");
    }
    refused(
        prepare(from(key("q", 1), query("", &[]))),
        "The provided starting key is outside query boundaries based on provided conditions",
    );
    for pk in ["p", "q"] {
        refused(
            prepare(from(key(pk, 3), query("sk < :a", &[3]))),
            "The provided starting key does not match the range key predicate",
        );
    }
    refused(
        prepare(from(key("q", 2), query("sk < :a", &[3]))),
        "The query can return at most one row and cannot be restarted",
    );
}

#[test]
fn a_querys_filter_names_no_key_attributes() {
    let filtered = |filter: &str| Query { filter_expression: some(filter), ..query("", &[]) };
    for (filter, name) in [
        ("attribute_exists(pk)", "pk"),
        ("x = :p AND NOT attribute_exists(sk)", "sk"),
        ("sk = pk", "pk"),
    ] {
        refused(
            filtered(filter).prepare(&schema()),
            &format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"
            ),
        );
    }
    filtered("attribute_exists(x.pk)").prepare(&schema()).unwrap();
}

#[test]
fn placeholders_have_to_be_used() {
    let names = Names::from([("#x".to_owned(), "x".to_owned())]);
    let text = "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}";
    let unused = Query { expression_attribute_names: names.clone(), ..query("", &[]) };
    refused(unused.prepare(&schema()), text);
    refused(
        Scan {
            projection_expression: some("a"),
            expression_attribute_names: names.clone(),
            ..Scan::default()
        }
        .prepare(&schema()),
        text,
    );
    refused(
        GetItem {
            key: key("p", 1),
            projection_expression: some("a"),
            expression_attribute_names: names.clone(),
            ..GetItem::default()
        }
        .prepare(&schema()),
        text,
    );
    refused(
        KeysAndAttributes {
            projection_expression: some("a"),
            expression_attribute_names: names,
            ..KeysAndAttributes::default()
        }
        .prepare(&schema()),
        text,
    );
}

/// Items `p` / 0, 1, 2, ..., each with `x` = its sort key modulo two, and `fill` of so many bytes.
fn stored(sk: i64, fill: usize) -> (Bytes, EncodedItem) {
    let mut all = key("p", sk);
    all.insert("x".to_owned(), (sk % 2).into());
    all.insert("fill".to_owned(), "f".repeat(fill).into());
    (encoded_key("p", sk).bytes().clone(), EncodedItem::encode(&all))
}

/// Feeds a page with these items until it is full or they are at an end.
fn page(query: &Query, items: impl IntoIterator<Item = (Bytes, EncodedItem)>) -> Page {
    let prepared = query.prepare(&schema()).unwrap();
    let mut page = prepared.page();
    for (key, item) in items {
        if page.push(key, item).unwrap() == ControlFlow::Break(()) {
            assert!(page.is_full());
            break;
        }
    }
    page.finish(false).unwrap()
}

#[test]
fn a_page_without_filter_and_projection_passes_bytes_through() {
    let (bytes, item) = stored(1, 0);
    let answer = page(&query("", &[]), [(bytes, item.clone())]);
    assert_eq!(answer.items[0].as_bytes().as_ptr(), item.as_bytes().as_ptr());
    assert_eq!((answer.count, answer.scanned_count), (1, 1));
    assert_eq!(answer.last_evaluated_key, None);
    let empty = page(&query("", &[]), []);
    assert_eq!(empty, Page::default());
}

#[test]
fn the_limit_counts_what_was_read() {
    let limited = |limit, filter: Option<&str>| Query {
        limit: Some(limit),
        filter_expression: filter.map(str::to_owned),
        expression_attribute_values: Values::from([
            (":p".to_owned(), "p".into()),
            (":a".to_owned(), 1.into()),
        ])
        .into_iter()
        .filter(|(placeholder, _)| placeholder == ":p" || filter.is_some())
        .collect(),
        ..query("", &[])
    };
    let items = || (0..10).map(|sk| stored(sk, 0));
    let answer = page(&limited(4, None), items());
    assert_eq!((answer.count, answer.scanned_count), (4, 4));
    assert_eq!(answer.last_evaluated_key, Some(key("p", 3)));
    let filtered = page(&limited(4, Some("x = :a")), items());
    assert_eq!((filtered.count, filtered.scanned_count), (2, 4));
    assert_eq!(filtered.items.len(), 2);
    assert_eq!(filtered.last_evaluated_key, Some(key("p", 3)));
    // The limit was reached with the last item: nothing follows, but the page does not know.
    let exact = page(&limited(10, None), items());
    assert_eq!(exact.last_evaluated_key, Some(key("p", 9)));
    let short = page(&limited(11, None), items());
    assert_eq!((short.count, short.last_evaluated_key), (10, None));
}

#[test]
fn a_page_ends_with_the_item_that_makes_it_a_megabyte() {
    let fill = 100 * 1024;
    let size = stored(0, fill).1.check().unwrap().size;
    let expected = PAGE_BYTES_MAX.div_ceil(size) as u32;
    for filter in [None, some("attribute_exists(nothing)")] {
        let query = Query { filter_expression: filter.clone(), ..query("", &[]) };
        let answer = page(&query, (0..20).map(|sk| stored(sk, fill)));
        assert_eq!(answer.scanned_count, expected);
        assert_eq!(answer.count, if filter.is_some() { 0 } else { expected });
        assert_eq!(answer.last_evaluated_key, Some(key("p", i64::from(expected) - 1)));
    }
}

#[test]
fn a_full_page_takes_no_more() {
    let prepared = Query { limit: Some(1), ..query("", &[]) }.prepare(&schema()).unwrap();
    let mut page = prepared.page();
    for sk in 0..3 {
        let (key, item) = stored(sk, 0);
        assert_eq!(page.push(key, item).unwrap(), ControlFlow::Break(()));
    }
    assert_eq!(page.scanned_count(), 1);
    assert_eq!(page.finish(false).unwrap().last_evaluated_key, Some(key("p", 0)));
}

#[test]
fn a_page_that_was_stopped_says_where() {
    let prepared = query("", &[]).prepare(&schema()).unwrap();
    let mut page = prepared.page();
    let (bytes, item) = stored(7, 0);
    assert_eq!(page.push(bytes, item).unwrap(), ControlFlow::Continue(()));
    assert_eq!(page.finish(true).unwrap().last_evaluated_key, Some(key("p", 7)));
    assert_eq!(prepared.page().finish(true).unwrap().last_evaluated_key, None);
}

#[test]
fn a_page_projects_or_only_counts() {
    let projected = Query { projection_expression: some("x"), ..query("", &[]) };
    let answer = QueryAnswer::from(page(&projected, [stored(1, 0)]));
    assert_eq!(answer.items, [EncodedItem::encode(&item([("x", 1.into())]))]);
    let counted = Query { select: Some(Select::Count), ..query("", &[]) };
    let answer = ScanAnswer::from(page(&counted, [stored(1, 0), stored(2, 0)]));
    assert_eq!((answer.items.len(), answer.count, answer.scanned_count), (0, 2, 2));
}

#[test]
fn what_is_stored_and_cannot_be_read_is_a_fault() {
    let prepared = query("", &[]).prepare(&schema()).unwrap();
    let not_an_item = EncodedItem::from_bytes(b"not an item".as_slice().into());
    let error = prepared.page().push(Bytes::new(), not_an_item).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InternalServerError);
    let mut page = prepared.page();
    let _ = page.push(Bytes::from_static(b"no key"), stored(1, 0).1).unwrap();
    assert_eq!(page.finish(true).unwrap_err().kind(), ErrorKind::InternalServerError);
}

#[test]
fn gets() {
    let get = |projection: Option<&str>| {
        let get = GetItem {
            key: key("p", 1),
            projection_expression: projection.map(str::to_owned),
            ..GetItem::default()
        };
        get.prepare(&schema()).unwrap()
    };
    let (bytes, stored) = stored(1, 0);
    assert_eq!(get(None).key.bytes(), &bytes);
    let found = |get: PreparedGet| get.answer(Some(stored.clone())).unwrap().item;
    assert_eq!(found(get(None)).unwrap().as_bytes().as_ptr(), stored.as_bytes().as_ptr());
    assert_eq!(found(get(Some("x"))), Some(EncodedItem::encode(&item([("x", 1.into())]))));
    assert_eq!(found(get(Some("nothing"))), Some(EncodedItem::default()));
    assert_eq!(get(Some("x")).answer(None).unwrap().item, None);
    refused(
        GetItem { key: item([("pk", "p".into())]), ..GetItem::default() }.prepare(&schema()),
        "The provided key element does not match the schema",
    );
}

#[test]
fn batch_gets_name_an_item_once() {
    let batch = |keys: Vec<Item>| KeysAndAttributes { keys, ..KeysAndAttributes::default() };
    let prepared = batch(vec![key("p", 2), key("p", 1)]).prepare(&schema()).unwrap();
    assert_eq!(prepared.keys, [encoded_key("p", 2), encoded_key("p", 1)]);
    let (_, stored) = stored(1, 0);
    assert_eq!(prepared.answer(stored.clone()).unwrap(), stored);
    let same = item([("pk", "p".into()), ("sk", AttributeValue::N("2.0".parse().unwrap()))]);
    refused(
        batch(vec![key("p", 2), key("p", 1), same]).prepare(&schema()),
        "Provided list of item keys contains duplicates",
    );
}

fn segment(segment: u32, total: u32) -> Option<Segment> {
    Some(Segment { segment: Some(segment), total_segments: Some(total) })
}

#[test]
fn a_scan_reads_all_hashes_or_a_segment_of_them() {
    let scan = |segment| Scan { segment, ..Scan::default() }.prepare(&schema()).unwrap();
    for all in [None, Some(Segment::default()), segment(0, 1)] {
        let prepared = scan(all);
        assert_eq!(prepared.start, Position { hash: 0, key: Bytes::new() });
        assert_eq!(prepared.last_hash, u64::MAX);
    }
    let second = scan(segment(1, 4));
    assert_eq!(second.start.hash, 1 << 62);
    assert_eq!(second.last_hash, (1 << 63) - 1);
}

#[test]
fn a_scan_goes_on_after_its_starting_key() {
    let start = encoded_key("p", 3);
    let total = 8;
    let own =
        (0..total).find(|segment| segment_range(*segment, total).contains(&start.hash())).unwrap();
    let scan = |index| Scan {
        exclusive_start_key: Some(key("p", 3)),
        segment: segment(index, total),
        ..Scan::default()
    };
    let prepared = scan(own).prepare(&schema()).unwrap();
    let position = |key: &Key| Position { hash: key.hash(), key: key.bytes().clone() };
    assert!(position(&start) < prepared.start);
    assert!(prepared.start <= position(&encoded_key("p", 4)));
    let other = (own + 1) % total;
    refused(
        scan(other).prepare(&schema()),
        &format!(
            "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct \
             Segment. TotalSegments: 8 Segment: {other}"
        ),
    );
    for start in [item([("pk", "p".into())]), item([("pk", "p".into()), ("sk", "s".into())])] {
        refused(
            Scan { exclusive_start_key: Some(start), ..Scan::default() }.prepare(&schema()),
            "The provided starting key is invalid: The provided key element does not match the schema",
        );
    }
}

#[test]
fn a_scans_filter_may_name_key_attributes() {
    let scan = Scan { filter_expression: some("attribute_exists(pk)"), ..Scan::default() };
    let prepared = scan.prepare(&schema()).unwrap();
    let mut page = prepared.page();
    let (bytes, item) = stored(1, 0);
    let _ = page.push(bytes, item).unwrap();
    assert_eq!(page.finish(false).unwrap().count, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn segments_cover_every_hash_once(total in 1..=1_000_000u32, at in any::<prop::sample::Index>()) {
        let segment = at.index(total as usize) as u32;
        let range = segment_range(segment, total);
        let width = range.end() - range.start();
        prop_assert!(width >= u64::MAX / u64::from(total) - 1);
        if segment == 0 {
            prop_assert_eq!(*range.start(), 0);
        } else {
            prop_assert_eq!(segment_range(segment - 1, total).end() + 1, *range.start());
        }
        if segment == total - 1 {
            prop_assert_eq!(*range.end(), u64::MAX);
        }
    }

    /// Pages of any size, one after the other, read everything once, in order, in either direction.
    #[test]
    fn pages_are_the_whole_in_pieces(count in 0..20i64, limit in 1..7u32, forward: bool) {
        let mut all: Vec<_> = (0..count).map(|sk| stored(sk, 0)).collect();
        if !forward {
            all.reverse();
        }
        let mut seen = Vec::new();
        let mut start = None;
        loop {
            let query = Query {
                limit: Some(limit),
                exclusive_start_key: start,
                scan_index_forward: forward,
                ..query("", &[])
            };
            let range: KeyRange = query.prepare(&schema()).unwrap().range;
            let rest = all.iter().filter(|(key, _)| range.contains(key)).cloned();
            let answer = page(&query, rest);
            seen.extend(answer.items);
            prop_assert!(seen.len() <= all.len(), "pages repeat items");
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        let all: Vec<_> = all.into_iter().map(|(_, item)| item).collect();
        prop_assert_eq!(seen, all);
    }
}
