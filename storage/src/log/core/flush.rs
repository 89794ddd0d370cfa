//! From what is staged to writes, and what follows when they are done.

use std::mem;

use crate::error::Error;
use crate::log::core::room::SMALL_RECORD_BYTES;
use crate::log::core::write::WriteKind;
use crate::log::core::{DiskOp, LogCore, SegmentFile, Spare, Write};
use crate::log::format::{Head, PAGE_BYTES, record_bytes, seed};
use crate::log::read::{Source, read_within};
use crate::log::{LogEntry, Position};
use crate::machine::GroupId;

/// How far ahead of the records a new segment is filled with zeros: writing into space that is merely reserved costs the
/// file system half as much again for each sync, so that is done a piece at a time.
const ZERO_AHEAD_BYTES: u64 = 1 << 20;
/// The most that is rewritten ahead in one write.
const REWRITE_BYTES: u64 = 256 << 10;
/// The same for entries, which have to be read first: while they are being moved nobody else gets the room.
const REWRITE_ENTRIES_BYTES: u64 = 4 << 20;
/// The most reads that this may take: a disk answers a cold one in 0.1 to 1 ms, and nothing is synced meanwhile.
const REWRITE_READS: usize = 256;

impl LogCore {
    /// The next write: a spare segment if one is wanted, else everything staged since the last call. `None` if there is
    /// nothing to do, a write is under way, or the log has failed.
    pub fn flush(&mut self) -> Option<Write> {
        if self.in_flight || self.failed.is_some() {
            return None;
        }
        let write = self.make_spare().or_else(|| self.write_pending())?;
        self.in_flight = true;
        Some(write)
    }

    /// A last head that vouches for everything before it; `None` as for [`LogCore::flush`], or if there is no room for it.
    pub fn flush_mark(&mut self) -> Option<Write> {
        if !self.in_flight && self.pending.is_empty() && self.active().left(true) > 0 {
            self.begin_part(None);
        }
        self.flush()
    }

    fn make_spare(&mut self) -> Option<Write> {
        let wanted = self.spares.len() < self.options.spare_segments;
        if !wanted || self.no_room.is_some() || !self.may_grow() {
            return None;
        }
        let file = SegmentFile(self.next_file);
        let create = DiskOp::Create { file, len: self.options.segment_bytes };
        Some(Write {
            kind: WriteKind::Spare(file),
            ops: vec![create, DiskOp::Sync { file }, DiskOp::SyncDir],
        })
    }

    fn write_pending(&mut self) -> Option<Write> {
        self.rewrite_ahead();
        if self.pending.is_empty() {
            return None;
        }
        let parts = mem::take(&mut self.pending);
        let head = Head {
            synced: self.stats.synced,
            first_needed: self.chain.front().map_or(0, |segment| segment.incarnation),
            len: 0,
        };
        let mut ops = Vec::with_capacity(parts.len() * 4);
        self.in_flight_bytes = parts.iter().map(|part| part.buffer.len() as u64).sum();
        for part in parts {
            let zeroed = self.zero_ahead(part.segment, part.end());
            let seed = seed(part.segment, self.salt);
            part.into_ops(head, seed, zeroed, &mut ops);
        }
        ops.extend(self.unfit.drain(..).map(|(file, _)| DiskOp::Remove { file }));
        let active = self.active();
        let kind = WriteKind::Batches {
            number: self.write,
            end: Position { segment: active.incarnation, offset: active.end },
            records: mem::take(&mut self.pending_records),
        };
        self.write += 1;
        self.index.live.write = self.write;
        Some(Write { kind, ops })
    }

    /// Up to where a write that ends here has to be filled with zeros.
    fn zero_ahead(&mut self, incarnation: u64, end: u64) -> u64 {
        let Some(segment) = self.chain.iter_mut().rfind(|it| it.incarnation == incarnation) else {
            return end;
        };
        let page = end.next_multiple_of(PAGE_BYTES);
        if page <= segment.zeroed {
            return page;
        }
        segment.zeroed = end.next_multiple_of(ZERO_AHEAD_BYTES).min(segment.file_bytes);
        segment.zeroed
    }

    /// Writes the small records again that alone keep the oldest segments.
    fn rewrite_ahead(&mut self) {
        if self.pending.is_empty() && !self.is_short() {
            // It goes with the next write.
            return;
        }
        let mut budget = REWRITE_BYTES;
        for at in 0..self.chain.len() - 1 {
            let segment = self.chain[at].incarnation;
            if segment >= self.pending.first().map_or(u64::MAX, |part| part.segment) {
                return;
            }
            let Some(small) = self.index.live.small_only(segment) else {
                // Entries are needed here: see `stranded`.
                return;
            };
            if small > 0 && !self.wants_rewriting() {
                return;
            }
            let room = self.room(SMALL_RECORD_BYTES);
            let records = self.index.small_records(segment, budget.min(room));
            for record in &records {
                self.place(record);
                budget -= record_bytes(record);
            }
            self.stats.rewritten += records.len() as u64;
            if self.index.live.small_only(segment) != Some(0) {
                return;
            }
        }
    }

    /// Entries that keep the oldest segment from being released, if they are few, or while the log runs short and a good part of it is
    /// not needed: as many as are to be rewritten ahead with the next write. Empty while a write is under way.
    #[must_use]
    pub fn stranded(&self) -> Vec<(GroupId, Source)> {
        let oldest = self.chain.front().map_or(0, |segment| segment.incarnation);
        let is_unsynced = self.pending.first().is_some_and(|part| part.segment == oldest);
        let are_moving = !self.moved.is_empty();
        if self.in_flight || self.failed.is_some() || is_unsynced || are_moving {
            return Vec::new();
        }
        // Room that only truncations may take is left to them: half a segment is begun with, and this ends with a quarter.
        let (bytes, small) = (self.stranded_bytes(), self.index.live.small_bytes());
        let room = self.room(self.options.record_bytes_max());
        if bytes == 0 || bytes + small + self.options.capacity() / 4 > room {
            return Vec::new();
        }
        let max = REWRITE_ENTRIES_BYTES.min(self.options.pending_bytes / 2);
        let found = self.index.entries_in(oldest, max).into_iter();
        let mut found: Vec<_> =
            found.filter_map(|(group, at)| Some((group, self.source(at)?))).collect();
        found.truncate(read_within(&found, REWRITE_READS, REWRITE_ENTRIES_BYTES));
        found
    }

    /// Takes the entries that were [`LogCore::stranded`], as read, to be written again. Those that were dropped meanwhile are left out.
    pub fn rewrite(&mut self, stranded: &[(GroupId, Source)], entries: &[LogEntry]) {
        if self.in_flight {
            return;
        }
        for ((group, source), entry) in stranded.iter().zip(entries) {
            let len = u64::from(source.place.len);
            if len + self.index.live.small_bytes() > self.room(self.options.record_bytes_max()) {
                return;
            }
            if self.index.is_at(*group, source.index, source.place) {
                self.place_again(*group, source.place, entry);
                self.stats.rewritten += 1;
            }
        }
    }

    /// Entries that were [`LogCore::stranded`] could not be read. Damage stops the log, for what it holds is not what was synced;
    /// anything else may pass, and the driver tries again when it likes.
    pub fn unreadable(&mut self, error: &Error) {
        if matches!(error, Error::Corruption { .. }) {
            self.failed = Some(error.to_string());
        }
    }

    /// The write is done.
    pub fn completed(&mut self, write: Write) {
        self.in_flight = false;
        match write.kind {
            WriteKind::Spare(file) => {
                self.next_file += 1;
                self.spares.push(Spare { file, zeroed: 0 });
            }
            WriteKind::Batches { number, end, records } => {
                self.in_flight_bytes = 0;
                self.moved.clear();
                self.stats.synced = end;
                self.stats.writes += 1;
                self.stats.records += records;
                self.release(number);
            }
        }
        for op in write.ops {
            match op {
                DiskOp::Sync { .. } => self.stats.syncs += 1,
                DiskOp::Write { data, .. } => self.keep_buffer(data),
                DiskOp::Create { .. } | DiskOp::SyncDir | DiskOp::Remove { .. } => {}
            }
        }
    }

    /// An operation of the write failed. The log takes nothing any more, unless only a spare segment could not be made: no record
    /// depends on it, and it is tried again, from nothing.
    pub fn failed(&mut self, write: &Write, error: &Error) {
        self.in_flight = false;
        let stops = match write.kind {
            WriteKind::Spare(_) => &mut self.no_room,
            _ => &mut self.failed,
        };
        *stops = Some(error.to_string());
    }

    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        // Headers' pages, and what a rare huge write took, are not worth keeping.
        if self.buffers.len() < 2 && (8192..4 << 20).contains(&buffer.capacity()) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Releases the oldest segments that nothing is needed of any more, as of a write that is completed.
    pub(super) fn release(&mut self, completed: u64) {
        while self.chain.len() > 1
            && let Some(oldest) = self.chain.front().copied()
            && self.index.live.is_released(oldest.incarnation, completed)
            && oldest.incarnation < self.stats.synced.segment
        {
            self.chain.pop_front();
            self.index.live.forget(oldest.incarnation);
            self.no_room = None;
            if oldest.file_bytes == self.options.segment_bytes {
                self.spares.push(Spare { file: oldest.file, zeroed: oldest.zeroed });
            } else {
                self.unfit.push((oldest.file, oldest.file_bytes));
            }
        }
    }
}
