//! The codec's promises: round trips, the canonical form, agreement of scan and decode on any bytes, exact error texts.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::wire::{delimited_tag, put_delimited, put_nested, varint_tag};
use super::*;
use crate::error::ErrorKind;
use crate::limits::{ATTRIBUTE_NAME_BYTES_MAX, NESTING_LEVELS_MAX};
use crate::number::Number;

fn arb_number() -> impl Strategy<Value = Number> {
    (any::<i64>(), -100i16..100)
        .prop_map(|(digits, exponent)| format!("{digits}e{exponent}").parse().unwrap())
}

fn arb_name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]{1,2}", 1 => "\\PC{1,8}", 1 => "[x-z]{120,140}"]
}

fn arb_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn arb_value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        "\\PC{0,6}".prop_map(AttributeValue::S),
        "[a-z]{120,140}".prop_map(AttributeValue::S),
        arb_number().prop_map(AttributeValue::N),
        arb_bytes().prop_map(AttributeValue::B),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null),
        prop::collection::btree_set("[a-c]{0,3}", 1..5).prop_map(AttributeValue::Ss),
        prop::collection::btree_set(arb_number(), 1..5).prop_map(AttributeValue::Ns),
        prop::collection::btree_set(arb_bytes(), 1..5).prop_map(AttributeValue::Bs),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(AttributeValue::L),
            prop::collection::btree_map(arb_name(), inner, 0..5).prop_map(AttributeValue::M),
        ]
    })
}

fn arb_item() -> impl Strategy<Value = Item> {
    prop::collection::btree_map(arb_name(), arb_value(), 0..6)
}

/// Writes an item in every way that is allowed and not canonical, as a stream of dice says.
struct Sloppy<'a> {
    dice: &'a [u8],
    thrown: usize,
}

impl Sloppy<'_> {
    fn dice(&mut self) -> usize {
        self.thrown += 1;
        self.dice.get(self.thrown % self.dice.len().max(1)).copied().unwrap_or(0).into()
    }

    fn varint(&mut self, out: &mut Vec<u8>, mut value: usize) {
        let padding = self.dice() % 3;
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        if padding == 0 {
            return out.push(value as u8);
        }
        out.push(value as u8 | 0x80);
        out.extend(std::iter::repeat_n(0x80, padding - 1));
        out.push(0);
    }

    fn field(&mut self, out: &mut Vec<u8>, number: u8, field: &[u8]) {
        self.varint(out, delimited_tag(number).into());
        self.varint(out, field.len());
        out.extend_from_slice(field);
    }

    fn entries(&mut self, entries: &Item) -> Vec<u8> {
        let mut order: Vec<_> = entries.iter().collect();
        if !order.is_empty() {
            let by = self.dice() % order.len();
            order.rotate_left(by);
        }
        let mut out = Vec::new();
        for (name, value) in order {
            let value = self.value(value);
            let mut entry = Vec::new();
            if self.dice().is_multiple_of(2) {
                self.field(&mut entry, field::KEY, name.as_bytes());
                self.field(&mut entry, field::VALUE, &value);
            } else {
                self.field(&mut entry, field::VALUE, &value);
                self.field(&mut entry, field::KEY, name.as_bytes());
            }
            self.field(&mut out, field::ENTRIES, &entry);
        }
        out
    }

    fn members(&mut self, mut members: Vec<Vec<u8>>, ordered: bool) -> Vec<u8> {
        if !ordered && !members.is_empty() {
            let by = self.dice() % members.len();
            members.rotate_left(by);
        }
        let mut out = Vec::new();
        for member in members {
            self.field(&mut out, field::VALUES, &member);
        }
        out
    }

    fn number(&mut self, number: &Number) -> Vec<u8> {
        let text = number.to_string();
        match self.dice() % 3 {
            0 => format!("{text}e0").into_bytes(),
            1 if !text.contains(['.', 'e', 'E']) => format!("{text}.0").into_bytes(),
            _ => text.into_bytes(),
        }
    }

    fn value(&mut self, value: &AttributeValue) -> Vec<u8> {
        let mut out = Vec::new();
        let (number, bytes) = match value {
            AttributeValue::Bool(value) => {
                self.varint(&mut out, varint_tag(field::BOOL).into());
                let truth = if *value { 1 + self.dice() } else { 0 };
                self.varint(&mut out, truth);
                return out;
            }
            AttributeValue::Null => {
                self.varint(&mut out, varint_tag(field::NULL).into());
                self.varint(&mut out, 1);
                return out;
            }
            AttributeValue::S(text) => (field::S, text.clone().into_bytes()),
            AttributeValue::N(number) => (field::N, self.number(number)),
            AttributeValue::B(bytes) => (field::B, bytes.to_vec()),
            AttributeValue::Ss(set) => {
                let members = set.iter().map(|text| text.clone().into_bytes()).collect();
                (field::SS, self.members(members, false))
            }
            AttributeValue::Ns(set) => {
                let members = set.iter().map(|number| self.number(number)).collect();
                (field::NS, self.members(members, false))
            }
            AttributeValue::Bs(set) => {
                let members = set.iter().map(|bytes| bytes.to_vec()).collect();
                (field::BS, self.members(members, false))
            }
            AttributeValue::L(list) => {
                let members = list.iter().map(|value| self.value(value)).collect();
                (field::L, self.members(members, true))
            }
            AttributeValue::M(map) => (field::M, self.entries(map)),
        };
        self.field(&mut out, number, &bytes);
        out
    }
}

fn encoded(bytes: impl Into<Bytes>) -> EncodedItem {
    EncodedItem::from_bytes(bytes.into())
}

/// What must hold between the functions on any bytes at all.
fn assert_consistent(bytes: &Bytes) {
    let item = encoded(bytes.clone());
    match item.decode() {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Validation);
            assert_eq!(item.scan(), None, "the scan takes what decode refuses: {bytes:?}");
            assert_eq!(item.check(), Err(error.clone()));
            assert_eq!(item.canonicalize(), Err(error));
        }
        Ok(tree) => {
            let canonical = EncodedItem::encode(&tree);
            let checked = item.check().unwrap();
            assert_eq!(checked.canonical, canonical == item, "{bytes:?}");
            assert_eq!(checked.size, item_size(&tree));
            for (name, value) in &tree {
                assert_eq!(item.attribute(name).unwrap().as_ref(), Some(value));
            }
            assert_eq!(canonical.decode().unwrap(), tree);
            assert_eq!(item.canonicalize().unwrap(), (canonical, checked.size));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn items_come_back(item in arb_item()) {
        let bytes = EncodedItem::encode(&item);
        prop_assert_eq!(bytes.decode().unwrap(), item);
        prop_assert!(bytes.check().unwrap().canonical);
        assert_consistent(&bytes.into_bytes());
    }

    #[test]
    fn any_valid_encoding_is_read_and_made_canonical(
        item in arb_item(),
        dice in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let bytes = Sloppy { dice: &dice, thrown: 0 }.entries(&item);
        let sloppy = encoded(bytes);
        prop_assert_eq!(sloppy.clone().canonicalize().unwrap().0, EncodedItem::encode(&item));
        prop_assert_eq!(sloppy.decode().unwrap(), item);
        assert_consistent(&sloppy.into_bytes());
    }

    #[test]
    fn damaged_items_are_judged_alike(
        item in arb_item(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..4),
    ) {
        let mut bytes = EncodedItem::encode(&item).into_bytes().to_vec();
        for (at, byte, how) in damage {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => { bytes.remove(at); }
                _ if at < bytes.len() => bytes[at] ^= byte.max(1),
                _ => {}
            }
        }
        assert_consistent(&bytes.into());
    }

    #[test]
    fn any_bytes_are_judged_alike(bytes in prop::collection::vec(0..0x60u8, 0..40)) {
        assert_consistent(&bytes.clone().into());
        // The same bytes as a value's, where they get further.
        let mut entry = Vec::new();
        put_nested(&mut entry, delimited_tag(field::ENTRIES), |out| {
            put_delimited(out, delimited_tag(field::KEY), b"a");
            put_delimited(out, delimited_tag(field::VALUE), &bytes);
        });
        assert_consistent(&entry.into());
    }

    #[test]
    fn values_come_back(value in arb_value()) {
        prop_assert_eq!(value_from_bytes(&value_to_bytes(&value)).unwrap(), value);
    }
}

#[test]
fn the_bytes_are_these() {
    let item = Item::from([
        ("b".to_owned(), AttributeValue::L(vec![true.into(), AttributeValue::Null])),
        ("a".to_owned(), AttributeValue::Ns(BTreeSet::from([10.into(), 9.into()]))),
        ("é".to_owned(), AttributeValue::M(BTreeMap::from([("".to_owned() + "k", "v".into())]))),
        ("c".to_owned(), AttributeValue::B(Bytes::from(vec![0xff; 200]))),
    ]);
    let mut expected = vec![
        0x0a, 0x0e, 0x0a, 1, b'a', 0x12, 9, 0x3a, 7, 0x0a, 1, b'9', 0x0a, 2, b'1', b'0', // a
        0x0a, 0x0f, 0x0a, 1, b'b', 0x12, 10, 0x4a, 8, 0x0a, 2, 0x20, 1, 0x0a, 2, 0x28, 1, // b
        0x0a, 0xd1, 1, 0x0a, 1, b'c', 0x12, 0xcb, 1, 0x1a, 0xc8, 1, // c
    ];
    expected.extend([0xff; 200]);
    expected.extend([0x0a, 0x12, 0x0a, 2, 0xc3, 0xa9, 0x12, 12, 0x52, 10, 0x0a, 8]);
    expected.extend([0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v']);
    assert_eq!(EncodedItem::encode(&item).as_bytes(), &expected);
    assert_eq!(EncodedItem::encode(&Item::new()).as_bytes(), &Bytes::new());
}

#[test]
fn binaries_are_slices_of_the_message() {
    let item = Item::from([("b".to_owned(), AttributeValue::B(Bytes::from_static(b"12345")))]);
    let bytes = EncodedItem::encode(&item);
    let decoded = bytes.decode().unwrap();
    let slice = decoded["b"].as_b().unwrap();
    assert!(bytes.as_bytes().as_ptr_range().contains(&slice.as_ptr()));
}

#[test]
fn sizes_are_dynamodbs() {
    let cases: [(AttributeValue, usize); 8] = [
        ("é".into(), 2),
        (AttributeValue::Null, 1),
        (false.into(), 1),
        (AttributeValue::B(Bytes::from_static(b"123")), 3),
        (AttributeValue::L(vec![]), 3),
        (AttributeValue::L(vec!["ab".into()]), 3 + 1 + 2),
        (AttributeValue::M(BTreeMap::from([("k".to_owned(), "ab".into())])), 3 + 1 + 1 + 2),
        (AttributeValue::Ss(BTreeSet::from(["a".to_owned(), "bc".to_owned()])), 3),
    ];
    for (value, size) in cases {
        let item = Item::from([("name".to_owned(), value.clone())]);
        assert_eq!(EncodedItem::encode(&item).check().unwrap().size, 4 + size, "{value:?}");
    }
}

/// An item with one attribute `a` of these bytes.
fn with_value(value: &[u8]) -> EncodedItem {
    let mut out = Vec::new();
    put_nested(&mut out, delimited_tag(field::ENTRIES), |out| {
        put_delimited(out, delimited_tag(field::KEY), b"a");
        put_delimited(out, delimited_tag(field::VALUE), value);
    });
    encoded(out)
}

fn set_of(number: u8, members: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_nested(&mut out, delimited_tag(number), |out| {
        for member in members {
            put_delimited(out, delimited_tag(field::VALUES), member);
        }
    });
    out
}

#[test]
fn bad_values_are_refused_in_dynamodbs_words() {
    let invalid = "One or more parameter values were invalid: ";
    let cases: [(Vec<u8>, String); 11] = [
        (
            vec![],
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes".to_owned(),
        ),
        (
            vec![0x20, 1, 0x28, 1],
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
                .to_owned(),
        ),
        (vec![0x28, 0], invalid.to_owned() + "Null attribute value types must have the value of true"),
        (set_of(field::SS, &[]), invalid.to_owned() + "An string set  may not be empty"),
        (set_of(field::NS, &[]), invalid.to_owned() + "An number set  may not be empty"),
        (set_of(field::BS, &[]), invalid.to_owned() + "Binary sets should not be empty"),
        (
            set_of(field::SS, &[b"a", b"a"]),
            invalid.to_owned() + "Input collection [a, a] contains duplicates.",
        ),
        (set_of(field::NS, &[b"1", b"1.0"]), "Input collection contains duplicates".to_owned()),
        (
            set_of(field::BS, &[b"b", b"b"]),
            invalid.to_owned() + "Input collection [Yg==, Yg==]of type BS contains duplicates.",
        ),
        (
            vec![0x12, 1, b'b'],
            "The parameter cannot be converted to a numeric value: b".to_owned(),
        ),
        (
            vec![0x5a, 0],
            "The item is not well-formed protobuf: an attribute value has an unknown field".to_owned(),
        ),
    ];
    for (value, text) in cases {
        let error = with_value(&value).decode().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Validation, text.as_str()));
        assert_consistent(&with_value(&value).into_bytes());
    }
}

#[test]
fn the_text_about_a_large_set_is_bounded() {
    let long = [b'x'; 600];
    let error = with_value(&set_of(field::SS, &[&long, &long, b"y"])).decode().unwrap_err();
    assert!(error.message().ends_with("xx, ...] contains duplicates."), "{}", error.message());
    assert!(error.message().len() < 1200);
}

#[test]
fn names_and_fields_that_are_not_protobuf_or_not_names_are_refused() {
    let entry = |parts: &[(u8, &[u8])]| {
        let mut out = Vec::new();
        put_nested(&mut out, delimited_tag(field::ENTRIES), |out| {
            for (number, bytes) in parts {
                put_delimited(out, delimited_tag(*number), bytes);
            }
        });
        out
    };
    let yes: &[u8] = &[0x20, 1];
    let long = vec![b'n'; ATTRIBUTE_NAME_BYTES_MAX + 1];
    let good = entry(&[(1, b"a"), (2, yes)]);
    assert!(encoded(good.clone()).check().unwrap().canonical);
    assert!(encoded(entry(&[(1, &long[1..]), (2, yes)])).check().unwrap().canonical);
    let cases: [(Vec<u8>, &str); 8] = [
        (entry(&[(2, yes)]), "An attribute name may not be empty"),
        (entry(&[(1, &long), (2, yes)]), "may not be longer than 65535 bytes"),
        (entry(&[(1, b"a")]), "AttributeValue is empty"),
        (entry(&[(1, b"a"), (1, b"b"), (2, yes)]), "entry has a field twice"),
        (entry(&[(1, b"a"), (2, yes), (3, b"")]), "entry has an unknown field"),
        (entry(&[(1, b"\xff"), (2, yes)]), "a text is not UTF-8"),
        ([good.clone(), good.clone()].concat(), "an attribute name is there twice"),
        ([good, vec![0x12, 0]].concat(), "it has an unknown field"),
    ];
    for (bytes, text) in cases {
        let error = encoded(bytes.clone()).decode().unwrap_err();
        assert!(error.message().contains(text), "{}", error.message());
        assert_consistent(&bytes.into());
    }
}

#[test]
fn numbers_on_the_wire_are_bounded() {
    for (bytes, text) in [
        (vec![0x80; 11], "more than ten bytes"),
        (vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "more than 64 bits"),
        (
            vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            "ends inside a field",
        ),
        (vec![0x0a, 0x80], "ends inside a number"),
    ] {
        let error = encoded(bytes.clone()).decode().unwrap_err();
        assert!(error.message().contains(text), "{}", error.message());
        assert_consistent(&bytes.into());
    }
}

/// A value of so many containers around a null, outside in lists and inside in maps.
fn nested(containers: usize) -> Vec<u8> {
    let mut value = vec![varint_tag(field::NULL), 1];
    for depth in 0..containers {
        let mut outer = Vec::new();
        if depth % 2 == 0 {
            let entry = with_value(&value).into_bytes();
            put_delimited(&mut outer, delimited_tag(field::M), &entry);
        } else {
            outer = set_of(field::L, &[&value]);
        }
        value = outer;
    }
    value
}

#[test]
fn thirty_one_containers_are_the_deepest() {
    let deepest = NESTING_LEVELS_MAX - 1;
    assert!(with_value(&nested(deepest)).check().unwrap().canonical);
    for containers in [deepest + 1, 2000] {
        let error = with_value(&nested(containers)).check().unwrap_err();
        assert_eq!(
            error.message(),
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported \
             limit"
        );
    }
}

#[test]
fn single_attributes_are_found_without_the_rest() {
    let item = Item::from([
        ("a".to_owned(), AttributeValue::from("1")),
        ("pk".to_owned(), AttributeValue::from("2")),
    ]);
    let bytes = EncodedItem::encode(&item);
    assert_eq!(bytes.attribute("pk").unwrap(), Some("2".into()));
    assert_eq!(bytes.attribute("p").unwrap(), None);
    assert_eq!(bytes.attributes(&["pk", "a", "x"]).unwrap(), item);
}

#[test]
fn every_single_deviation_is_seen() {
    let canonical: &[u8] = &[0x0a, 7, 0x0a, 1, b'a', 0x12, 2, 0x20, 1];
    assert!(encoded(canonical.to_vec()).check().unwrap().canonical);
    let cases: [(&str, &[u8]); 9] = [
        ("an entry's length", &[0x0a, 0x87, 0, 0x0a, 1, b'a', 0x12, 2, 0x20, 1]),
        ("a key's length", &[0x0a, 8, 0x0a, 0x81, 0, b'a', 0x12, 2, 0x20, 1]),
        ("a value's length", &[0x0a, 8, 0x0a, 1, b'a', 0x12, 0x82, 0, 0x20, 1]),
        ("an entry's tag", &[0x8a, 0, 7, 0x0a, 1, b'a', 0x12, 2, 0x20, 1]),
        ("a value's tag", &[0x0a, 8, 0x0a, 1, b'a', 0x12, 3, 0xa0, 0, 1]),
        ("a truth that is two", &[0x0a, 7, 0x0a, 1, b'a', 0x12, 2, 0x20, 2]),
        ("a truth in two bytes", &[0x0a, 8, 0x0a, 1, b'a', 0x12, 3, 0x20, 0x81, 0]),
        ("value, then key", &[0x0a, 7, 0x12, 2, 0x20, 1, 0x0a, 1, b'a']),
        ("a text's length", &[0x0a, 9, 0x0a, 1, b'a', 0x12, 4, 0x0a, 0x81, 0, b'x']),
    ];
    for (what, bytes) in cases {
        assert!(!encoded(bytes.to_vec()).check().expect(what).canonical, "{what}");
        assert_consistent(&bytes.to_vec().into());
    }
    for text in ["1.0", "01", "+1", "1e0", "-0", "10e-1", " 1"] {
        let mut value = Vec::new();
        put_delimited(&mut value, delimited_tag(field::N), text.as_bytes());
        assert_eq!(with_value(&value).scan(), None, "{text}");
        assert_consistent(&with_value(&value).into_bytes());
    }
    let nameless: &[u8] = &[0x0a, 6, 0x0a, 0, 0x12, 2, 0x20, 1];
    assert!(encoded(nameless.to_vec()).check().is_err());
}
