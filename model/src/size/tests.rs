use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::number::Number;

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.parse().unwrap())
}

fn map(attributes: &[(&str, AttributeValue)]) -> BTreeMap<String, AttributeValue> {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn set<T: Ord>(elements: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    elements.into_iter().collect()
}

#[test]
fn scalars() {
    for (value, size) in [
        (AttributeValue::from(""), 0),
        (AttributeValue::from("héllo"), 6),
        (AttributeValue::from(Bytes::from_static(&[0, 1, 2])), 3),
        (AttributeValue::from(Bytes::new()), 0),
        (AttributeValue::from(false), 1),
        (AttributeValue::Null, 1),
        (n("0"), 1),
        (n("12"), 2),
        (n("-123"), 4),
        (n("1e100"), 2),
    ] {
        assert_eq!(value_size(&value), size, "{value:?}");
    }
}

#[test]
fn sets_cost_their_elements() {
    let texts = AttributeValue::Ss(set(["a".to_owned(), "bcd".to_owned()]));
    assert_eq!(value_size(&texts), 4);
    let numbers = AttributeValue::Ns(set([Number::from(1), Number::from(-123)]));
    assert_eq!(value_size(&numbers), 6);
    let binaries = AttributeValue::Bs(set([Bytes::from_static(b"ab"), Bytes::from_static(b"c")]));
    assert_eq!(value_size(&binaries), 3);
}

#[test]
fn lists_and_maps() {
    assert_eq!(value_size(&AttributeValue::L(vec![])), 3);
    assert_eq!(value_size(&AttributeValue::M(BTreeMap::new())), 3);
    let list = AttributeValue::L(vec!["ab".into(), true.into()]);
    assert_eq!(value_size(&list), 3 + (1 + 2) + (1 + 1));
    let nested = map(&[("name", list), ("é", AttributeValue::Null)]);
    assert_eq!(value_size(&AttributeValue::M(nested)), 3 + (1 + 4 + 8) + (1 + 2 + 1));
}

#[test]
fn items_cost_names_and_values() {
    assert_eq!(item_size(&Item::new()), 0);
    let item =
        map(&[("pk", "ab".into()), ("year", n("1971")), ("list", AttributeValue::L(vec![]))]);
    assert_eq!(item_size(&item), (2 + 2) + (4 + 3) + (4 + 3));
}

#[test]
fn depth_costs_no_stack() {
    const DEPTH: usize = 1_000_000;
    let mut value = AttributeValue::Null;
    for _ in 0..DEPTH {
        value = AttributeValue::L(vec![value]);
    }
    assert_eq!(value_size(&value), DEPTH * 4 + 1);
    // Dropping it would recurse; taken apart it does not.
    while let AttributeValue::L(mut list) = value {
        value = list.pop().unwrap_or(AttributeValue::Null);
    }
}

/// The table at the head of `size`, as a recursion.
fn by_definition(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::L(list) => {
            3 + list.iter().map(|value| 1 + by_definition(value)).sum::<usize>()
        }
        AttributeValue::M(map) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + by_definition(value)).sum::<usize>()
        }
        scalar => own_size(scalar),
    }
}

fn values() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        ".{0,5}".prop_map(AttributeValue::S),
        any::<i64>().prop_map(AttributeValue::from),
        Just(AttributeValue::Null),
        prop::collection::btree_set(".{1,3}", 1..4).prop_map(AttributeValue::Ss),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(AttributeValue::L),
            prop::collection::btree_map(".{1,4}", inner, 0..5).prop_map(AttributeValue::M),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_the_definition(value in values()) {
        prop_assert_eq!(value_size(&value), by_definition(&value));
        let item = Item::from([("name".to_owned(), value.clone())]);
        prop_assert_eq!(item_size(&item), 4 + by_definition(&value));
    }
}
