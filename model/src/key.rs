//! Primary keys: extraction, order-preserving encoding, hash. (skeleton)
use crate::error::Result;
use crate::schema::{KeyAttribute, KeySchema};
use crate::value::{AttributeValue, Item};
use bytes::Bytes;

/// A primary key in its order-preserving encoding, with the hash that places it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: Bytes,
    partition_len: u32,
    hash: u64,
}
impl Key {
    /// The key of a whole item (PutItem): other attributes may be there.
    pub fn of_item(_schema: &KeySchema, _item: &Item) -> Result<Self> {
        todo!()
    }
    /// A key given as such (GetItem, DeleteItem, ExclusiveStartKey): exactly the key attributes.
    pub fn of_key_attributes(_schema: &KeySchema, _key: &Item) -> Result<Self> {
        todo!()
    }
    /// From bytes that `bytes()` gave (as read back from the engine); `None` if they are not such.
    pub fn from_encoded(_schema: &KeySchema, _bytes: Bytes) -> Option<Self> {
        todo!()
    }
    /// Back to key attributes.
    pub fn to_attributes(&self, _schema: &KeySchema) -> Item {
        todo!()
    }
    /// The whole encoding: partition key, then sort key.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// The encoding of the partition key alone.
    pub fn partition_bytes(&self) -> &[u8] {
        &self.bytes[..self.partition_len as usize]
    }
    /// hash64 of `partition_bytes`.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
/// Name of the hash, as a table's record stores it.
pub const HASH_NAME: &str = "xxh3-64";
/// xxh3-64, seed 0, over a partition key's encoding.
pub fn hash64(_encoded_partition_key: &[u8]) -> u64 {
    todo!()
}
/// Checks and appends the encoding of one key attribute's value.
pub fn encode_key_value(
    _attribute: &KeyAttribute,
    _value: &AttributeValue,
    _out: &mut Vec<u8>,
) -> Result<()> {
    todo!()
}
/// A range of keys: from `start`, included, to `end`, excluded; without an end it goes on to the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The first key that is not in the range any more.
    pub end: Option<Bytes>,
}
