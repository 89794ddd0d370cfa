//! The pure core of the log.

use crate::error::{Error, Result};
use crate::log::{LogStats, Record};
use crate::machine::GroupId;

/// One operation on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Make a segment file of a length.
    Create {
        /// The file's name.
        file: String,
        /// Its length in bytes.
        len: u64,
    },
    /// Write at an offset.
    Write {
        /// The file's name.
        file: String,
        /// The offset in bytes.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Make what was written to the file durable.
    Sync {
        /// The file's name.
        file: String,
    },
    /// Make the names of files durable.
    SyncDir,
    /// Remove a file.
    Remove {
        /// The file's name.
        file: String,
    },
}

/// A write to be done: its operations strictly in order, each only once the one before has succeeded.
#[derive(Debug)]
pub struct Write {
    /// The operations.
    pub ops: Vec<DiskOp>,
}

/// A group that keeps the oldest segments from being released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// The group.
    pub group: GroupId,
    /// Truncate up to this index.
    pub truncate_to: u64,
    /// The bytes of its entries up to there.
    pub bytes: u64,
}

/// The log as a value: see the module's head.
#[derive(Debug)]
pub struct LogCore;

impl LogCore {
    /// Takes a batch whole, or not at all.
    ///
    /// # Errors
    /// `LogBusy`, `LogFull`, `LogMisuse`, `LogFailed`.
    pub fn stage(&mut self, _batch: &[Record]) -> Result<()> {
        todo!()
    }

    /// Everything staged since the last call, as one write; `None` if there is nothing or a write is under way.
    pub fn flush(&mut self) -> Option<Write> {
        todo!()
    }

    /// The write is done.
    pub fn completed(&mut self, _write: Write) {
        todo!()
    }

    /// An operation of the write failed: the log takes nothing any more.
    pub fn failed(&mut self, _write: Write, _error: &Error) {
        todo!()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        todo!()
    }
}
