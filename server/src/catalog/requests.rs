//! The requests that read and write the catalog's records, and the conditions that keep two writers from undoing each other: pure.

use stator_model::api::{DeleteItem, GetItem, PutItem, Query, ReturnValues, UpdateItem, Values};
use stator_model::{AttributeValue, EncodedItem, Error, ErrorKind, Item, Number, Result};

use super::records::{CATALOG_NAME, TableRecord, record_key};

fn name() -> String {
    CATALOG_NAME.to_owned()
}

/// Reads a record.
pub(crate) fn get(key: Item) -> GetItem {
    GetItem { table_name: name(), key, consistent_read: true, ..GetItem::default() }
}

/// Writes a record that must not exist yet.
pub(crate) fn create(item: &Item) -> PutItem {
    PutItem { condition_expression: Some("attribute_not_exists(kind)".into()), ..put(item) }
}

/// Writes a record, whatever was there.
pub(crate) fn put(item: &Item) -> PutItem {
    PutItem { table_name: name(), item: EncodedItem::encode(item), ..PutItem::default() }
}

/// Changes an attribute of a table's record from one value to another, unless it was not that value, the table's status or its
/// protection is not what it was any more, or the record is by now that of another table of the same name.
pub(crate) fn change(
    table: &TableRecord,
    attribute: &str,
    from: AttributeValue,
    to: AttributeValue,
) -> UpdateItem {
    let names = [("#a", attribute), ("#status", "status"), ("#protected", "deletion_protection")];
    let names = names.map(|(name, of)| (name.to_owned(), of.to_owned()));
    let values = [
        (":from", from),
        (":to", to),
        (":id", table.id_value()),
        (":status", table.status.name().into()),
        (":protected", table.deletion_protection.into()),
    ];
    UpdateItem {
        table_name: name(),
        key: record_key("table", &table.name),
        update_expression: Some("SET #a = :to".into()),
        condition_expression: Some(
            "#a = :from AND table_id = :id AND #status = :status AND #protected = :protected"
                .into(),
        ),
        expression_attribute_names: names.into(),
        expression_attribute_values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        ..UpdateItem::default()
    }
}

/// Removes a table's record, and with it frees the name; not that of another table which has the name by now.
pub(crate) fn free_name(table: &TableRecord) -> DeleteItem {
    DeleteItem {
        condition_expression: Some("table_id = :id".into()),
        expression_attribute_values: [(":id".to_owned(), table.id_value())].into(),
        ..delete(record_key("table", &table.name))
    }
}

/// Removes a record.
pub(crate) fn delete(key: Item) -> DeleteItem {
    DeleteItem { table_name: name(), key, ..DeleteItem::default() }
}

/// Takes the next id of a kind: never given twice. [`given`] finds it in the answer.
pub(crate) fn next_id(kind: &str) -> UpdateItem {
    let one = Values::from([(":one".to_owned(), AttributeValue::N(Number::from(1u64)))]);
    UpdateItem {
        table_name: name(),
        key: record_key("counter", kind),
        update_expression: Some("ADD given :one".into()),
        expression_attribute_values: one,
        return_values: ReturnValues::UpdatedNew,
        ..UpdateItem::default()
    }
}

/// The id that was taken.
pub(crate) fn given(attributes: Option<EncodedItem>) -> Result<u64> {
    let given = attributes.map(|item| item.decode()).transpose()?.unwrap_or_default();
    let given = given.get("given").and_then(AttributeValue::as_n).and_then(Number::to_u64);
    given.ok_or_else(|| Error::internal("the catalog's counter is no number"))
}

/// Records of a kind in the order of their ids, behind one, at most so many: a page of them.
pub(crate) fn page(kind: &str, start: Option<Item>, limit: Option<u32>) -> Query {
    Query {
        table_name: name(),
        key_condition_expression: "kind = :kind".into(),
        expression_attribute_values: [(":kind".to_owned(), kind.into())].into(),
        exclusive_start_key: start,
        limit,
        consistent_read: true,
        ..Query::default()
    }
}

/// Whether a conditional write was done; a condition that did not hold is an answer here, not an error.
pub(crate) fn held<T>(result: Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConditionalCheckFailed => Ok(false),
        Err(error) => Err(error),
    }
}
