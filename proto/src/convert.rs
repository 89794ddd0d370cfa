//! Conversions between the messages of `stator.v1` and the requests and answers of [`stator_model::api`]; one file per
//! family of operations.
//!
//! A request from the wire becomes its typed form with `TryFrom`, which refuses what the typed form cannot say (a missing
//! item, an unknown enum value) in DynamoDB's words; all else is left to the request's `validate`. The other directions
//! are `From`, but for an answer from the wire: that can be broken too, and the fault is then the server's.
//!
//! Nothing here panics, whatever the bytes. Items stay encoded; keys and placeholders' values are decoded, bounded in
//! depth by the codec.

mod batch;
mod read;
mod table;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use stator_model::error::{Applied, Error, Result};
use stator_model::{EncodedItem, Item};

/// An item that may be absent.
fn item_from_wire(bytes: Option<Bytes>) -> Option<EncodedItem> {
    bytes.map(EncodedItem::from_bytes)
}

/// An item that may be absent, for the wire.
fn item_to_wire(item: Option<EncodedItem>) -> Option<Bytes> {
    item.map(EncodedItem::into_bytes)
}

/// A key or a set of values, decoded. Absent and empty are the same.
fn decoded(bytes: Option<Bytes>) -> Result<Item> {
    bytes.map_or_else(|| Ok(Item::new()), |bytes| EncodedItem::from_bytes(bytes).decode())
}

/// A key that must be there, decoded. `name` is DynamoDB's name of the field.
fn required_key(bytes: Option<Bytes>, name: &str) -> Result<Item> {
    EncodedItem::from_bytes(bytes.ok_or_else(|| missing(name))?).decode()
}

/// A key or a set of values, encoded; an empty one becomes absent.
fn encoded(item: &Item) -> Option<Bytes> {
    (!item.is_empty()).then(|| EncodedItem::encode(item).into_bytes())
}

/// The error of a required field that is absent.
fn missing(name: &str) -> Error {
    Error::validation(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    ))
}

/// The error of an enum's value that nobody knows.
fn unknown_value(value: i32, name: &str, known: &str) -> Error {
    Error::validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy \
         enum value set: [{known}]"
    ))
}

/// The error of an answer that makes no sense. The request was served, somehow.
fn broken_answer(what: &str) -> Error {
    Error::internal(format!("The answer is not understood: {what}")).with_applied(Applied::Unknown)
}

/// The last evaluated key of an answer.
fn answered_key(bytes: Option<Bytes>) -> Result<Option<Item>> {
    bytes
        .map(|bytes| EncodedItem::from_bytes(bytes).decode())
        .transpose()
        .map_err(|error| broken_answer(error.message()))
}
