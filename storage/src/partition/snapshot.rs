//! A partition as a stream of checksummed frames: a header, chunks of items in key order, a footer (R18).
//!
//! ```text
//! frame    version 1 · kind 1 · body · crc32 of the snapshot's id (not of a header) and all before
//! header   kind 1: id 8 · group 8 · table id 4 · first hash 8 · last hash 8 · generation 8 · index S 8 · term 8
//!          · highest stamp 8 · item count 8 · size in bytes 8 · count of voters 2, each 8
//! chunk    kind 2: number 4, from 0 · count of items 4, each: length 4 · engine key · length 4 · value
//! footer   kind 3: count of chunks 4 · count of items 8 · index E 8
//! ```
//!
//! S is the applied index that the log goes on from behind the snapshot; E is that of the sender after it read the last
//! chunk. Over an engine's own snapshot both are the same. Over plain reads, writes go on between chunks, and an item is as
//! of some entry from S to E: as entries hold absolute values only, applying those from S on makes the partition that of E.
//!
//! Both indexes are read where no batch can be under way: [`begin_snapshot`] and [`SnapshotWriter::finish`]
//! take the applier, which is not applying then. Without that, a reader of an engine that isolates single gets only could see an
//! applied record before the items of its batch, or after them.
//!
//! Keys beside the items (records, marks) are never in a chunk.
//!
//! [`begin_snapshot`]: super::PartitionApplier::begin_snapshot

mod reader;
mod writer;

use bytes::{BufMut, Bytes};
use stator_model::key::KeyRange;

use super::cursor::{self, Cursor};
use super::record::{AppliedRecord, Counters};
use super::spec::{MEMBERS_MAX, PartitionSpec};
use crate::error::{Error, Result};
use crate::key::hash_range;
use crate::machine::{AppliedMark, GroupId};

pub use reader::SnapshotReader;
pub use writer::SnapshotWriter;

/// The format written here, and the newest one read.
pub const FORMAT: u8 = 1;

/// What a chunk is filled to, in bytes of keys and values, if the caller has no reason for another size. It has one item more
/// than what fits.
pub const CHUNK_BYTES: usize = 1024 * 1024;

const HEADER: u8 = 1;
const CHUNK: u8 = 2;
const FOOTER: u8 = 3;

/// An engine key with its value.
pub type StoredPair = (Bytes, Bytes);

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Tells it from every other snapshot of the group.
    pub id: u64,
    /// The partition's group.
    pub group: GroupId,
    /// The table's id.
    pub table_id: u32,
    /// The first hash of the partition's range.
    pub hash_start: u64,
    /// The last hash of the range, included.
    pub hash_end: u64,
    /// The partition's generation.
    pub generation: u64,
    /// S: what is applied with the snapshot, and by which voters.
    pub mark: AppliedMark,
    /// The partition's highest stamp at S.
    pub highest_stamp: u64,
    /// The partition's counters at S.
    pub counters: Counters,
}

/// How a snapshot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFooter {
    /// How many chunks there were.
    pub chunks: u32,
    /// How many items were in them.
    pub items: u64,
    /// E: before this index is applied, the items are as of different entries.
    pub end_index: u64,
}

/// How far a snapshot has been read: enough to go on behind it, with another writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// How many chunks.
    pub chunks: u32,
    /// How many items in them.
    pub items: u64,
    /// The last item's engine key.
    pub last_key: Option<Bytes>,
}

impl SnapshotHeader {
    /// Whether the snapshot is of this partition in this generation.
    #[must_use]
    pub fn is_of(&self, spec: &PartitionSpec) -> bool {
        self.group == spec.group
            && self.table_id == spec.table_id
            && self.generation == spec.generation
            && (self.hash_start, self.hash_end) == (spec.hash_start, spec.hash_end)
    }

    fn new(id: u64, spec: &PartitionSpec, record: AppliedRecord) -> Self {
        Self {
            id,
            group: spec.group,
            table_id: spec.table_id,
            hash_start: spec.hash_start,
            hash_end: spec.hash_end,
            generation: record.generation,
            mark: record.mark,
            highest_stamp: record.highest_stamp,
            counters: record.counters,
        }
    }

    fn items(&self) -> KeyRange {
        hash_range(self.table_id, self.hash_start, self.hash_end)
    }

    /// The frame that [`SnapshotHeader::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT, HEADER];
        out.put_u64(self.id);
        out.put_u64(self.group.0);
        out.put_u32(self.table_id);
        for number in [
            self.hash_start,
            self.hash_end,
            self.generation,
            self.mark.index,
            self.mark.term,
            self.highest_stamp,
            self.counters.item_count,
            self.counters.size_bytes,
        ] {
            out.put_u64(number);
        }
        cursor::put_numbers(&mut out, &self.mark.voters);
        cursor::close(&[], out)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is none; `Error::Version` if it is newer than this code.
    pub fn decode(frame: &Bytes) -> Result<Self> {
        let place = "a snapshot's header";
        let mut cursor = cursor::open(&[], frame, FORMAT, place)?;
        Self::parse(&mut cursor)
            .filter(|_| cursor.is_empty())
            .ok_or_else(|| Error::corruption(place, 0, "not a header"))
    }

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        if cursor.u8()? != HEADER {
            return None;
        }
        let (id, group, table_id) = (cursor.u64()?, GroupId(cursor.u64()?), cursor.u32()?);
        let (hash_start, hash_end) = (cursor.u64()?, cursor.u64()?);
        let (generation, index, term) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        Some(Self {
            id,
            group,
            table_id,
            hash_start,
            hash_end,
            generation,
            highest_stamp: cursor.u64()?,
            counters: Counters { item_count: cursor.u64()?, size_bytes: cursor.u64()? },
            mark: AppliedMark { index, term, voters: cursor.numbers(MEMBERS_MAX)? },
        })
    }
}

impl SnapshotFooter {
    /// The frame that [`SnapshotReader::finish`] reads.
    #[must_use]
    pub fn encode(&self, id: u64) -> Bytes {
        let mut out = vec![FORMAT, FOOTER];
        out.put_u32(self.chunks);
        out.put_u64(self.items);
        out.put_u64(self.end_index);
        cursor::close(&id.to_be_bytes(), out)
    }

    /// Reads the footer of the snapshot with this id.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is none; `Error::Version` if it is newer than this code.
    pub fn decode(id: u64, frame: &Bytes) -> Result<Self> {
        let place = "a snapshot's footer";
        let mut cursor = cursor::open(&id.to_be_bytes(), frame, FORMAT, place)?;
        Self::parse(&mut cursor)
            .filter(|_| cursor.is_empty())
            .ok_or_else(|| Error::corruption(place, 0, "not a footer"))
    }

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        if cursor.u8()? != FOOTER {
            return None;
        }
        Some(Self { chunks: cursor.u32()?, items: cursor.u64()?, end_index: cursor.u64()? })
    }
}

/// Entry for a fuzzer: reading frames is total, with and without a right checksum, and a header that decodes encodes to
/// the same bytes.
///
/// # Panics
/// If it is not so.
pub fn fuzz_frames(data: &[u8]) {
    let _ = SnapshotHeader::decode(&Bytes::copy_from_slice(data));
    let frame = cursor::close(&[], data.to_vec());
    if let Ok(header) = SnapshotHeader::decode(&frame) {
        assert_eq!(header.encode(), frame, "{header:?}");
    }
    let header = SnapshotHeader {
        id: 1,
        group: GroupId(1),
        table_id: 1,
        hash_start: 0,
        hash_end: u64::MAX,
        generation: 1,
        mark: AppliedMark::default(),
        highest_stamp: 0,
        counters: Counters::default(),
    };
    let reader = || SnapshotReader::behind(header.clone());
    let frame = cursor::close(&header.id.to_be_bytes(), data.to_vec());
    let mut chunked = reader();
    if let Ok(items) = chunked.chunk(&frame) {
        assert_eq!(chunked.position().items, items.len() as u64);
    }
    let _ = reader().finish(&frame);
}

#[cfg(test)]
mod tests;
