//! What callers do: YCSB's core workloads, and three that do one thing only.
//!
//! | | operations | records |
//! |---|---|---|
//! | `put` | whole items put in place of others | uniform |
//! | `get`, `get-eventual` | reads, strongly or eventually consistent | uniform |
//! | `a` | half reads, half updates | zipfian |
//! | `b` | 95% reads, 5% updates | zipfian |
//! | `c` | reads | zipfian |
//! | `d` | 95% reads, 5% inserts | latest |
//! | `e` | 95% ranges of 1 to 100 items, 5% inserts | zipfian |
//! | `f` | half reads, half read-modify-writes | zipfian |
//!
//! Reads are strongly consistent unless the name says otherwise. An item is a key and one attribute, which an update
//! changes. A range begins at a record and goes on in sort key order within its partition key; at the end of it, it is
//! shorter than asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::distribution::{Chooser, Distribution};
use super::records::{Frontier, Layout, Values};
use super::rng::Rng;

#[cfg(test)]
mod tests;

/// The longest range that is read, in items.
const RANGE_ITEMS_MAX: u64 = 100;

/// A workload by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Workload {
    /// Puts whole items
    Put,
    /// Strongly consistent reads
    Get,
    /// Eventually consistent reads
    GetEventual,
    /// YCSB A: half reads, half updates
    A,
    /// YCSB B: 95% reads, 5% updates
    B,
    /// YCSB C: reads
    C,
    /// YCSB D: 95% reads of what is new, 5% inserts
    D,
    /// YCSB E: 95% short ranges, 5% inserts
    E,
    /// YCSB F: half reads, half read-modify-writes
    F,
}

/// What kind of thing an operation is. The order is that of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Read,
    Range,
    Update,
    Put,
    Insert,
    ReadModifyWrite,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Read, Self::Range, Self::Update, Self::Put, Self::Insert, Self::ReadModifyWrite];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Range => "range",
            Self::Update => "update",
            Self::Put => "put",
            Self::Insert => "insert",
            Self::ReadModifyWrite => "read_modify_write",
        }
    }
}

impl Workload {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::GetEventual => "get-eventual",
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
        }
    }

    /// The distribution that it has unless told.
    pub(super) const fn distribution(self) -> Distribution {
        match self {
            Self::Put | Self::Get | Self::GetEventual => Distribution::Uniform,
            Self::A | Self::B | Self::C | Self::E | Self::F => Distribution::Zipfian,
            Self::D => Distribution::Latest,
        }
    }

    /// How the table is laid out: the workload with ranges has one of its own.
    pub(super) fn layout(self, records: u64) -> Layout {
        if self == Self::E { Layout::ranges(records) } else { Layout::Single }
    }

    /// Whether reads may answer what is no longer the newest.
    pub(super) const fn eventual(self) -> bool {
        matches!(self, Self::GetEventual)
    }

    /// The kinds of operations, each with its share in percent.
    const fn mix(self) -> &'static [(Kind, u64)] {
        match self {
            Self::Put => &[(Kind::Put, 100)],
            Self::Get | Self::GetEventual | Self::C => &[(Kind::Read, 100)],
            Self::A => &[(Kind::Read, 50), (Kind::Update, 50)],
            Self::B => &[(Kind::Read, 95), (Kind::Update, 5)],
            Self::D => &[(Kind::Read, 95), (Kind::Insert, 5)],
            Self::E => &[(Kind::Range, 95), (Kind::Insert, 5)],
            Self::F => &[(Kind::Read, 50), (Kind::ReadModifyWrite, 50)],
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operation {
    /// Read a record.
    Read { record: u64 },
    /// Read up to `items` records from this one on.
    Range { record: u64, items: u32 },
    /// Change the one attribute of a record.
    Update { record: u64, value: Bytes },
    /// Put a record in place of the one that is there.
    Put { record: u64, value: Bytes },
    /// Put a record that is not there.
    Insert { record: u64, value: Bytes },
    /// Read a record, then update it.
    ReadModifyWrite { record: u64, value: Bytes },
}

impl Operation {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Range { .. } => Kind::Range,
            Self::Update { .. } => Kind::Update,
            Self::Put { .. } => Kind::Put,
            Self::Insert { .. } => Kind::Insert,
            Self::ReadModifyWrite { .. } => Kind::ReadModifyWrite,
        }
    }
}

/// What one caller does, one operation after the other.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    workload: Workload,
    chooser: Chooser,
    frontier: Arc<Frontier>,
    values: Values,
    rng: Rng,
}

impl Generator {
    /// Of the first caller. Others are [clones](Self::for_caller), for a distribution may take a while to make.
    pub(super) fn new(
        workload: Workload,
        chooser: Chooser,
        frontier: Arc<Frontier>,
        values: Values,
        seed: u64,
    ) -> Self {
        Self { workload, chooser, frontier, values, rng: Rng::new(seed, 0) }
    }

    /// The same with another caller's dice.
    pub(super) fn for_caller(&self, seed: u64, caller: u64) -> Self {
        Self { rng: Rng::new(seed, caller), ..self.clone() }
    }

    /// The next operation. Whoever gets an insert tells the frontier when it ended.
    pub(super) fn next(&mut self) -> Operation {
        match self.kind() {
            Kind::Read => Operation::Read { record: self.record() },
            Kind::Range => {
                let items = 1 + self.rng.below(RANGE_ITEMS_MAX) as u32;
                Operation::Range { record: self.record(), items }
            }
            Kind::Update => Operation::Update { record: self.record(), value: self.value() },
            Kind::Put => Operation::Put { record: self.record(), value: self.value() },
            Kind::Insert => {
                Operation::Insert { record: self.frontier.begin(), value: self.value() }
            }
            Kind::ReadModifyWrite => {
                Operation::ReadModifyWrite { record: self.record(), value: self.value() }
            }
        }
    }

    fn record(&mut self) -> u64 {
        self.chooser.next(&mut self.rng, self.frontier.settled())
    }

    fn kind(&mut self) -> Kind {
        let mut left = self.rng.below(100);
        for (kind, share) in self.workload.mix() {
            match left.checked_sub(*share) {
                Some(rest) => left = rest,
                None => return *kind,
            }
        }
        // Shares add up to 100.
        Kind::Read
    }

    fn value(&mut self) -> Bytes {
        self.values.next(&mut self.rng)
    }
}
