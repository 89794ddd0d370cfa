//! Many seeds, side by side: each runs in one thread, and knows nothing of the others.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use crate::{Outcome, run};

/// Runs seeds on so many threads (this one is the first of them), as they come, and hands each outcome to `each`, in any order, one at a time. An answer of
/// `false` begins no more of them.
pub fn run_many(seeds: Range<u64>, threads: usize, each: impl FnMut(Outcome) -> bool + Send) {
    let next = AtomicU64::new(seeds.start);
    let is_over = AtomicBool::new(false);
    let each = Mutex::new(each);
    let work = || {
        while !is_over.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed, None);
            // A consumer that panicked has ended the run, and takes no more.
            let Ok(mut each) = each.lock() else { return };
            if !each(outcome) {
                is_over.store(true, Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

/// As many threads as the machine runs at once.
#[must_use]
pub fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
