//! The bytes of segments and records. All integers are little-endian.
//!
//! # A segment
//! A file `NNNNNNNN.log`; the number is the file's for good, whatever it is recycled for. The header fills the first page,
//! though all that counts of it lies in its first sector, which a disk writes whole or not at all:
//!
//! ```text
//! magic 8 │ version 4 │ state 4 │ incarnation 8 │ previous segment 8 │ its end 8 │ file length 8 │ salt 8 │ crc 4
//! ```
//!
//! Records follow from [`HEADER_BYTES`] on, without gaps; what is behind the last one has no meaning (zeros, or records of
//! an earlier incarnation). Where a segment ends is said by the header of the one after it. The header is synced before any
//! record is written behind it, so that an incarnation whose header is not on the disk has no records there either.
//!
//! # A record
//! ```text
//! crc 4 │ length of the body 4 │ body: kind 1 │ group 8 │ payload
//! ```
//! The crc covers length and body and is seeded with incarnation and salt, so that what was written under another
//! incarnation never matches, nor does what a user might plant inside of an entry.
//!
//! An *entry again* is an entry that was written before and is kept from being released: it stands in the place of that one, and
//! leaves those behind it as they are.
//!
//! Every write begins with a *head*, which says what was known to be synced when it was issued (R13).

use crate::log::{HardState, LogEntry, Mark, Position, Record};
use crate::machine::GroupId;
use crate::mutation::{Mutation, planted};

mod fuzz;
#[cfg(test)]
mod tests;

pub use self::fuzz::fuzz_segment;

/// The format of segments written by this version.
pub const VERSION: u32 = 1;
/// Where a segment's records begin.
pub const HEADER_BYTES: u64 = 4096;
/// The unit in which the disk is written.
pub(crate) const PAGE_BYTES: u64 = 4096;

const MAGIC: [u8; 8] = *b"STTRLOG\0";
const HEADER_USED: usize = 60;
/// Checksum and length, in front of every body.
const FRAME_BYTES: usize = 8;
/// Kind and group.
const BODY_MIN: usize = 9;
const HEAD_BODY: usize = BODY_MIN + 32;
const ENTRY_FIXED: usize = BODY_MIN + 17;

/// The bytes of a [`Head`] on disk.
pub(crate) const HEAD_BYTES: u64 = (FRAME_BYTES + HEAD_BODY) as u64;

const HEAD: u8 = 1;
const ENTRY: u8 = 2;
const HARD_STATE: u8 = 3;
const TRUNCATE: u8 = 4;
const RESET: u8 = 5;
const TOMBSTONE: u8 = 6;
const ENTRY_AGAIN: u8 = 7;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whether the segment counts: while recovery fills one, it does not yet.
    pub(crate) in_chain: bool,
    /// Its incarnation.
    pub(crate) incarnation: u64,
    /// Where the segment before it ended; zeros if it is the first.
    pub(crate) previous: Position,
    /// The file's length.
    pub(crate) file_bytes: u64,
    /// The log's salt.
    pub(crate) salt: u64,
}

/// What stands where a header should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    /// A header.
    Header(Header),
    /// Zeros: the file was never used.
    Blank,
    /// A header of a version that is not known here.
    Version(u32),
    /// Anything else.
    Broken,
}

/// The beginning of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Everything below was synced when the write was issued.
    pub(crate) synced: Position,
    /// No segment of a lower incarnation is needed.
    pub(crate) first_needed: u64,
    /// The length of the write, this head included.
    pub(crate) len: u64,
}

/// A record's body as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    Head(Head),
    /// `again`: it was written before, and replaces that record and nothing else.
    Entry {
        index: u64,
        term: u64,
        kind: u8,
        data: &'a [u8],
        again: bool,
    },
    HardState(HardState),
    Truncate(Mark),
    Reset(Mark),
    Tombstone,
}

impl<'a> Body<'a> {
    /// The body that a record will have.
    pub(crate) fn of(record: &'a Record) -> Self {
        match record {
            Record::Entry { entry, .. } => Self::Entry {
                index: entry.index,
                term: entry.term,
                kind: entry.kind,
                data: &entry.data,
                again: false,
            },
            Record::HardState { state, .. } => Self::HardState(*state),
            Record::Truncate { mark, .. } => Self::Truncate(*mark),
            Record::Reset { mark, .. } => Self::Reset(*mark),
            Record::Tombstone { .. } => Self::Tombstone,
        }
    }
}

/// A record as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Its length on disk.
    pub(crate) len: usize,
    pub(crate) group: GroupId,
    pub(crate) body: Body<'a>,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// The bytes were not written as a record of this incarnation, or not all of them arrived.
    Unwritten,
    /// They were written so, and mean nothing.
    Malformed(&'static str),
}

/// What the checksums of a segment's records start from.
pub(crate) fn seed(incarnation: u64, salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let incarnation = if planted(Mutation::RecycledRecords) { 0 } else { incarnation };
    hasher.update(&incarnation.to_le_bytes());
    hasher.update(&salt.to_le_bytes());
    hasher.finalize()
}

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

impl Header {
    /// The header's page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(HEADER_BYTES as usize);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&u32::from(self.in_chain).to_le_bytes());
        for word in [
            self.incarnation,
            self.previous.segment,
            self.previous.offset,
            self.file_bytes,
            self.salt,
        ] {
            page.extend_from_slice(&word.to_le_bytes());
        }
        let sum = crc(0, &page);
        page.extend_from_slice(&sum.to_le_bytes());
        page.resize(HEADER_BYTES as usize, 0);
        page
    }

    /// Reads the first bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> HeaderFound {
        let Some(used) = bytes.get(..HEADER_USED) else {
            return HeaderFound::Blank;
        };
        if used.iter().all(|byte| *byte == 0) {
            return HeaderFound::Blank;
        }
        Self::decode_used(used).unwrap_or(HeaderFound::Broken)
    }

    fn decode_used(used: &[u8]) -> Option<HeaderFound> {
        let mut reader = Reader(used);
        if reader.take(8)? != MAGIC {
            return None;
        }
        let version = reader.u32()?;
        if version > VERSION {
            return Some(HeaderFound::Version(version));
        }
        let in_chain = match reader.u32()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let header = Self {
            in_chain,
            incarnation: reader.u64()?,
            previous: Position { segment: reader.u64()?, offset: reader.u64()? },
            file_bytes: reader.u64()?,
            salt: reader.u64()?,
        };
        let ordered = header.previous.segment < header.incarnation;
        let sum = crc(0, used.get(..HEADER_USED - 4)?);
        (version == VERSION && ordered && reader.u32()? == sum)
            .then_some(HeaderFound::Header(header))
    }
}

/// The bytes that a record takes on disk.
pub(crate) fn record_bytes(record: &Record) -> u64 {
    let body = match record {
        Record::Entry { entry, .. } => ENTRY_FIXED + entry.data.len(),
        Record::HardState { .. } => BODY_MIN + 24,
        Record::Truncate { .. } | Record::Reset { .. } => BODY_MIN + 16,
        Record::Tombstone { .. } => BODY_MIN,
    };
    (FRAME_BYTES + body) as u64
}

/// Writes a record behind what the buffer holds.
pub(crate) fn encode(out: &mut Vec<u8>, seed: u32, record: &Record) {
    match record {
        Record::Entry { group, entry } => encode_entry(out, seed, ENTRY, *group, entry),
        Record::HardState { group, state } => {
            let words = [state.term, state.vote, state.commit];
            encode_words(out, seed, HARD_STATE, *group, &words);
        }
        Record::Truncate { group, mark } => {
            encode_words(out, seed, TRUNCATE, *group, &[mark.index, mark.term]);
        }
        Record::Reset { group, mark } => {
            encode_words(out, seed, RESET, *group, &[mark.index, mark.term]);
        }
        Record::Tombstone { group } => encode_words(out, seed, TOMBSTONE, *group, &[]),
    }
}

/// Writes a head behind what the buffer holds.
pub(crate) fn encode_head(out: &mut Vec<u8>, seed: u32, head: &Head) {
    let words = [head.synced.segment, head.synced.offset, head.first_needed, head.len];
    encode_words(out, seed, HEAD, GroupId(0), &words);
}

/// Writes an entry that was written before behind what the buffer holds. It takes as many bytes as it did.
pub(crate) fn encode_again(out: &mut Vec<u8>, seed: u32, group: GroupId, entry: &LogEntry) {
    encode_entry(out, seed, ENTRY_AGAIN, group, entry);
}

fn encode_entry(out: &mut Vec<u8>, seed: u32, kind: u8, group: GroupId, entry: &LogEntry) {
    let start = begin(out, ENTRY_FIXED + entry.data.len(), kind, group);
    out.extend_from_slice(&entry.index.to_le_bytes());
    out.extend_from_slice(&entry.term.to_le_bytes());
    out.push(entry.kind);
    out.extend_from_slice(&entry.data);
    finish(out, start, seed);
}

fn encode_words(out: &mut Vec<u8>, seed: u32, kind: u8, group: GroupId, words: &[u64]) {
    let start = begin(out, BODY_MIN + 8 * words.len(), kind, group);
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    finish(out, start, seed);
}

fn begin(out: &mut Vec<u8>, body: usize, kind: u8, group: GroupId) -> usize {
    let start = out.len();
    out.reserve(FRAME_BYTES + body);
    out.extend_from_slice(&[0; 4]);
    // A record is at most a quarter of a segment, which is at most 1 GiB.
    out.extend_from_slice(&(body as u32).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&group.0.to_le_bytes());
    start
}

fn finish(out: &mut [u8], start: usize, seed: u32) {
    let sum = crc(seed, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Reads the record at the start of the bytes.
pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Frame<'_>, Bad> {
    let (len, sum) = frame(bytes).ok_or(Bad::Unwritten)?;
    let checked = bytes.get(4..len).ok_or(Bad::Unwritten)?;
    if crc(seed, checked) != sum {
        return Err(Bad::Unwritten);
    }
    decode_body(bytes.get(FRAME_BYTES..len).ok_or(Bad::Unwritten)?)
}

/// The length of the record and its checksum, if a record may stand here at all.
fn frame(bytes: &[u8]) -> Option<(usize, u32)> {
    let mut reader = Reader(bytes);
    let sum = reader.u32()?;
    let body = usize::try_from(reader.u32()?).ok()?;
    let len = body.checked_add(FRAME_BYTES)?;
    (body >= BODY_MIN && len <= bytes.len()).then_some((len, sum))
}

fn decode_body(body: &[u8]) -> Result<Frame<'_>, Bad> {
    decode_fields(body).ok_or(Bad::Malformed("a record of unknown kind or wrong length"))
}

fn decode_fields(bytes: &[u8]) -> Option<Frame<'_>> {
    let mut reader = Reader(bytes);
    let kind = reader.u8()?;
    let group = GroupId(reader.u64()?);
    let body = match kind {
        HEAD => Body::Head(Head {
            synced: Position { segment: reader.u64()?, offset: reader.u64()? },
            first_needed: reader.u64()?,
            len: reader.u64()?,
        }),
        ENTRY | ENTRY_AGAIN => Body::Entry {
            index: reader.u64()?,
            term: reader.u64()?,
            kind: reader.u8()?,
            data: std::mem::take(&mut reader.0),
            again: kind == ENTRY_AGAIN,
        },
        HARD_STATE => Body::HardState(HardState {
            term: reader.u64()?,
            vote: reader.u64()?,
            commit: reader.u64()?,
        }),
        TRUNCATE => Body::Truncate(reader.mark()?),
        RESET => Body::Reset(reader.mark()?),
        TOMBSTONE => Body::Tombstone,
        _ => return None,
    };
    reader.0.is_empty().then_some(Frame { len: FRAME_BYTES + bytes.len(), group, body })
}

/// Records, heads left out, with checksums of another incarnation. They have been read before: what is bad ends them.
pub(crate) fn reseal(records: &[u8], old_seed: u32, new_seed: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len());
    let mut rest = records;
    while let Ok(frame) = decode(rest, old_seed) {
        let (record, behind) = rest.split_at(frame.len);
        if !matches!(frame.body, Body::Head(_)) {
            let start = out.len();
            out.extend_from_slice(record);
            finish(&mut out, start, new_seed);
        }
        rest = behind;
    }
    out
}

/// The first head at or behind an offset, wherever it may begin: how a segment is searched behind a record that is bad.
pub(crate) fn find_head(bytes: &[u8], from: usize, seed: u32) -> Option<(usize, Head)> {
    const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
    let mut pattern = [0; 5];
    pattern[..4].copy_from_slice(&(HEAD_BODY as u32).to_le_bytes());
    pattern[4] = HEAD;
    // The pattern is behind the checksum. Pages of zeros, which most of a young segment is, are passed over whole.
    for start in (from..bytes.len()).step_by(ZEROS.len()) {
        let page = bytes.get(start + 4..)?;
        let page = &page[..page.len().min(ZEROS.len() + pattern.len() - 1)];
        if page.starts_with(&ZEROS) && page[ZEROS.len()..].iter().all(|byte| *byte == 0) {
            continue;
        }
        for (at, window) in page.windows(pattern.len()).enumerate() {
            if *window == pattern
                && let Ok(Frame { body: Body::Head(head), .. }) = decode(&bytes[start + at..], seed)
            {
                return Some((start + at, head));
            }
        }
    }
    None
}

/// Takes fields off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn mark(&mut self) -> Option<Mark> {
        Some(Mark { index: self.u64()?, term: self.u64()? })
    }
}
