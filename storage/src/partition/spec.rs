//! What a partition is, and the record of it that a node keeps for each replica it holds.
//!
//! The record is what makes a range somebody's (R19): whoever writes into a range, or deletes it, looks here who owns it.
//! It comes from the catalog; a node keeps its own copy to start its replicas before it can ask anybody.
//!
//! ```text
//! version 1 · group 8 · table id 4 · generation 8 · first hash 8 · last hash 8 · replica 8 · table name · region
//! · partition key · sort key, or type 0 · count of members 2, each: replica 8 · node 8 · crc32 of the key and all before
//! ```
//! A name is its length in two bytes and its text; a key attribute is its type (1 string, 2 number, 3 binary) and name.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes};
use stator_model::key::KeyRange;
use stator_model::limits::{KEY_ATTRIBUTE_NAME_BYTES_MAX, TABLE_NAME_BYTES_MAX};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};

use super::cursor::{self, Cursor};
use crate::engine::{Batch, Direction, Reader};
use crate::error::{Error, Result};
use crate::item::Region;
use crate::key::{EngineKey, hash_range, prefix_range};
use crate::machine::GroupId;

/// The format written here, and the newest one read.
pub const FORMAT: u8 = 1;

/// Members of a partition, and voters of a group, at most: twice what a change of all members at once would need of a
/// partition on nine nodes.
pub const MEMBERS_MAX: usize = 32;

/// A replica of a partition, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The replica's id: its name in Raft, never used again (R8).
    pub replica: u64,
    /// The node that holds it.
    pub node: u64,
}

/// A partition, as one of its replicas knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// The group that replicates it.
    pub group: GroupId,
    /// The table's id.
    pub table_id: u32,
    /// The table's name, for errors and metrics: nothing is found by it.
    pub table_name: String,
    /// Which cut of the table this range is from: grows with every split or merge of it (R1, R19).
    pub generation: u64,
    /// The first hash of the range.
    pub hash_start: u64,
    /// The last hash of the range, included.
    pub hash_end: u64,
    /// The table's primary key.
    pub key_schema: KeySchema,
    /// The region that stamps name; empty as long as the table is in one cluster only.
    pub region: Region,
    /// The partition's replicas.
    pub members: Vec<Member>,
    /// Which of them this one is.
    pub replica: u64,
}

impl PartitionSpec {
    /// Whether items with this hash of their partition key are this partition's.
    #[must_use]
    pub const fn owns(&self, hash: u64) -> bool {
        self.hash_start <= hash && hash <= self.hash_end
    }

    /// Whether an engine key is that of an item of this partition.
    #[must_use]
    pub fn owns_key(&self, key: &Bytes) -> bool {
        match EngineKey::decode(key) {
            Ok(EngineKey::Item { table_id, hash, .. }) => {
                table_id == self.table_id && self.owns(hash)
            }
            _ => false,
        }
    }

    /// The engine keys of the partition's items.
    #[must_use]
    pub fn items(&self) -> KeyRange {
        hash_range(self.table_id, self.hash_start, self.hash_end)
    }

    /// Whether two partitions' ranges have a hash in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.table_id == other.table_id
            && self.hash_start <= other.hash_end
            && other.hash_start <= self.hash_end
    }

    /// The replica ids of all members, in their order.
    #[must_use]
    pub fn replicas(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.replica).collect()
    }

    /// The value that [`PartitionSpec::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        out.put_u64(self.group.0);
        out.put_u32(self.table_id);
        for number in [self.generation, self.hash_start, self.hash_end, self.replica] {
            out.put_u64(number);
        }
        cursor::put_text(&mut out, &self.table_name);
        cursor::put_text(&mut out, self.region.as_str());
        put_attribute(&mut out, Some(&self.key_schema.partition));
        put_attribute(&mut out, self.key_schema.sort.as_ref());
        out.put_u16(cursor::count(self.members.len()));
        for member in &self.members {
            out.put_u64(member.replica);
            out.put_u64(member.node);
        }
        cursor::close(&key_of(self.group), out)
    }

    /// Reads the record of a group's replica.
    ///
    /// # Errors
    /// `Error::Corruption` if it is none, or another group's; `Error::Version` if it is newer than this code.
    pub fn decode(group: GroupId, value: &Bytes) -> Result<Self> {
        let place = format!("the record of the replica of group {}", group.0);
        let mut cursor = cursor::open(&key_of(group), value, FORMAT, &place)?;
        Self::parse(&mut cursor)
            .filter(|spec| cursor.is_empty() && spec.group == group)
            .ok_or_else(|| Error::corruption(place, 0, "not a partition"))
    }

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        let group = GroupId(cursor.u64()?);
        let table_id = cursor.u32()?;
        let [generation, hash_start, hash_end, replica] =
            [cursor.u64()?, cursor.u64()?, cursor.u64()?, cursor.u64()?];
        let table_name = cursor.text(TABLE_NAME_BYTES_MAX)?;
        let region = Region::new(&cursor.text(Region::MAX_BYTES)?)?;
        let key_schema = KeySchema { partition: attribute(cursor)??, sort: attribute(cursor)? };
        let count = usize::from(cursor.u16()?);
        if hash_start > hash_end || count > MEMBERS_MAX {
            return None;
        }
        let members = (0..count)
            .map(|_| Some(Member { replica: cursor.u64()?, node: cursor.u64()? }))
            .collect::<Option<_>>()?;
        Some(Self {
            group,
            table_id,
            table_name,
            generation,
            hash_start,
            hash_end,
            key_schema,
            region,
            members,
            replica,
        })
    }
}

/// The engine key of the record.
fn key_of(group: GroupId) -> Bytes {
    EngineKey::Replica { group }.encode()
}

fn put_attribute(out: &mut Vec<u8>, attribute: Option<&KeyAttribute>) {
    let Some(attribute) = attribute else { return out.put_u8(0) };
    out.put_u8(match attribute.key_type {
        KeyType::S => 1,
        KeyType::N => 2,
        KeyType::B => 3,
    });
    cursor::put_text(out, &attribute.name);
}

/// A key attribute, or `Some(None)` where there is said to be none.
fn attribute(cursor: &mut Cursor) -> Option<Option<KeyAttribute>> {
    let key_type = match cursor.u8()? {
        0 => return Some(None),
        1 => KeyType::S,
        2 => KeyType::N,
        3 => KeyType::B,
        _ => return None,
    };
    let name = cursor.text(KEY_ATTRIBUTE_NAME_BYTES_MAX)?;
    (!name.is_empty()).then_some(Some(KeyAttribute { name, key_type }))
}

/// Adds the record of a replica to a batch.
///
/// # Errors
/// What reading it would answer: nothing is written that could not be read again.
pub fn put_spec(batch: &mut Batch, spec: &PartitionSpec) -> Result<()> {
    let value = spec.encode();
    PartitionSpec::decode(spec.group, &value)?;
    batch.put(key_of(spec.group), value);
    Ok(())
}

/// The record of a group's replica on this node, if it has one.
///
/// # Errors
/// Those of [`PartitionSpec::decode`], or a fault of the engine.
pub fn read_spec(reader: &dyn Reader, group: GroupId) -> Result<Option<PartitionSpec>> {
    let value = reader.get(&key_of(group))?;
    value.map(|value| PartitionSpec::decode(group, &value)).transpose()
}

/// The records of all replicas on this node, by group.
///
/// # Errors
/// Those of [`PartitionSpec::decode`], or a fault of the engine.
pub fn list_specs(reader: &dyn Reader) -> Result<Vec<PartitionSpec>> {
    list_each_spec(reader)?.into_iter().map(|(_, spec)| spec).collect()
}

/// As [`list_specs`], with those that cannot be decoded, and why.
///
/// # Errors
/// A fault of the engine.
pub fn list_each_spec(reader: &dyn Reader) -> Result<Vec<(GroupId, Result<PartitionSpec>)>> {
    let tag = EngineKey::Replica { group: GroupId(0) }.tag();
    let mut specs = Vec::new();
    reader.scan(
        &prefix_range(Bytes::copy_from_slice(&[tag])),
        Direction::Forward,
        &mut |key, value| {
            if let EngineKey::Replica { group } = EngineKey::decode(&key)? {
                specs.push((group, PartitionSpec::decode(group, &value)));
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(specs)
}

/// Entry for a fuzzer: decoding is total, with and without a right checksum, and what decodes encodes to the same bytes.
///
/// # Panics
/// If it is not so.
pub fn fuzz_decode(data: &[u8]) {
    let group = GroupId(data.get(8).copied().unwrap_or_default().into());
    let _ = PartitionSpec::decode(group, &Bytes::copy_from_slice(data));
    let value = cursor::close(&key_of(group), data.to_vec());
    if let Ok(spec) = PartitionSpec::decode(group, &value) {
        assert_eq!(spec.encode(), value, "{spec:?}");
    }
}

#[cfg(test)]
mod tests;
