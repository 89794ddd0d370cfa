//! Primary keys: taken from items, checked, and brought into the bytes under which items are stored.
//!
//! The encoding of a [`Key`] is that of its partition key's value, followed by that of its sort key's. Both keep
//! order and delimit themselves, so that the bytes of two keys compare as (partition key, sort key) do: strings by their
//! UTF-8 bytes, binaries by unsigned bytes, numbers by value. The items of one partition key therefore lie side by side, in
//! sort key order, behind one prefix: `sort_range` says between which bytes a query finds them. `encoding` is
//! the page on the bytes themselves; `range` on those bounds.
//!
//! The first part is also what [`hash64`] is taken of, to place the key in a partition.
//!
//! # Invariants
//! - A `Key` in hand was made or checked with a schema: its values have the schema's types, are not empty, and keep
//!   the limits of [`limits`](crate::limits).
//! - One key has one encoding. Types leave no trace in it: bytes mean nothing without their schema.

mod encoding;
mod range;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::limits::{PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX};
use crate::schema::{KeyAttribute, KeySchema};
use crate::value::{AttributeValue, Item};

use encoding::{decode_value, encode_bytes};
pub use range::KeyRange;
pub(crate) use range::sort_range;

/// Name of the hash, as a table's record stores it.
pub const HASH_NAME: &str = "xxh3-64";

/// xxh3-64 with seed 0 over a partition key's encoding.
#[must_use]
pub fn hash64(encoded_partition_key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(encoded_partition_key)
}

/// A primary key in its order-preserving encoding, with the hash that places it.
///
/// ```
/// use stator_model::key::Key;
/// use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
/// use stator_model::{AttributeValue, Item};
///
/// let schema = KeySchema {
///     partition: KeyAttribute { name: "artist".into(), key_type: KeyType::S },
///     sort: Some(KeyAttribute { name: "year".into(), key_type: KeyType::N }),
/// };
/// let key = |year: i64| {
///     let artist = ("artist".to_owned(), AttributeValue::from("Acme Band"));
///     Key::of_item(&schema, &Item::from([artist, ("year".to_owned(), year.into())]))
/// };
/// assert!(key(-5)?.bytes() < key(1971)?.bytes());
/// assert_eq!(key(-5)?.hash(), key(1971)?.hash());
/// # Ok::<(), stator_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: Bytes,
    partition_len: u32,
    hash: u64,
}

impl Key {
    /// The key of a whole item (PutItem): other attributes may be there.
    ///
    /// # Errors
    /// `ValidationException` if a key attribute is missing, has another type than the schema says, is empty or too long.
    pub fn of_item(schema: &KeySchema, item: &Item) -> Result<Self> {
        Self::build(schema, |attribute, role, out| {
            let value = item.get(&attribute.name).ok_or_else(|| {
                invalid(format_args!("Missing the key {} in the item", attribute.name))
            })?;
            append(attribute, role, value, type_mismatch, out)
        })
    }

    /// A key given as such (GetItem, DeleteItem, ExclusiveStartKey): exactly the key attributes.
    ///
    /// # Errors
    /// `ValidationException` if those are not the schema's key attributes in name and type, or one is empty or too long.
    pub fn of_key_attributes(schema: &KeySchema, key: &Item) -> Result<Self> {
        let mismatch = || Error::validation("The provided key element does not match the schema");
        if key.len() != 1 + usize::from(schema.sort.is_some()) {
            return Err(mismatch());
        }
        Self::build(schema, |attribute, role, out| {
            let value = key.get(&attribute.name).ok_or_else(mismatch)?;
            append(attribute, role, value, |_, _| mismatch(), out)
        })
    }

    /// From bytes that [`Key::bytes`] gave (as read back from the engine); `None` if they are no key's of this schema.
    #[must_use]
    pub fn from_encoded(schema: &KeySchema, bytes: Bytes) -> Option<Self> {
        let mut rest = &bytes[..];
        decode_value(schema.partition.key_type, Role::Partition, &mut rest)?;
        let partition_len = bytes.len() - rest.len();
        if let Some(sort) = &schema.sort {
            decode_value(sort.key_type, Role::Sort, &mut rest)?;
        }
        rest.is_empty().then(|| Self::new(bytes, partition_len))
    }

    /// Back to key attributes. The schema is the one that the key was made with; attributes that another one has
    /// and the bytes do not fit are left out.
    #[must_use]
    pub fn to_attributes(&self, schema: &KeySchema) -> Item {
        let sort = schema.sort.as_ref().map(|sort| (sort, Role::Sort, self.sort_bytes()));
        [(&schema.partition, Role::Partition, self.partition_bytes())]
            .into_iter()
            .chain(sort)
            .filter_map(|(attribute, role, mut bytes)| {
                let value = decode_value(attribute.key_type, role, &mut bytes)?;
                Some((attribute.name.clone(), value.into_attribute_value()))
            })
            .collect()
    }

    /// The whole encoding: partition key, then sort key. At most 6,148 bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The encoding of the partition key alone.
    #[must_use]
    pub fn partition_bytes(&self) -> &[u8] {
        &self.bytes[..self.partition_len as usize]
    }

    /// The encoding of the sort key alone; empty if the schema has none.
    #[must_use]
    pub fn sort_bytes(&self) -> &[u8] {
        &self.bytes[self.partition_len as usize..]
    }

    /// [`hash64`] of [`Key::partition_bytes`].
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// `partition_len` is not above the length of `bytes`, nor near u32's end: it is the length of a checked encoding.
    fn new(bytes: Bytes, partition_len: usize) -> Self {
        let hash = hash64(&bytes[..partition_len]);
        Self { bytes, partition_len: partition_len as u32, hash }
    }

    fn build(
        schema: &KeySchema,
        mut append_value: impl FnMut(&KeyAttribute, Role, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Self> {
        let mut bytes = Vec::new();
        append_value(&schema.partition, Role::Partition, &mut bytes)?;
        let partition_len = bytes.len();
        if let Some(sort) = &schema.sort {
            append_value(sort, Role::Sort, &mut bytes)?;
        }
        Ok(Self::new(bytes.into(), partition_len))
    }
}

/// The encoding of a partition key's value that a key condition gives: the prefix that all keys with it share.
///
/// # Errors
/// `ValidationException` if the value has another type than the schema says, is empty or too long.
pub fn partition_prefix(schema: &KeySchema, value: &AttributeValue) -> Result<Bytes> {
    let mut out = Vec::new();
    append(&schema.partition, Role::Partition, value, |_, _| condition_mismatch(), &mut out)?;
    Ok(out.into())
}

/// Checks and appends the encoding of one key attribute's value. It is not told whether that is the partition key or the
/// sort key, so that it holds both to the partition key's limit; [`Key`] and `sort_range` know better.
///
/// # Errors
/// `ValidationException` if the value has another type than the attribute, is empty or too long.
pub fn encode_key_value(
    attribute: &KeyAttribute,
    value: &AttributeValue,
    out: &mut Vec<u8>,
) -> Result<()> {
    append(attribute, Role::Partition, value, type_mismatch, out)
}

/// Which of the two parts of a primary key a value is: their limits differ.
#[derive(Clone, Copy, Debug)]
enum Role {
    Partition,
    Sort,
}

impl Role {
    /// How long the value may be, in bytes, before it is encoded.
    const fn bytes_max(self) -> usize {
        match self {
            Self::Partition => PARTITION_KEY_BYTES_MAX,
            Self::Sort => SORT_KEY_BYTES_MAX,
        }
    }
}

/// Checks a value and appends its encoding; `mismatch` is the error of another type than the attribute's.
fn append(
    attribute: &KeyAttribute,
    role: Role,
    value: &AttributeValue,
    mismatch: impl FnOnce(&KeyAttribute, &AttributeValue) -> Error,
    out: &mut Vec<u8>,
) -> Result<()> {
    if value.attribute_type() != attribute.key_type.attribute_type() {
        return Err(mismatch(attribute, value));
    }
    match value {
        AttributeValue::N(number) => {
            number.encode_key(out);
            Ok(())
        }
        AttributeValue::S(text) => {
            check_length(attribute, role, "string", text.len())?;
            encode_bytes(text.as_bytes(), out);
            Ok(())
        }
        AttributeValue::B(bytes) => {
            check_length(attribute, role, "binary", bytes.len())?;
            encode_bytes(bytes, out);
            Ok(())
        }
        _ => Err(mismatch(attribute, value)),
    }
}

fn check_length(attribute: &KeyAttribute, role: Role, kind: &str, length: usize) -> Result<()> {
    if length == 0 {
        return Err(Error::validation(format!(
            "One or more parameter values are not valid. \
             The AttributeValue for a key attribute cannot contain an empty {kind} value. Key: {}",
            attribute.name,
        )));
    }
    let max = role.bytes_max();
    if length <= max {
        return Ok(());
    }
    Err(match role {
        // There is no space before the number: that is how DynamoDB writes it.
        Role::Partition => invalid(format_args!(
            "Size of hashkey has exceeded the maximum size limit of{max} bytes"
        )),
        Role::Sort => invalid(format_args!(
            "Aggregated size of all range keys has exceeded the size limit of {max} bytes"
        )),
    })
}

fn invalid(what: std::fmt::Arguments<'_>) -> Error {
    Error::validation(format!("One or more parameter values were invalid: {what}"))
}

/// The error of an item's key attribute that has the wrong type.
fn type_mismatch(attribute: &KeyAttribute, value: &AttributeValue) -> Error {
    invalid(format_args!(
        "Type mismatch for key {} expected: {} actual: {}",
        attribute.name,
        attribute.key_type.attribute_type().name(),
        value.type_name(),
    ))
}

/// The error of a key condition's value that has the wrong type.
fn condition_mismatch() -> Error {
    invalid(format_args!("Condition parameter type does not match schema type"))
}
