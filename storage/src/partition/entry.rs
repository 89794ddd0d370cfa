//! The payload of an entry: what the evaluation of a turn's requests came to.
//!
//! ```text
//! offset  bytes  field
//! 0       1      format version: 1
//! 1       1      flags: 0
//! 2       4      count of writes
//! 6       8      term under which it was evaluated
//! 14      8      generation under which it was evaluated
//! 22      8      highest stamp of the partition, after the entry
//! 30      8      count of the partition's items, after the entry
//! 38      8      size of the partition's items in bytes, after the entry
//! 46      ..     writes: kind 1 (1 put, 2 delete) · length 4 · engine key · of a put: length 4 · value
//! ```
//!
//! Integers are big endian. Everything is absolute (R10): who applies an entry reads nothing first. There is no checksum,
//! because the log and the transport have theirs, and every value has its own.
//!
//! The header's place is kept free while a turn fills the payload, so that sealing it copies nothing. Decoding copies nothing
//! either: keys and values are slices of the entry.

use bytes::{BufMut, Bytes};

use super::cursor::{Cursor, put_long};
use super::record::Counters;
use crate::engine::Change;
use crate::error::{Error, Result};

/// The format written here, and the newest one read.
pub const FORMAT: u8 = 1;

/// The length of the header, in bytes.
pub const HEADER_BYTES: usize = 46;

/// What a write adds to a payload besides its key and value, in bytes.
pub const WRITE_BYTES: usize = 1 + 4 + 4;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// What an entry says before its writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryHeader {
    /// The term under which it was evaluated.
    pub term: u64,
    /// The partition's generation under which it was evaluated.
    pub generation: u64,
    /// The partition's highest stamp after it.
    pub highest_stamp: u64,
    /// The partition's counters after it.
    pub counters: Counters,
}

/// A decoded entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it says before its writes.
    pub header: EntryHeader,
    /// Its writes, in order.
    pub writes: Vec<Change>,
}

/// Adds a write to a payload: a put, or without a value a delete.
pub fn push(payload: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if payload.is_empty() {
        payload.resize(HEADER_BYTES, 0);
    }
    payload.put_u8(if value.is_some() { PUT } else { DELETE });
    put_long(payload, key);
    if let Some(value) = value {
        put_long(payload, value);
    }
}

/// Writes the header into a payload that has this many writes, and gives the entry's bytes.
#[must_use]
pub fn seal(mut payload: Vec<u8>, header: &EntryHeader, writes: u32) -> Bytes {
    if payload.is_empty() {
        payload.resize(HEADER_BYTES, 0);
    }
    let mut place = &mut payload[..HEADER_BYTES];
    place.put_u8(FORMAT);
    place.put_u8(0);
    place.put_u32(writes);
    place.put_u64(header.term);
    place.put_u64(header.generation);
    place.put_u64(header.highest_stamp);
    place.put_u64(header.counters.item_count);
    place.put_u64(header.counters.size_bytes);
    payload.into()
}

impl Entry {
    /// Reads what [`seal`] gave. `index` is for errors.
    ///
    /// # Errors
    /// `Error::Corruption` if it is no entry; `Error::Version` if it is newer than this code.
    pub fn decode(index: u64, data: &Bytes) -> Result<Self> {
        if let Some(&version) = data.first()
            && version > FORMAT
        {
            return Err(Error::Version {
                place: format!("entry {index}"),
                found: version.into(),
                known: FORMAT.into(),
            });
        }
        Self::parse(&mut Cursor::new(data.clone()))
            .ok_or_else(|| Error::corruption(format!("entry {index}"), 0, "not an entry"))
    }

    fn parse(cursor: &mut Cursor) -> Option<Self> {
        if (cursor.u8()?, cursor.u8()?) != (FORMAT, 0) {
            return None;
        }
        let count = cursor.u32()?.try_into().ok()?;
        let header = EntryHeader {
            term: cursor.u64()?,
            generation: cursor.u64()?,
            highest_stamp: cursor.u64()?,
            counters: Counters { item_count: cursor.u64()?, size_bytes: cursor.u64()? },
        };
        // A write has at least a kind and a length: what is claimed cannot ask for more memory than what is there.
        if cursor.len() / 5 < count {
            return None;
        }
        let mut writes = Vec::with_capacity(count);
        for _ in 0..count {
            writes.push(match cursor.u8()? {
                PUT => Change::Put(cursor.long()?, cursor.long()?),
                DELETE => Change::Delete(cursor.long()?),
                _ => return None,
            });
        }
        cursor.is_empty().then_some(Self { header, writes })
    }
}

/// Entry for a fuzzer: decoding is total, and what decodes encodes to the same bytes.
///
/// # Panics
/// If it is not so.
pub fn fuzz_decode(data: &[u8]) {
    let Ok(entry) = Entry::decode(0, &Bytes::copy_from_slice(data)) else { return };
    let mut payload = Vec::new();
    for write in &entry.writes {
        match write {
            Change::Put(key, value) => push(&mut payload, key, Some(value)),
            Change::Delete(key) => push(&mut payload, key, None),
        }
    }
    let count = u32::try_from(entry.writes.len()).unwrap_or(u32::MAX);
    assert_eq!(seal(payload, &entry.header, count), data, "{entry:?}");
}

#[cfg(test)]
mod tests;
