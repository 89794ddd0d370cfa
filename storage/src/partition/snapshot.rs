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
//! Both indexes are read where no batch can be under way: [`PartitionApplier::begin_snapshot`] and [`SnapshotWriter::finish`]
//! take the applier, which is not applying then. Without that, a reader of an engine that isolates single gets only could see an
//! applied record before the items of its batch, or after them.
//!
//! Keys beside the items (records, marks) are never in a chunk.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use stator_model::key::KeyRange;

use super::applier::PartitionApplier;
use super::cursor::{self, Cursor};
use super::generation::{DataGeneration, Noted};
use super::record::{AppliedRecord, Counters};
use super::spec::{MEMBERS_MAX, PartitionSpec};
use crate::engine::{Direction, Engine, Reader};
use crate::error::{Error, Result};
use crate::item::StoredItem;
use crate::key::{EngineKey, hash_range};
use crate::machine::{AppliedMark, GroupId};

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

/// Reads a partition into the frames of a snapshot, one by one.
pub struct SnapshotWriter {
    engine: Arc<dyn Engine>,
    source: Source,
    header: SnapshotHeader,
    position: SnapshotPosition,
    ended: bool,
}

/// Where chunks are read from.
enum Source {
    /// A view of the engine, and the applied index in it.
    View(Box<dyn Reader>, u64),
    /// The engine as it changes, as long as the replica's data are still those it began with.
    Live(Arc<DataGeneration>, Noted),
}

impl PartitionApplier {
    /// Begins a snapshot of the partition as it is now.
    ///
    /// # Errors
    /// A fault of the engine, or `Error::Corruption` if the replica does not hold the partition as of one index: it awaits a
    /// snapshot itself, or has not applied as far yet as the one that it got demands.
    pub fn begin_snapshot(&self, id: u64) -> Result<SnapshotWriter> {
        let (source, record) = self.source()?;
        let header = SnapshotHeader::new(id, &self.spec, record);
        Ok(self.writer(source, header, SnapshotPosition::default()))
    }

    /// Goes on with a snapshot whose writer is gone, behind what was read of it. It keeps its S, so the log from there on must
    /// still be at hand.
    ///
    /// # Errors
    /// Those of [`PartitionApplier::begin_snapshot`]; `Error::Corruption`, too, if the snapshot is not of what this replica holds.
    pub fn resume_snapshot(
        &self,
        header: SnapshotHeader,
        position: SnapshotPosition,
    ) -> Result<SnapshotWriter> {
        let (source, record) = self.source()?;
        if !header.is_of(&self.spec) || header.mark.index > record.mark.index {
            return Err(self.fault("the snapshot to resume is not of what the replica holds"));
        }
        Ok(self.writer(source, header, position))
    }

    fn source(&self) -> Result<(Source, AppliedRecord)> {
        let (source, record) = if let Some(view) = self.engine.snapshot() {
            let record = AppliedRecord::expect(view.as_ref(), self.spec.group)?;
            (Some(Source::View(view, record.mark.index)), record)
        } else {
            let noted = self.generation.note();
            let live = noted.map(|noted| Source::Live(Arc::clone(&self.generation), noted));
            (live, self.record()?)
        };
        source
            .filter(|_| record.is_complete())
            .map(|source| (source, record))
            .ok_or_else(|| self.fault("a snapshot of what is not complete"))
    }

    fn writer(
        &self,
        source: Source,
        header: SnapshotHeader,
        position: SnapshotPosition,
    ) -> SnapshotWriter {
        let engine = Arc::clone(&self.engine);
        SnapshotWriter { engine, source, header, position, ended: false }
    }
}

impl SnapshotWriter {
    /// What the snapshot is of; its frame goes first.
    #[must_use]
    pub const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// How far the snapshot has been read.
    #[must_use]
    pub const fn position(&self) -> &SnapshotPosition {
        &self.position
    }

    /// The next chunk, filled to about this many bytes of keys and values; `None` after the last.
    ///
    /// # Errors
    /// `Error::Corruption` if an item is not what was stored, or the replica's data were replaced meanwhile; a fault of the
    /// engine. The snapshot is given up then.
    pub fn next_chunk(&mut self, bytes: usize) -> Result<Option<Bytes>> {
        let mut range = self.header.items();
        if let Some(last) = &self.position.last_key {
            range.start = after(last);
        }
        let mut position = self.position.clone();
        let mut frame = vec![FORMAT, CHUNK];
        frame.put_u32(position.chunks);
        let count_at = frame.len();
        frame.put_u32(0);
        let body_at = frame.len();
        let mut count = 0u32;
        self.reader().scan(&range, Direction::Forward, &mut |key, value| {
            // What is damaged here is not to be spread.
            StoredItem::open(&value, &key)?;
            cursor::put_long(&mut frame, &key);
            cursor::put_long(&mut frame, &value);
            count += 1;
            position.last_key = Some(key);
            let full = frame.len() - body_at >= bytes;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        self.check_source()?;
        if count == 0 {
            self.ended = true;
            return Ok(None);
        }
        frame[count_at..body_at].copy_from_slice(&count.to_be_bytes());
        position.chunks += 1;
        position.items += u64::from(count);
        self.position = position;
        Ok(Some(cursor::close(&self.header.id.to_be_bytes(), frame)))
    }

    /// The footer, once [`SnapshotWriter::next_chunk`] has given the last chunk. The applier is the one that began it.
    ///
    /// # Errors
    /// `Error::Corruption` if the replica's data were replaced meanwhile; a fault of the engine. The snapshot is given up then.
    ///
    /// # Panics
    /// If chunks are still to come.
    pub fn finish(self, applier: &PartitionApplier) -> Result<Bytes> {
        assert!(self.ended, "a snapshot ends after its last chunk");
        self.check_source()?;
        let end_index = match &self.source {
            Source::View(_, index) => *index,
            Source::Live(..) => applier.index_ever.max(applier.record()?.mark.index),
        };
        let SnapshotPosition { chunks, items, .. } = self.position;
        Ok(SnapshotFooter { chunks, items, end_index }.encode(self.header.id))
    }

    fn reader(&self) -> &dyn Reader {
        match &self.source {
            Source::View(view, _) => view.as_ref(),
            Source::Live(..) => self.engine.as_ref(),
        }
    }

    fn check_source(&self) -> Result<()> {
        match &self.source {
            Source::Live(generation, noted) if !generation.holds(*noted) => {
                let place = format!("the replica of group {}", self.header.group.0);
                Err(Error::corruption(place, 0, "it was replaced while a snapshot was taken"))
            }
            _ => Ok(()),
        }
    }
}

/// The first key after this one.
fn after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len() + 1);
    after.put_slice(key);
    after.put_u8(0);
    after.freeze()
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

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        if cursor.u8()? != FOOTER {
            return None;
        }
        Some(Self { chunks: cursor.u32()?, items: cursor.u64()?, end_index: cursor.u64()? })
    }
}

/// Checks a snapshot's frames as they come: that each is whole, of this snapshot and the next one, and that items ascend
/// within the range.
pub struct SnapshotReader {
    header: SnapshotHeader,
    position: SnapshotPosition,
}

impl SnapshotReader {
    /// Begins with a snapshot's header.
    ///
    /// # Errors
    /// Those of [`SnapshotHeader::decode`].
    pub fn new(header: &Bytes) -> Result<Self> {
        let header = SnapshotHeader::decode(header)?;
        Ok(Self { header, position: SnapshotPosition::default() })
    }

    /// What the snapshot is of.
    #[must_use]
    pub const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// How far it has been read: where its sender would resume it.
    #[must_use]
    pub const fn position(&self) -> &SnapshotPosition {
        &self.position
    }

    /// The items of the next chunk.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is not that chunk; `Error::Version` if it is newer than this code.
    pub fn chunk(&mut self, frame: &Bytes) -> Result<Vec<StoredPair>> {
        let place = self.place(&format!("chunk {}", self.position.chunks));
        let mut cursor = cursor::open(&self.header.id.to_be_bytes(), frame, FORMAT, &place)?;
        let items = parse_chunk(&mut cursor, self.position.chunks)
            .filter(|_| cursor.is_empty())
            .ok_or_else(|| Error::corruption(&*place, 0, "not this chunk"))?;
        let mut last = self.position.last_key.clone();
        let range = self.header.items();
        for (key, _) in &items {
            let is_item = matches!(EngineKey::decode(key), Ok(EngineKey::Item { .. }));
            if !is_item || !range.contains(key) || last.as_ref().is_some_and(|last| last >= key) {
                return Err(Error::corruption(place, 0, "a key out of range or order"));
            }
            last = Some(key.clone());
        }
        self.position.chunks += 1;
        self.position.items += items.len() as u64;
        self.position.last_key = last;
        Ok(items)
    }

    /// Ends with the snapshot's footer.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is not the footer of what was read; `Error::Version` if it is newer than this code.
    pub fn finish(self, frame: &Bytes) -> Result<(SnapshotHeader, SnapshotFooter)> {
        let place = self.place("footer");
        let mut cursor = cursor::open(&self.header.id.to_be_bytes(), frame, FORMAT, &place)?;
        let footer = SnapshotFooter::parse(&mut cursor).filter(|footer| {
            cursor.is_empty()
                && (footer.chunks, footer.items) == (self.position.chunks, self.position.items)
                && footer.end_index >= self.header.mark.index
        });
        match footer {
            Some(footer) => Ok((self.header, footer)),
            None => Err(Error::corruption(place, 0, "not the footer of what was read")),
        }
    }

    fn place(&self, part: &str) -> String {
        format!("snapshot {} of group {}, {part}", self.header.id, self.header.group.0)
    }
}

fn parse_chunk(cursor: &mut Cursor, number: u32) -> Option<Vec<StoredPair>> {
    if cursor.u8()? != CHUNK || cursor.u32()? != number {
        return None;
    }
    let count = cursor.u32()?.try_into().ok()?;
    // An item has at least two lengths: what is claimed cannot ask for more memory than what is there.
    if count == 0 || cursor.len() / 8 < count {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push((cursor.long()?, cursor.long()?));
    }
    Some(items)
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
    let reader = || SnapshotReader { header: header.clone(), position: Default::default() };
    let frame = cursor::close(&header.id.to_be_bytes(), data.to_vec());
    let mut chunked = reader();
    if let Ok(items) = chunked.chunk(&frame) {
        assert_eq!(chunked.position().items, items.len() as u64);
    }
    let _ = reader().finish(&frame);
}

#[cfg(test)]
mod tests;
