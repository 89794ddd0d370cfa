//! What the records are: their keys, their values, and how many there are.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::rng::{Rng, mix64};

#[cfg(test)]
mod tests;

/// How many records share a partition key, about, where ranges are read.
const RECORDS_PER_PARTITION_KEY: u64 = 1000;

/// How records are spread over partition keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Each has a partition key of its own, and there is no sort key.
    Single,
    /// Record *n* lies under partition key *n* mod `partition_keys`, at the position *n* / `partition_keys`.
    Ranges { partition_keys: u64 },
}

/// The primary key of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordKey {
    /// The partition key.
    pub(super) partition: String,
    /// The sort key, where there is one.
    pub(super) position: Option<u64>,
}

impl Layout {
    /// For tables of which ranges are read. A table must be used with the number of records that it was loaded with.
    pub(super) fn ranges(records: u64) -> Self {
        Self::Ranges { partition_keys: records.div_ceil(RECORDS_PER_PARTITION_KEY).max(1) }
    }

    /// The key of a record. Partition keys look random, as YCSB's do, so that inserts are spread like all else.
    pub(super) fn key(self, record: u64) -> RecordKey {
        let partition = |number| format!("user{:016x}", mix64(number));
        match self {
            Self::Single => RecordKey { partition: partition(record), position: None },
            Self::Ranges { partition_keys } => RecordKey {
                partition: partition(record % partition_keys),
                position: Some(record / partition_keys),
            },
        }
    }
}

/// Values of one length that no compression makes shorter: pieces of a pool of random bytes, which are not copied.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pool: Bytes,
    value_bytes: usize,
}

impl Values {
    const POOL_BYTES: usize = 1 << 20;

    pub(super) fn new(value_bytes: usize) -> Self {
        let mut rng = Rng::new(0, 0);
        let words = (Self::POOL_BYTES + value_bytes).div_ceil(8);
        let pool: Vec<u8> = (0..words).flat_map(|_| rng.next().to_le_bytes()).collect();
        Self { pool: pool.into(), value_bytes }
    }

    /// One of about a million values.
    pub(super) fn next(&self, rng: &mut Rng) -> Bytes {
        let start = rng.below(Self::POOL_BYTES as u64) as usize;
        self.pool.slice(start..start + self.value_bytes)
    }
}

/// How many records there are, while callers insert.
#[derive(Debug)]
pub(super) struct Frontier {
    next: AtomicU64,
    /// All records below it are there, or their inserts have failed.
    settled: AtomicU64,
    /// Inserts that ended before one with a lower number did; no more of them than there are callers.
    early: Mutex<BTreeSet<u64>>,
}

impl Frontier {
    /// That of a table with this many records.
    pub(super) fn new(records: u64) -> Self {
        Self {
            next: AtomicU64::new(records),
            settled: AtomicU64::new(records),
            early: Mutex::default(),
        }
    }

    /// The number of a record to insert.
    pub(super) fn begin(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that its insert ended.
    pub(super) fn end(&self, record: u64) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.insert(record);
        let mut settled = self.settled.load(Ordering::Relaxed);
        while early.remove(&settled) {
            settled += 1;
        }
        self.settled.store(settled, Ordering::Release);
    }

    /// How many records there are, as far as is known: none below is still being inserted.
    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }
}
