//! Every decoder and parser that meets bytes of others, as a function of any bytes: it must not panic, and what is understood must
//! mean the same when it is written and read once more.
//!
//! The fuzz targets are these functions; a test of the project runs them over the corpus.

use bytes::Bytes;
use stator_model::api::{Names, Values};
use stator_model::expr::{
    Condition, ExpressionKind, KeyCondition, Projection, Substitutions, Update,
};
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item, Number, Request};
use stator_proto::json as as_json;
use stator_proto::operation::{decode_answer, decode_request, encode_answer, encode_request};
use stator_proto::peer::v1::Operation;

/// A function of any bytes.
pub(crate) type Target = fn(&[u8]);

/// All of them, by name: the names of the fuzz targets, and of the corpus's folders.
pub(crate) const ALL: [(&str, Target); 18] = [
    ("items", items),
    ("values", values),
    ("numbers", numbers),
    ("keys", keys),
    ("conditions", conditions),
    ("updates", updates),
    ("projections", projections),
    ("key_conditions", key_conditions),
    ("log_segments", log_segments),
    ("entries", entries),
    ("stored_items", stored_items),
    ("engine_keys", engine_keys),
    ("specs", specs),
    ("applied_records", applied_records),
    ("snapshot_frames", snapshot_frames),
    ("requests", requests),
    ("answers", answers),
    ("json", json),
];

/// Items as they travel and are stored: what is an item is one in its canonical form, and the same one.
pub(crate) fn items(data: &[u8]) {
    let given = EncodedItem::from_bytes(Bytes::copy_from_slice(data));
    let decoded = given.decode();
    let checked = given.check();
    assert_eq!(decoded.is_ok(), checked.is_ok(), "{decoded:?} {checked:?}");
    let Ok(item) = decoded else { return };
    let canonical = EncodedItem::encode(&item);
    assert_eq!(canonical.decode().as_ref(), Ok(&item));
    let (made, size) = given.canonicalize().expect("what decodes has a canonical form");
    assert_eq!(made, canonical);
    assert_eq!(size, stator_model::size::item_size(&item));
    for name in item.keys() {
        assert_eq!(canonical.attribute(name).as_ref().map(Option::as_ref), Ok(item.get(name)));
    }
}

/// Attribute values by themselves.
pub(crate) fn values(data: &[u8]) {
    let Ok(value) = stator_model::codec::value_from_bytes(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let bytes = stator_model::codec::value_to_bytes(&value);
    assert_eq!(stator_model::codec::value_from_bytes(&bytes).as_ref(), Ok(&value));
}

/// Numbers, as text and as bytes of a key.
pub(crate) fn numbers(data: &[u8]) {
    let text = std::str::from_utf8(data).ok();
    if let Some(number) = text.and_then(|text| text.parse::<Number>().ok()) {
        assert_eq!(number.to_string().parse::<Number>().as_ref(), Ok(&number));
        let mut bytes = Vec::new();
        number.encode_key(&mut bytes);
        assert_eq!(Number::decode_key(&mut &*bytes), Some(number));
        let _ = number.checked_add(&number);
        assert_eq!(number.checked_sub(&number).as_ref(), Ok(&Number::from(0u64)));
    }
    let mut rest = data;
    if let Some(number) = Number::decode_key(&mut rest) {
        let mut bytes = Vec::new();
        number.encode_key(&mut bytes);
        assert_eq!(&data[..data.len() - rest.len()], bytes, "there is one encoding of {number}");
    }
}

fn schemas() -> Vec<KeySchema> {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    let types = [KeyType::S, KeyType::N, KeyType::B];
    let mut schemas = Vec::new();
    for partition in types {
        schemas.push(KeySchema { partition: attribute("p", partition), sort: None });
        for sort in types {
            let sort = Some(attribute("s", sort));
            schemas.push(KeySchema { partition: attribute("p", partition), sort });
        }
    }
    schemas
}

/// Primary keys of every type, as bytes.
pub(crate) fn keys(data: &[u8]) {
    for schema in schemas() {
        let Some(key) = Key::from_encoded(&schema, Bytes::copy_from_slice(data)) else { continue };
        let attributes = key.to_attributes(&schema);
        let again = Key::of_key_attributes(&schema, &attributes).expect("a key's own attributes");
        assert_eq!(again.bytes(), key.bytes(), "there is one encoding of {attributes:?}");
        assert_eq!(again.hash(), key.hash());
    }
}

/// What expressions may name and compare with: something of each type.
fn placeholders() -> (Names, Values) {
    let name = |placeholder: &str, name: &str| (placeholder.to_owned(), name.to_owned());
    let value = |placeholder: &str, value| (placeholder.to_owned(), value);
    let names = Names::from([name("#a", "a"), name("#b", "b"), name("#n", "name")]);
    let text = AttributeValue::from("text");
    let values = Values::from([
        value(":s", text.clone()),
        value(":n", 7.into()),
        value(":b", Bytes::from_static(b"bytes").into()),
        value(":t", true.into()),
        value(":ss", AttributeValue::Ss(["a".to_owned(), "b".to_owned()].into())),
        value(":ns", AttributeValue::Ns([Number::from(1u64)].into())),
        value(":l", AttributeValue::L(vec![text.clone(), 1.into()])),
        value(":m", AttributeValue::M([("x".to_owned(), text)].into())),
        value(":type", "S".into()),
    ]);
    (names, values)
}

/// An item with something of each type under the names that the corpus uses.
fn sample() -> Item {
    let (_, values) = placeholders();
    let mut item: Item = values
        .into_iter()
        .map(|(name, value)| (name.trim_start_matches(':').to_owned(), value))
        .collect();
    item.insert("a".to_owned(), 1.into());
    item.insert("name".to_owned(), "text".into());
    item
}

/// Parses a text as an expression, if it is one; the placeholders that it does not use are nobody's business here.
fn parsed<T>(
    data: &[u8],
    parse: impl Fn(&str, &mut Substitutions<'_>) -> stator_model::Result<T>,
) -> Option<T> {
    let text = std::str::from_utf8(data).ok()?;
    let (names, values) = placeholders();
    let mut substitutions = Substitutions::new(&names, &values).expect("these are in order");
    parse(text, &mut substitutions).ok()
}

/// Condition and filter expressions, parsed and judged.
pub(crate) fn conditions(data: &[u8]) {
    for kind in [ExpressionKind::Condition, ExpressionKind::Filter] {
        if let Some(condition) = parsed(data, |text, with| Condition::parse(kind, text, with)) {
            let _ = condition.holds(&sample());
            let _ = condition.holds(&Item::new());
        }
    }
}

/// Update expressions, parsed and applied: what comes out is an item, or is refused.
pub(crate) fn updates(data: &[u8]) {
    let Some(update) = parsed(data, Update::parse) else { return };
    for before in [sample(), Item::new()] {
        if let Ok(after) = update.apply(&before) {
            let encoded = EncodedItem::encode(&after);
            assert_eq!(encoded.decode().as_ref(), Ok(&after));
            let touched = update.touched(&after);
            assert!(touched.keys().all(|name| after.contains_key(name)));
        }
    }
}

/// Projection expressions, parsed and applied: what is left was there.
pub(crate) fn projections(data: &[u8]) {
    let Some(projection) = parsed(data, Projection::parse) else { return };
    let whole = sample();
    let cut = projection.project(&whole);
    assert!(cut.keys().all(|name| whole.contains_key(name)));
    assert_eq!(projection.project(&Item::new()), Item::new());
}

/// Key condition expressions.
pub(crate) fn key_conditions(data: &[u8]) {
    for schema in schemas() {
        let parse =
            |text: &str, with: &mut Substitutions<'_>| KeyCondition::parse(text, with, &schema);
        let _ = parsed(data, parse);
    }
}

/// Segments of the log.
pub(crate) fn log_segments(data: &[u8]) {
    stator_storage::log::fuzz_segment(data);
}

/// Entries of a partition's log.
pub(crate) fn entries(data: &[u8]) {
    stator_storage::partition::entry::fuzz_decode(data);
}

/// Items behind the header that they are stored with.
pub(crate) fn stored_items(data: &[u8]) {
    stator_storage::item::fuzz_open(data);
}

/// Keys of the engine.
pub(crate) fn engine_keys(data: &[u8]) {
    stator_storage::key::fuzz_decode(data);
}

/// Records of replicas.
pub(crate) fn specs(data: &[u8]) {
    stator_storage::partition::spec::fuzz_decode(data);
}

/// Records of what is applied.
pub(crate) fn applied_records(data: &[u8]) {
    stator_storage::partition::record::fuzz_decode(data);
}

/// Frames of snapshots.
pub(crate) fn snapshot_frames(data: &[u8]) {
    stator_storage::partition::snapshot::fuzz_frames(data);
}

/// The operation that the first byte names, and what is behind it.
fn operation(data: &[u8]) -> Option<(Operation, Bytes)> {
    let (first, rest) = data.split_first()?;
    let operation = Operation::try_from(i32::from(*first)).ok()?;
    Some((operation, Bytes::copy_from_slice(rest)))
}

/// Requests of every operation, decoded, validated and prepared: what is sent on means the same there.
pub(crate) fn requests(data: &[u8]) {
    let Some((operation, bytes)) = operation(data) else { return };
    let Ok(request) = decode_request(operation, bytes) else { return };
    let _ = request.validate();
    for schema in schemas() {
        match &request {
            Request::PutItem(put) => drop(put.prepare(&schema)),
            Request::UpdateItem(update) => drop(update.prepare(&schema)),
            Request::DeleteItem(delete) => drop(delete.prepare(&schema)),
            Request::GetItem(get) => drop(get.prepare(&schema)),
            Request::Query(query) => drop(query.prepare(&schema)),
            Request::Scan(scan) => drop(scan.prepare(&schema)),
            Request::BatchGetItem(batch) => {
                batch.request_items.values().for_each(|wanted| drop(wanted.prepare(&schema)));
            }
            Request::BatchWriteItem(batch) => {
                for writes in batch.request_items.values() {
                    drop(stator_model::write::prepare_batch(writes, &schema));
                }
            }
            _ => {}
        }
    }
    // An empty key is the same on the wire as none, and is refused where it comes in: from the second time on all is as it was.
    let again = |request| {
        let (operation, bytes) = encode_request(request).expect("what was received can be sent");
        decode_request(operation, bytes).expect("what was sent can be received")
    };
    let once = again(request);
    assert_eq!(again(once.clone()), once);
}

/// Answers of every operation.
pub(crate) fn answers(data: &[u8]) {
    let Some((operation, bytes)) = operation(data) else { return };
    let Ok(answer) = decode_answer(operation, bytes) else { return };
    // An empty key, which no node answers, is the same on the wire as none: from the second time on all is as it was.
    let again = |answer| {
        let bytes = encode_answer(answer).expect("what was received can be sent");
        decode_answer(operation, bytes).expect("what was sent can be received")
    };
    let once = again(answer);
    assert_eq!(again(once.clone()), once);
}

/// JSON, plain and DynamoDB's.
pub(crate) fn json(data: &[u8]) {
    let Ok(value) = as_json::parse(data) else { return };
    if let Ok(item) = as_json::item_from_dynamodb_json(&value) {
        let again = as_json::item_from_dynamodb_json(&as_json::item_to_dynamodb_json(&item));
        assert_eq!(again.as_ref(), Ok(&item));
    }
    if let Ok(item) = as_json::item_from_plain_json(&value) {
        // Plain JSON has fewer types: a second pass changes nothing more.
        let plain = as_json::item_to_plain_json(&item);
        let again = as_json::item_from_plain_json(&plain).expect("what was written can be read");
        assert_eq!(as_json::item_to_plain_json(&again), plain);
    }
}
