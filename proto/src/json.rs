//! Items as JSON, in two dialects.
//!
//! - *DynamoDB JSON* names each value's type, `{"id": {"N": "7"}}`: it can say every item, and reading back what was
//!   written gives the same item.
//! - *Plain JSON* is what people write, `{"id": 7}`. Going there, sets become arrays and binaries base64 strings, so the
//!   way back does not lead to the same item; coming from there, strings, numbers, arrays, objects, booleans and null
//!   become `S`, `N`, `L`, `M`, `BOOL` and `NULL`.
//!
//! Numbers keep all of their 38 digits both ways: `serde_json` is built with `arbitrary_precision`, which holds a number
//! as its text.
//!
//! Reading refuses what the item codec refuses, and in the same words (but for the names in plain JSON, which the request's
//! own validation judges); no input recurses deeper than [`deeper`] allows. Writing recurses as deep as the value in
//! hand.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value};
use stator_model::error::{Error, Result};
use stator_model::limits::{TOP_LEVEL, deeper};
use stator_model::{AttributeValue, EncodedItem, Item, Number};

use crate::v1::{self, attribute_value::Value as Wire};

mod keys;

#[cfg(test)]
mod tests;

/// Parses a text of JSON, keeping its numbers as they are written.
///
/// # Errors
/// `ValidationException` with the place of the fault. An object with a key twice is one: whatever were taken, something
/// that somebody wrote would be lost without a word.
pub fn parse(text: &[u8]) -> Result<Value> {
    let refused = |error| Error::validation(format!("Not JSON: {error}"));
    let value = serde_json::from_slice(text).map_err(refused)?;
    // What was parsed no longer shows it, so the text is looked at again.
    serde_json::from_slice::<keys::Unique>(text).map_err(refused)?;
    Ok(value)
}

/// An item in DynamoDB JSON.
///
/// ```
/// use stator_model::{AttributeValue, Item};
/// use stator_proto::json::{item_from_dynamodb_json, item_to_dynamodb_json, parse};
///
/// let item = Item::from([("id".to_owned(), AttributeValue::from(7))]);
/// let json = item_to_dynamodb_json(&item);
/// assert_eq!(json.to_string(), r#"{"id":{"N":"7"}}"#);
/// assert_eq!(item_from_dynamodb_json(&json).unwrap(), item);
/// ```
#[must_use]
pub fn item_to_dynamodb_json(item: &Item) -> Value {
    Value::Object(item.iter().map(|(k, v)| (k.clone(), value_to_dynamodb_json(v))).collect())
}

/// A value in DynamoDB JSON.
#[must_use]
pub fn value_to_dynamodb_json(value: &AttributeValue) -> Value {
    let json = match value {
        AttributeValue::S(text) => Value::from(text.as_str()),
        AttributeValue::N(number) => Value::from(number.to_string()),
        AttributeValue::B(bytes) => Value::from(BASE64.encode(bytes)),
        AttributeValue::Bool(value) => Value::from(*value),
        AttributeValue::Ss(set) => set.iter().map(String::as_str).collect(),
        AttributeValue::Ns(set) => set.iter().map(Number::to_string).collect(),
        AttributeValue::Bs(set) => set.iter().map(|bytes| BASE64.encode(bytes)).collect(),
        AttributeValue::L(list) => list.iter().map(value_to_dynamodb_json).collect(),
        AttributeValue::M(map) => item_to_dynamodb_json(map),
        // `Null`, and what a later model may add.
        _ => Value::from(true),
    };
    Value::Object(Map::from_iter([(value.type_name().to_owned(), json)]))
}

/// The item that this DynamoDB JSON says.
///
/// # Errors
/// `ValidationException` if it says none.
pub fn item_from_dynamodb_json(json: &Value) -> Result<Item> {
    judged(wire_entries(json, TOP_LEVEL)?)
}

/// The value that this DynamoDB JSON says.
///
/// # Errors
/// `ValidationException` if it says none.
pub fn value_from_dynamodb_json(json: &Value) -> Result<AttributeValue> {
    let name = "value";
    let mut item = judged(BTreeMap::from([(name.to_owned(), wire_value(json, TOP_LEVEL)?)]))?;
    item.remove(name).ok_or_else(|| Error::internal("A value was read and is not there"))
}

/// The JSON only gave the shape. The codec judges it: numbers, sets, names.
fn judged(attributes: BTreeMap<String, v1::AttributeValue>) -> Result<Item> {
    let bytes = v1::Item { attributes }.encode_to_vec();
    EncodedItem::from_bytes(Bytes::from(bytes)).decode()
}

fn wire_entries(json: &Value, level: usize) -> Result<BTreeMap<String, v1::AttributeValue>> {
    let map = json.as_object().ok_or_else(|| unexpected(json, "an object"))?;
    map.iter().map(|(name, value)| Ok((name.clone(), wire_value(value, level)?))).collect()
}

fn wire_value(json: &Value, level: usize) -> Result<v1::AttributeValue> {
    let map = json.as_object().ok_or_else(|| unexpected(json, "an object"))?;
    let mut members = map.iter();
    let Some((kind, json)) = members.next() else {
        return Err(Error::validation(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
        ));
    };
    if members.next().is_some() {
        return Err(Error::validation(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported \
             datatypes",
        ));
    }
    let value = match kind.as_str() {
        "S" => Wire::S(text(json)?),
        "N" => Wire::N(text(json)?),
        "B" => Wire::B(binary(json)?),
        "BOOL" => Wire::Bool(boolean(json)?),
        "NULL" => Wire::Null(boolean(json)?),
        "SS" => Wire::Ss(v1::StringSet { values: each(json, text)? }),
        "NS" => Wire::Ns(v1::NumberSet { values: each(json, text)? }),
        "BS" => Wire::Bs(v1::BinarySet { values: each(json, binary)? }),
        "L" => {
            let level = deeper(level)?;
            Wire::L(v1::List { values: each(json, |value| wire_value(value, level))? })
        }
        "M" => Wire::M(v1::Map { entries: wire_entries(json, deeper(level)?)? }),
        _ => {
            return Err(Error::validation(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            ));
        }
    };
    Ok(v1::AttributeValue { value: Some(value) })
}

fn each<T>(json: &Value, read: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    json.as_array().ok_or_else(|| unexpected(json, "an array"))?.iter().map(read).collect()
}

fn text(json: &Value) -> Result<String> {
    json.as_str().map(str::to_owned).ok_or_else(|| unexpected(json, "a string"))
}

fn boolean(json: &Value) -> Result<bool> {
    json.as_bool().ok_or_else(|| unexpected(json, "a boolean"))
}

fn binary(json: &Value) -> Result<Bytes> {
    let text = json.as_str().ok_or_else(|| unexpected(json, "a string of base64"))?;
    BASE64
        .decode(text)
        .map(Bytes::from)
        .map_err(|error| Error::validation(format!("A binary is not base64: {error}")))
}

/// An item in plain JSON.
///
/// ```
/// use stator_proto::json::{item_from_plain_json, item_to_plain_json, parse};
///
/// let text = r#"{"id":7,"pi":3.14159265358979323846264338327950288419,"tags":["a",null]}"#;
/// let item = item_from_plain_json(&parse(text.as_bytes()).unwrap());
/// assert!(item.is_err(), "39 digits are one too many");
///
/// let text = r#"{"id":7,"pi":3.1415926535897932384626433832795028842,"tags":["a",null]}"#;
/// let item = item_from_plain_json(&parse(text.as_bytes()).unwrap()).unwrap();
/// assert_eq!(item_to_plain_json(&item).to_string(), text);
/// ```
#[must_use]
pub fn item_to_plain_json(item: &Item) -> Value {
    Value::Object(item.iter().map(|(k, v)| (k.clone(), value_to_plain_json(v))).collect())
}

/// A value in plain JSON: sets become arrays, binaries base64 strings.
#[must_use]
pub fn value_to_plain_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => Value::from(text.as_str()),
        AttributeValue::N(number) => number_to_json(number),
        AttributeValue::B(bytes) => Value::from(BASE64.encode(bytes)),
        AttributeValue::Bool(value) => Value::from(*value),
        AttributeValue::Ss(set) => set.iter().map(String::as_str).collect(),
        AttributeValue::Ns(set) => set.iter().map(number_to_json).collect(),
        AttributeValue::Bs(set) => set.iter().map(|bytes| BASE64.encode(bytes)).collect(),
        AttributeValue::L(list) => list.iter().map(value_to_plain_json).collect(),
        AttributeValue::M(map) => item_to_plain_json(map),
        _ => Value::Null,
    }
}

/// The item that this plain JSON says: an object.
///
/// # Errors
/// `ValidationException` if it is no object, is nested too deep, or has a number that does not fit.
pub fn item_from_plain_json(json: &Value) -> Result<Item> {
    plain_entries(json.as_object().ok_or_else(|| unexpected(json, "an object"))?, TOP_LEVEL)
}

/// The value that this plain JSON says.
///
/// # Errors
/// `ValidationException` if it is nested too deep, or has a number that does not fit.
pub fn value_from_plain_json(json: &Value) -> Result<AttributeValue> {
    plain_value(json, TOP_LEVEL)
}

fn plain_entries(map: &Map<String, Value>, level: usize) -> Result<Item> {
    map.iter().map(|(name, value)| Ok((name.clone(), plain_value(value, level)?))).collect()
}

fn plain_value(json: &Value, level: usize) -> Result<AttributeValue> {
    Ok(match json {
        Value::Null => AttributeValue::Null,
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => AttributeValue::N(number.as_str().parse()?),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(array) => {
            let level = deeper(level)?;
            let list = array.iter().map(|value| plain_value(value, level));
            AttributeValue::L(list.collect::<Result<_>>()?)
        }
        Value::Object(map) => AttributeValue::M(plain_entries(map, deeper(level)?)?),
    })
}

fn number_to_json(number: &Number) -> Value {
    let text = number.to_string();
    // A number's text is JSON's too; were it ever not, the text is the next best thing.
    text.parse().map_or_else(|_| Value::from(text.as_str()), Value::Number)
}

fn unexpected(json: &Value, expected: &str) -> Error {
    let found = match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Error::validation(format!("Expected {expected}, found {found}"))
}
