//! What is counted.
//!
//! Measured is a window of time, behind the warm-up. The rate is of the operations that *end* in the window, and latencies are
//! of those that *begin* in it, however long they take: so neither depends on how a run happens to stop. Operations that
//! fail are counted, and have no latency.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::target::{Failed, Found};
use super::workload::Kind;

#[cfg(test)]
mod tests;

/// How many kinds of errors are told apart.
const ERROR_KINDS_MAX: usize = 20;

/// The part of a run that is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

impl Window {
    fn contains(&self, time: Instant) -> bool {
        self.start <= time && time < self.end
    }
}

/// What some callers have counted.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    /// Operations that succeeded and ended in the window.
    pub(super) done: u64,
    /// Operations that failed and ended in the window.
    pub(super) errors: u64,
    /// By the error's name: how many, and the text of one of them.
    pub(super) error_kinds: BTreeMap<String, (u64, String)>,
    /// Reads that ended in the window and found nothing.
    pub(super) missing: u64,
    /// Operations that were due in the window and never began.
    pub(super) backlog: u64,
    latencies: BTreeMap<Kind, Latencies>,
    waiting: Latencies,
}

impl Tally {
    pub(super) const fn new(window: Window) -> Self {
        Self {
            window,
            done: 0,
            errors: 0,
            error_kinds: BTreeMap::new(),
            missing: 0,
            backlog: 0,
            latencies: BTreeMap::new(),
            waiting: Latencies::new(),
        }
    }

    /// Counts an operation.
    pub(super) fn ended(
        &mut self,
        kind: Kind,
        begun: Instant,
        ended: Instant,
        result: Result<Found, Failed>,
    ) {
        let counts = self.window.contains(ended);
        match result {
            Ok(found) => {
                self.done += u64::from(counts);
                self.missing += u64::from(counts && found == Found::Nothing);
                if self.window.contains(begun) {
                    self.latencies.entry(kind).or_default().add(ended - begun);
                }
            }
            // What began in the window may take longer than it to fail: that is not to be overlooked.
            Err(failed) if counts || self.window.contains(begun) => {
                self.errors += 1;
                add_error(&mut self.error_kinds, failed.kind, 1, failed.text);
            }
            Err(_) => {}
        }
    }

    /// Counts an operation that was due and that nobody began. How long it would have taken is not known; that it waited
    /// until the end is.
    pub(super) fn never_begun(&mut self, due: Instant) {
        if self.window.contains(due) {
            self.backlog += 1;
            self.waiting.add(self.window.end - due);
        }
    }

    /// Adds what other callers have counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.done += other.done;
        self.errors += other.errors;
        self.missing += other.missing;
        self.backlog += other.backlog;
        self.waiting.merge(&other.waiting);
        for (kind, latencies) in &other.latencies {
            self.latencies.entry(*kind).or_default().merge(latencies);
        }
        for (kind, (count, text)) in other.error_kinds {
            add_error(&mut self.error_kinds, kind, count, text);
        }
    }

    /// Latencies of all operations, with those that never began as if they had ended with the window.
    pub(super) fn all(&self) -> Latencies {
        let mut all = Latencies::new();
        self.latencies.values().chain([&self.waiting]).for_each(|some| all.merge(some));
        all
    }

    /// Latencies by kind, in the order of [`Kind::ALL`].
    pub(super) const fn by_kind(&self) -> &BTreeMap<Kind, Latencies> {
        &self.latencies
    }
}

fn add_error(kinds: &mut BTreeMap<String, (u64, String)>, kind: String, count: u64, text: String) {
    if kinds.contains_key(&kind) || kinds.len() < ERROR_KINDS_MAX {
        kinds.entry(kind).or_insert((0, text)).0 += count;
    }
}

/// Latencies, to three digits.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// In nanoseconds; made with the first.
    histogram: Option<Histogram<u64>>,
}

impl Latencies {
    pub(super) const fn new() -> Self {
        Self { histogram: None }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if self.histogram.is_none() {
            // Three digits are within what there can be.
            self.histogram = Histogram::new(3).ok();
        }
        if let Some(histogram) = &mut self.histogram {
            // It grows with what it is given.
            let _ = histogram.record(nanos.max(1));
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut self.histogram, &other.histogram) {
            (Some(histogram), Some(other)) => {
                // It fails only for a histogram that may not grow.
                let _ = histogram.add(other);
            }
            (None, Some(other)) => self.histogram = Some(other.clone()),
            (_, None) => {}
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// The latency that this share of operations does not exceed, in milliseconds; 0 without any.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        self.histogram.as_ref().map_or(0.0, |all| ms(all.value_at_quantile(share) as f64))
    }

    /// The longest, in milliseconds.
    pub(super) fn max_ms(&self) -> f64 {
        self.histogram.as_ref().map_or(0.0, |all| ms(all.max() as f64))
    }

    /// The mean, in milliseconds.
    pub(super) fn mean_ms(&self) -> f64 {
        self.histogram.as_ref().map_or(0.0, |all| ms(all.mean()))
    }
}

fn ms(nanos: f64) -> f64 {
    nanos / 1e6
}
