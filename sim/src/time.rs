//! Virtual time: nanoseconds since the run began, the queue of what is to happen, and the clocks of nodes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::rng::Rng;

/// Nanoseconds of virtual time.
pub(crate) type Ns = u64;

/// A microsecond.
pub(crate) const US: Ns = 1_000;
/// A millisecond.
pub(crate) const MS: Ns = 1_000_000;
/// A second.
pub(crate) const SECOND: Ns = 1_000_000_000;

/// How far the rates of two nodes' monotonic clocks may be apart from true time, each, in millionths. A lease of 725 ms
/// and a promise of 800 ms bear more: what is tested is what is promised.
const RATE_PPM_MAX: u64 = 10_000;

/// When simulated wall clocks begin, in milliseconds since the Unix epoch.
const WALL_BEGIN_MS: u64 = 1_700_000_000_000;

/// What is to happen, in order of time, and of asking at equal times.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<Due<T>>>,
    asked: u64,
}

struct Due<T> {
    at: Ns,
    asked: u64,
    what: T,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), asked: 0 }
    }

    pub(crate) fn push(&mut self, at: Ns, what: T) {
        self.asked += 1;
        self.heap.push(Reverse(Due { at, asked: self.asked, what }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Ns, T)> {
        self.heap.pop().map(|Reverse(due)| (due.at, due.what))
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.asked) == (other.at, other.asked)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.asked).cmp(&(other.at, other.asked))
    }
}

/// A node's clocks. The monotonic one begins anywhere and runs a little fast or slow; the wall clock says what it likes.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock {
    begin_ns: Ns,
    rate_ppm: i64,
    wall_skew_ms: i64,
}

impl NodeClock {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let rate_ppm = rng.between(0, 2 * RATE_PPM_MAX) as i64 - RATE_PPM_MAX as i64;
        let mut clock = Self { begin_ns: 0, rate_ppm, wall_skew_ms: 0 };
        clock.reboot(rng);
        clock.jump(rng);
        clock
    }

    /// The machine starts again, and with it the monotonic clock.
    pub(crate) fn reboot(&mut self, rng: &mut Rng) {
        self.begin_ns = rng.between(0, 3600 * SECOND);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&mut self, rng: &mut Rng) {
        let range = rng.pick(&[10, 1_000, 100_000, 1_000_000_000]);
        self.wall_skew_ms = rng.between(0, 2 * range) as i64 - range as i64;
    }

    pub(crate) fn monotonic_ns(&self, now: Ns) -> u64 {
        let elapsed = i128::from(now) * i128::from(1_000_000 + self.rate_ppm) / 1_000_000;
        self.begin_ns + elapsed as u64
    }

    pub(crate) fn wall_ms(&self, now: Ns) -> u64 {
        (WALL_BEGIN_MS + now / MS).saturating_add_signed(self.wall_skew_ms)
    }

    /// How long it is until this clock has gone on by so much.
    pub(crate) fn real(&self, by_this_clock: Ns) -> Ns {
        (i128::from(by_this_clock) * 1_000_000 / i128::from(1_000_000 + self.rate_ppm)) as u64
    }
}
