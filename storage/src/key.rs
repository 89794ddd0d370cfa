//! The keyspace of a node's engine, on one page: every key that a node writes begins with the tag of its kind.
//!
//! | tag | key behind the tag | value | lives |
//! |---|---|---|---|
//! | `01` [`EngineKey::Node`] | nothing | the node's identity: cluster id, node id, format version | as long as the engine |
//! | `02` [`EngineKey::Replica`] | group, 8 bytes | the replica's record: which range of which table, its generation (R19) | from the replica's start until its range is deleted |
//! | `03` [`EngineKey::Applied`] | group, 8 bytes | the applied mark: index, term, voters (R12) | as the replica; written by every batch |
//! | `04`..`0f` | | reserved for what a group keeps beside its data: highest stamp (R19), positions of its sources (R20), tombstone of the group | |
//! | `10` [`EngineKey::Item`] | table id, 4 bytes · hash of the partition key, 8 bytes · primary key, as `stator_model::key` encodes it | an item, see [`item`](crate::item) | from its put to its delete |
//! | `11`..`1f` | | reserved for what follows items: change log (group · entry index · ordinal, R10), index entries, item tombstones (R21), expiry queue | |
//! | `20`..`fe` | | free | |
//! | `ff` | | an engine's own, never written by a node: see [`ENGINE_TAG`] | |
//!
//! Integers are big endian, so that bytes sort as numbers do, and keys sort as [`EngineKey`] does: by kind, then by the
//! parts from left to right.
//!
//! # Invariants
//! - A tag keeps its meaning for ever; a kind that is given up leaves its tag unused.
//! - Keys name table and hash, never a partition, so that splitting a partition moves nothing.
//! - What every batch overwrites (the applied mark) lies outside every range of items: a scan of an engine that keeps old
//!   versions in memory walks all of them.
//! - Table ids are never used again, so a deleted table's leftovers are never another's items.

use bytes::{BufMut, Bytes, BytesMut};
use stator_model::key::{Key, KeyRange};

use crate::error::{Error, Result};
use crate::machine::GroupId;

/// The first byte of keys that an engine may keep for itself among a node's. No [`EngineKey`] begins with it, and no scan
/// or get answers such a key.
pub const ENGINE_TAG: u8 = 0xff;

const NODE: u8 = 0x01;
const REPLICA: u8 = 0x02;
const APPLIED: u8 = 0x03;
const ITEM: u8 = 0x10;

/// Tag, table id and hash: what stands before the primary key in an item's key, in bytes.
pub const ITEM_PREFIX_BYTES: usize = 1 + 4 + 8;

/// A key of a node's engine. The order of the variants, and of their fields, is the order of the encoded keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EngineKey {
    /// The node's identity.
    Node,
    /// The record of a replica on this node.
    Replica {
        /// Its group.
        group: GroupId,
    },
    /// The applied mark of a replica.
    Applied {
        /// Its group.
        group: GroupId,
    },
    /// An item.
    Item {
        /// The table's id.
        table_id: u32,
        /// hash64 of the partition key's encoding.
        hash: u64,
        /// The encoding of the primary key: partition key, then sort key.
        key: Bytes,
    },
}

impl EngineKey {
    /// The tag of the key's kind.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self {
            Self::Node => NODE,
            Self::Replica { .. } => REPLICA,
            Self::Applied { .. } => APPLIED,
            Self::Item { .. } => ITEM,
        }
    }

    /// The key as the engine stores it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Node => Bytes::from_static(&[NODE]),
            Self::Replica { group } | Self::Applied { group } => {
                let mut out = BytesMut::with_capacity(1 + 8);
                out.put_u8(self.tag());
                out.put_u64(group.0);
                out.freeze()
            }
            Self::Item { table_id, hash, key } => encode_item(*table_id, *hash, key),
        }
    }

    /// The key that [`EngineKey::encode`] gave these bytes for. An item's primary key is a slice of the input, and is not
    /// itself checked: that takes its table's schema.
    ///
    /// # Errors
    /// `Error::Corruption` for bytes that no key encodes to.
    pub fn decode(bytes: &Bytes) -> Result<Self> {
        Self::parse(bytes).ok_or_else(|| {
            Error::corruption(format!("key {}", hex(bytes)), 0, "not a key of this keyspace")
        })
    }

    fn parse(bytes: &Bytes) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        match tag {
            NODE => rest.is_empty().then_some(Self::Node),
            REPLICA => Some(Self::Replica { group: parse_group(rest)? }),
            APPLIED => Some(Self::Applied { group: parse_group(rest)? }),
            ITEM => {
                let (table_id, rest) = rest.split_first_chunk()?;
                let (hash, _) = rest.split_first_chunk()?;
                Some(Self::Item {
                    table_id: u32::from_be_bytes(*table_id),
                    hash: u64::from_be_bytes(*hash),
                    key: bytes.slice(ITEM_PREFIX_BYTES..),
                })
            }
            _ => None,
        }
    }
}

fn parse_group(bytes: &[u8]) -> Option<GroupId> {
    Some(GroupId(u64::from_be_bytes(bytes.try_into().ok()?)))
}

fn encode_item(table_id: u32, hash: u64, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(ITEM_PREFIX_BYTES + key.len());
    out.put_slice(&item_prefix(table_id, hash));
    out.put_slice(key);
    out.freeze()
}

fn item_prefix(table_id: u32, hash: u64) -> [u8; ITEM_PREFIX_BYTES] {
    let mut prefix = [ITEM; ITEM_PREFIX_BYTES];
    prefix[1..5].copy_from_slice(&table_id.to_be_bytes());
    prefix[5..].copy_from_slice(&hash.to_be_bytes());
    prefix
}

/// The key of an item.
#[must_use]
pub fn item_key(table_id: u32, key: &Key) -> Bytes {
    encode_item(table_id, key.hash(), key.bytes())
}

/// All items of a table.
#[must_use]
pub fn table_range(table_id: u32) -> KeyRange {
    hash_range(table_id, 0, u64::MAX)
}

/// The items of a table whose hashes lie from `first` to `last`, both included: a partition's items. Empty if `first` is
/// beyond `last`.
#[must_use]
pub fn hash_range(table_id: u32, first: u64, last: u64) -> KeyRange {
    let start = item_prefix(table_id, first);
    KeyRange {
        start: Bytes::copy_from_slice(&start),
        end: if first > last {
            Some(Bytes::copy_from_slice(&start))
        } else {
            end_of_prefix(&item_prefix(table_id, last))
        },
    }
}

/// The items of a table that share the partition key of `key`: an item collection.
///
/// Right only because the encoding of one partition key is never the beginning of another's.
#[must_use]
pub fn collection_range(table_id: u32, key: &Key) -> KeyRange {
    prefix_range(encode_item(table_id, key.hash(), key.partition_bytes()))
}

/// The keys that begin with `prefix`.
#[must_use]
pub fn prefix_range(prefix: Bytes) -> KeyRange {
    let end = end_of_prefix(&prefix);
    KeyRange { start: prefix, end }
}

/// The first key after all those that begin with `prefix`, if there is one: the last byte that can grow does, and those
/// behind it go.
#[must_use]
pub fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// Bytes in hexadecimal, at most the first 64 of them: how a key is named in errors and logs.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    use std::fmt::Write;
    let mut out = String::with_capacity(2 * bytes.len().min(SHOWN) + 3);
    for byte in bytes.iter().take(SHOWN) {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        out.push_str("...");
    }
    out
}

/// Entry for a fuzzer: decoding is total, and what decodes encodes to the same bytes.
///
/// # Panics
/// If it is not so.
pub fn fuzz_decode(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(key) = EngineKey::decode(&bytes) {
        assert_eq!(key.encode(), bytes, "{key:?}");
    }
}

#[cfg(test)]
mod tests;
