//! Whether there is room for writes: judged before an engine or the log meets a full disk.
//!
//! ```text
//!  free space   ── min-free ──────── half of it ─────────────── none
//!   all goes on │ leaders here take  │ followers here take no   │ the engine fails: the spare file is given up for what
//!               │ no writes of items │ entries of items either  │ is on its way, and the engine is opened again
//! ```
//! At the first mark the other nodes are told, too: leaders there take no writes of partitions most of whose replicas are such.
//! The catalog goes on in between: deleting a table is how an operator makes room.
//!
//! A log that is full is another thing: followers here take no entries at all until it has been truncated, not even the catalog's.
//! The others are told which of the two it is. They are not told of a follower that takes no entries because much of what is
//! committed is left to apply: it does again with every batch that is applied, and sets a pace. What is over that the leader refuses
//! by its own bound, and an engine that does not go on at all for want of room is told of as a full disk.
//!
//! The *spare file* is an eighth of the reserve that is really there, whoever fills the disk. What is committed and not applied
//! keeps a leader from strong reads, so there has to be room to apply it. An engine that fails with the file gone stays as it
//! is, readable, until there is room.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{FallocateFlags, fallocate};

use crate::dir::free_bytes;

/// How often the disk is asked, at most, in nanoseconds.
const LOOK_EVERY_NS: u64 = 200_000_000;

/// The spare file's name.
const SPARE: &str = "spare";

/// What a node has no room on: the more entries it refuses, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Full {
    /// The disk: entries of items are refused, or soon will be.
    Disk,
    /// The log: all entries are.
    Log,
}

/// The disk's reserve.
pub(crate) struct Room {
    /// The directory whose disk counts; none if nothing is kept on disk.
    dir: Option<PathBuf>,
    min_free: u64,
    clock: std::sync::Arc<dyn crate::clock::Clock>,
    looked_ns: AtomicU64,
    free: AtomicU64,
    /// Whether the spare file is known to be there.
    has_spare: AtomicBool,
    /// Whether an engine that failed waits for the reserve.
    is_waited_for: AtomicBool,
    /// How many hosts wait for a log that is full.
    log_full: AtomicUsize,
}

impl Room {
    pub(crate) fn new(
        dir: Option<PathBuf>,
        min_free: u64,
        clock: std::sync::Arc<dyn crate::clock::Clock>,
    ) -> Self {
        Self {
            dir,
            min_free,
            clock,
            looked_ns: AtomicU64::new(0),
            free: AtomicU64::new(u64::MAX),
            has_spare: AtomicBool::new(false),
            is_waited_for: AtomicBool::new(false),
            log_full: AtomicUsize::new(0),
        }
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

    /// One more host waits for a log that is full, or one of those that did does not any more. Each tells its own changes.
    pub(crate) fn note_log_full(&self, is_full: bool) {
        if is_full {
            self.log_full.fetch_add(1, Ordering::Relaxed);
        } else {
            self.log_full.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Why entries are refused here, or soon will be, which the other nodes are told.
    pub(crate) fn full(&self) -> Option<Full> {
        if self.log_full.load(Ordering::Relaxed) > 0 {
            return Some(Full::Log);
        }
        self.refusal().map(|_| Full::Disk)
    }

    /// Why reads that need what was written last are refused, if they are: it cannot be applied.
    pub(crate) fn reads_refusal(&self) -> Option<&'static str> {
        self.is_waited_for.load(Ordering::Relaxed).then_some(
            "The node's disk is full: what was written last cannot be read until there is room. Other reads go on.",
        )
    }

    /// An engine that failed waits for the reserve, or does so no more.
    pub(crate) fn note_waited_for(&self, waited_for: bool) {
        self.is_waited_for.store(waited_for, Ordering::Relaxed);
    }

    /// What was seen of the disk is out of date.
    pub(crate) fn look_again(&self) {
        self.looked_ns.store(0, Ordering::Relaxed);
    }

    /// Sees to it that there is a spare file, once there is room for it beside the reserve.
    pub(crate) fn keep_spare(&self) {
        let bytes = self.min_free / 8;
        let (Some(dir), Some(free)) = (&self.dir, self.free()) else { return };
        if self.has_spare.load(Ordering::Relaxed) || free < self.min_free + bytes {
            return;
        }
        let path = dir.join(SPARE);
        let make = || -> io::Result<()> {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
        };
        if let Err(error) = make() {
            // It is help: a file system that cannot reserve space has none.
            tracing::debug!(%error, "no spare file");
            let _ = fs::remove_file(&path);
        }
        self.has_spare.store(true, Ordering::Relaxed);
    }

    /// Gives the spare file up. Answers whether it was there.
    pub(crate) fn spend_spare(&self) -> bool {
        let Some(dir) = &self.dir else { return false };
        let was_there = fs::remove_file(dir.join(SPARE)).is_ok();
        self.has_spare.store(false, Ordering::Relaxed);
        was_there
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::RealClock;

    #[test]
    fn the_spare_file_is_there_until_it_is_needed() {
        let dir = tempfile::tempdir().expect("a directory");
        let room = |min_free| Room::new(Some(dir.path().to_owned()), min_free, Arc::new(RealClock));
        let all = room(u64::MAX / 2);
        all.keep_spare();
        assert!(!all.spend_spare(), "no room for one");
        assert!(!all.is_ample() && all.is_scarce() && all.refusal().is_some());

        let some = room(8 << 20);
        some.keep_spare();
        let length = || fs::metadata(dir.path().join(SPARE)).map(|found| found.len()).ok();
        assert_eq!(length(), Some(1 << 20));
        assert!(some.spend_spare() && !some.spend_spare());
        assert_eq!(length(), None);
        some.keep_spare();
        assert_eq!(length(), Some(1 << 20), "made again");
        assert!(some.is_ample() && !some.is_scarce() && some.refusal().is_none());
        assert!(room(8 << 20).spend_spare(), "of a former life");
    }

    #[test]
    fn others_are_told_of_a_full_log_as_of_a_full_disk() {
        let room = |min_free| Room::new(Some(std::env::temp_dir()), min_free, Arc::new(RealClock));
        let scarce = room(u64::MAX / 2);
        assert_eq!(scarce.full(), Some(Full::Disk));
        scarce.note_log_full(true);
        assert_eq!(scarce.full(), Some(Full::Log), "that is the worse");
        let ample = room(0);
        assert_eq!(ample.full(), None);
        ample.note_log_full(true);
        ample.note_log_full(true);
        ample.note_log_full(false);
        assert_eq!(ample.full(), Some(Full::Log), "another host waits on");
        assert!(ample.refusal().is_none());
        ample.note_log_full(false);
        assert_eq!(ample.full(), None);
    }

    #[test]
    fn what_keeps_nothing_on_disk_needs_no_room() {
        let room = Room::new(None, u64::MAX, Arc::new(RealClock));
        room.keep_spare();
        assert!(room.is_ample() && !room.is_scarce() && room.refusal().is_none());
        assert!(!room.spend_spare());
    }
}
