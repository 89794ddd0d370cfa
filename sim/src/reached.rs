//! What a run has come to: a simulation that never elects, cuts or loses anything shows nothing.

use std::collections::BTreeMap;
use std::fmt;

/// What many seeds together have to reach, each at least once.
pub const REQUIRED: &[&str] = &[
    "elections",
    "leases granted",
    "lease reads",
    "lease reads begun again",
    "read-index reads",
    "eventual reads of leaders",
    "eventual reads of followers",
    "eventual reads begun again",
    "eventual reads sent elsewhere",
    "operations",
    "uncertain answers",
    "redirects",
    "conditions failed",
    "overlay conflicts",
    "entries taken back",
    "catalog changes",
    "replicas made",
    "replicas removed",
    "replicas begun without data",
    "promises kept",
    "transfers",
    "truncations",
    "snapshots wanted",
    "snapshots lost",
    "snapshots installed",
    "snapshots installed anew after a crash",
    "received snapshots lost",
    "crashes",
    "crashes of an only voter",
    "crashes of one of two voters",
    "power cuts of all nodes",
    "power cuts of all nodes before a sync",
    "power cuts of all nodes in a truncation",
    "power cuts of all nodes before a tombstone is synced",
    "power cuts of all nodes in an installation",
    "pauses",
    "network faults",
    "messages dropped",
    "messages duplicated",
    "messages overtaken",
    "torn tails",
    "unsynced writes lost",
    "engine batches lost",
    "engine reopened",
    "engines that find their disk still full",
    "failed syncs",
    "groups put to sleep",
    "groups woken",
    "replicas compared",
    "segments used again",
];

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn one(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    /// How often it was reached.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Adds what another run has reached.
    pub fn merge(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.add(what, *count);
        }
    }

    /// What of [`REQUIRED`] was not reached.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED.iter().copied().filter(|what| self.count(what) == 0).collect()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:10}  {what}")?;
        }
        Ok(())
    }
}
