//! Every kind of type, there and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use stator_model::limits::NESTING_LEVELS_MAX;
use stator_model::{EncodedItem, Number};

use super::*;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Shape {
    Point,
    Circle(f64),
    Line(i8, i8),
    Box { width: u32, height: u32 },
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Meters(u64);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Unit;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Everything {
    text: String,
    letter: char,
    small: i8,
    large: u64,
    low: i128,
    high: u128,
    single: f32,
    double: f64,
    yes: bool,
    bytes: Bytes,
    nothing: Option<String>,
    something: Option<u8>,
    unit: (),
    unit_struct: Unit,
    length: Meters,
    pair: (String, i32),
    list: Vec<Option<u8>>,
    shapes: Vec<Shape>,
    by_name: BTreeMap<String, Vec<bool>>,
    by_number: HashMap<i64, char>,
    by_truth: BTreeMap<bool, ()>,
    #[serde(with = "crate::serde_sets::string_set")]
    strings: BTreeSet<String>,
    #[serde(with = "crate::serde_sets::number_set")]
    numbers: Vec<u16>,
    #[serde(with = "crate::serde_sets::binary_set")]
    binaries: Vec<Bytes>,
    #[serde(with = "crate::serde_number")]
    exact: Number,
}

fn everything() -> Everything {
    Everything {
        text: "ü".to_owned(),
        letter: 'x',
        small: -128,
        large: u64::MAX,
        low: -99_999_999_999_999_999_999_999_999_999_999_999_999,
        high: 99_999_999_999_999_999_999_999_999_999_999_999_999,
        single: 0.1,
        double: 1.0 / 3.0,
        yes: true,
        bytes: Bytes::from_static(&[0, 255]),
        nothing: None,
        something: Some(3),
        unit: (),
        unit_struct: Unit,
        length: Meters(5),
        pair: ("a".to_owned(), -1),
        list: vec![Some(1), None],
        shapes: vec![
            Shape::Point,
            Shape::Circle(0.5),
            Shape::Line(-1, 1),
            Shape::Box { width: 2, height: 3 },
        ],
        by_name: [("a".to_owned(), vec![true])].into(),
        by_number: [(-5, 'm')].into(),
        by_truth: [(false, ())].into(),
        strings: ["b".to_owned(), "a".to_owned()].into(),
        numbers: vec![10, 2],
        binaries: vec![Bytes::from_static(b"z"), Bytes::from_static(b"a")],
        exact: "0.12345678901234567890123456789012345678".parse().unwrap(),
    }
}

#[test]
fn everything_comes_back() {
    let item = to_item(&everything()).unwrap();
    let stored = EncodedItem::encode(&item).decode().unwrap();
    assert_eq!(stored, item, "the database takes it");
    let mut expected = everything();
    expected.numbers = vec![2, 10];
    expected.binaries.reverse();
    assert_eq!(from_item::<Everything>(item).unwrap(), expected);
}

#[test]
fn everything_has_the_type_it_should() {
    let item = to_item(&everything()).unwrap();
    let plain = stator_proto::json::item_to_dynamodb_json(&item).to_string();
    for part in [
        r#""bytes":{"B":"AP8="}"#,
        r#""single":{"N":"0.1"}"#,
        r#""large":{"N":"18446744073709551615"}"#,
        r#""low":{"N":"-99999999999999999999999999999999999999"}"#,
        r#""nothing":{"NULL":true}"#,
        r#""length":{"N":"5"}"#,
        r#""pair":{"L":[{"S":"a"},{"N":"-1"}]}"#,
        r#""by_number":{"M":{"-5":{"S":"m"}}}"#,
        r#""by_truth":{"M":{"false":{"NULL":true}}}"#,
        r#""strings":{"SS":["a","b"]}"#,
        r#""numbers":{"NS":["2","10"]}"#,
        r#""binaries":{"BS":["YQ==","eg=="]}"#,
        r#""exact":{"N":"0.12345678901234567890123456789012345678"}"#,
        r#"{"S":"Point"},{"M":{"Circle":{"N":"0.5"}}}"#,
        r#"{"M":{"Line":{"L":[{"N":"-1"},{"N":"1"}]}}}"#,
        r#"{"M":{"Box":{"M":{"height":{"N":"3"},"width":{"N":"2"}}}}}"#,
    ] {
        assert!(plain.contains(part), "{part} is not in {plain}");
    }
}

#[test]
fn helpers_are_transparent_to_other_formats() {
    let json = serde_json::to_value(everything()).unwrap();
    assert_eq!(json["numbers"], serde_json::json!([10, 2]));
    assert_eq!(json["exact"], "0.12345678901234567890123456789012345678");
    assert_eq!(serde_json::from_value::<Everything>(json).unwrap(), everything());
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(with = "crate::serde_sets::string_set")]
    tags: Vec<String>,
}

#[test]
fn what_is_left_out_comes_back_as_nothing() {
    let sparse = Sparse { left_out: None, tags: vec![] };
    let item = to_item(&sparse).unwrap();
    assert!(item.is_empty());
    assert_eq!(from_item::<Sparse>(item).unwrap(), sparse);
}

#[test]
fn values_of_unknown_shape_come_as_they_are() {
    let mut item = to_item(&everything()).unwrap();
    // JSON has no bytes.
    item.retain(|name, _| !name.starts_with('b'));
    let value: serde_json::Value = from_item(item).unwrap();
    assert_eq!(value["small"], -128);
    assert_eq!(value["double"], 1.0 / 3.0);
    assert_eq!(value["nothing"], serde_json::Value::Null);
    assert_eq!(value["strings"], serde_json::json!(["a", "b"]));
}

/// Variants inside what buffers its content, as untagged and flattened types do.
#[test]
fn flattened_and_tagged_types_work() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    #[serde(tag = "kind")]
    enum Tagged {
        A { n: i64 },
    }
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Outer {
        id: String,
        #[serde(flatten)]
        inner: Tagged,
    }
    let outer = Outer { id: "x".to_owned(), inner: Tagged::A { n: i64::MIN } };
    let item = to_item(&outer).unwrap();
    assert_eq!(item["kind"], AttributeValue::from("A"));
    assert_eq!(from_item::<Outer>(item).unwrap(), outer);
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_validation());
    error.message().to_owned()
}

#[test]
fn what_no_attribute_can_hold_is_refused() {
    assert!(refusal(to_item(&5)).contains("not of the type N"));
    refusal(to_attribute_value(&f64::NAN));
    refusal(to_attribute_value(&f32::INFINITY));
    refusal(to_attribute_value(&u128::MAX));
    refusal(to_attribute_value(&f64::MAX));
    refusal(to_attribute_value(&BTreeMap::from([((1, 2), 3)])));
    let empty = Everything { strings: BTreeSet::new(), ..everything() };
    assert!(refusal(to_item(&empty)).contains("may not be empty"));
}

#[test]
fn what_does_not_fit_the_type_is_refused() {
    let n = |text: &str| AttributeValue::N(text.parse().unwrap());
    refusal(from_attribute_value::<u8>(n("256")));
    refusal(from_attribute_value::<u8>(n("-1")));
    refusal(from_attribute_value::<i64>(n("0.5")));
    refusal(from_attribute_value::<i128>(n("1e60")));
    refusal(from_attribute_value::<u128>(n("0.5")));
    refusal(from_attribute_value::<String>(n("1")));
    refusal(from_attribute_value::<u8>(AttributeValue::from("1")));
    refusal(from_attribute_value::<(u8, u8)>(AttributeValue::L(vec![n("1")])));
    refusal(from_attribute_value::<(u8, u8)>(AttributeValue::L(vec![n("1"), n("2"), n("3")])));
    refusal(from_attribute_value::<Shape>(AttributeValue::from("Sphere")));
    refusal(from_attribute_value::<Shape>(AttributeValue::M(BTreeMap::new())));
    refusal(from_attribute_value::<Shape>(AttributeValue::from("Circle")));
    let keys = BTreeMap::from([("x".to_owned(), n("1"))]);
    refusal(from_attribute_value::<BTreeMap<u8, u8>>(AttributeValue::M(keys)));
}

#[test]
fn numbers_of_every_width_are_exact() {
    assert_eq!(from_attribute_value::<u128>("1e38".parse::<Number>().unwrap().into()).unwrap(), {
        10u128.pow(38)
    });
    let float = 16_777_217.0f32;
    let value = to_attribute_value(&float).unwrap();
    assert_eq!(from_attribute_value::<f32>(value).unwrap(), float);
    let whole = to_attribute_value(&2.0f64).unwrap();
    assert_eq!(whole, AttributeValue::from(2));
    assert_eq!(from_attribute_value::<f64>(whole).unwrap(), 2.0);
}

/// A list in a list in a list.
#[derive(Deserialize, Debug)]
struct Nested(#[allow(dead_code, reason = "it is there to be read")] Vec<Nested>);

impl Serialize for Nested {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn nested(levels: usize) -> Nested {
    (1..levels).fold(Nested(vec![]), |inner, _| Nested(vec![inner]))
}

#[test]
fn depth_is_bounded_where_the_database_bounds_it() {
    let deepest = NESTING_LEVELS_MAX - 1;
    let item = |levels| BTreeMap::from([("a", nested(levels))]);
    let ok = to_item(&item(deepest)).unwrap();
    assert_eq!(EncodedItem::encode(&ok).decode().unwrap(), ok);
    from_item::<BTreeMap<String, Nested>>(ok).unwrap();
    assert!(refusal(to_item(&item(deepest + 1))).starts_with("Nesting Levels"));
    assert!(refusal(to_attribute_value(&nested(deepest + 1))).starts_with("Nesting Levels"));

    let list = |inner, _| AttributeValue::L(vec![inner]);
    let too_deep = (0..deepest).fold(AttributeValue::L(vec![]), list);
    assert!(refusal(from_attribute_value::<Nested>(too_deep)).starts_with("Nesting Levels"));
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Deep {
    Set(#[serde(with = "crate::serde_sets::number_set")] Vec<u8>),
    List(Vec<Deep>),
}

#[test]
fn a_set_is_no_level_of_its_own() {
    // Each variant is a map, and a list within is one more level.
    let deep = |lists| (0..lists).fold(Deep::Set(vec![1, 2]), |inner, _| Deep::List(vec![inner]));
    let deepest = (NESTING_LEVELS_MAX - 2) / 2;
    let item = to_item(&BTreeMap::from([("a", deep(deepest))])).unwrap();
    let levels = 2 * deepest + 2;
    assert_eq!(levels, NESTING_LEVELS_MAX, "the innermost map is at the last level");
    assert_eq!(EncodedItem::encode(&item).decode().unwrap(), item, "the database takes it");
    let back: BTreeMap<String, Deep> = from_item(item).unwrap();
    assert_eq!(back["a"], deep(deepest));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn numbers_come_back(i: i64, u: u64, wide in -10i128.pow(37)..10i128.pow(37), f in -1e100f64..1e100, g in -1e30f32..1e30) {
        let value = (i, u, wide, f, g);
        let there = to_attribute_value(&value).unwrap();
        let back: (i64, u64, i128, f64, f32) = from_attribute_value(there).unwrap();
        prop_assert_eq!(back, value);
    }
}
