//! What writes become, and what they do to items.

use crate::api::{DeleteItem, Names, PutItem, ReturnValues, UpdateItem, Values, WriteRequest};
use crate::error::{Error, ErrorKind};
use crate::limits::ITEM_BYTES_MAX;
use crate::schema::{KeyAttribute, KeySchema, KeyType};
use crate::value::{AttributeValue, Item};
use crate::write::{Action, Decision, PreparedWrite, prepare_batch};
use crate::{EncodedItem, Result};

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".to_owned(), key_type: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".to_owned(), key_type: KeyType::N }),
    }
}

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn key() -> Item {
    item([("pk", "p".into()), ("sk", 1.into())])
}

/// An item under [`key`] with one more attribute.
fn with(name: &str, value: impl Into<AttributeValue>) -> EncodedItem {
    let mut all = key();
    all.insert(name.to_owned(), value.into());
    EncodedItem::encode(&all)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn values<const N: usize>(values: [(&str, AttributeValue); N]) -> Values {
    item(values)
}

fn put(item: EncodedItem) -> PutItem {
    PutItem { table_name: "table".to_owned(), item, ..PutItem::default() }
}

fn update(expression: &str) -> UpdateItem {
    UpdateItem {
        table_name: "table".to_owned(),
        key: key(),
        update_expression: some(expression).filter(|text| !text.is_empty()),
        ..UpdateItem::default()
    }
}

fn delete() -> DeleteItem {
    DeleteItem { table_name: "table".to_owned(), key: key(), ..DeleteItem::default() }
}

fn evaluate(write: Result<PreparedWrite>, old: Option<&EncodedItem>) -> Decision {
    write.unwrap().evaluate(&schema(), old).unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T>, text: &str) {
    let error = result.expect_err(text);
    assert_eq!((error.kind(), error.message()), (ErrorKind::Validation, text));
}

fn put_decision(image: EncodedItem, attributes: Option<EncodedItem>) -> Decision {
    Decision::Put { image, attributes }
}

#[test]
fn a_put_without_a_condition_looks_into_nothing() {
    let write = put(with("a", 1)).prepare(&schema()).unwrap();
    let not_an_item = EncodedItem::from_bytes(b"not an item".as_slice().into());
    let decision = write.evaluate(&schema(), Some(&not_an_item)).unwrap();
    assert_eq!(decision, put_decision(with("a", 1), None));
}

#[test]
fn a_put_of_what_is_there_changes_nothing() {
    let old = with("a", 1);
    let unchanged = Decision::Unchanged { attributes: None };
    assert_eq!(evaluate(put(with("a", 1)).prepare(&schema()), Some(&old)), unchanged);
    assert_eq!(
        evaluate(put(with("a", 2)).prepare(&schema()), Some(&old)),
        put_decision(with("a", 2), None)
    );
    assert_eq!(
        evaluate(put(with("a", 2)).prepare(&schema()), None),
        put_decision(with("a", 2), None)
    );
    // The same item, with its names in another order and a number spelled otherwise.
    let parts: [&[u8]; 3] = [
        b"\x0a\x0a\x0a\x02sk\x12\x04\x12\x021.",
        b"\x0a\x09\x0a\x01a\x12\x04\x12\x02+1",
        b"\x0a\x09\x0a\x02pk\x12\x03\x0a\x01p",
    ];
    let spelled = EncodedItem::from_bytes(parts.concat().into());
    assert_ne!(spelled, old);
    assert_eq!(evaluate(put(spelled).prepare(&schema()), Some(&old)), unchanged);
}

#[test]
fn a_put_answers_the_old_item_if_asked() {
    let write =
        || PutItem { return_values: ReturnValues::AllOld, ..put(with("a", 2)) }.prepare(&schema());
    let old = with("a", 1);
    assert_eq!(evaluate(write(), Some(&old)), put_decision(with("a", 2), Some(old)));
    assert_eq!(evaluate(write(), None), put_decision(with("a", 2), None));
    let same = with("a", 2);
    assert_eq!(
        evaluate(write(), Some(&same)),
        Decision::Unchanged { attributes: Some(same.clone()) }
    );
}

#[test]
fn puts_are_checked() {
    refused(
        put(EncodedItem::encode(&item([("pk", "p".into())]))).prepare(&schema()),
        "One or more parameter values were invalid: Missing the key sk in the item",
    );
    refused(
        put(EncodedItem::encode(&item([("pk", 1.into()), ("sk", 1.into())]))).prepare(&schema()),
        "One or more parameter values were invalid: Type mismatch for key pk expected: S actual: N",
    );
    let rest = ITEM_BYTES_MAX - crate::size::item_size(&key()) - 1;
    let sized = |bytes: usize| with("a", "x".repeat(bytes));
    assert_eq!(sized(rest).check().unwrap().size, ITEM_BYTES_MAX);
    let too_large = "Item size has exceeded the maximum allowed size";
    put(sized(rest)).prepare(&schema()).unwrap();
    refused(put(sized(rest + 1)).prepare(&schema()), too_large);
    refused(WriteRequest::Put(sized(rest + 1)).prepare(&schema()), too_large);
}

#[test]
fn deletes() {
    let old = with("a", 1);
    let all_old = || DeleteItem { return_values: ReturnValues::AllOld, ..delete() };
    let prepare = |delete: DeleteItem| delete.prepare(&schema());
    assert_eq!(evaluate(prepare(delete()), Some(&old)), Decision::Delete { attributes: None });
    assert_eq!(evaluate(prepare(delete()), None), Decision::Unchanged { attributes: None });
    assert_eq!(evaluate(prepare(all_old()), None), Decision::Unchanged { attributes: None });
    assert_eq!(
        evaluate(prepare(all_old()), Some(&old)),
        Decision::Delete { attributes: Some(old) }
    );
    refused(
        prepare(DeleteItem { key: item([("pk", "p".into())]), ..delete() }),
        "The provided key element does not match the schema",
    );
}

#[test]
fn conditions_are_judged_on_the_item_or_on_nothing() {
    let condition = |text: &str, return_old| DeleteItem {
        condition_expression: some(text),
        return_old_on_condition_failure: return_old,
        ..delete()
    };
    let old = with("a", 1);
    let failed = |item: Option<&EncodedItem>| Decision::ConditionFailed { item: item.cloned() };
    let cases = [
        ("attribute_exists(a)", false, Some(&old), Decision::Delete { attributes: None }),
        ("attribute_not_exists(a)", false, Some(&old), failed(None)),
        ("attribute_not_exists(a)", true, Some(&old), failed(Some(&old))),
        ("attribute_exists(pk)", true, None, failed(None)),
        ("attribute_not_exists(pk)", true, None, Decision::Unchanged { attributes: None }),
    ];
    for (text, return_old, old, decision) in cases {
        let write = condition(text, return_old).prepare(&schema());
        assert_eq!(evaluate(write, old), decision, "{text}");
    }
    let conditional_put = PutItem {
        condition_expression: some("a = :one"),
        expression_attribute_values: values([(":one", 1.into())]),
        return_values: ReturnValues::AllOld,
        return_old_on_condition_failure: true,
        ..put(with("a", 2))
    };
    let write = || conditional_put.prepare(&schema());
    assert_eq!(evaluate(write(), Some(&old)), put_decision(with("a", 2), Some(old)));
    let other = with("a", 3);
    assert_eq!(evaluate(write(), Some(&other)), failed(Some(&other)));
}

#[test]
fn an_update_makes_what_is_absent() {
    let image = |attributes: &[(&str, i64)]| {
        let mut all = key();
        all.extend(attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        EncodedItem::encode(&all)
    };
    for return_values in [ReturnValues::None, ReturnValues::AllOld, ReturnValues::AllNew] {
        let update = UpdateItem { return_values, ..update("") };
        let attributes = (return_values == ReturnValues::AllNew).then(|| image(&[]));
        let decision = evaluate(update.prepare(&schema()), None);
        assert_eq!(decision, put_decision(image(&[]), attributes));
    }
    let set = UpdateItem {
        expression_attribute_values: values([(":one", 1.into())]),
        ..update("SET a = if_not_exists(a, :one) + :one ADD b :one")
    };
    let write = || set.prepare(&schema());
    let once = image(&[("a", 2), ("b", 1)]);
    assert_eq!(evaluate(write(), None), put_decision(once.clone(), None));
    let twice = image(&[("a", 3), ("b", 2)]);
    assert_eq!(evaluate(write(), Some(&once)), put_decision(twice, None));
}

#[test]
fn an_update_that_only_removes_makes_nothing() {
    let set = AttributeValue::Ss(["x".to_owned()].into());
    for (expression, values) in [
        ("REMOVE a", Values::new()),
        ("REMOVE a.b[1]", Values::new()),
        ("DELETE a :set", values([(":set", set)])),
    ] {
        let update = UpdateItem {
            expression_attribute_values: values,
            return_values: ReturnValues::AllNew,
            ..update(expression)
        };
        let decision = evaluate(update.prepare(&schema()), None);
        assert_eq!(decision, Decision::Unchanged { attributes: None }, "{expression}");
    }
}

#[test]
fn an_update_that_changes_nothing_is_seen() {
    let old = with("a", 1);
    let same = UpdateItem {
        expression_attribute_values: values([(":one", 1.into())]),
        return_values: ReturnValues::UpdatedNew,
        ..update("SET a = :one REMOVE b")
    };
    let a = EncodedItem::encode(&item([("a", 1.into())]));
    assert_eq!(
        evaluate(same.prepare(&schema()), Some(&old)),
        Decision::Unchanged { attributes: Some(a) }
    );
    for return_values in [ReturnValues::AllNew, ReturnValues::AllOld] {
        let nothing = UpdateItem { return_values, ..update("") };
        assert_eq!(
            evaluate(nothing.prepare(&schema()), Some(&old)),
            Decision::Unchanged { attributes: Some(old.clone()) }
        );
    }
}

#[test]
fn an_update_returns_what_was_asked_for() {
    let old = EncodedItem::encode(&item([
        ("pk", "p".into()),
        ("sk", 1.into()),
        ("a", 1.into()),
        ("gone", "x".into()),
        ("other", "y".into()),
    ]));
    let new = EncodedItem::encode(&item([
        ("pk", "p".into()),
        ("sk", 1.into()),
        ("a", 2.into()),
        ("b", 2.into()),
        ("other", "y".into()),
    ]));
    let part = |attributes: Item| Some(EncodedItem::encode(&attributes));
    let answer = |return_values, old| {
        let update = UpdateItem {
            expression_attribute_names: Names::from([("#b".to_owned(), "b".to_owned())]),
            expression_attribute_values: values([(":two", 2.into())]),
            return_values,
            ..update("SET a = :two, #b = :two REMOVE gone")
        };
        match evaluate(update.prepare(&schema()), old) {
            Decision::Put { attributes, .. } => attributes,
            other => panic!("{other:?}"),
        }
    };
    let new_parts = part(item([("a", 2.into()), ("b", 2.into())]));
    let cases = [
        (ReturnValues::None, None),
        (ReturnValues::AllOld, Some(old.clone())),
        (ReturnValues::AllNew, Some(new)),
        (ReturnValues::UpdatedOld, part(item([("a", 1.into()), ("gone", "x".into())]))),
        (ReturnValues::UpdatedNew, new_parts.clone()),
    ];
    for (return_values, attributes) in cases {
        assert_eq!(answer(return_values, Some(&old)), attributes, "{return_values:?}");
    }
    // Of an absent item there is nothing old.
    assert_eq!(answer(ReturnValues::AllOld, None), None);
    assert_eq!(answer(ReturnValues::UpdatedOld, None), None);
    assert_eq!(answer(ReturnValues::UpdatedNew, None), new_parts);
    let removed = UpdateItem { return_values: ReturnValues::UpdatedNew, ..update("REMOVE gone") };
    let Decision::Put { attributes, .. } = evaluate(removed.prepare(&schema()), Some(&old)) else {
        panic!("not a put");
    };
    assert_eq!(attributes, None);
}

#[test]
fn updates_are_checked() {
    let text = |name: &str| {
        format!(
            "One or more parameter values were invalid: Cannot update attribute {name}. This attribute is part of the key"
        )
    };
    let one = || values([(":one", 1.into())]);
    for (expression, name) in
        [("SET pk = :one", "pk"), ("ADD sk :one", "sk"), ("SET sk = :one, pk = :one", "pk")]
    {
        let update = UpdateItem { expression_attribute_values: one(), ..update(expression) };
        refused(update.prepare(&schema()), &text(name));
    }
    refused(update("REMOVE sk").prepare(&schema()), &text("sk"));
    refused(
        UpdateItem { key: item([("pk", "p".into())]), ..update("REMOVE a") }.prepare(&schema()),
        "The provided key element does not match the schema",
    );
    refused(
        UpdateItem { expression_attribute_values: one(), ..update("REMOVE a") }.prepare(&schema()),
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:one}",
    );

    let rest = ITEM_BYTES_MAX - crate::size::item_size(&key()) - 1;
    let fill = |bytes: usize| UpdateItem {
        expression_attribute_values: values([(":fill", "x".repeat(bytes).into())]),
        ..update("SET a = :fill")
    };
    let evaluate = |update: UpdateItem, old: Option<&EncodedItem>| {
        update.prepare(&schema()).unwrap().evaluate(&schema(), old)
    };
    evaluate(fill(rest), None).unwrap();
    refused(
        evaluate(fill(rest + 1), None),
        "Item size to update has exceeded the maximum allowed size",
    );

    let nested = |lists: usize| {
        (0..lists).fold(AttributeValue::Null, |inner, _| AttributeValue::L(vec![inner]))
    };
    let deepen = |lists| UpdateItem {
        expression_attribute_values: values([(":deep", nested(lists))]),
        ..update("SET a[0] = :deep")
    };
    let old = with("a", nested(1));
    evaluate(deepen(30), Some(&old)).unwrap();
    let error = evaluate(deepen(31), Some(&old)).unwrap_err();
    assert!(error.message().starts_with("Nesting Levels have exceeded"), "{error}");
}

#[test]
fn a_stored_item_that_is_none_is_a_fault() {
    let not_an_item = EncodedItem::from_bytes(b"not an item".as_slice().into());
    let write = DeleteItem { condition_expression: some("attribute_exists(a)"), ..delete() }
        .prepare(&schema())
        .unwrap();
    let error: Error = write.evaluate(&schema(), Some(&not_an_item)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InternalServerError);
}

#[test]
fn batches_name_an_item_once() {
    let put = |sk: &str| {
        WriteRequest::Put(EncodedItem::encode(&item([
            ("pk", "p".into()),
            ("sk", AttributeValue::N(sk.parse().unwrap())),
        ])))
    };
    let delete = |sk: i64| WriteRequest::Delete(item([("pk", "p".into()), ("sk", sk.into())]));
    let prepared = prepare_batch(&[put("1"), delete(2)], &schema()).unwrap();
    assert!(matches!(prepared[0].action, Action::Put(_)));
    assert_eq!(prepared[1].action, Action::Delete);
    assert_eq!(prepared[1].return_values, ReturnValues::None);
    let text = "Provided list of item keys contains duplicates";
    refused(prepare_batch(&[put("1"), put("1.0")], &schema()), text);
    refused(prepare_batch(&[put("1"), delete(1)], &schema()), text);
    refused(
        prepare_batch(&[WriteRequest::Delete(Item::new())], &schema()),
        "The provided key element does not match the schema",
    );
    for without in [item([("pk", "p".into())]), item([("pk", "p".into()), ("sk", "text".into())])] {
        refused(
            prepare_batch(&[WriteRequest::Put(EncodedItem::encode(&without))], &schema()),
            "The provided key element does not match the schema",
        );
    }
}
