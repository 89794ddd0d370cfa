//! Items from and to any type that serde knows.
//!
//! | Rust | DynamoDB |
//! |---|---|
//! | strings, `char` | `S` |
//! | integers to 128 bits, floats | `N`, exactly; a float as the shortest decimal that reads back the same |
//! | bytes (`bytes::Bytes`, `serde_bytes`) | `B` |
//! | `bool` | `BOOL` |
//! | `None`, `()`, unit structs | `NULL` |
//! | sequences, tuples | `L` |
//! | maps, structs | `M`; keys are strings, or numbers, booleans and unit variants as text |
//! | unit variants | `S`, the variant's name |
//! | other variants | `M` of the variant's name and what it holds |
//! | fields marked with [`serde_sets`] | `SS`, `NS`, `BS` |
//! | fields marked with [`serde_number`] | `N` of a [`Number`](stator_model::Number), all of its digits |
//!
//! To leave out a `None` rather than write a `NULL`, mark the field `#[serde(skip_serializing_if = "Option::is_none")]`;
//! a missing attribute reads as `None`, and so does `NULL`. A set also reads as any sequence, and a list as any set type.
//!
//! Lists and maps go no deeper than the database takes them, both ways.

mod de;
mod ser;
pub mod serde_number;
pub mod serde_sets;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stator_model::limits::TOP_LEVEL;
use stator_model::{AttributeValue, Error as ModelError, Item};

use crate::error::{Error, Result};

/// The name of the newtype that tells this crate's serializer to make a string set of a sequence.
const STRING_SET: &str = "$stator::StringSet";
/// The same for a number set.
const NUMBER_SET: &str = "$stator::NumberSet";
/// The same for a binary set.
const BINARY_SET: &str = "$stator::BinarySet";
/// The same for the number that a string spells.
const NUMBER: &str = "$stator::Number";

/// The item that a value, such as a struct or a map, serializes to.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stator_client::{from_item, to_item};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Song {
///     artist: String,
///     year: u16,
///     #[serde(with = "stator_client::serde_sets::string_set")]
///     tags: Vec<String>,
/// }
///
/// let song = Song { artist: "ABBA".into(), year: 1974, tags: vec!["pop".into()] };
/// let item = to_item(&song)?;
/// assert_eq!(item["tags"].type_name(), "SS");
/// assert_eq!(from_item::<Song>(item)?, song);
/// # Ok::<(), stator_client::Error>(())
/// ```
///
/// # Errors
/// `ValidationException` if it serializes to something else, or holds what no attribute can.
pub fn to_item<T: Serialize + ?Sized>(value: &T) -> Result<Item> {
    // An item is the level above its attributes' values.
    match value.serialize(ser::ValueSerializer::at(TOP_LEVEL - 1))? {
        AttributeValue::M(item) => Ok(item),
        other => Err(refused(format!("An item is a map, not of the type {}", other.type_name()))),
    }
}

/// The attribute value that a value serializes to.
///
/// # Errors
/// `ValidationException` if it holds what no attribute can.
pub fn to_attribute_value<T: Serialize + ?Sized>(value: &T) -> Result<AttributeValue> {
    value.serialize(ser::ValueSerializer::at(TOP_LEVEL))
}

/// The value that an item deserializes to.
///
/// # Errors
/// `ValidationException` if it does not.
pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T> {
    T::deserialize(de::ValueDeserializer::at(AttributeValue::M(item), TOP_LEVEL - 1))
}

/// The value that an attribute value deserializes to.
///
/// # Errors
/// `ValidationException` if it does not.
pub fn from_attribute_value<T: DeserializeOwned>(value: AttributeValue) -> Result<T> {
    T::deserialize(de::ValueDeserializer::at(value, TOP_LEVEL))
}

fn refused(text: impl Into<String>) -> Error {
    ModelError::validation(text).into()
}
