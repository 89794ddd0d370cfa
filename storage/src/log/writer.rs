//! The thread that writes the log.

use std::ops::Range;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Result;
use crate::log::{LogEntry, LogOptions, LogStats, Mark, Pressure, Record, Recovery};
use crate::machine::GroupId;

/// A node's log. May be shared by several hosts; every method takes `&self`.
#[derive(Debug)]
pub struct Log;

/// Room in the log for a batch to come: see [`Log::reserve`]. Given back when dropped.
#[derive(Debug)]
pub struct Reservation;

impl Log {
    /// Opens the log of a directory, or makes one, and starts its thread.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption), [`Error::Version`](crate::Error::Version), `LogMisuse` for options
    /// that contradict each other, and what the disk answers.
    pub fn open(_disk: Arc<dyn Disk>, _options: LogOptions) -> Result<(Self, Recovery)> {
        todo!()
    }

    /// Hands in a batch. `done` runs on the log's thread once the batch is synced, or with the error that stopped the log;
    /// the completions of one log run in the order of its batches.
    ///
    /// # Errors
    /// `LogBusy`, `LogFull`, `LogMisuse` or `LogFailed`: nothing was taken, and `done` is dropped without having run.
    pub fn append(
        &self,
        _batch: Vec<Record>,
        _done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<()> {
        todo!()
    }

    /// Takes room for a batch of about `bytes` (see [`Log::weight`]) before its content is known: a host reserves before it
    /// evaluates. An append with a reservation is not refused for want of room.
    ///
    /// # Errors
    /// `LogBusy`, `LogFull` or `LogFailed`.
    pub fn reserve(&self, _bytes: u64) -> Result<Reservation> {
        todo!()
    }

    /// As [`Log::append`], in the room that was reserved.
    ///
    /// # Errors
    /// `LogMisuse` or `LogFailed`; `LogBusy` or `LogFull` only if the batch is larger than what was reserved.
    pub fn append_reserved(
        &self,
        _room: Reservation,
        _batch: Vec<Record>,
        _done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<()> {
        todo!()
    }

    /// The bytes that a batch takes in the log.
    #[must_use]
    pub fn weight(_batch: &[Record]) -> u64 {
        todo!()
    }

    /// Reads entries back from the disk: those of the range from its start on that are synced, up to `max_bytes` of data
    /// but at least one. What was appended and is not yet synced is not returned: the caller has it in memory.
    ///
    /// # Errors
    /// `LogTruncated` if the range starts at or below the group's mark, `Corruption`, and what the disk answers.
    pub fn entries(
        &self,
        _group: GroupId,
        _range: Range<u64>,
        _max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        todo!()
    }

    /// The term of an entry, appended ones included; that of the mark at the mark; `None` for anything else.
    #[must_use]
    pub fn term(&self, _group: GroupId, _index: u64) -> Option<u64> {
        todo!()
    }

    /// What the group's log begins behind.
    #[must_use]
    pub fn mark(&self, _group: GroupId) -> Option<Mark> {
        todo!()
    }

    /// The index of the group's last entry, appended ones included; that of the mark if there is none.
    #[must_use]
    pub fn last_index(&self, _group: GroupId) -> Option<u64> {
        todo!()
    }

    /// The groups to truncate, and how far, for the log to get back below its soft limit. Empty while it is.
    #[must_use]
    pub fn pressure(&self) -> Vec<Pressure> {
        todo!()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        todo!()
    }

    /// Writes what waits, then a last mark that vouches for it, and ends the thread. Dropping does the same.
    ///
    /// # Errors
    /// What stopped the log.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}
