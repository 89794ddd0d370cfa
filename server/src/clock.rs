//! The node's two clocks, injected wherever time is needed so that tests and the simulator can turn them.
//!
//! Leases and promises are judged by the monotonic clock alone. It is one that goes on while the machine sleeps
//! (`CLOCK_BOOTTIME` on Linux), for a node that wakes up must find its leases expired. A virtual machine whose clocks all
//! stand still while it is paused is outside that promise; `reads = "read-index"` is for those.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

#[cfg(test)]
mod tests;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since some moment, the same for the whole process; never goes back, and goes on while the machine sleeps.
    fn monotonic_ns(&self) -> u64;
    /// Milliseconds since 1970 by the wall clock, which may jump either way.
    fn wall_ms(&self) -> u64;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

/// The clock that counts a sleeping machine's time: elsewhere than on Linux the ordinary one does.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MONOTONIC: ClockId = ClockId::Monotonic;

impl Clock for RealClock {
    fn monotonic_ns(&self) -> u64 {
        let time = clock_gettime(MONOTONIC);
        // Since the machine started, so neither part is negative, and 64 bits last for 584 years.
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
    }

    fn wall_ms(&self) -> u64 {
        // A wall clock before 1970 is as good as none; stamps then go by what was seen before.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Clocks that stand still until they are set.
#[derive(Debug, Default)]
pub struct TestClock {
    monotonic_ns: AtomicU64,
    wall_ms: AtomicU64,
}

impl TestClock {
    /// Clocks that show these times.
    #[must_use]
    pub fn new(monotonic_ns: u64, wall_ms: u64) -> Self {
        Self { monotonic_ns: AtomicU64::new(monotonic_ns), wall_ms: AtomicU64::new(wall_ms) }
    }

    /// Lets both clocks go on by so many milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.monotonic_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock, which may go back.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Sets the monotonic clock; it stays where it is if that would be back.
    pub fn set_monotonic_ns(&self, monotonic_ns: u64) {
        self.monotonic_ns.fetch_max(monotonic_ns, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::SeqCst)
    }
}
