//! The value of an item in the engine: a small header, then the item's bytes as the wire carries them.
//!
//! ```text
//! offset  bytes  field
//! 0       1      format version: 1
//! 1       1      flags: 1 a region name is there, 2 a serialization time is there
//! 2       4      crc32 (IEEE) of the item's engine key, of bytes 0 and 1, and of everything behind this field
//! 6       8      stamp: hybrid time
//! 14      8      serialization time, if its flag is set
//! ..      1 + n  stamp: length and name of the region, if its flag is set
//! ..             the item: protobuf bytes of `stator.v1.Item`
//! ```
//!
//! Integers are big endian. An item written in its own cluster costs 14 bytes of header.
//!
//! The key is part of the checksum, so a value that an engine answers for another's key is caught like a flipped bit. What
//! travels to other places (other regions, the change log, indexes) is the item's bytes and the stamp, never this envelope.
//!
//! The *stamp* decides between writes of several regions: the later one stays (R21). The *serialization time* is local and
//! takes no part in that (R22): room for transactions.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use stator_model::codec::EncodedItem;

use crate::error::{Error, Result};
use crate::key::hex;

/// The format written here, and the newest one read.
pub const FORMAT: u8 = 1;

const WITH_REGION: u8 = 1;
const WITH_SERIALIZED: u8 = 2;

const CHECKED_FROM: usize = 6;
const SMALLEST: usize = 14;

/// The name of a region: the cluster of a global table that a write came from. Empty for a write of the own cluster.
///
/// Names order as their bytes do.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    // The name first, padded with zero bytes, which no name holds: so the derived order is that of names.
    name: [u8; Self::MAX_BYTES],
    len: u8,
}

impl Region {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 31;

    /// A name of at most 31 printable ASCII characters without spaces; `None` for another.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        Self::from_bytes(name.as_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut name = [0; Self::MAX_BYTES];
        name.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { name, len: u8::try_from(bytes.len()).ok()? })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.name[..usize::from(self.len)]
    }

    /// The name; empty for the own cluster.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Names are ASCII, see `from_bytes`.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether this is the own cluster.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// When, and where, an item was written. Of two versions of an item that with the greater stamp stays; at equal times the
/// name of the region decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Hybrid logical time: grows strictly within a partition.
    pub time: u64,
    /// The region that wrote; empty for the own cluster.
    pub region: Region,
}

impl Stamp {
    /// A stamp of the own cluster.
    #[must_use]
    pub fn local(time: u64) -> Self {
        Self { time, region: Region::default() }
    }
}

/// An item as the engine stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredItem {
    /// When and where it was written.
    pub stamp: Stamp,
    /// When it was last serialized against, if it ever was (R22): local, and outside every comparison.
    pub serialized: Option<u64>,
    /// The item, undecoded.
    pub item: EncodedItem,
}

impl StoredItem {
    /// The value to store under an engine key, in one allocation.
    #[must_use]
    pub fn seal(&self, key: &[u8]) -> Bytes {
        let item = self.item.as_bytes();
        let region = self.stamp.region.as_bytes();
        let mut flags = 0;
        let mut size = SMALLEST + item.len();
        if self.serialized.is_some() {
            flags |= WITH_SERIALIZED;
            size += 8;
        }
        if !region.is_empty() {
            flags |= WITH_REGION;
            size += 1 + region.len();
        }
        let mut out = BytesMut::with_capacity(size);
        out.put_slice(&[FORMAT, flags, 0, 0, 0, 0]);
        out.put_u64(self.stamp.time);
        if let Some(serialized) = self.serialized {
            out.put_u64(serialized);
        }
        if !region.is_empty() {
            out.put_u8(self.stamp.region.len);
            out.put_slice(region);
        }
        out.put_slice(item);
        let crc = checksum(key, &out);
        out[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        out.freeze()
    }

    /// Opens the value that was read under an engine key. The item is a slice of it.
    ///
    /// # Errors
    /// `Error::Corruption`, naming the key in hexadecimal, if the value is not what was sealed for this key;
    /// `Error::Version` if it is newer than this code.
    pub fn open(value: &Bytes, key: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Error::corruption(format!("item {}", hex(key)), 0, what);
        let (&[version, flags, a, b, c, d], rest) =
            value.split_first_chunk().ok_or_else(|| corrupt("the header is cut short"))?;
        if version > FORMAT {
            return Err(Error::Version {
                place: format!("item {}", hex(key)),
                found: version.into(),
                known: FORMAT.into(),
            });
        }
        if checksum(key, value) != u32::from_be_bytes([a, b, c, d]) {
            return Err(corrupt("the checksum does not match"));
        }
        let header = Header::parse(version, flags, rest)
            .ok_or_else(|| corrupt("the header is not of its format"))?;
        Ok(Self {
            stamp: header.stamp,
            serialized: header.serialized,
            item: EncodedItem::from_bytes(value.slice(CHECKED_FROM + header.len..)),
        })
    }
}

/// The parts of a header behind the checksum, and their length in bytes.
struct Header {
    stamp: Stamp,
    serialized: Option<u64>,
    len: usize,
}

impl Header {
    fn parse(version: u8, flags: u8, bytes: &[u8]) -> Option<Self> {
        if version != FORMAT || flags & !(WITH_REGION | WITH_SERIALIZED) != 0 {
            return None;
        }
        let (time, mut rest) = bytes.split_first_chunk()?;
        let mut serialized = None;
        if flags & WITH_SERIALIZED != 0 {
            let (at, behind) = rest.split_first_chunk()?;
            serialized = Some(u64::from_be_bytes(*at));
            rest = behind;
        }
        let mut region = Region::default();
        if flags & WITH_REGION != 0 {
            let (&len, behind) = rest.split_first()?;
            let (name, behind) = behind.split_at_checked(len.into())?;
            region = Region::from_bytes(name)?;
            rest = behind;
        }
        let stamp = Stamp { time: u64::from_be_bytes(*time), region };
        Some(Self { stamp, serialized, len: bytes.len() - rest.len() })
    }
}

/// The checksum of a value of at least the fixed header's length.
fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(value.get(..2).unwrap_or_default());
    crc.update(value.get(CHECKED_FROM..).unwrap_or_default());
    crc.finalize()
}

/// Entry for a fuzzer: opening is total, with and without a right checksum, and what opens seals to the same meaning.
///
/// # Panics
/// If it is not so.
pub fn fuzz_open(data: &[u8]) {
    const KEY: &[u8] = b"fuzz";
    let mut value = data.to_vec();
    let _ = StoredItem::open(&Bytes::copy_from_slice(&value), KEY);
    if value.len() < CHECKED_FROM {
        return;
    }
    let crc = checksum(KEY, &value);
    value[2..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
    if let Ok(stored) = StoredItem::open(&value.into(), KEY) {
        assert_eq!(StoredItem::open(&stored.seal(KEY), KEY).as_ref(), Ok(&stored));
    }
}

#[cfg(test)]
mod tests;
