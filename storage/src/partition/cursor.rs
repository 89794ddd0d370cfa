//! Reading of bytes that may be anything: every read is total and takes its part off the front. And the envelope that
//! the small records beside the items share: a version in front, a checksum behind.

use bytes::{Buf, BufMut, Bytes};

use crate::error::{Error, Result};

/// What is left of some bytes.
pub(super) struct Cursor(Bytes);

impl Cursor {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    /// The next `len` bytes, shared and not copied.
    pub(super) fn bytes(&mut self, len: usize) -> Option<Bytes> {
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    /// Bytes behind their length in four bytes.
    pub(super) fn long(&mut self) -> Option<Bytes> {
        let len = self.u32()?;
        self.bytes(len.try_into().ok()?)
    }

    /// A text behind its length in two bytes, if it is no longer than `max`.
    pub(super) fn text(&mut self, max: usize) -> Option<String> {
        let len = usize::from(self.u16()?);
        let bytes = self.bytes(len).filter(|_| len <= max)?;
        String::from_utf8(bytes.into()).ok()
    }

    /// Up to `max` numbers behind their count in two bytes.
    pub(super) fn numbers(&mut self, max: usize) -> Option<Vec<u64>> {
        let count = usize::from(self.u16()?);
        if count > max {
            return None;
        }
        (0..count).map(|_| self.u64()).collect()
    }
}

/// Appends what [`Cursor::long`] reads. Longer than four bytes can say is nothing that is in memory here; were it, the length
/// would not match, and decoding would say so.
pub(super) fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// Appends what [`Cursor::text`] reads.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u16(count(text.len()));
    out.put_slice(text.as_bytes());
}

/// Appends what [`Cursor::numbers`] reads.
pub(super) fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    out.put_u16(count(numbers.len()));
    for number in numbers {
        out.put_u64(*number);
    }
}

/// A count in two bytes. One that does not fit becomes one that does not match, so that decoding refuses it.
pub(super) fn count(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

const CRC_BYTES: usize = 4;

/// Closes a record that begins with its version: the checksum covers the engine key, too, so that a record that is
/// found under another key is not believed.
pub(super) fn close(key: &[u8], mut record: Vec<u8>) -> Bytes {
    let crc = checksum(key, &record);
    record.put_u32(crc);
    record.into()
}

/// Opens what [`close`] closed, and gives what is behind the version.
pub(super) fn open(key: &[u8], value: &Bytes, known: u8, place: &str) -> Result<Cursor> {
    let corrupt = |what: &str| Error::corruption(place, 0, what);
    let version = *value.first().ok_or_else(|| corrupt("it is empty"))?;
    if version > known {
        return Err(Error::Version {
            place: place.to_owned(),
            found: version.into(),
            known: known.into(),
        });
    }
    let (record, crc) =
        value.split_last_chunk::<CRC_BYTES>().ok_or_else(|| corrupt("it is cut short"))?;
    if checksum(key, record) != u32::from_be_bytes(*crc) {
        return Err(corrupt("the checksum does not match"));
    }
    if version != known || record.is_empty() {
        return Err(corrupt("the version is none"));
    }
    Ok(Cursor::new(value.slice(1..record.len())))
}

pub(super) fn checksum(key: &[u8], record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(record);
    crc.finalize()
}
