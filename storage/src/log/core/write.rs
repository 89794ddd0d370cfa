//! What the core asks for: writes, and the operations they are made of.

use std::fmt;

use crate::log::Position;
use crate::log::format::{HEAD_BYTES, Head, Header, encode_head};

/// A segment's file, by its number, which it keeps whatever it is recycled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile(pub u32);

impl SegmentFile {
    /// The file of a name, if it is a segment's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(".log")?;
        let file = Self(digits.parse().ok()?);
        (file.to_string() == name).then_some(file)
    }
}

impl fmt::Display for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}.log", self.0)
    }
}

/// One operation on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Make a file of a length, with its space reserved.
    Create {
        /// The file.
        file: SegmentFile,
        /// Its length in bytes.
        len: u64,
    },
    /// Write at an offset.
    Write {
        /// The file.
        file: SegmentFile,
        /// The offset in bytes.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Make what was written to the file durable.
    Sync {
        /// The file.
        file: SegmentFile,
    },
    /// Make the names of files durable.
    SyncDir,
    /// Remove a file.
    Remove {
        /// The file.
        file: SegmentFile,
    },
}

/// What a driver has to do: the operations strictly in order, each only once the one before has succeeded, none again
/// after one failed; then [`LogCore::completed`](super::LogCore::completed) or [`LogCore::failed`](super::LogCore::failed).
#[derive(Debug)]
pub struct Write {
    pub(super) kind: WriteKind,
    /// The operations.
    pub ops: Vec<DiskOp>,
}

impl Write {
    /// The number of the write, if it holds batches: those staged while [`LogCore::staging`](super::LogCore::staging)
    /// was this number are durable once it is completed.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self.kind {
            WriteKind::Batches { number, .. } => Some(number),
            WriteKind::Spare(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum WriteKind {
    /// Makes a spare segment.
    Spare(SegmentFile),
    /// Writes batches.
    Batches { number: u64, end: Position, records: u64 },
}

/// What is staged for one segment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) segment: u64,
    pub(super) file: SegmentFile,
    /// The offset of the buffer's first byte.
    pub(super) start: u64,
    /// The header to be written before, if the segment begins with this part.
    pub(super) header: Option<Header>,
    /// Room for the head, then records.
    pub(super) buffer: Vec<u8>,
}

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Fills in the head, pads with zeros up to an offset, and gives the operations.
    pub(super) fn into_ops(self, head: Head, seed: u32, padded_end: u64, ops: &mut Vec<DiskOp>) {
        let Self { file, start, header, mut buffer, .. } = self;
        if let Some(header) = header {
            ops.push(DiskOp::Write { file, offset: 0, data: header.encode() });
            ops.push(DiskOp::Sync { file });
        }
        let mut bytes = Vec::with_capacity(HEAD_BYTES as usize);
        encode_head(&mut bytes, seed, &Head { len: buffer.len() as u64, ..head });
        buffer[..bytes.len()].copy_from_slice(&bytes);
        // The rest of the page is written with it: else the page would have to be read before.
        buffer.resize((padded_end - start) as usize, 0);
        ops.push(DiskOp::Write { file, offset: start, data: buffer });
        ops.push(DiskOp::Sync { file });
    }
}
