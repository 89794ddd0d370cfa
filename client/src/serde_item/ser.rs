//! The serializer: from a Rust value to an attribute value.

mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use bytes::Bytes;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use stator_model::limits::deeper;
use stator_model::{AttributeValue, Number};

use self::key::KeySerializer;
use super::{BINARY_SET, NUMBER, NUMBER_SET, STRING_SET, refused};
use crate::error::{Error, Result};

/// Makes one attribute value, on a level of nesting.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValueSerializer {
    level: usize,
}

impl ValueSerializer {
    pub(super) const fn at(level: usize) -> Self {
        Self { level }
    }

    fn sequence(self) -> Result<SequenceSerializer> {
        Ok(SequenceSerializer { level: deeper(self.level)?, list: Vec::new(), variant: None })
    }

    fn map(self) -> Result<MapSerializer> {
        let level = deeper(self.level)?;
        Ok(MapSerializer { level, map: BTreeMap::new(), key: None, variant: None })
    }

    /// The serializer of what a variant holds, inside the map that names it.
    fn inside_variant(self) -> Result<Self> {
        Ok(Self { level: deeper(self.level)? })
    }
}

/// A map of a variant's name and what it holds.
fn named(variant: &str, value: AttributeValue) -> AttributeValue {
    AttributeValue::M(BTreeMap::from([(variant.to_owned(), value)]))
}

fn number(text: impl Display) -> Result<AttributeValue> {
    Ok(AttributeValue::N(text.to_string().parse()?))
}

impl Serializer for ValueSerializer {
    type Ok = AttributeValue;
    type Error = Error;
    type SerializeSeq = SequenceSerializer;
    type SerializeTuple = SequenceSerializer;
    type SerializeTupleStruct = SequenceSerializer;
    type SerializeTupleVariant = SequenceSerializer;
    type SerializeMap = MapSerializer;
    type SerializeStruct = MapSerializer;
    type SerializeStructVariant = MapSerializer;

    fn serialize_bool(self, value: bool) -> Result<AttributeValue> {
        Ok(AttributeValue::Bool(value))
    }

    fn serialize_i8(self, value: i8) -> Result<AttributeValue> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<AttributeValue> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<AttributeValue> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<AttributeValue> {
        Ok(AttributeValue::N(Number::from(value)))
    }

    fn serialize_i128(self, value: i128) -> Result<AttributeValue> {
        number(value)
    }

    fn serialize_u8(self, value: u8) -> Result<AttributeValue> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<AttributeValue> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<AttributeValue> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<AttributeValue> {
        Ok(AttributeValue::N(Number::from(value)))
    }

    fn serialize_u128(self, value: u128) -> Result<AttributeValue> {
        number(value)
    }

    fn serialize_f32(self, value: f32) -> Result<AttributeValue> {
        // The shortest text of the f32, which as an f64 would be longer. Infinities are no numbers to the parser.
        number(format_args!("{value:e}"))
    }

    fn serialize_f64(self, value: f64) -> Result<AttributeValue> {
        number(format_args!("{value:e}"))
    }

    fn serialize_char(self, value: char) -> Result<AttributeValue> {
        Ok(AttributeValue::S(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<AttributeValue> {
        Ok(AttributeValue::S(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<AttributeValue> {
        Ok(AttributeValue::B(Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Result<AttributeValue> {
        Ok(AttributeValue::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<AttributeValue> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<AttributeValue> {
        Ok(AttributeValue::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<AttributeValue> {
        Ok(AttributeValue::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<AttributeValue> {
        Ok(AttributeValue::S(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<AttributeValue> {
        // A set is no level of its own, unlike the sequence that it comes as.
        let is_set = matches!(name, STRING_SET | NUMBER_SET | BINARY_SET);
        let level = if is_set { self.level.saturating_sub(1) } else { self.level };
        let plain = value.serialize(Self { level })?;
        match name {
            NUMBER => match plain {
                AttributeValue::S(text) => number(text),
                _ => Err(refused("A number is given as its text")),
            },
            STRING_SET => set_of(plain, |member| match member {
                AttributeValue::S(text) => Some(text),
                _ => None,
            })
            .map(AttributeValue::Ss),
            NUMBER_SET => set_of(plain, |member| match member {
                AttributeValue::N(number) => Some(number),
                _ => None,
            })
            .map(AttributeValue::Ns),
            BINARY_SET => set_of(plain, |member| match member {
                AttributeValue::B(bytes) => Some(bytes),
                _ => None,
            })
            .map(AttributeValue::Bs),
            _ => Ok(plain),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<AttributeValue> {
        Ok(named(variant, value.serialize(self.inside_variant()?)?))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<SequenceSerializer> {
        self.sequence()
    }

    fn serialize_tuple(self, _len: usize) -> Result<SequenceSerializer> {
        self.sequence()
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<SequenceSerializer> {
        self.sequence()
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<SequenceSerializer> {
        let sequence = self.inside_variant()?.sequence()?;
        Ok(SequenceSerializer { variant: Some(variant), ..sequence })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<MapSerializer> {
        self.map()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<MapSerializer> {
        self.map()
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<MapSerializer> {
        let map = self.inside_variant()?.map()?;
        Ok(MapSerializer { variant: Some(variant), ..map })
    }
}

/// The set of a list's members. A member twice is there once, as in any set.
fn set_of<T: Ord>(
    list: AttributeValue,
    member: impl Fn(AttributeValue) -> Option<T>,
) -> Result<BTreeSet<T>> {
    let AttributeValue::L(list) = list else {
        return Err(refused("A set is given as a sequence"));
    };
    let set: Option<BTreeSet<T>> = list.into_iter().map(member).collect();
    let set = set.ok_or_else(|| refused("A member of a set is of another type than the set"))?;
    if set.is_empty() {
        return Err(refused("One or more parameter values were invalid: A set may not be empty"));
    }
    Ok(set)
}

/// Makes a list, or the map of a tuple variant.
#[derive(Debug)]
pub(super) struct SequenceSerializer {
    level: usize,
    list: Vec<AttributeValue>,
    variant: Option<&'static str>,
}

impl SequenceSerializer {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.list.push(value.serialize(ValueSerializer::at(self.level))?);
        Ok(())
    }

    fn finish(self) -> AttributeValue {
        let list = AttributeValue::L(self.list);
        match self.variant {
            Some(variant) => named(variant, list),
            None => list,
        }
    }
}

/// The traits of sequences differ in names only.
macro_rules! sequences {
    ($($kind:ident: $method:ident),*) => { $(
        impl $kind for SequenceSerializer {
            type Ok = AttributeValue;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.push(value)
            }

            fn end(self) -> Result<AttributeValue> {
                Ok(self.finish())
            }
        }
    )* };
}

sequences! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
}

/// Makes a map, or the map of a struct variant.
#[derive(Debug)]
pub(super) struct MapSerializer {
    level: usize,
    map: BTreeMap<String, AttributeValue>,
    key: Option<String>,
    variant: Option<&'static str>,
}

impl MapSerializer {
    fn insert<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<()> {
        self.map.insert(key, value.serialize(ValueSerializer::at(self.level))?);
        Ok(())
    }

    fn finish(self) -> AttributeValue {
        let map = AttributeValue::M(self.map);
        match self.variant {
            Some(variant) => named(variant, map),
            None => map,
        }
    }
}

impl SerializeMap for MapSerializer {
    type Ok = AttributeValue;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(key.serialize(KeySerializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().ok_or_else(|| refused("A map's value comes before its key"))?;
        self.insert(key, value)
    }

    fn end(self) -> Result<AttributeValue> {
        Ok(self.finish())
    }
}

/// The traits of structs differ in names only.
macro_rules! structs {
    ($($kind:ident),*) => { $(
        impl $kind for MapSerializer {
            type Ok = AttributeValue;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<()> {
                self.insert(key.to_owned(), value)
            }

            fn end(self) -> Result<AttributeValue> {
                Ok(self.finish())
            }
        }
    )* };
}

structs! { SerializeStruct, SerializeStructVariant }
