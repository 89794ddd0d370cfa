use std::cmp::Ordering;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::error::{Applied, ErrorKind};
use crate::expr::SortCondition;
use crate::schema::KeyType;

const TYPES: [KeyType; 3] = [KeyType::S, KeyType::N, KeyType::B];

fn schema(partition: KeyType, sort: Option<KeyType>) -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".into(), key_type: partition },
        sort: sort.map(|key_type| KeyAttribute { name: "sk".into(), key_type }),
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::from(text)
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.parse().unwrap())
}

fn b(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Bytes::copy_from_slice(bytes))
}

fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn key(schema: &KeySchema, partition: &AttributeValue, sort: &AttributeValue) -> Key {
    let attributes = [("pk", partition.clone()), ("sk", sort.clone())];
    Key::of_key_attributes(schema, &item(&attributes)).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("this is to be refused");
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Validation, Applied::No));
    error.message().to_owned()
}

fn string() -> impl Strategy<Value = AttributeValue> {
    // Few different characters make prefixes, neighbours and zeros common.
    prop_oneof!["[\0\u{1}ab\u{7f}\u{80}\u{10ffff}]{1,6}", ".{1,20}"].prop_map(AttributeValue::S)
}

fn binary() -> impl Strategy<Value = AttributeValue> {
    let few = prop::sample::select(&[0u8, 1, 2, 0x61, 0xfe, 0xff][..]);
    let bytes =
        prop_oneof![prop::collection::vec(few, 1..6), prop::collection::vec(any::<u8>(), 1..20),];
    bytes.prop_map(|bytes| AttributeValue::B(bytes.into()))
}

fn numeric() -> impl Strategy<Value = AttributeValue> {
    let texts = prop_oneof!["-?[0-9]{1,3}", "-?[0-9]{1,2}\\.[0-9]{1,2}", "-?[1-9]e-?[0-9]{2}"];
    texts.prop_map(|text| n(&text))
}

fn value_of(key_type: KeyType) -> BoxedStrategy<AttributeValue> {
    match key_type {
        KeyType::S => string().boxed(),
        KeyType::N => numeric().boxed(),
        KeyType::B => binary().boxed(),
    }
}

fn any_type() -> impl Strategy<Value = KeyType> {
    prop::sample::select(&TYPES[..])
}

/// A schema with a sort key, and two keys of it.
fn two_keys() -> impl Strategy<Value = (KeySchema, [(AttributeValue, AttributeValue); 2])> {
    (any_type(), any_type()).prop_flat_map(|(partition, sort)| {
        let pair = || (value_of(partition), value_of(sort));
        (pair(), pair(), any::<bool>()).prop_map(move |(a, b, same)| {
            let b = if same { (a.0.clone(), b.1) } else { b };
            (schema(partition, Some(sort)), [a, b])
        })
    })
}

/// How DynamoDB orders two values of one key type, by definition.
fn order(a: &AttributeValue, b: &AttributeValue) -> Ordering {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => a.as_bytes().cmp(b.as_bytes()),
        (AttributeValue::N(a), AttributeValue::N(b)) => a.cmp(b),
        (AttributeValue::B(a), AttributeValue::B(b)) => a.cmp(b),
        _ => panic!("{a:?} and {b:?} are not of one key type"),
    }
}

/// The bytes are a promise to what is on disk.
#[test]
fn golden_bytes() {
    let text = key(&schema(KeyType::S, Some(KeyType::N)), &s("a\0b"), &n("-1"));
    assert_eq!(&text.bytes()[..], b"a\x00\xffb\x00\x01\x3e\xfd");
    assert_eq!(text.partition_bytes(), b"a\x00\xffb\x00\x01");
    assert_eq!(text.sort_bytes(), b"\x3e\xfd");

    let binary = key(&schema(KeyType::N, Some(KeyType::B)), &n("100"), &b(&[0xff, 0, 0]));
    assert_eq!(&binary.bytes()[..], b"\xc2\x02\xff\x00\xff\x00\xff\x00\x01");
    assert_eq!(binary.partition_bytes(), b"\xc2\x02");

    let alone = schema(KeyType::S, None);
    let alone = Key::of_key_attributes(&alone, &item(&[("pk", s("é"))])).unwrap();
    assert_eq!(&alone.bytes()[..], b"\xc3\xa9\x00\x01");
    assert_eq!(alone.partition_bytes(), &alone.bytes()[..]);
    assert!(alone.sort_bytes().is_empty());
}

/// As is the hash: the first is the algorithm's published value for no input and seed 0.
#[test]
fn golden_hashes() {
    assert_eq!(HASH_NAME, "xxh3-64");
    assert_eq!(hash64(b""), 0x2d06_8005_38d3_94c2);
    let schema = schema(KeyType::S, Some(KeyType::N));
    let one = key(&schema, &s("Acme Band"), &n("1"));
    assert_eq!(one.hash(), hash64(b"Acme Band\x00\x01"));
    assert_eq!(one.hash(), key(&schema, &s("Acme Band"), &n("2")).hash());
    assert_ne!(one.hash(), key(&schema, &s("Acme Bane"), &n("1")).hash());
}

#[test]
fn one_number_is_one_key() {
    let schema = schema(KeyType::N, None);
    let key = |text| Key::of_item(&schema, &item(&[("pk", n(text))])).unwrap();
    for text in ["1", "1.0", "1e0", "0.1e1", "0001", "+1"] {
        assert_eq!(key(text), key("1"));
    }
}

#[test]
fn key_of_an_item() {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let whole = item(&[("pk", s("a")), ("sk", n("1")), ("other", s("")), ("more", n("2"))]);
    assert_eq!(Key::of_item(&schema, &whole).unwrap(), key(&schema, &s("a"), &n("1")));

    for (attributes, message) in [
        (
            vec![("sk", n("1"))],
            "One or more parameter values were invalid: Missing the key pk in the item",
        ),
        (
            vec![("pk", s("a"))],
            "One or more parameter values were invalid: Missing the key sk in the item",
        ),
        (
            vec![("pk", n("1")), ("sk", n("1"))],
            "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N",
        ),
        (
            vec![("pk", s("a")), ("sk", AttributeValue::Null)],
            "One or more parameter values were invalid: Type mismatch for key sk expected: N actual: NULL",
        ),
        (
            vec![("pk", s("")), ("sk", n("1"))],
            "One or more parameter values are not valid. \
             The AttributeValue for a key attribute cannot contain an empty string value. Key: pk",
        ),
    ] {
        assert_eq!(refused(Key::of_item(&schema, &item(&attributes))), message);
    }
}

#[test]
fn key_as_such() {
    const MISMATCH: &str = "The provided key element does not match the schema";
    let both = schema(KeyType::S, Some(KeyType::B));
    for attributes in [
        vec![],
        vec![("pk", s("a"))],
        vec![("sk", b(b"a"))],
        vec![("pk", s("a")), ("other", b(b"a"))],
        vec![("pk", s("a")), ("sk", b(b"a")), ("other", b(b"a"))],
        vec![("pk", n("1")), ("sk", b(b"a"))],
        vec![("pk", s("a")), ("sk", s("a"))],
    ] {
        assert_eq!(refused(Key::of_key_attributes(&both, &item(&attributes))), MISMATCH);
    }
    let alone = schema(KeyType::S, None);
    let attributes = item(&[("pk", s("a")), ("sk", b(b"a"))]);
    assert_eq!(refused(Key::of_key_attributes(&alone, &attributes)), MISMATCH);
    let attributes = item(&[("pk", s("a")), ("sk", b(b""))]);
    assert_eq!(
        refused(Key::of_key_attributes(&both, &attributes)),
        "One or more parameter values are not valid. \
         The AttributeValue for a key attribute cannot contain an empty binary value. Key: sk"
    );
}

#[test]
fn lengths() {
    let text = |length| "x".repeat(length);
    let schema = schema(KeyType::S, Some(KeyType::S));
    let key = |partition, sort| {
        let attributes = item(&[("pk", s(&text(partition))), ("sk", s(&text(sort)))]);
        let given = Key::of_key_attributes(&schema, &attributes);
        assert_eq!(given, Key::of_item(&schema, &attributes));
        given
    };
    let longest = key(2048, 1024).unwrap();
    assert_eq!(Key::from_encoded(&schema, longest.bytes().clone()), Some(longest));
    assert_eq!(
        refused(key(2049, 1)),
        "One or more parameter values were invalid: \
         Size of hashkey has exceeded the maximum size limit of2048 bytes"
    );
    assert_eq!(
        refused(key(1, 1025)),
        "One or more parameter values were invalid: \
         Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
    );
    // Lengths are those of the values: zeros take two bytes each in the encoding.
    let zeros = item(&[("pk", s(&"\0".repeat(2048))), ("sk", s(&"\0".repeat(1024)))]);
    let zeros = Key::of_item(&schema, &zeros).unwrap();
    assert_eq!(zeros.bytes().len(), 6148);
    assert_eq!(Key::from_encoded(&schema, zeros.bytes().clone()), Some(zeros));
}

#[test]
fn one_value() {
    let attribute = KeyAttribute { name: "pk".into(), key_type: KeyType::S };
    let mut out = vec![7];
    encode_key_value(&attribute, &s("a"), &mut out).unwrap();
    assert_eq!(out, b"\x07a\x00\x01");
    assert_eq!(
        refused(encode_key_value(&attribute, &n("1"), &mut out)),
        "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N"
    );
}

#[test]
fn prefix_of_a_partition() {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let prefix = partition_prefix(&schema, &s("a")).unwrap();
    assert_eq!(prefix, key(&schema, &s("a"), &n("1")).partition_bytes());
    assert_eq!(
        refused(partition_prefix(&schema, &n("1"))),
        "One or more parameter values were invalid: Condition parameter type does not match schema type"
    );
    refused(partition_prefix(&schema, &s("")));
    refused(partition_prefix(&schema, &s(&"x".repeat(2049))));
}

#[test]
fn what_is_no_key() {
    let strings = schema(KeyType::S, Some(KeyType::S));
    let read =
        |schema: &KeySchema, bytes: &[u8]| Key::from_encoded(schema, Bytes::copy_from_slice(bytes));
    assert!(read(&strings, b"a\x00\x01b\x00\x01").is_some());
    let long_partition = [vec![b'x'; 2049], b"\x00\x01b\x00\x01".to_vec()].concat();
    let long_zeros = [[0, 0xff].repeat(2049), b"\x00\x01b\x00\x01".to_vec()].concat();
    let long_sort = [b"a\x00\x01".to_vec(), vec![b'x'; 1025], b"\x00\x01".to_vec()].concat();
    let garbage: &[&[u8]] = &[
        b"",
        b"a",
        b"a\x00",
        b"a\x00\x01",
        b"a\x00\x01b",
        b"a\x00\x01b\x00",
        // Something follows; an escape that is none; empty; not UTF-8, with a zero and without.
        b"a\x00\x01b\x00\x01c",
        b"a\x00\x00b\x00\x01b\x00\x01",
        b"a\x00\x02b\x00\x01b\x00\x01",
        b"\x00\x01b\x00\x01",
        b"a\x00\x01\x00\x01",
        b"\xff\x00\x01b\x00\x01",
        b"\x00\xff\xff\x00\x01b\x00\x01",
        &long_partition,
        &long_zeros,
        &long_sort,
    ];
    for bytes in garbage {
        assert_eq!(read(&strings, bytes), None, "{bytes:?}");
    }
    assert_eq!(read(&schema(KeyType::S, None), b"a\x00\x01b\x00\x01"), None);
    assert_eq!(read(&schema(KeyType::N, None), b"\xc1\x00"), None);
    assert!(read(&schema(KeyType::B, None), b"\xff\x00\x01").is_some());
}

#[test]
fn attributes_with_another_schema() {
    let strings = schema(KeyType::S, Some(KeyType::S));
    let key = key(&strings, &s("\u{c1}"), &s("a"));
    assert_eq!(key.to_attributes(&schema(KeyType::S, None)), item(&[("pk", s("\u{c1}"))]));
    assert_eq!(key.to_attributes(&schema(KeyType::S, Some(KeyType::N))).len(), 1);
}

fn condition(which: usize, low: &AttributeValue, high: &AttributeValue) -> Option<SortCondition> {
    let (low, high) = (low.clone(), high.clone());
    Some(match which {
        0 => SortCondition::Equal(low),
        1 => SortCondition::Less(low),
        2 => SortCondition::LessOrEqual(low),
        3 => SortCondition::Greater(low),
        4 => SortCondition::GreaterOrEqual(low),
        5 => SortCondition::Between(low, high),
        6 => SortCondition::BeginsWith(low),
        _ => return None,
    })
}

/// Whether a sort key meets a condition, by definition.
fn meets(sort: &AttributeValue, condition: Option<&SortCondition>) -> bool {
    match condition {
        None => true,
        Some(SortCondition::Equal(value)) => order(sort, value).is_eq(),
        Some(SortCondition::Less(value)) => order(sort, value).is_lt(),
        Some(SortCondition::LessOrEqual(value)) => order(sort, value).is_le(),
        Some(SortCondition::Greater(value)) => order(sort, value).is_gt(),
        Some(SortCondition::GreaterOrEqual(value)) => order(sort, value).is_ge(),
        Some(SortCondition::Between(low, high)) => {
            order(sort, low).is_ge() && order(sort, high).is_le()
        }
        Some(SortCondition::BeginsWith(prefix)) => match (sort, prefix) {
            (AttributeValue::S(text), AttributeValue::S(prefix)) => text.starts_with(prefix),
            (AttributeValue::B(bytes), AttributeValue::B(prefix)) => bytes.starts_with(prefix),
            _ => panic!("{prefix:?} begins nothing"),
        },
    }
}

#[test]
fn ranges() {
    let schema = schema(KeyType::S, Some(KeyType::S));
    let range = |condition: Option<SortCondition>| {
        let range = sort_range(&schema, b"p\x00\x01", condition.as_ref()).unwrap();
        (range.start.to_vec(), range.end.map(|end| end.to_vec()))
    };
    let whole = (b"p\x00\x01".to_vec(), Some(b"p\x00\x02".to_vec()));
    assert_eq!(range(None), whole);
    assert_eq!(
        range(Some(SortCondition::Less(s("a")))),
        (whole.0.clone(), Some(b"p\x00\x01a\x00\x01".to_vec()))
    );
    assert_eq!(
        range(Some(SortCondition::Greater(s("a")))),
        (b"p\x00\x01a\x00\x01\x00".to_vec(), whole.1)
    );
    assert_eq!(
        range(Some(SortCondition::BeginsWith(s("a\0")))),
        (b"p\x00\x01a\x00\xff".to_vec(), Some(b"p\x00\x01a\x01".to_vec()))
    );
    // The last of the single bytes has a range of its own, too.
    let binaries = self::schema(KeyType::B, Some(KeyType::B));
    let prefix = SortCondition::BeginsWith(b(&[0xff, 0xff]));
    let range = sort_range(&binaries, b"\xff\x00\x01", Some(&prefix)).unwrap();
    assert_eq!(range.end.as_deref(), Some(&b"\xff\x00\x02"[..]));
    // Bytes that are no partition key's.
    assert_eq!(sort_range(&binaries, b"\xff\xff", None).unwrap().end, None);
}

#[test]
fn conditions_that_do_not_fit_the_schema() {
    const SCHEMA: &str = "One or more parameter values were invalid: \
                          Condition parameter type does not match schema type";
    let refuse = |key_type, condition: SortCondition| {
        refused(sort_range(&schema(KeyType::S, Some(key_type)), b"p\x00\x01", Some(&condition)))
    };
    assert_eq!(refuse(KeyType::N, SortCondition::BeginsWith(s("a"))), SCHEMA);
    assert_eq!(refuse(KeyType::B, SortCondition::BeginsWith(s("a"))), SCHEMA);
    assert_eq!(refuse(KeyType::N, SortCondition::Equal(AttributeValue::Bool(true))), SCHEMA);
    assert_eq!(refuse(KeyType::N, SortCondition::Less(s("a"))), SCHEMA);
    assert_eq!(refuse(KeyType::S, SortCondition::Between(n("1"), n("2"))), SCHEMA);
    for condition in 0..7 {
        let condition = |value: &AttributeValue| condition_of(condition, value);
        assert_eq!(
            refuse(KeyType::S, condition(&s(""))),
            "One or more parameter values are not valid. \
             The AttributeValue for a key attribute cannot contain an empty string value. Key: sk"
        );
        assert_eq!(
            refuse(KeyType::S, condition(&s(&"x".repeat(1025)))),
            "One or more parameter values were invalid: \
             Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
        );
    }
}

fn condition_of(which: usize, value: &AttributeValue) -> SortCondition {
    condition(which, value, value).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn order_is_kept_within_each_type((a, b) in any_type().prop_flat_map(|t| (value_of(t), value_of(t)))) {
        let encode = |value: &AttributeValue| {
            let key_type = match value {
                AttributeValue::S(_) => KeyType::S,
                AttributeValue::N(_) => KeyType::N,
                _ => KeyType::B,
            };
            let mut out = Vec::new();
            encode_key_value(&schema(key_type, None).partition, value, &mut out).unwrap();
            out
        };
        let (a_bytes, b_bytes) = (encode(&a), encode(&b));
        prop_assert_eq!(a_bytes.cmp(&b_bytes), order(&a, &b));
        // No encoding begins with another.
        prop_assert!(a_bytes == b_bytes || !a_bytes.starts_with(&b_bytes));
    }

    #[test]
    fn order_is_kept_in_pairs((schema, [a, b]) in two_keys()) {
        let expected = order(&a.0, &b.0).then(order(&a.1, &b.1));
        let (a_key, b_key) = (key(&schema, &a.0, &a.1), key(&schema, &b.0, &b.1));
        prop_assert_eq!(a_key.bytes().cmp(b_key.bytes()), expected);
        prop_assert_eq!(a_key == b_key, expected.is_eq());
        prop_assert_eq!(a_key.hash() == b_key.hash(), order(&a.0, &b.0).is_eq());
    }

    #[test]
    fn keys_come_back((schema, [(partition, sort), _]) in two_keys()) {
        let written = key(&schema, &partition, &sort);
        prop_assert_eq!(Key::from_encoded(&schema, written.bytes().clone()), Some(written.clone()));
        prop_assert_eq!(written.to_attributes(&schema), item(&[("pk", partition), ("sk", sort)]));
    }

    /// Whatever decodes is a key, and the only encoding of it.
    #[test]
    fn garbage_is_refused_or_canonical(
        (schema, [(partition, sort), _]) in two_keys(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in 0..4usize,
        random in prop::option::of(prop::collection::vec(any::<u8>(), 0..30)),
    ) {
        let mut bytes = random.unwrap_or_else(|| key(&schema, &partition, &sort).bytes().to_vec());
        for (index, byte) in noise {
            if !bytes.is_empty() {
                let place = index.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Some(read) = Key::from_encoded(&schema, bytes.into()) {
            let attributes = read.to_attributes(&schema);
            prop_assert_eq!(Key::of_key_attributes(&schema, &attributes), Ok(read));
        }
    }

    /// A query's range holds exactly the keys that its condition means.
    #[test]
    fn ranges_agree_with_the_definition(
        (schema, [(partition, sort), (other_partition, bound)]) in two_keys(),
        second in string(),
        which in 0..8usize,
        prefix_len in 1..4usize,
    ) {
        // A bound near the sort key now and then: a beginning of it, for begins_with above all.
        let near = match &sort {
            AttributeValue::S(text) => s(&text.chars().take(prefix_len).collect::<String>()),
            AttributeValue::B(bytes) => b(&bytes[..prefix_len.min(bytes.len())]),
            other => other.clone(),
        };
        let bound = if second.as_s().is_some_and(|text| text.len() % 2 == 0) { near } else { bound };
        let (low, high) = if order(&bound, &sort).is_le() { (&bound, &sort) } else { (&sort, &bound) };
        let condition = match which {
            // BETWEEN either ends at the sort key itself or leaves it out.
            5 if prefix_len == 1 => condition(5, &bound, &bound),
            5 => condition(5, low, high),
            6 if bound.as_n().is_some() => None,
            which => condition(which, &bound, &bound),
        };
        let prefix = partition_prefix(&schema, &partition).unwrap();
        let range = sort_range(&schema, &prefix, condition.as_ref()).unwrap();
        let inside = key(&schema, &partition, &sort);
        prop_assert_eq!(range.contains(inside.bytes()), meets(&sort, condition.as_ref()));
        let outside = key(&schema, &other_partition, &sort);
        if order(&partition, &other_partition).is_ne() {
            prop_assert!(!range.contains(outside.bytes()));
        }
    }
}
