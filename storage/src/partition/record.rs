//! The applied record: what the engine keeps beside a replica's items, in the same batches.
//!
//! It says how far the replica came ([`AppliedMark`], R12), what the partition's counters and highest stamp are there, and
//! whether what lies in the range is the partition at all: a replica that waits for a snapshot, or is half through
//! installing one, holds anything or nothing.
//!
//! ```text
//! version 1 · state 1 · index 8 · term 8 · generation 8 · highest stamp 8 · item count 8 · size in bytes 8
//! · complete from 8 · install steps 8 · count of voters 2, each 8 · crc32 of the key and all before
//! ```

use bytes::{BufMut, Bytes};

use super::cursor::{self, Cursor};
use super::spec::MEMBERS_MAX;
use crate::engine::{Batch, Reader};
use crate::error::{Error, Result};
use crate::key::EngineKey;
use crate::machine::{AppliedMark, GroupId};

/// The format written here, and the newest one read.
pub const FORMAT: u8 = 1;

/// What lies in a replica's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// The partition as of the applied index, once that has reached [`AppliedRecord::complete_from`].
    Serving,
    /// Nothing of worth: the replica waits for its first snapshot, or a crash came between while one was installed. Installing
    /// begins anew from its start.
    AwaitingSnapshot,
    /// Nothing of worth: the range is being deleted, and then the replica is gone.
    Deleting,
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How many items.
    pub item_count: u64,
    /// The sum of their sizes, in bytes, as DynamoDB accounts them.
    pub size_bytes: u64,
}

/// What the engine keeps beside a replica's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRecord {
    /// What lies in the range.
    pub state: ReplicaState,
    /// How far the replica came: index 0 while there is nothing of worth.
    pub mark: AppliedMark,
    /// The partition's generation.
    pub generation: u64,
    /// The greatest time of a stamp that was applied.
    pub highest_stamp: u64,
    /// What the partition holds.
    pub counters: Counters,
    /// From this applied index on the range is the partition as of one index. Below it, it is still what a snapshot that was
    /// taken while writes went on left, every item as of another one (R18).
    pub complete_from: u64,
    /// How many steps of installing snapshots, and of deleting, were ever taken: an installation that finds another count than its
    /// own knows that the engine has lost a batch of it.
    pub install_steps: u64,
}

impl AppliedRecord {
    /// The record of a replica that holds nothing of worth.
    #[must_use]
    pub fn worthless(state: ReplicaState, generation: u64) -> Self {
        Self {
            state,
            mark: AppliedMark::default(),
            generation,
            highest_stamp: 0,
            counters: Counters::default(),
            complete_from: 0,
            install_steps: 0,
        }
    }

    /// Whether the range is the partition as of the applied index.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == ReplicaState::Serving && self.mark.index >= self.complete_from
    }

    /// The value that [`AppliedRecord::decode`] reads.
    #[must_use]
    pub fn encode(&self, group: GroupId) -> Bytes {
        let mut out = vec![FORMAT];
        out.put_u8(match self.state {
            ReplicaState::Serving => 1,
            ReplicaState::AwaitingSnapshot => 2,
            ReplicaState::Deleting => 3,
        });
        for number in [
            self.mark.index,
            self.mark.term,
            self.generation,
            self.highest_stamp,
            self.counters.item_count,
            self.counters.size_bytes,
            self.complete_from,
            self.install_steps,
        ] {
            out.put_u64(number);
        }
        cursor::put_numbers(&mut out, &self.mark.voters);
        cursor::close(&key_of(group), out)
    }

    /// Reads the applied record of a group's replica.
    ///
    /// # Errors
    /// `Error::Corruption` if it is none, or another group's; `Error::Version` if it is newer than this code.
    pub fn decode(group: GroupId, value: &Bytes) -> Result<Self> {
        let place = format!("the applied record of group {}", group.0);
        let mut cursor = cursor::open(&key_of(group), value, FORMAT, &place)?;
        Self::parse(&mut cursor)
            .filter(|_| cursor.is_empty())
            .ok_or_else(|| Error::corruption(place, 0, "not an applied record"))
    }

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        let state = match cursor.u8()? {
            1 => ReplicaState::Serving,
            2 => ReplicaState::AwaitingSnapshot,
            3 => ReplicaState::Deleting,
            _ => return None,
        };
        let (index, term) = (cursor.u64()?, cursor.u64()?);
        Some(Self {
            state,
            generation: cursor.u64()?,
            highest_stamp: cursor.u64()?,
            counters: Counters { item_count: cursor.u64()?, size_bytes: cursor.u64()? },
            complete_from: cursor.u64()?,
            install_steps: cursor.u64()?,
            mark: AppliedMark { index, term, voters: cursor.numbers(MEMBERS_MAX)? },
        })
    }

    /// The record of a group's replica, if the engine has one.
    ///
    /// # Errors
    /// Those of [`AppliedRecord::decode`], or a fault of the engine.
    pub fn read(reader: &dyn Reader, group: GroupId) -> Result<Option<Self>> {
        let value = reader.get(&key_of(group))?;
        value.map(|value| Self::decode(group, &value)).transpose()
    }

    /// The record of a replica that must have one.
    pub(super) fn expect(reader: &dyn Reader, group: GroupId) -> Result<Self> {
        Self::read(reader, group)?.ok_or_else(|| {
            Error::corruption(
                format!("the applied record of group {}", group.0),
                0,
                "the engine has none",
            )
        })
    }

    /// Adds the record to the batch with what it speaks of.
    pub fn put(&self, group: GroupId, batch: &mut Batch) {
        batch.put(key_of(group), self.encode(group));
    }
}

/// The engine key of the record.
pub(super) fn key_of(group: GroupId) -> Bytes {
    EngineKey::Applied { group }.encode()
}

/// Entry for a fuzzer: decoding is total, with and without a right checksum, and what decodes encodes to the same bytes.
///
/// # Panics
/// If it is not so.
pub fn fuzz_decode(data: &[u8]) {
    let group = GroupId(7);
    let _ = AppliedRecord::decode(group, &Bytes::copy_from_slice(data));
    let value = cursor::close(&key_of(group), data.to_vec());
    if let Ok(record) = AppliedRecord::decode(group, &value) {
        assert_eq!(record.encode(group), value, "{record:?}");
    }
}

#[cfg(test)]
mod tests;
