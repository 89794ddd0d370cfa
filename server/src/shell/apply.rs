//! The apply thread: committed entries into the engine (R11).
//!
//! What comes in for a group is applied in order, in one engine batch per job. An engine that fails is opened again in place; what
//! it lost by that is applied once more from the log, which holds everything the engine has not flushed. Until it has caught up,
//! the replicas answer no reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use stator_consensus::{ApplyJob, Event, InstallJob, ReplicaView};
use stator_storage::engine::Engine;
use stator_storage::log::Log;
use stator_storage::machine::{Applier, Committed, GroupId};
use stator_storage::partition::PartitionApplier;
use stator_storage::{Error, Result};

use super::{Fatal, FatalOnPanic, HostMailbox};
use crate::mailbox::{Drained, Inbox, Mailbox};
use crate::replicas::Replicas;

/// How long to wait before a failed engine is opened once more.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// Bytes of entries read back from the log at once.
const REPLAY_BYTES: u64 = 8 << 20;

/// What the apply thread is told.
pub(crate) enum ApplyEvent {
    Add { group: GroupId, applier: PartitionApplier, applied: u64, view: Arc<ReplicaView> },
    Apply(ApplyJob),
    Install(InstallJob),
    Remove { group: GroupId, done: Box<dyn FnOnce() + Send> },
}

/// The apply thread's mailbox. What waits in it is bounded by the hosts, by bytes per group.
#[derive(Clone)]
pub(crate) struct ApplyMailbox(pub(crate) Mailbox<ApplyEvent>);

impl ApplyMailbox {
    pub(crate) fn apply(&self, job: ApplyJob) {
        self.0.push(ApplyEvent::Apply(job));
    }

    pub(crate) fn install(&self, job: InstallJob) {
        self.0.push(ApplyEvent::Install(job));
    }
}

/// A replica on this thread.
struct Applying {
    applier: PartitionApplier,
    /// The last entry applied.
    applied: u64,
    /// Keeps readers and the evaluator out while the data is not whole.
    view: Arc<ReplicaView>,
}

/// What the apply thread works with.
pub(crate) struct ApplyShell {
    pub(crate) inbox: Inbox<ApplyEvent>,
    pub(crate) host: HostMailbox,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) fatal: Fatal,
}

impl ApplyShell {
    /// Starts the thread. It ends when its mailbox is closed and empty.
    pub(crate) fn spawn(self, number: usize) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("stator-apply-{number}")).spawn(move || self.run())
    }

    fn run(mut self) {
        let _guard = FatalOnPanic(self.fatal.clone());
        let mut replicas: BTreeMap<GroupId, Applying> = BTreeMap::new();
        let mut events = Vec::new();
        while self.inbox.drain(&mut events, None) != Drained::Closed {
            for event in events.drain(..) {
                self.handle(&mut replicas, event);
            }
        }
    }

    fn handle(&self, replicas: &mut BTreeMap<GroupId, Applying>, event: ApplyEvent) {
        match event {
            ApplyEvent::Add { group, applier, applied, view } => {
                replicas.insert(group, Applying { applier, applied, view });
            }
            ApplyEvent::Remove { group, done } => {
                replicas.remove(&group);
                done();
            }
            ApplyEvent::Apply(job) => {
                let group = job.group;
                let Some(replica) = replicas.get_mut(&group) else { return };
                match replica.apply(&job.entries) {
                    Ok(()) => self.applied(group, replica.applied),
                    Err(error) if is_engines(&error) => {
                        tracing::error!(%error, "the engine failed: it is opened again");
                        self.recover(replicas);
                        self.retry(replicas, &job);
                    }
                    Err(error) => self.fail(replicas, group, &error),
                }
            }
            ApplyEvent::Install(job) => {
                let group = job.group;
                let what = "a snapshot is to be installed, and this version cannot";
                self.fail(replicas, group, &Error::Engine(what.to_owned()));
            }
        }
    }

    fn applied(&self, group: GroupId, index: u64) {
        self.host.push(Event::Applied { group, index });
    }

    fn fail(&self, replicas: &mut BTreeMap<GroupId, Applying>, group: GroupId, error: &Error) {
        replicas.remove(&group);
        let reason = error.to_string();
        tracing::error!(group = group.0, reason, "a replica stopped: it cannot apply");
        self.replicas.failed(group, reason.clone());
        self.host.push(Event::Stop { group, reason });
    }

    /// The job that met the failure, once more: [`ApplyShell::recover`] has brought the replica to where it was before.
    fn retry(&self, replicas: &mut BTreeMap<GroupId, Applying>, job: &ApplyJob) {
        loop {
            let Some(replica) = replicas.get_mut(&job.group) else { return };
            match replica.apply(&job.entries) {
                Ok(()) => return self.applied(job.group, replica.applied),
                Err(error) if is_engines(&error) => {
                    std::thread::sleep(REOPEN_PAUSE);
                    self.recover(replicas);
                }
                Err(error) => return self.fail(replicas, job.group, &error),
            }
        }
    }

    /// Opens the engine again, and applies once more what it lost. All replicas share it, so all may have lost something.
    fn recover(&self, replicas: &mut BTreeMap<GroupId, Applying>) {
        for replica in replicas.values() {
            replica.applier.suspend_reads();
            replica.view.replace_data(replica.applied);
        }
        loop {
            match self.reopen_and_replay(replicas) {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "the engine does not come back: it is tried again");
                    std::thread::sleep(REOPEN_PAUSE);
                }
            }
        }
    }

    fn reopen_and_replay(&self, replicas: &mut BTreeMap<GroupId, Applying>) -> Result<()> {
        self.engine.reopen()?;
        let mut failed = Vec::new();
        for (group, replica) in replicas.iter_mut() {
            match replica.replay(*group, &self.log) {
                Ok(()) => replica.view.data_restored(),
                Err(error) if is_engines(&error) => return Err(error),
                Err(error) => failed.push((*group, error)),
            }
        }
        for (group, error) in failed {
            self.fail(replicas, group, &error);
        }
        Ok(())
    }
}

impl Applying {
    fn apply(&mut self, entries: &[Committed]) -> Result<()> {
        self.applier.apply(entries)?;
        if let Some(last) = entries.last() {
            self.applied = last.index;
        }
        Ok(())
    }

    /// Applies from what the engine holds to what it held.
    fn replay(&mut self, group: GroupId, log: &Log) -> Result<()> {
        let mut next = self.applier.mark()?.index + 1;
        while next <= self.applied {
            let read = log.entries(group, next..self.applied + 1, REPLAY_BYTES)?;
            let entries: Vec<Committed> = read
                .into_iter()
                .map(|entry| Committed { index: entry.index, term: entry.term, data: entry.data })
                .collect();
            let Some(last) = entries.last().map(|entry| entry.index) else {
                let what = format!("entry {next} of group {} is not in the log any more", group.0);
                return Err(Error::corruption("the log", 0, what));
            };
            self.applier.apply(&entries)?;
            next = last + 1;
        }
        Ok(())
    }
}

/// Whether it is the engine as a whole that failed, and not one replica's data.
fn is_engines(error: &Error) -> bool {
    matches!(error, Error::Engine(_) | Error::Full(_) | Error::Io { .. })
}
