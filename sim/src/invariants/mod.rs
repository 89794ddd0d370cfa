//! What must hold at every moment of a run, one file each. A violation is a text that says what does not hold.

use std::fmt;

pub(crate) mod acknowledged;
pub(crate) mod backlog;
pub(crate) mod committed;
pub(crate) mod counters;
pub(crate) mod durable_log;
pub(crate) mod leaders;
pub(crate) mod leases;
pub(crate) mod matching;
pub(crate) mod replicas;
pub(crate) mod shown;
pub(crate) mod stamps;
pub(crate) mod tables;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file that it is in, or `histories` (no order of the calls explains their answers), `liveness` (after the last fault not
    /// everything comes to rest), `no_fault` (something stops that no fault of a run may stop).
    pub invariant: &'static str,
    /// When, in milliseconds of virtual time.
    pub at_ms: u64,
    /// What does not hold.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ms, {}: {}", self.at_ms, self.invariant, self.what)
    }
}

/// Whether an invariant holds, or what does not.
pub(crate) type Holds = Result<(), String>;

/// The invariants that remember something.
#[derive(Default)]
pub(crate) struct Invariants {
    pub(crate) leaders: leaders::Leaders,
    pub(crate) matching: matching::Matching,
    pub(crate) committed: committed::Committed,
    pub(crate) replicas: replicas::Replicas,
    pub(crate) acknowledged: acknowledged::Acknowledged,
    pub(crate) shown: shown::Shown,
    pub(crate) stamps: stamps::Stamps,
    pub(crate) tables: tables::Tables,
}
