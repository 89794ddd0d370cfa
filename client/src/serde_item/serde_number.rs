//! Fields that are a [`Number`], with all of its 38 digits: `#[serde(with = "stator_client::serde_number")]`.

use std::fmt;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serializer};
use stator_model::Number;

/// Serializes a number as `N`; with serializers other than this crate's, as its text.
///
/// # Errors
/// None of this crate's own.
pub fn serialize<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_newtype_struct(super::NUMBER, &number.to_string())
}

/// Deserializes an `N`; with deserializers other than this crate's, a number's text.
///
/// # Errors
/// `ValidationException` if it is another type's.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
    deserializer.deserialize_newtype_struct(super::NUMBER, NumberVisitor)
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text of a number")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Number, D::Error> {
        let text = String::deserialize(inner)?;
        text.parse().map_err(|error: stator_model::Error| D::Error::custom(error.message()))
    }
}
