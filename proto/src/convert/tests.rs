//! Requests and answers survive the wire; broken ones are refused; the hand-written codec and the generated types agree.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use prost::Message as _;
use stator_model::api::*;
use stator_model::error::ErrorKind;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableDescription, TableStatus};
use stator_model::{AttributeValue, Number};

use super::*;
use crate::operation::{decode_answer, decode_request, encode_answer, encode_request};
use crate::peer::v1::Operation;
use crate::v1;
use crate::v1::attribute_value::Value as Wire;

/// An item of any types, a few levels deep.
pub(crate) fn any_item() -> impl Strategy<Value = Item> {
    btree_map("[a-zü]{1,8}", any_value(), 0..5)
}

fn any_number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        "-?[1-9][0-9]{0,37}(e-?[1-7][0-9])?".prop_map(|text| text.parse().unwrap()),
    ]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn any_value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        ".{0,10}".prop_map(AttributeValue::S),
        any_number().prop_map(AttributeValue::N),
        any_bytes().prop_map(AttributeValue::B),
        any::<bool>().prop_map(AttributeValue::Bool),
        Just(AttributeValue::Null),
        btree_set("[a-c]{0,3}", 1..4).prop_map(AttributeValue::Ss),
        btree_set(any_number(), 1..4).prop_map(AttributeValue::Ns),
        btree_set(any_bytes(), 1..4).prop_map(AttributeValue::Bs),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(AttributeValue::L),
            btree_map("[a-z]{1,4}", inner, 0..4).prop_map(AttributeValue::M),
        ]
    })
}

fn generated(item: &Item) -> BTreeMap<String, v1::AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), generated_value(value))).collect()
}

fn generated_value(value: &AttributeValue) -> v1::AttributeValue {
    let value = match value.clone() {
        AttributeValue::S(text) => Wire::S(text),
        AttributeValue::N(number) => Wire::N(number.to_string()),
        AttributeValue::B(bytes) => Wire::B(bytes),
        AttributeValue::Bool(value) => Wire::Bool(value),
        AttributeValue::Null => Wire::Null(true),
        AttributeValue::Ss(set) => Wire::Ss(v1::StringSet { values: set.into_iter().collect() }),
        AttributeValue::Ns(set) => {
            Wire::Ns(v1::NumberSet { values: set.iter().map(Number::to_string).collect() })
        }
        AttributeValue::Bs(set) => Wire::Bs(v1::BinarySet { values: set.into_iter().collect() }),
        AttributeValue::L(list) => {
            Wire::L(v1::List { values: list.iter().map(generated_value).collect() })
        }
        AttributeValue::M(map) => Wire::M(v1::Map { entries: generated(&map) }),
        other => panic!("{other:?} is not on the wire"),
    };
    v1::AttributeValue { value: Some(value) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_codec_and_the_generated_types_agree(item in any_item()) {
        let message = v1::Item { attributes: generated(&item) };
        let encoded = EncodedItem::encode(&item);
        prop_assert_eq!(&v1::Item::decode(encoded.as_bytes().clone()).unwrap(), &message);
        let bytes = Bytes::from(message.encode_to_vec());
        prop_assert_eq!(EncodedItem::from_bytes(bytes).decode().unwrap(), item);
    }

    #[test]
    fn no_bytes_panic(bytes in any_bytes(), operation in -1..16) {
        let operation = Operation::try_from(operation).unwrap_or_default();
        let _ = decode_request(operation, bytes.clone());
        let _ = decode_answer(operation, bytes);
    }

    /// Broken in one place, a request gets further than random bytes do.
    #[test]
    fn no_damage_panics(which in 0..32usize, at in any::<prop::sample::Index>(), byte: u8) {
        let requests = requests();
        let (operation, bytes) = encode_request(requests[which % requests.len()].clone()).unwrap();
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode_request(operation, bytes.into());
    }
}

fn map(pairs: &[(&str, i32)]) -> Item {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn names() -> Names {
    BTreeMap::from([("#a".to_owned(), "name".to_owned())])
}

fn schema() -> KeySchema {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    KeySchema { partition: attribute("p", KeyType::B), sort: Some(attribute("s", KeyType::N)) }
}

fn keys() -> BTreeMap<String, KeysAndAttributes> {
    let wanted = KeysAndAttributes {
        keys: vec![map(&[("p", 1)]), map(&[("p", 2)])],
        projection_expression: text("#a"),
        expression_attribute_names: names(),
        consistent_read: true,
    };
    BTreeMap::from([
        ("one".to_owned(), wanted.clone()),
        ("two".to_owned(), KeysAndAttributes { consistent_read: false, ..wanted }),
    ])
}

fn writes() -> BTreeMap<String, Vec<WriteRequest>> {
    let put = WriteRequest::Put(EncodedItem::encode(&map(&[("p", 3)])));
    BTreeMap::from([
        ("one".to_owned(), vec![put, WriteRequest::Delete(map(&[("p", 4)]))]),
        ("two".to_owned(), vec![]),
    ])
}

/// Requests in which every field says something of its own, and requests that say as little as they can.
fn requests() -> Vec<Request> {
    let table_name = "songs".to_owned();
    let values = map(&[(":v", 5)]);
    vec![
        CreateTable {
            table_name: table_name.clone(),
            key_schema: schema(),
            partitions: Some(7),
            deletion_protection: true,
        }
        .into(),
        CreateTable {
            table_name: table_name.clone(),
            key_schema: KeySchema { sort: None, ..schema() },
            partitions: None,
            deletion_protection: false,
        }
        .into(),
        DescribeTable { table_name: table_name.clone() }.into(),
        ListTables { exclusive_start_table_name: text("a"), limit: Some(0) }.into(),
        ListTables::default().into(),
        UpdateTable { table_name: table_name.clone(), deletion_protection: Some(false) }.into(),
        UpdateTable { table_name: table_name.clone(), deletion_protection: None }.into(),
        DeleteTable { table_name: table_name.clone() }.into(),
        PutItem {
            table_name: table_name.clone(),
            item: EncodedItem::encode(&map(&[("p", 1), ("x", 2)])),
            condition_expression: text("c"),
            expression_attribute_names: names(),
            expression_attribute_values: values.clone(),
            return_values: ReturnValues::AllOld,
            return_old_on_condition_failure: true,
        }
        .into(),
        PutItem::default().into(),
        UpdateItem {
            table_name: table_name.clone(),
            key: map(&[("p", 1)]),
            update_expression: text("u"),
            condition_expression: text("c"),
            expression_attribute_names: names(),
            expression_attribute_values: values.clone(),
            return_values: ReturnValues::UpdatedNew,
            return_old_on_condition_failure: true,
        }
        .into(),
        UpdateItem::default().into(),
        DeleteItem {
            table_name: table_name.clone(),
            key: map(&[("p", 1)]),
            condition_expression: text("c"),
            expression_attribute_names: names(),
            expression_attribute_values: values.clone(),
            return_values: ReturnValues::AllOld,
            return_old_on_condition_failure: true,
        }
        .into(),
        GetItem {
            table_name: table_name.clone(),
            key: map(&[("p", 1)]),
            projection_expression: text("#a"),
            expression_attribute_names: names(),
            consistent_read: true,
        }
        .into(),
        GetItem::default().into(),
        Query {
            table_name: table_name.clone(),
            key_condition_expression: "p = :v".to_owned(),
            filter_expression: text("f"),
            projection_expression: text("#a"),
            expression_attribute_names: names(),
            expression_attribute_values: values.clone(),
            select: Some(Select::SpecificAttributes),
            limit: Some(0),
            exclusive_start_key: Some(map(&[("p", 1)])),
            scan_index_forward: false,
            consistent_read: true,
        }
        .into(),
        // An empty start key is the server's to refuse: it must not turn into none.
        Query { exclusive_start_key: Some(Item::new()), ..Query::default() }.into(),
        Query::default().into(),
        Scan {
            table_name,
            filter_expression: text("f"),
            projection_expression: text("#a"),
            expression_attribute_names: names(),
            expression_attribute_values: values,
            select: Some(Select::Count),
            limit: Some(9),
            exclusive_start_key: Some(map(&[("p", 1)])),
            segment: Some(Segment { segment: Some(0), total_segments: None }),
            consistent_read: true,
        }
        .into(),
        Scan::default().into(),
        BatchGetItem { request_items: keys() }.into(),
        BatchWriteItem { request_items: writes() }.into(),
    ]
}

#[test]
fn requests_survive_the_wire() {
    for request in requests() {
        let (operation, bytes) = encode_request(request.clone()).unwrap();
        assert_eq!(decode_request(operation, bytes).unwrap(), request);
    }
}

fn answers() -> Vec<(Operation, Answer)> {
    let table = TableDescription {
        table_name: "songs".to_owned(),
        table_id: 5,
        status: TableStatus::Updating,
        key_schema: schema(),
        partitions: 7,
        created_ms: 1 << 40,
        item_count: 3,
        size_bytes: 4,
        deletion_protection: true,
    };
    let attributes = Some(EncodedItem::encode(&map(&[("x", 1)])));
    let empty = Some(EncodedItem::default());
    let items = vec![EncodedItem::encode(&map(&[("x", 1)])), EncodedItem::default()];
    let key = Some(map(&[("p", 1)]));
    vec![
        (Operation::CreateTable, Answer::CreateTable(CreateTableAnswer { table: table.clone() })),
        (
            Operation::DescribeTable,
            Answer::DescribeTable(DescribeTableAnswer { table: table.clone() }),
        ),
        (Operation::UpdateTable, Answer::UpdateTable(UpdateTableAnswer { table: table.clone() })),
        (Operation::DeleteTable, Answer::DeleteTable(DeleteTableAnswer { table })),
        (
            Operation::ListTables,
            Answer::ListTables(ListTablesAnswer {
                table_names: vec!["a".to_owned(), "b".to_owned()],
                last_evaluated_table_name: text("b"),
            }),
        ),
        (Operation::PutItem, Answer::PutItem(PutItemAnswer { attributes: attributes.clone() })),
        (Operation::PutItem, Answer::PutItem(PutItemAnswer { attributes: None })),
        (Operation::UpdateItem, Answer::UpdateItem(UpdateItemAnswer { attributes: empty.clone() })),
        (Operation::DeleteItem, Answer::DeleteItem(DeleteItemAnswer { attributes })),
        (Operation::GetItem, Answer::GetItem(GetItemAnswer { item: empty })),
        (Operation::GetItem, Answer::GetItem(GetItemAnswer { item: None })),
        (
            Operation::Query,
            Answer::Query(QueryAnswer {
                items: items.clone(),
                count: 2,
                scanned_count: 3,
                last_evaluated_key: key.clone(),
            }),
        ),
        (
            Operation::Scan,
            Answer::Scan(ScanAnswer {
                items: items.clone(),
                count: 2,
                scanned_count: 3,
                last_evaluated_key: key,
            }),
        ),
        (
            Operation::BatchGetItem,
            Answer::BatchGetItem(BatchGetItemAnswer {
                responses: BTreeMap::from([("one".to_owned(), items)]),
                unprocessed_keys: keys(),
            }),
        ),
        (
            Operation::BatchWriteItem,
            Answer::BatchWriteItem(BatchWriteItemAnswer { unprocessed_items: writes() }),
        ),
    ]
}

#[test]
fn answers_survive_the_wire() {
    for (operation, answer) in answers() {
        let bytes = encode_answer(answer.clone()).unwrap();
        assert_eq!(decode_answer(operation, bytes).unwrap(), answer);
    }
}

#[test]
fn an_empty_item_and_none_differ_on_the_wire() {
    let none = v1::GetItemResponse::from(GetItemAnswer { item: None });
    let empty = v1::GetItemResponse::from(GetItemAnswer { item: Some(EncodedItem::default()) });
    assert_ne!(none.encode_to_vec(), empty.encode_to_vec());
}

#[test]
fn who_sets_nothing_reads_strongly_and_upwards() {
    let query = Query::try_from(v1::QueryRequest::default()).unwrap();
    assert!(query.consistent_read && query.scan_index_forward);
    assert!(Scan::try_from(v1::ScanRequest::default()).unwrap().consistent_read);
    let get = v1::GetItemRequest { key: Some(Bytes::new()), ..Default::default() };
    assert!(GetItem::try_from(get).unwrap().consistent_read);
    assert!(KeysAndAttributes::try_from(v1::KeysAndAttributes::default()).unwrap().consistent_read);
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    error.message().to_owned()
}

#[test]
fn what_the_typed_request_cannot_say_is_refused() {
    let null = |name| {
        format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        )
    };
    assert_eq!(refused(PutItem::try_from(v1::PutItemRequest::default())), null("item"));
    assert_eq!(refused(GetItem::try_from(v1::GetItemRequest::default())), null("key"));
    assert_eq!(refused(UpdateItem::try_from(v1::UpdateItemRequest::default())), null("key"));
    assert_eq!(refused(DeleteItem::try_from(v1::DeleteItemRequest::default())), null("key"));
    assert_eq!(
        refused(CreateTable::try_from(v1::CreateTableRequest::default())),
        null("keySchema")
    );

    let put =
        v1::PutItemRequest { item: Some(Bytes::new()), return_values: 99, ..Default::default() };
    assert_eq!(
        refused(PutItem::try_from(put)),
        "1 validation error detected: Value '99' at 'returnValues' failed to satisfy constraint: Member must satisfy \
         enum value set: [ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]"
    );
    let query = v1::QueryRequest { select: -1, ..Default::default() };
    assert!(refused(Query::try_from(query)).contains("Value '-1' at 'select'"));
    let attribute = v1::KeyAttribute { name: "p".to_owned(), r#type: 0 };
    assert!(refused(KeyAttribute::try_from(attribute)).contains("enum value set: [B, N, S]"));
    let key = v1::GetItemRequest { key: Some(Bytes::from_static(b"\xff")), ..Default::default() };
    refused(GetItem::try_from(key));
    refused(WriteRequest::try_from(v1::WriteRequest::default()));
}

#[test]
fn a_broken_answer_is_the_servers_fault_and_its_request_may_have_run() {
    for broken in [
        TryInto::<QueryAnswer>::try_into(v1::QueryResponse {
            last_evaluated_key: Some(Bytes::from_static(b"\xff")),
            ..Default::default()
        })
        .map(drop),
        TryInto::<CreateTableAnswer>::try_into(v1::CreateTableResponse::default()).map(drop),
        TryInto::<DeleteTableAnswer>::try_into(v1::DeleteTableResponse {
            table: Some(v1::TableDescription { status: 1, ..Default::default() }),
        })
        .map(drop),
        decode_answer(Operation::PutItem, Bytes::from_static(b"\xff")).map(drop),
    ] {
        let error = broken.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InternalServerError);
        assert_eq!(error.applied(), Applied::Unknown);
    }
}

#[test]
fn reflection_sees_items_as_messages() {
    let set = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    let put = set
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .find(|message| message.name() == "PutItemRequest")
        .unwrap();
    let item = put.field.iter().find(|field| field.name() == "item").unwrap();
    assert_eq!(item.type_name(), ".stator.v1.Item");
    let packages: Vec<_> = set.file.iter().map(|file| file.package()).collect();
    assert!(packages.contains(&"stator.peer.v1"));
}
