//! Whether there is room for writes: judged before an engine or the log meets a full disk.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dir::free_bytes;

/// How often the disk is asked, at most, in nanoseconds.
const LOOK_EVERY_NS: u64 = 200_000_000;

/// The disk's reserve.
pub(crate) struct Room {
    /// The directory whose disk counts; none if nothing is kept on disk.
    dir: Option<PathBuf>,
    min_free: u64,
    clock: std::sync::Arc<dyn crate::clock::Clock>,
    looked_ns: AtomicU64,
    free: AtomicU64,
}

impl Room {
    pub(crate) fn new(
        dir: Option<PathBuf>,
        min_free: u64,
        clock: std::sync::Arc<dyn crate::clock::Clock>,
    ) -> Self {
        Self { dir, min_free, clock, looked_ns: AtomicU64::new(0), free: AtomicU64::new(u64::MAX) }
    }

    /// Why writes are refused, if they are.
    pub(crate) fn refusal(&self) -> Option<String> {
        let dir = self.dir.as_ref()?;
        let now_ns = self.clock.monotonic_ns();
        let looked_ns = self.looked_ns.load(Ordering::Relaxed);
        if (looked_ns == 0 || now_ns >= looked_ns + LOOK_EVERY_NS)
            && self
                .looked_ns
                .compare_exchange(looked_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            && let Ok(free) = free_bytes(dir)
        {
            self.free.store(free, Ordering::Relaxed);
        }
        let free = self.free.load(Ordering::Relaxed);
        (free < self.min_free).then(|| {
            format!(
                "The node's disk is nearly full: {} MiB are free, and {} MiB are kept in reserve. Reads go on.",
                free >> 20,
                self.min_free >> 20
            )
        })
    }
}
