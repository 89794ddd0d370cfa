//! The flush thread: makes the engine durable now and then, and lets the hosts cut their logs.
//!
//! The engine's own durability is not waited for by anybody; this keeps short what has to be replayed after a crash, and frees the
//! log. What may be cut off is what was applied *before* the flush (R16).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use stator_consensus::Event;
use stator_storage::engine::Engine;
use stator_storage::log::Log;
use stator_storage::machine::GroupId;

use crate::metrics::Metrics;
use crate::replicas::Replicas;

/// What the flush thread works with.
pub(crate) struct FlushShell {
    pub(crate) every: Duration,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) metrics: Arc<Metrics>,
    /// Ends the thread when its other side is dropped.
    pub(crate) stop: Receiver<()>,
}

impl FlushShell {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("stator-flush".into()).spawn(move || self.run())
    }

    fn run(self) {
        let mut flushed: Vec<(GroupId, u64)> = Vec::new();
        while self.stop.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            let applied: Vec<(GroupId, u64)> = self.replicas.applied();
            if applied != flushed {
                let begun = std::time::Instant::now();
                if let Err(error) = self.engine.flush() {
                    tracing::error!(%error, "the engine could not be flushed");
                    continue;
                }
                self.metrics.engine_flush(begun.elapsed());
                for (group, index) in &applied {
                    self.replicas.tell(*group, Event::Durable { group: *group, index: *index });
                }
                flushed = applied;
            }
            for pressure in self.log.pressure() {
                let (group, index) = (pressure.group, pressure.index);
                self.replicas.tell(group, Event::Pressure { group, index });
            }
        }
    }
}
