//! Chance, the weather, and what was counted.

use super::MS;

/// A small generator (xorshift64*): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `low..high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.next().is_multiple_of(n)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.range(0, of.len() as u64) as usize]
    }
}

/// How the network and the disks behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: (u64, u64),
    pub(crate) sync: (u64, u64),
    pub(crate) apply: (u64, u64),
    /// One message in so many is lost, or comes twice; 0 is none.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// One turn in so many is put off for up to 300 ms.
    pub(crate) stall: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            delay: (MS / 5, MS),
            sync: (MS / 5, MS),
            apply: (MS / 20, MS / 5),
            lost: 0,
            twice: 0,
            stall: 0,
        }
    }
}

/// What effects counted, over all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) elections: u64,
    pub(crate) leases: u64,
    pub(crate) read_indexes: u64,
    pub(crate) uncertain: u64,
    pub(crate) throttled: u64,
    pub(crate) throttled_messages: u64,
    pub(crate) expired: u64,
    pub(crate) promises_kept: u64,
    pub(crate) truncations: u64,
    pub(crate) snapshots: u64,
    pub(crate) snapshots_over: u64,
    pub(crate) transfers: u64,
    pub(crate) refused: u64,
    pub(crate) sleeps: u64,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    pub(crate) lease_reads: u64,
    pub(crate) index_reads: u64,
}

impl Counts {
    /// What was counted, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("elections", self.elections),
            ("leases", self.leases),
            ("read_indexes", self.read_indexes),
            ("uncertain", self.uncertain),
            ("throttled", self.throttled),
            ("throttled_messages", self.throttled_messages),
            ("expired", self.expired),
            ("promises_kept", self.promises_kept),
            ("truncations", self.truncations),
            ("snapshots", self.snapshots),
            ("snapshots_over", self.snapshots_over),
            ("transfers", self.transfers),
            ("sleeps", self.sleeps),
            ("messages", self.messages),
            ("pings", self.pings),
            ("lease_reads", self.lease_reads),
            ("index_reads", self.index_reads),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.elections += other.elections;
        self.leases += other.leases;
        self.read_indexes += other.read_indexes;
        self.uncertain += other.uncertain;
        self.throttled += other.throttled;
        self.throttled_messages += other.throttled_messages;
        self.expired += other.expired;
        self.promises_kept += other.promises_kept;
        self.truncations += other.truncations;
        self.snapshots += other.snapshots;
        self.snapshots_over += other.snapshots_over;
        self.transfers += other.transfers;
        self.sleeps += other.sleeps;
        self.messages += other.messages;
        self.pings += other.pings;
        self.lease_reads += other.lease_reads;
        self.index_reads += other.index_reads;
    }
}
