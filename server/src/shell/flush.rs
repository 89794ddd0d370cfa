//! The flush thread: makes the engine durable now and then, and lets the hosts cut their logs.
//!
//! The engine's own durability is not waited for by anybody; this keeps short what has to be replayed after a crash, and frees the
//! log and the files of snapshots that were installed. What may be cut off is what was applied *before* the flush (R16), and what
//! the engine still holds then: one that was opened again meanwhile may have lost some of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use stator_consensus::Event;
use stator_storage::engine::Engine;
use stator_storage::log::Log;
use stator_storage::machine::GroupId;

use super::{Fatal, FatalOnPanic};
use crate::metrics::Metrics;
use crate::node::room::Room;
use crate::replicas::Replicas;
use crate::snapshots::files::SnapshotFiles;

/// What the engine has lost by being opened again, and not got back yet: the replicas whose data are behind what they had applied.
#[derive(Default)]
pub(crate) struct Losses {
    /// How often the engine was opened again.
    reopened: AtomicU64,
    behind: Mutex<BTreeSet<GroupId>>,
}

impl Losses {
    fn behind(&self) -> MutexGuard<'_, BTreeSet<GroupId>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is about to be opened again: these replicas may lose something.
    pub(crate) fn begin(&self, groups: impl Iterator<Item = GroupId>) {
        self.behind().extend(groups);
        self.reopened.fetch_add(1, Ordering::SeqCst);
    }

    /// A replica is where it was before.
    pub(crate) fn recovered(&self, group: GroupId) {
        self.behind().remove(&group);
    }
}

/// What the flush thread works with.
pub(crate) struct FlushShell {
    pub(crate) every: Duration,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) snapshots: Option<Arc<SnapshotFiles>>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) room: Arc<Room>,
    pub(crate) fatal: Fatal,
    /// Ends the thread when its other side is dropped.
    pub(crate) stop: Receiver<()>,
}

impl FlushShell {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("stator-flush".into()).spawn(move || self.run())
    }

    fn run(self) {
        let _guard = FatalOnPanic(self.fatal.clone());
        let mut flushed: Vec<(GroupId, u64)> = Vec::new();
        let mut is_failing = false;
        while self.stop.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            self.room.keep_spare();
            let reopened = self.losses.reopened.load(Ordering::SeqCst);
            let mut applied: Vec<(GroupId, u64)> = self.replicas.applied();
            {
                let behind = self.losses.behind();
                applied.retain(|(group, _)| !behind.contains(group));
            }
            if applied != flushed {
                let begun = std::time::Instant::now();
                if let Err(error) = self.engine.flush() {
                    // Said once: it may be so for as long as the disk is full.
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "the engine could not be flushed");
                    }
                    continue;
                }
                is_failing = false;
                self.metrics.engine_flush(begun.elapsed());
                if self.losses.reopened.load(Ordering::SeqCst) != reopened {
                    continue;
                }
                for (group, index) in &applied {
                    self.replicas.tell(*group, Event::Durable { group: *group, index: *index });
                }
                flushed = applied;
            }
            if let Some(snapshots) = &self.snapshots {
                snapshots.flushed(&flushed, |group| Some(self.log.mark(group)?.index));
            }
            for pressure in self.log.pressure() {
                let (group, index) = (pressure.group, pressure.truncate_to);
                self.replicas.tell(group, Event::Pressure { group, index });
            }
        }
    }
}

#[cfg(test)]
#[path = "flush_tests.rs"]
mod tests;
