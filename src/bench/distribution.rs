//! Which records are asked for: YCSB's distributions.
//!
//! - *uniform*: every record as often as any other.
//! - *zipfian*: few records very often. The ranks of a Zipf distribution with constant 0.99 are scattered over the records,
//!   so that the popular ones are not neighbours. As in YCSB the ranks are those of 10^10 items whatever the table holds: the
//!   first has 3.8% of all requests, the first hundred a fifth, and figures of tables of different sizes compare.
//! - *latest*: the same for the records that were inserted last, by age: the newest is the most popular.
//!
//! Ranks are drawn as in Gray et al., "Quickly generating billion-record synthetic databases" (1994), like YCSB does.
//!
//! # Caveat
//! Uniform and zipfian choose among the records that were loaded. Records that a run inserts are read by *latest*, and as part
//! of ranges.

use super::rng::{Rng, mix64};

#[cfg(test)]
mod tests;

/// How skewed the Zipf distribution is.
const THETA: f64 = 0.99;
/// The ranks that are scattered, and the sum of 1 / i^0.99 over them, as YCSB has it.
const SCATTERED_RANKS: u64 = 10_000_000_000;
const SCATTERED_ZETA: f64 = 26.469_028_201_783_02;

/// A distribution by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Distribution {
    /// Every record as often as any other
    Uniform,
    /// Few records very often (constant 0.99, scattered)
    Zipfian,
    /// Those inserted last very often
    Latest,
}

impl Distribution {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
            Self::Latest => "latest",
        }
    }
}

/// Draws record numbers.
#[derive(Clone, Debug)]
pub(super) enum Chooser {
    Uniform { records: u64 },
    Scattered { records: u64, ranks: Zipf },
    Latest { ages: Zipf },
}

impl Chooser {
    /// Draws among `records` loaded records, of which there is one at least.
    pub(super) fn new(distribution: Distribution, records: u64) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform { records },
            Distribution::Zipfian => {
                Self::Scattered { records, ranks: Zipf::known(SCATTERED_RANKS, SCATTERED_ZETA) }
            }
            Distribution::Latest => Self::Latest { ages: Zipf::new(records) },
        }
    }

    /// A record's number; `settled` is how many there are by now.
    pub(super) fn next(&mut self, rng: &mut Rng, settled: u64) -> u64 {
        match self {
            Self::Uniform { records } => rng.below(*records),
            Self::Scattered { records, ranks } => mix64(ranks.next(rng)) % *records,
            Self::Latest { ages } => {
                ages.grow(settled);
                ages.items - 1 - ages.next(rng)
            }
        }
    }
}

/// Draws ranks from 0, of which the rank `r` comes with a probability proportional to 1 / (r + 1)^0.99.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    items: u64,
    /// The sum of 1 / i^theta for i from 1 to `items`.
    zeta: f64,
    eta: f64,
}

impl Zipf {
    /// Over this many ranks. Takes time in proportion to them.
    fn new(items: u64) -> Self {
        let mut zipf = Self::known(1, 1.0);
        zipf.grow(items);
        zipf
    }

    /// Over this many ranks, whose zeta is known.
    fn known(items: u64, zeta: f64) -> Self {
        let zeta_2 = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_2 / zeta);
        Self { items, zeta, eta }
    }

    /// Adds ranks, at the end.
    fn grow(&mut self, items: u64) {
        if items > self.items {
            let added: f64 = (self.items + 1..=items).map(|i| (i as f64).powf(THETA).recip()).sum();
            *self = Self::known(items, self.zeta + added);
        }
    }

    fn next(&self, rng: &mut Rng) -> u64 {
        let u = rng.fraction();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let rank = self.items as f64 * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.items - 1)
    }
}
