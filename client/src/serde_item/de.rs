//! The deserializer: from an attribute value to a Rust value.

use std::collections::btree_map;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use stator_model::limits::deeper;
use stator_model::{AttributeValue, Number};

use super::{NUMBER, refused};
use crate::error::{Error, Result};

/// Gives one attribute value, on a level of nesting.
#[derive(Debug)]
pub(super) struct ValueDeserializer {
    value: AttributeValue,
    level: usize,
}

impl ValueDeserializer {
    pub(super) const fn at(value: AttributeValue, level: usize) -> Self {
        Self { value, level }
    }
}

/// A number, as the smallest type that holds it exactly; else as the nearest float.
fn visit_number<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value> {
    if let Some(value) = number.to_u64() {
        visitor.visit_u64(value)
    } else if let Some(value) = number.to_i64() {
        visitor.visit_i64(value)
    } else if let Some(value) = number.to_i128() {
        visitor.visit_i128(value)
    } else {
        visitor.visit_f64(number.to_f64())
    }
}

/// Gives the values of a list, which are on that level, or of a set: that is no level of its own.
fn visit_values<'de, V: Visitor<'de>>(
    values: impl IntoIterator<Item = AttributeValue, IntoIter: ExactSizeIterator>,
    level: usize,
    visitor: V,
) -> Result<V::Value> {
    let mut list = List { values: values.into_iter(), level };
    let value = visitor.visit_seq(&mut list)?;
    if list.values.len() > 0 {
        return Err(refused("A list has more values than were asked for"));
    }
    Ok(value)
}

fn visit_map<'de, V: Visitor<'de>>(
    map: std::collections::BTreeMap<String, AttributeValue>,
    level: usize,
    visitor: V,
) -> Result<V::Value> {
    visitor.visit_map(Map { entries: map.into_iter(), value: None, level: deeper(level)? })
}

impl<'de> Deserializer<'de> for ValueDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let level = self.level;
        match self.value {
            AttributeValue::S(text) => visitor.visit_string(text),
            AttributeValue::N(number) => visit_number(&number, visitor),
            AttributeValue::B(bytes) => visitor.visit_byte_buf(bytes.into()),
            AttributeValue::Bool(value) => visitor.visit_bool(value),
            AttributeValue::Null => visitor.visit_unit(),
            AttributeValue::Ss(set) => {
                visit_values(set.into_iter().map(AttributeValue::S), level, visitor)
            }
            AttributeValue::Ns(set) => {
                visit_values(set.into_iter().map(AttributeValue::N), level, visitor)
            }
            AttributeValue::Bs(set) => {
                visit_values(set.into_iter().map(AttributeValue::B), level, visitor)
            }
            AttributeValue::L(list) => visit_values(list, deeper(level)?, visitor),
            AttributeValue::M(map) => visit_map(map, level, visitor),
            other => Err(refused(format!("The type {} is not known here", other.type_name()))),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match &self.value {
            AttributeValue::N(number) => match number.to_i128() {
                Some(value) => visitor.visit_i128(value),
                None => Err(Error::invalid_value(Unexpected::Other("number"), &visitor)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match &self.value {
            // No number of 38 digits passes the range of i128, but one with an exponent may.
            AttributeValue::N(number) => match number.to_string().parse() {
                Ok(value) => visitor.visit_u128(value),
                Err(_) => Err(Error::invalid_value(Unexpected::Other("number"), &visitor)),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match &self.value {
            // Parsed as what is wanted: rounding twice, by way of f64, could miss the nearest.
            AttributeValue::N(number) => match number.to_string().parse() {
                Ok(value) => visitor.visit_f32(value),
                Err(_) => visitor.visit_f64(number.to_f64()),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match &self.value {
            AttributeValue::N(number) => visitor.visit_f64(number.to_f64()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.value {
            AttributeValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        match (name, &self.value) {
            (NUMBER, AttributeValue::N(number)) => {
                visitor.visit_newtype_struct(number.to_string().into_deserializer())
            }
            (NUMBER, other) => Err(refused(format!("Expected N, found {}", other.type_name()))),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.value {
            AttributeValue::S(variant) => visitor.visit_enum(variant.into_deserializer()),
            AttributeValue::M(map) => {
                let level = deeper(self.level)?;
                let mut entries = map.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((variant, value)), None) => {
                        visitor.visit_enum(Variant { variant, value, level })
                    }
                    _ => Err(refused("A variant is a map of one entry: its name")),
                }
            }
            other => Err(refused(format!("A variant is no {}", other.type_name()))),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 char str string bytes byte_buf unit seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// The values of a list or set.
struct List<I> {
    values: I,
    level: usize,
}

impl<'de, I: ExactSizeIterator<Item = AttributeValue>> SeqAccess<'de> for List<I> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(value) = self.values.next() else { return Ok(None) };
        seed.deserialize(ValueDeserializer::at(value, self.level)).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.values.len())
    }
}

/// The entries of a map.
struct Map {
    entries: btree_map::IntoIter<String, AttributeValue>,
    value: Option<AttributeValue>,
    level: usize,
}

impl<'de> MapAccess<'de> for Map {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(KeyDeserializer { key }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let value = self.value.take();
        let value = value.ok_or_else(|| refused("A map's value is asked for before its key"))?;
        seed.deserialize(ValueDeserializer::at(value, self.level))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// Gives a map's key: a string, or what it spells.
struct KeyDeserializer {
    key: String,
}

/// Keys that are spelt.
macro_rules! spelt_keys {
    ($($method:ident: $visit:ident),*) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.key.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Error::invalid_value(Unexpected::Str(&self.key), &visitor)),
            }
        }
    )* };
}

impl<'de> Deserializer<'de> for KeyDeserializer {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_string(self.key)
    }

    spelt_keys! {
        deserialize_bool: visit_bool,
        deserialize_i8: visit_i8, deserialize_i16: visit_i16, deserialize_i32: visit_i32,
        deserialize_i64: visit_i64, deserialize_i128: visit_i128,
        deserialize_u8: visit_u8, deserialize_u16: visit_u16, deserialize_u32: visit_u32,
        deserialize_u64: visit_u64, deserialize_u128: visit_u128
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self.key.into_deserializer())
    }

    forward_to_deserialize_any! {
        f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// A variant and what it holds.
struct Variant {
    variant: String,
    value: AttributeValue,
    level: usize,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = ValueDeserializer;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant)> {
        let name: StringDeserializer<Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, ValueDeserializer::at(self.value, self.level)))
    }
}

impl<'de> VariantAccess<'de> for ValueDeserializer {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.value {
            AttributeValue::Null => Ok(()),
            other => Err(refused(format!("A unit variant holds no {}", other.type_name()))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }
}
