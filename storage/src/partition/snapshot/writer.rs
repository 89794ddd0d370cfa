//! The sender's side: from an engine to frames.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::super::applier::PartitionApplier;
use super::super::cursor;
use super::super::generation::{DataGeneration, Noted};
use super::super::record::AppliedRecord;
use super::{CHUNK, FORMAT, SnapshotFooter, SnapshotHeader, SnapshotPosition};
use crate::engine::{Direction, Engine, Reader};
use crate::error::{Error, Result};
use crate::item::StoredItem;

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
