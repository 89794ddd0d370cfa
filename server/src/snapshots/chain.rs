//! A file of frames, one behind the other.
//!
//! ```text
//! record   length 4 · crc32 of (the crc before, the length, the frame) 4 · frame
//! ```
//!
//! Each record vouches for all before it. A file that was cut by a crash and written on from there may hold what is left of
//! former records behind its end: those follow upon another crc, and are not taken for a part of it.

use std::io;

use bytes::Bytes;
use stator_storage::disk::DiskFile;

use super::FRAME_BYTES_MAX;

const HEAD_BYTES: usize = 8;

/// A place in a file of frames: behind some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    offset: u64,
    crc: u32,
}

impl Chain {
    /// Writes the next frame. It is durable once the file is synced.
    pub(super) fn append(&mut self, file: &dyn DiskFile, frame: &[u8]) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long");
        let len = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= FRAME_BYTES_MAX);
        let len = len.ok_or_else(too_long)?;
        let crc = self.crc_of(len, frame);
        let mut record = Vec::with_capacity(HEAD_BYTES + frame.len());
        record.extend_from_slice(&len.to_be_bytes());
        record.extend_from_slice(&crc.to_be_bytes());
        record.extend_from_slice(frame);
        file.write_at(&record, self.offset)?;
        *self = self.behind(record.len(), crc);
        Ok(())
    }

    /// The next frame; `None` where no whole one follows.
    pub(super) fn next(&mut self, file: &dyn DiskFile) -> io::Result<Option<Bytes>> {
        let mut head = [0; HEAD_BYTES];
        if file.read_at(&mut head, self.offset)? < HEAD_BYTES {
            return Ok(None);
        }
        let [a, b, c, d, crc @ ..] = head;
        let (len, crc) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(crc));
        let len_bytes = usize::try_from(len).unwrap_or(usize::MAX);
        if len_bytes > FRAME_BYTES_MAX {
            return Ok(None);
        }
        let mut frame = vec![0; len_bytes];
        let read = file.read_at(&mut frame, self.offset + HEAD_BYTES as u64)?;
        if read < len_bytes || self.crc_of(len, &frame) != crc {
            return Ok(None);
        }
        *self = self.behind(HEAD_BYTES + len_bytes, crc);
        Ok(Some(Bytes::from(frame)))
    }

    /// How long the file is up to here, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.offset
    }

    fn crc_of(&self, len: u32, frame: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.crc.to_be_bytes());
        hasher.update(&len.to_be_bytes());
        hasher.update(frame);
        hasher.finalize()
    }

    const fn behind(self, record_bytes: usize, crc: u32) -> Self {
        Self { offset: self.offset + record_bytes as u64, crc }
    }
}
