//! Whether there is room for writes: judged before an engine or the log meets a full disk.
//!
//! ```text
//!  free space   ── min-free ──────── half of it ─────────────── none
//!   all goes on │ leaders here take  │ followers here take no   │ the engine fails, and is opened again once the
//!               │ no writes of items │ entries of items either  │ reserve is back; reads go on meanwhile
//! ```
//! The catalog goes on in between: deleting a table is how an operator makes room.

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
        let free = self.free()?;
        (free < self.min_free).then(|| {
            format!(
                "The node's disk is nearly full: {} MiB are free, and {} MiB are kept in reserve. Reads go on.",
                free >> 20,
                self.min_free >> 20
            )
        })
    }

    /// Whether there is the whole reserve, so that an engine may be trusted with it.
    pub(crate) fn is_ample(&self) -> bool {
        self.free().is_none_or(|free| free >= self.min_free)
    }

    /// Whether half of the reserve is gone: what leaders elsewhere send is not taken any more either. Those here stop at the
    /// whole of it, so that what they have proposed by then still finds its place.
    pub(crate) fn is_scarce(&self) -> bool {
        self.free().is_some_and(|free| free < self.min_free / 2)
    }

    /// The free bytes, as they were a moment ago; none if nothing is kept on disk.
    fn free(&self) -> Option<u64> {
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
        Some(self.free.load(Ordering::Relaxed))
    }
}
