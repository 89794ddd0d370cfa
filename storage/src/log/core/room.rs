//! How much room there is, and who may take it.
//!
//! Room is counted in bytes that surely fit: the rest of the segment being written and the spare segments, each less the
//! largest record, which may leave that much unused at its end. Segments not made yet are no room (the disk may refuse them).
//!
//! The last of the room is kept for what makes room. From the top: entries stop first, then hard states, and truncations and
//! tombstones may go on until only that is left which rewriting every small record ahead would take.

use crate::error::{Error, Result};
use crate::log::core::{LogCore, Pressure};
use crate::log::format::{HEAD_BYTES, HEADER_BYTES, record_bytes};
use crate::log::{LogOptions, LogStats, Record};

/// Entries are few in a segment if they are no more than this part of it.
const FEW: u64 = 64;
/// The largest of a group's small records.
pub(super) const SMALL_RECORD_BYTES: u64 = 41;

impl LogOptions {
    /// Whether the figures fit each other.
    ///
    /// # Errors
    /// `LogMisuse`, with what does not.
    pub fn validate(&self) -> Result<()> {
        let segment = self.segment_bytes;
        let wrong = if !(16 << 10..=1 << 30).contains(&segment) || !segment.is_multiple_of(4096) {
            "a segment has 16 KiB to 1 GiB, in pages of 4 KiB"
        } else if self.budget_bytes / segment < 4 {
            "the budget has to hold four segments"
        } else if self.pending_bytes > segment / 2 || self.pending_bytes < 4096 {
            "what waits may be 4 KiB to half a segment"
        } else if self.pending_batches == 0 || self.spare_segments == 0 {
            "at least one batch has to wait, and one segment to be spare"
        } else {
            return Ok(());
        };
        Err(Error::LogMisuse(wrong.to_owned()))
    }

    /// The bytes of records that a segment may hold.
    pub(crate) const fn capacity(&self) -> u64 {
        self.segment_bytes - HEADER_BYTES - 2 * HEAD_BYTES
    }

    /// The most segments there may be while the log is open: opening it may need one more.
    pub(crate) const fn segments_max(&self) -> usize {
        (self.budget_bytes / self.segment_bytes) as usize - 1
    }

    /// The largest record.
    pub(crate) const fn record_bytes_max(&self) -> u64 {
        self.capacity() / 4
    }
}

impl LogCore {
    /// The bytes that a batch takes.
    #[must_use]
    pub fn weight(batch: &[Record]) -> u64 {
        batch.iter().map(record_bytes).sum()
    }

    /// Whether a batch may be staged now.
    pub(super) fn admit(&mut self, batch: &[Record]) -> Result<()> {
        let (bytes, largest) = self.measure(batch)?;
        let keep = batch.iter().map(|record| match record {
            Record::Entry { .. } | Record::Reset { .. } => self.options.capacity() / 2,
            Record::HardState { .. } => self.options.capacity() / 4,
            Record::Truncate { .. } | Record::Tombstone { .. } => 0,
        });
        let keep = keep.max().unwrap_or_default();
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let waiting = self.waiting_bytes();
        if waiting + bytes > self.options.pending_bytes {
            return Err(Error::LogBusy(format!("{waiting} bytes wait to be written")));
        }
        // What is being moved out of the way has its place before new entries do.
        let moving = if keep > 0 { self.stranded_bytes() } else { 0 };
        let kept = self.index.live.small_bytes() + keep + moving;
        if bytes + kept > self.room(largest) {
            return Err(self.full());
        }
        Ok(())
    }

    /// The bytes of a batch and of its largest record, if the log may ever take it.
    fn measure(&self, batch: &[Record]) -> Result<(u64, u64)> {
        let largest = batch.iter().map(record_bytes).max().unwrap_or_default();
        let bytes = Self::weight(batch);
        if largest > self.options.record_bytes_max() || bytes > self.options.pending_bytes {
            let message = format!("a batch of {bytes} bytes, its largest record of {largest}");
            return Err(Error::LogMisuse(message));
        }
        Ok((bytes, largest))
    }

    /// Why there is no room: for now, or until something is released.
    fn full(&mut self) -> Error {
        if let Some(message) = self.no_room.take() {
            // The next flush tries to make a segment again.
            return Error::LogFull(format!("no segment can be made: {message}"));
        }
        if self.spares.len() < self.options.spare_segments && self.may_grow() {
            return Error::LogBusy("a segment is being made".to_owned());
        }
        let LogStats { file_bytes, live_bytes, .. } = self.stats();
        Error::LogFull(format!("{live_bytes} bytes in {file_bytes} are needed"))
    }

    /// The bytes of records, none larger than `largest`, that surely fit.
    pub(super) fn room(&self, largest: u64) -> u64 {
        let active = self.active().left(self.pending.is_empty());
        let spare = self.options.capacity().saturating_sub(largest);
        active.saturating_sub(largest) + self.spares.len() as u64 * spare
    }

    fn waiting_bytes(&self) -> u64 {
        let pending: u64 = self.pending.iter().map(|part| part.buffer.len() as u64).sum();
        pending + self.in_flight_bytes
    }

    /// Whether there are less spare segments than wanted, and no more can be made.
    pub(super) fn is_short(&self) -> bool {
        self.spares.len() < self.options.spare_segments
            && (!self.may_grow() || self.no_room.is_some())
    }

    /// Whether the budget allows one more segment, besides the one that opening the log may need.
    pub(super) fn may_grow(&self) -> bool {
        self.file_bytes() + 2 * self.options.segment_bytes <= self.options.budget_bytes
    }

    fn file_bytes(&self) -> u64 {
        let chain: u64 = self.chain.iter().map(|segment| segment.file_bytes).sum();
        let unfit: u64 = self.unfit.iter().map(|(_, bytes)| bytes).sum();
        chain + unfit + self.spares.len() as u64 * self.options.segment_bytes
    }

    /// Whether small records that alone keep a segment should be rewritten: if they are few, at once; if they are many,
    /// only when segments run short and a good part of the log is not needed.
    pub(super) fn wants_rewriting(&self) -> bool {
        let live = &self.index.live;
        let sealed = (self.chain.len() as u64 - 1) * self.options.capacity();
        live.small_bytes() <= self.options.capacity() / 2
            || self.is_short() && live.small_bytes() + live.entry_bytes() <= sealed / 4 * 3
    }

    /// The bytes of entries to be rewritten ahead for the oldest segment to be released: if they are few, once a segment lies between
    /// it and the one being written, for a start has to read all segments; if they are many, while segments run short, and a good part
    /// of the log is not needed.
    pub(super) fn stranded_bytes(&self) -> u64 {
        let live = &self.index.live;
        let Some(oldest) = self.chain.front().filter(|_| self.chain.len() > 1) else { return 0 };
        let bytes = live.entry_bytes_in(oldest.incarnation);
        let are_few = self.chain.len() > 2 && bytes <= self.options.capacity() / FEW;
        let sealed = (self.chain.len() as u64 - 1) * self.options.capacity();
        let is_worth_it = live.small_bytes() + live.entry_bytes() <= sealed / 4 * 3;
        if are_few || self.is_short() && is_worth_it { bytes } else { 0 }
    }

    /// The groups to truncate, and how far, for the log to get back to half of its budget; empty while it is there. The
    /// byte budget wins over a follower that needs the entries: it gets a snapshot.
    #[must_use]
    pub fn pressure(&self) -> Vec<Pressure> {
        let mut used: u64 = self.chain.iter().map(|segment| segment.file_bytes).sum();
        let mut through = None;
        for segment in self.chain.iter().take(self.chain.len() - 1) {
            if used <= self.options.budget_bytes / 2 {
                break;
            }
            used -= segment.file_bytes;
            through = Some(segment.incarnation);
        }
        let Some(through) = through else { return Vec::new() };
        let held = self.index.entries_through(through);
        held.map(|(group, truncate_to)| Pressure { group, truncate_to }).collect()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        LogStats {
            file_bytes: self.file_bytes(),
            used_bytes: self.chain.iter().map(|segment| segment.file_bytes).sum(),
            live_bytes: self.index.live.small_bytes() + self.index.live.entry_bytes(),
            segments: self.chain.len(),
            spares: self.spares.len(),
            pending_bytes: self.waiting_bytes(),
            ..self.stats
        }
    }
}
