//! When operations begin.
//!
//! In a *closed loop* each caller begins an operation when its last one ended: it finds out how much the target can do, but
//! a target that stands still for a second is asked nothing in it, and so its latencies look better than its users'. At a
//! *rate* operations are due at times that are fixed beforehand, whoever is still waiting, and latency counts from then, not
//! from when a caller was free at last. (What goes without the latter is called coordinated omission.)
//!
//! What is due is told by a thread of its own, for the runtime's timers have a resolution of a millisecond. Callers take what
//! is due in order. What none of them had begun when time was up is the *backlog*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

#[cfg(test)]
mod tests;

/// The thread looks at the clock at least so often: it ends no later than that after its run was given up.
const NAP_MAX: Duration = Duration::from_millis(100);

/// When operations are due at a rate: pure arithmetic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    start: Instant,
    per_second: f64,
}

impl Schedule {
    pub(super) const fn new(start: Instant, per_second: f64) -> Self {
        Self { start, per_second }
    }

    /// When the operation of this number, from 0, is due.
    pub(super) fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.per_second)
    }

    /// How many operations are due by then.
    pub(super) fn due_by(&self, now: Instant) -> u64 {
        let Some(elapsed) = now.checked_duration_since(self.start) else { return 0 };
        // The first is due at once. Rounding may be wrong by one, either way.
        let mut count = (elapsed.as_secs_f64() * self.per_second) as u64 + 1;
        while count > 0 && self.due(count - 1) > now {
            count -= 1;
        }
        while self.due(count) <= now {
            count += 1;
        }
        count
    }
}

/// Tells callers when to begin.
#[derive(Clone, Debug)]
pub(super) enum Pace {
    /// At once, until the end.
    Closed { end: Instant },
    /// When an operation is due.
    Open(Arc<Open>),
}

impl Pace {
    /// At a rate, or as fast as callers are.
    pub(super) fn start(start: Instant, end: Instant, per_second: Option<f64>) -> Self {
        match per_second {
            None => Self::Closed { end },
            Some(per_second) => Self::Open(Open::start(Schedule::new(start, per_second), end)),
        }
    }

    /// Waits until there is something to do. Answers from when on its latency counts; `None` at the end.
    pub(super) async fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed { end } => {
                let now = Instant::now();
                (now < *end).then_some(now)
            }
            Self::Open(open) => open.next().await,
        }
    }

    /// When the operations were due that nobody began, once the end has come.
    pub(super) fn backlog(&self) -> Vec<Instant> {
        match self {
            Self::Closed { .. } => Vec::new(),
            Self::Open(open) => open.backlog(),
        }
    }
}

/// What callers at a rate share.
#[derive(Debug)]
pub(super) struct Open {
    schedule: Schedule,
    end: Instant,
    /// A permit for each operation that is due and not begun; closed at the end.
    due: Semaphore,
    begun: AtomicU64,
}

impl Open {
    fn start(schedule: Schedule, end: Instant) -> Arc<Self> {
        let open =
            Arc::new(Self { schedule, end, due: Semaphore::new(0), begun: AtomicU64::new(0) });
        let clock = Arc::downgrade(&open);
        std::thread::spawn(move || {
            let mut told = 0;
            while let Some(open) = clock.upgrade() {
                let Some(nap) = open.tell(&mut told, Instant::now()) else { return };
                drop(open);
                std::thread::sleep(nap);
            }
        });
        open
    }

    /// Tells what has become due since `told`. Answers how long nothing else will be; `None` at the end.
    fn tell(&self, told: &mut u64, now: Instant) -> Option<Duration> {
        if now >= self.end {
            self.due.close();
            return None;
        }
        let count = self.schedule.due_by(now);
        // More than a semaphore can hold will be a backlog anyway.
        let room = Semaphore::MAX_PERMITS - self.due.available_permits();
        self.due.add_permits(usize::try_from(count - *told).unwrap_or(room).min(room));
        *told = count;
        let until = self.schedule.due(count).min(self.end);
        Some(until.saturating_duration_since(now).min(NAP_MAX))
    }

    async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        Some(self.schedule.due(self.begun.fetch_add(1, Ordering::Relaxed)))
    }

    fn backlog(&self) -> Vec<Instant> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun..self.schedule.due_by(self.end)).map(|number| self.schedule.due(number)).collect()
    }
}
