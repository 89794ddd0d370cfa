//! The bytes of an item: the protobuf encoding of `stator.v1.Item`, read and written by hand.
//!
//! An item travels from a client through the log to the engine and back to a client as one piece of bytes, and most
//! of the time nobody looks inside. That wants an encoding with three properties, which no generated code gives: equal
//! items are equal bytes (so that replicas compare, and a write that changes nothing is seen by `==`), a check that
//! builds no tree, and binaries that are slices of the message. The messages are:
//!
//! ```text
//! Item           { map<string, AttributeValue> attributes = 1; }
//! AttributeValue { oneof { string s = 1; string n = 2; bytes b = 3; bool bool = 4; bool null = 5;
//!                          StringSet ss = 6; NumberSet ns = 7; BinarySet bs = 8; List l = 9; Map m = 10; } }
//! StringSet, NumberSet { repeated string values = 1; }      BinarySet { repeated bytes values = 1; }
//! List { repeated AttributeValue values = 1; }              Map { map<string, AttributeValue> entries = 1; }
//! ```
//!
//! # The canonical form
//! Names ascend by their UTF-8 bytes, numbers stand in canonical text, sets ascend and are never empty, a map's entry is
//! key then value, both written even if empty, varints are as short as can be, and there is nothing else. It is what
//! [`EncodedItem::encode`] writes, and what is stored.
//!
//! # What is read
//! Any order, numbers in any spelling, varints of any length. Refused are, beyond what DynamoDB refuses:
//! - Unknown fields. Protobuf would skip them; a database that drops what it was given to keep, because a newer client
//!   knows more than the node, loses data in silence.
//! - A name, or a field of one map entry, that is there twice. Protobuf lets the last one win; no encoder writes that,
//!   and whoever did would not get back what they sent.
//!
//! # Invariants
//! - `encode(decode(x)) == x` exactly if x is canonical; [`EncodedItem::canonicalize`] makes anything readable so.
//! - Nothing here panics or recurses deeper than [`limits::NESTING_LEVELS_MAX`](crate::limits::NESTING_LEVELS_MAX), on
//!   any bytes. (Encoding recurses as deep as the value in hand.)

mod decode;
mod encode;
mod scan;
#[cfg(test)]
mod tests;
mod wire;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::limits::TOP_LEVEL;
use crate::schema::KeySchema;
use crate::size::item_size;
use crate::value::{AttributeValue, Item};

pub(crate) use decode::check_name;

/// The field numbers of the messages.
mod field {
    /// `Item.attributes`, `Map.entries`.
    pub(super) const ENTRIES: u8 = 1;
    /// `values` of the sets and of `List`.
    pub(super) const VALUES: u8 = 1;
    /// A map entry's key.
    pub(super) const KEY: u8 = 1;
    /// A map entry's value.
    pub(super) const VALUE: u8 = 2;

    pub(super) const S: u8 = 1;
    pub(super) const N: u8 = 2;
    pub(super) const B: u8 = 3;
    pub(super) const BOOL: u8 = 4;
    pub(super) const NULL: u8 = 5;
    pub(super) const SS: u8 = 6;
    pub(super) const NS: u8 = 7;
    pub(super) const BS: u8 = 8;
    pub(super) const L: u8 = 9;
    pub(super) const M: u8 = 10;
}

/// An item as protobuf bytes of `stator.v1.Item`; not necessarily checked, nor canonical.
///
/// ```
/// use stator_model::{AttributeValue, EncodedItem, Item};
///
/// let item = Item::from([("id".to_owned(), AttributeValue::from(7))]);
/// let encoded = EncodedItem::encode(&item);
/// assert_eq!(encoded.decode().unwrap(), item);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncodedItem(Bytes);

/// What [`EncodedItem::check`] found out about valid bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The item's size, in bytes, as DynamoDB accounts it.
    pub size: usize,
    /// Whether the bytes are the item's canonical form.
    pub canonical: bool,
}

impl EncodedItem {
    /// Takes bytes as they are, unchecked.
    #[must_use]
    pub const fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Encodes, canonically.
    #[must_use]
    pub fn encode(item: &Item) -> Self {
        let mut out = Vec::new();
        encode::put_entries(&mut out, item);
        Self(Bytes::from(out))
    }

    /// Decodes, whatever order the names stand in. Binaries are slices of the item's bytes.
    ///
    /// # Errors
    /// `ValidationException` if the bytes are no item, or one that DynamoDB does not take: an empty attribute value,
    /// a set that is empty or has duplicates, a number out of range, too many levels. Its size is not judged.
    pub fn decode(&self) -> Result<Item> {
        decode::Decoder::new(&self.0).entries(&self.0, TOP_LEVEL)
    }

    /// Checks all that [`decode`](Self::decode) would, and measures the item; canonical bytes in one pass, without
    /// building anything.
    ///
    /// # Errors
    /// Exactly those of `decode`.
    pub fn check(&self) -> Result<Checked> {
        if let Some(size) = self.scan() {
            return Ok(Checked { size, canonical: true });
        }
        let size = item_size(&self.decode()?);
        Ok(Checked { size, canonical: false })
    }

    /// Makes the bytes canonical (the same bytes, if they are already), and measures the item.
    ///
    /// # Errors
    /// Exactly those of [`decode`](Self::decode).
    pub fn canonicalize(self) -> Result<(Self, usize)> {
        if let Some(size) = self.scan() {
            return Ok((self, size));
        }
        let item = self.decode()?;
        Ok((Self::encode(&item), item_size(&item)))
    }

    /// Decodes what is stored, and was checked before it was: that it does not decode is a fault of the database.
    pub(crate) fn decode_stored(&self) -> Result<Item> {
        self.decode().map_err(not_stored)
    }

    /// The size of what is stored.
    pub(crate) fn stored_size(&self) -> Result<usize> {
        self.check().map(|checked| checked.size).map_err(not_stored)
    }

    /// The item's size, in bytes, as DynamoDB accounts it, if the bytes are canonical.
    fn scan(&self) -> Option<usize> {
        scan::entries(&self.0, TOP_LEVEL).map(|(size, _)| size)
    }

    /// The value of one top-level attribute, without decoding the others.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), as far as the bytes were looked at.
    pub fn attribute(&self, name: &str) -> Result<Option<AttributeValue>> {
        self.attributes(&[name]).map(|mut found| found.remove(name))
    }

    /// Of the item, the top-level attributes with these names, without decoding the others.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), as far as the bytes were looked at.
    pub fn attributes(&self, names: &[&str]) -> Result<Item> {
        let decoder = decode::Decoder::new(&self.0);
        let mut found = Item::new();
        let mut reader = wire::Reader::new(&self.0);
        while !reader.is_empty() && found.len() < names.len() {
            let entry = reader.only_field(u64::from(field::ENTRIES))?;
            let (name, value) = decode::entry(entry)?;
            if names.contains(&name) {
                found.insert(name.to_owned(), decoder.value(value, TOP_LEVEL)?);
            }
        }
        Ok(found)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it by value")]
fn not_stored(error: Error) -> Error {
    Error::internal(format!("A stored item cannot be read: {}", error.message()))
}

/// The primary key of an encoded item, without decoding the rest of it.
///
/// # Errors
/// `ValidationException` if a key attribute is missing, of another type, or out of bounds.
pub fn key_of_encoded(schema: &KeySchema, item: &EncodedItem) -> Result<Key> {
    Key::of_item(schema, &key_attributes_of_encoded(schema, item)?)
}

/// Those of the key's attributes that an encoded item has, without decoding the rest of it.
///
/// # Errors
/// `ValidationException` if one of them cannot be read.
pub(crate) fn key_attributes_of_encoded(schema: &KeySchema, item: &EncodedItem) -> Result<Item> {
    let mut names = vec![schema.partition.name.as_str()];
    names.extend(schema.sort.iter().map(|sort| sort.name.as_str()));
    item.attributes(&names)
}

/// Encodes one value as `stator.v1.AttributeValue`, canonically.
#[must_use]
pub fn value_to_bytes(value: &AttributeValue) -> Bytes {
    let mut out = Vec::new();
    encode::put_value(&mut out, value);
    Bytes::from(out)
}

/// Decodes one `stator.v1.AttributeValue`.
///
/// # Errors
/// Those of [`EncodedItem::decode`].
pub fn value_from_bytes(bytes: &Bytes) -> Result<AttributeValue> {
    decode::Decoder::new(bytes).value(bytes, TOP_LEVEL)
}
