//! The pure core of the log: batches in, [`DiskOp`]s out, completions in.
//!
//! ```text
//!   stage(batch)* ──▶ flush() ──▶ Write{ops} ──▶ driver ──▶ completed(write) | failed(write)
//! ```
//!
//! A batch gets its place, and its checksums, when it is staged; staging goes on while a write is under way. One write is
//! under way at a time. What it carries besides the batches is filled in by [`LogCore::flush`]: the heads, and the small
//! records that keep the oldest segments alive, written ahead.
//!
//! Entries that keep the oldest segment are rewritten ahead too: if they are few, as those of an idle group are, so that there is
//! little to read at the next start; and if the log runs short, because their group cannot truncate (its replica stopped, or waits
//! for a snapshot), lest one group stop all. The core does not have their content: before a flush its driver reads what
//! [`LogCore::stranded`] names, and gives it to [`LogCore::rewrite`], or tells [`LogCore::unreadable`] why it cannot. What is named at
//! once is little, for nobody's batch is synced meanwhile; the write that it goes with is followed by the next look.
//!
//! # Invariants
//! - A header is written only after everything in the segment before it is synced, and records only after their header is.
//! - A segment is released once nothing in it is needed and what superseded it is *completed*; it is used again only after
//!   a synced head has said that it is not needed.
//! - What is released is always the oldest: a mark never comes back to a group whose newer mark was dropped with it.
//! - Nothing is created while placing: segments are made ahead ([`LogOptions::spare_segments`]), so that a disk without
//!   room refuses batches and never half a write.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::error::{Error, Result};
use crate::log::format::{
    Body, HEAD_BYTES, HEADER_BYTES, Header, encode, encode_again, record_bytes, seed,
};
use crate::log::index::{Index, Located, Place};
use crate::log::read::Source;
use crate::log::{LogEntry, LogOptions, LogStats, Mark, Position, Record};
use crate::machine::GroupId;
use crate::mutation::{Mutation, planted};

mod flush;
mod room;
mod write;

use self::write::Part;
pub use self::write::{DiskOp, SegmentFile, Write};

/// A group that keeps the oldest segments from being released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// The group.
    pub group: GroupId,
    /// Truncate up to this index.
    pub truncate_to: u64,
}

/// A segment in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) incarnation: u64,
    pub(crate) file: SegmentFile,
    /// The file's length.
    pub(crate) file_bytes: u64,
    /// Where its records end, staged ones included.
    pub(crate) end: u64,
    /// Up to where the file is known to hold written bytes.
    pub(crate) zeroed: u64,
}

/// A segment file that is ready to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spare {
    pub(crate) file: SegmentFile,
    pub(crate) zeroed: u64,
}

/// The log as a value.
pub struct LogCore {
    options: LogOptions,
    /// The log's salt: that of its first segment for good.
    salt: u64,
    index: Index,
    /// Oldest first; the last one is being written.
    chain: VecDeque<Segment>,
    /// The seed of the last one's checksums.
    seed: u32,
    spares: Vec<Spare>,
    /// Released files that do not fit the options any more.
    unfit: Vec<(SegmentFile, u64)>,
    next_incarnation: u64,
    next_file: u32,
    /// What is staged and not handed out.
    pending: Vec<Part>,
    pending_records: u64,
    /// The number of the write that is being staged; the one before it may be under way.
    write: u64,
    in_flight: bool,
    in_flight_bytes: u64,
    /// Buffers of writes that are done.
    buffers: Vec<Vec<u8>>,
    failed: Option<String>,
    /// Where entries were that are being rewritten ahead, by the segment and the offset where they will be: they are read there
    /// until the write is completed.
    moved: BTreeMap<(u64, u32), Place>,
    /// Why no spare segment can be made; tried again once something was released.
    no_room: Option<String>,
    stats: LogStats,
}

/// What recovery found, for the core to go on from.
pub(crate) struct Found {
    pub(crate) salt: u64,
    pub(crate) index: Index,
    pub(crate) chain: VecDeque<Segment>,
    pub(crate) spares: Vec<Spare>,
    pub(crate) next_incarnation: u64,
    pub(crate) next_file: u32,
}

impl LogCore {
    pub(crate) fn new(options: LogOptions, found: Found) -> Self {
        let mut core = Self {
            options,
            salt: found.salt,
            index: found.index,
            chain: found.chain,
            seed: 0,
            spares: found.spares,
            unfit: Vec::new(),
            next_incarnation: found.next_incarnation,
            next_file: found.next_file,
            pending: Vec::new(),
            pending_records: 0,
            write: 1,
            in_flight: false,
            in_flight_bytes: 0,
            buffers: Vec::new(),
            failed: None,
            moved: BTreeMap::new(),
            no_room: None,
            stats: LogStats::default(),
        };
        let active = *core.active();
        core.seed = seed(active.incarnation, core.salt);
        core.stats.synced = Position { segment: active.incarnation, offset: active.end };
        core.index.live.write = core.write;
        core.release(0);
        core
    }

    /// Takes a batch whole, or not at all. Hard states go behind everything else of the batch but tombstones, which are last.
    ///
    /// # Errors
    /// `LogBusy`, `LogFull`, `LogMisuse` or `LogFailed`.
    pub fn stage(&mut self, batch: &[Record]) -> Result<()> {
        self.admit(batch)?;
        let rank = |record: &&Record| match record {
            Record::HardState { .. } if planted(Mutation::HardStateFirst) => 0,
            Record::HardState { .. } => 2,
            // A group may come and go in one batch: nothing of it comes after this.
            Record::Tombstone { .. } => 3,
            _ => 1,
        };
        let mut ordered: Vec<&Record> = batch.iter().collect();
        ordered.sort_by_key(rank);
        self.index.check(ordered.iter().copied()).map_err(Error::LogMisuse)?;
        for record in ordered {
            if !self.index.is_idle(record) {
                self.place(record);
            }
        }
        Ok(())
    }

    /// Puts a record behind the last one. There is room for it: that was judged before.
    fn place(&mut self, record: &Record) {
        let place = self.put(record_bytes(record), |out, seed| encode(out, seed, record));
        let taken = self.index.apply(record.group(), &Body::of(record), place);
        debug_assert_eq!(taken, Ok(()), "the batch was checked");
    }

    /// Puts an entry behind the last record that is in the log already. As above, there is room for it.
    fn place_again(&mut self, group: GroupId, former: Place, entry: &LogEntry) {
        let place = self.put(u64::from(former.len), |out, seed| {
            encode_again(out, seed, group, entry);
        });
        let LogEntry { index, term, kind, ref data } = *entry;
        let body = Body::Entry { index, term, kind, data, again: true };
        let taken = self.index.apply(group, &body, place);
        debug_assert_eq!(taken, Ok(()), "it is what is there");
        self.moved.insert((place.segment, place.offset), former);
    }

    fn put(&mut self, len: u64, encode: impl FnOnce(&mut Vec<u8>, u32)) -> Place {
        self.make_way(len);
        let seed = self.seed;
        let active = self.active_mut();
        let place =
            Place { segment: active.incarnation, offset: active.end as u32, len: len as u32 };
        active.end += len;
        let part = self.pending.last_mut().expect("way was made");
        encode(&mut part.buffer, seed);
        self.pending_records += 1;
        place
    }

    /// Sees to it that the last pending part can take a record of this length.
    fn make_way(&mut self, len: u64) {
        if self.active().left(self.pending.is_empty()) < len {
            if self.pending.is_empty() {
                // The head alone: it has to say what is not needed any more before the next segment's file is used again.
                self.begin_part(None);
            }
            self.rotate();
        } else if self.pending.is_empty() {
            self.begin_part(None);
        }
    }

    fn begin_part(&mut self, header: Option<Header>) {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        buffer.resize(HEAD_BYTES as usize, 0);
        let active = self.active_mut();
        let part = Part {
            segment: active.incarnation,
            file: active.file,
            start: active.end,
            header,
            buffer,
        };
        active.end += HEAD_BYTES;
        self.pending.push(part);
    }

    /// Goes on in a spare segment.
    fn rotate(&mut self) {
        let spare = self.spares.pop().expect("room was judged by the spare segments there are");
        let last = self.active();
        let header = Header {
            in_chain: true,
            incarnation: self.next_incarnation,
            previous: Position { segment: last.incarnation, offset: last.end },
            file_bytes: self.options.segment_bytes,
            salt: self.salt,
        };
        self.next_incarnation += 1;
        self.chain.push_back(Segment {
            incarnation: header.incarnation,
            file: spare.file,
            file_bytes: header.file_bytes,
            end: HEADER_BYTES,
            zeroed: spare.zeroed,
        });
        self.seed = seed(header.incarnation, self.salt);
        self.begin_part(Some(header));
    }

    /// What stopped the log.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.failed.clone().map(Error::LogFailed)
    }

    /// The number of the write in which what is staged now will be; writes are numbered from one.
    #[must_use]
    pub const fn staging(&self) -> u64 {
        self.write
    }

    /// The term of an entry, staged ones included; that of the mark at the mark.
    #[must_use]
    pub fn term(&self, group: GroupId, index: u64) -> Option<u64> {
        self.index.term(group, index)
    }

    /// What the group's log begins behind; `None` for an unknown or removed group.
    #[must_use]
    pub fn mark(&self, group: GroupId) -> Option<Mark> {
        self.index.mark(group)
    }

    /// The index of the group's last entry, staged ones included, or of the mark.
    #[must_use]
    pub fn last_index(&self, group: GroupId) -> Option<u64> {
        self.index.last(group)
    }

    /// Where the entries of a range are, as far as they are synced, up to `max_bytes` but at least one.
    ///
    /// # Errors
    /// `LogTruncated` if the range begins at or below the group's mark.
    pub fn locate(
        &self,
        group: GroupId,
        range: std::ops::Range<u64>,
        max_bytes: u64,
    ) -> Result<Vec<Located>> {
        if self.index.mark(group).is_some_and(|mark| range.start <= mark.index) {
            return Err(Error::LogTruncated { group: group.0, index: range.start });
        }
        let mut bytes = 0;
        let fits = |located: &Located| {
            let first = bytes == 0;
            bytes += u64::from(located.place.len);
            self.is_synced(located.place) && (first || bytes <= max_bytes)
        };
        let synced = |located: Located| match self.former(located.place) {
            Some(place) => Located { place, ..located },
            None => located,
        };
        Ok(self.index.entries(group, range).map(synced).take_while(fits).collect())
    }

    /// Where an entry was that is being rewritten ahead.
    fn former(&self, place: Place) -> Option<Place> {
        self.moved.get(&(place.segment, place.offset)).copied()
    }

    fn is_synced(&self, place: Place) -> bool {
        let at = Position { segment: place.segment, offset: u64::from(place.offset) };
        at < self.stats.synced
    }

    /// How an entry that was located is read.
    #[must_use]
    pub fn source(&self, located: Located) -> Option<Source> {
        let Located { index, place, .. } = located;
        let at = self.chain.binary_search_by_key(&place.segment, |it| it.incarnation).ok()?;
        let file = self.chain[at].file;
        Some(Source { index, file, place, seed: seed(place.segment, self.salt) })
    }

    fn active(&self) -> &Segment {
        self.chain.back().expect("there is always a segment being written")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.chain.back_mut().expect("there is always a segment being written")
    }
}

impl Segment {
    /// How much a record may take in the segment. A head has always room behind it.
    fn left(&self, with_head: bool) -> u64 {
        let heads = if with_head { 2 * HEAD_BYTES } else { HEAD_BYTES };
        self.file_bytes.saturating_sub(self.end + heads)
    }
}

impl fmt::Debug for LogCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogCore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
