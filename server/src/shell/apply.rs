//! The apply thread: committed entries, and snapshots, into the engine (R11, R18).
//!
//! What comes in for a group is applied in order, in one engine batch per job. A snapshot is installed in many small steps, with the
//! jobs of other groups in between; the jobs behind it wait.
//!
//! An engine that fails is brought back with all that it held, see [`recovery`]; then what failed is tried again.
//!
//! ```text
//!   Serving ──install──▶ Installing ──last step──▶ Serving
//!      └─ the log was reset to a snapshot      └─ no file, or a damaged one ──▶ Lacking ──install──▶ Installing
//!         that is not installed ──▶ Lacking
//! ```

mod recovery;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use stator_consensus::{ApplyJob, Event, InstallJob, ReplicaView};
use stator_storage::engine::Engine;
use stator_storage::log::Log;
use stator_storage::machine::{Applier, Committed, GroupId};
use stator_storage::partition::PartitionApplier;
use stator_storage::{Error, Result};

use super::flush::Losses;
use super::{Fatal, FatalOnPanic, HostMailbox};
use crate::mailbox::{Drained, Inbox, Mailbox};
use crate::metrics::{Metrics, SnapshotStep};
use crate::node::room::Room;
use crate::replicas::Replicas;
use crate::snapshots::files::SnapshotFiles;
use crate::snapshots::install::{InstallRun, Progress};
use recovery::Failing;

/// Told the index and term of the snapshot that a replica was brought to, or that there is none.
pub(crate) type Restored = Box<dyn FnOnce(Option<(u64, u64)>) + Send>;

/// Something to do with a replica's applier, if it is here.
pub(crate) type Act = Box<dyn FnOnce(Option<&PartitionApplier>) + Send>;

/// What the apply thread is told.
pub(crate) enum ApplyEvent {
    Add {
        group: GroupId,
        applier: PartitionApplier,
        applied: u64,
        view: Arc<ReplicaView>,
    },
    Apply(ApplyJob),
    Install(InstallJob),
    /// The replica has just been added; its log begins behind a snapshot that the engine does not hold.
    Restore {
        group: GroupId,
        mark: (u64, u64),
        done: Restored,
    },
    /// Something to do with a replica while nothing is being applied to it; with nothing, if it is not here.
    With {
        group: GroupId,
        act: Act,
    },
    Remove {
        group: GroupId,
        done: Box<dyn FnOnce() + Send>,
    },
}

impl ApplyEvent {
    /// Whether a replica comes or goes by it.
    const fn begins_or_ends(&self) -> bool {
        matches!(self, Self::Add { .. } | Self::Remove { .. })
    }
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
    phase: Phase,
    /// That the engine fails at it, until it has got further.
    failing: Option<Failing>,
}

/// What becomes of a replica's data.
enum Phase {
    /// Entries are applied to it.
    Serving,
    /// A snapshot takes its place.
    Installing(Box<Installing>),
    /// It is worth nothing, or no longer follows the log: entries are dropped until a snapshot comes.
    Lacking,
}

/// A snapshot being installed, and what comes behind it.
struct Installing {
    run: InstallRun,
    /// Whom to tell, if the replica has not been started yet.
    restored: Option<Restored>,
    /// Jobs that came meanwhile; their bytes are bounded by the host.
    waiting: VecDeque<ApplyJob>,
}

/// What the apply thread works with.
pub(crate) struct ApplyShell {
    pub(crate) inbox: Inbox<ApplyEvent>,
    pub(crate) host: HostMailbox,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) fatal: Fatal,
    pub(crate) metrics: Arc<Metrics>,
    /// Snapshots that have come, where any can.
    pub(crate) snapshots: Option<Arc<SnapshotFiles>>,
    pub(crate) losses: Arc<Losses>,
    pub(crate) room: Arc<Room>,
}

type All = BTreeMap<GroupId, Applying>;

impl ApplyShell {
    /// Starts the thread. It ends when its mailbox is closed and empty.
    pub(crate) fn spawn(self, number: usize) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("stator-apply-{number}")).spawn(move || self.run())
    }

    fn run(mut self) {
        let _guard = FatalOnPanic(self.fatal.clone());
        let mut replicas = All::new();
        let mut events = Vec::new();
        let mut is_installing = false;
        loop {
            // Between two steps of an installation others have their turn.
            let wait_max = is_installing.then_some(Duration::ZERO);
            if self.inbox.drain(&mut events, wait_max) == Drained::Closed {
                return;
            }
            for event in events.drain(..) {
                self.handle(&mut replicas, event);
            }
            is_installing = self.install_some(&mut replicas);
        }
    }

    fn handle(&self, replicas: &mut All, event: ApplyEvent) {
        match event {
            // Its removal may have overtaken it.
            ApplyEvent::Add { group, .. } if self.replicas.was_removed(group) => {}
            ApplyEvent::Add { group, applier, applied, view } => {
                let (phase, failing) = (Phase::Serving, None);
                replicas.insert(group, Applying { applier, applied, view, phase, failing });
            }
            ApplyEvent::Remove { group, done } => {
                replicas.remove(&group);
                done();
            }
            ApplyEvent::With { group, act } => {
                act(replicas.get(&group).map(|replica| &replica.applier));
            }
            ApplyEvent::Apply(job) => self.apply(replicas, job),
            ApplyEvent::Install(job) => {
                let mark = (job.index, job.term);
                self.install(replicas, job.group, mark, Some(&job.header), None);
            }
            ApplyEvent::Restore { group, mark, done } => {
                self.install(replicas, group, mark, None, Some(done));
            }
        }
    }

    fn apply(&self, replicas: &mut All, job: ApplyJob) {
        let group = job.group;
        loop {
            let Some(replica) = replicas.get_mut(&group) else { return };
            match &mut replica.phase {
                Phase::Serving => {}
                Phase::Installing(installing) => return installing.waiting.push_back(job),
                Phase::Lacking => return,
            }
            match replica.apply(&job.entries) {
                Ok(()) => {
                    replica.failing = None;
                    return self.applied(group, replica.applied);
                }
                // That brings the replica to where it was before, and the job is tried again.
                Err(error) if is_engines(&error) => self.recover(replicas, group, error),
                Err(error) => return self.fail(replicas, group, &error),
            }
        }
    }

    fn applied(&self, group: GroupId, index: u64) {
        self.host.push(Event::Applied { group, index });
    }

    fn fail(&self, replicas: &mut All, group: GroupId, error: &Error) {
        replicas.remove(&group);
        let reason = error.to_string();
        if matches!(error, Error::LogFailed(_)) {
            (self.fatal)(reason.clone());
        }
        tracing::error!(group = group.0, reason, "a replica stopped: it cannot apply");
        self.replicas.failed(group, reason.clone());
        self.host.push(Event::Stop { group, reason });
    }

    // Snapshots.

    /// Another snapshot is to be installed.
    fn install(
        &self,
        replicas: &mut All,
        group: GroupId,
        mark: (u64, u64),
        header: Option<&Bytes>,
        restored: Option<Restored>,
    ) {
        let Some(replica) = replicas.get_mut(&group) else { return };
        replica.failing = None;
        self.begin_install(group, replica, mark, header, restored);
    }

    /// From now on the replica's data are the snapshot's, or nobody's. What waits for a snapshot before it is dropped: it goes no
    /// further than this one.
    fn begin_install(
        &self,
        group: GroupId,
        replica: &mut Applying,
        mark: (u64, u64),
        header: Option<&Bytes>,
        restored: Option<Restored>,
    ) {
        let files = self.snapshots.as_ref();
        let Some(run) = files.and_then(|files| InstallRun::new(files, group, mark, header)) else {
            return self.lack(group, replica, restored, "its file is not here");
        };
        tracing::info!(name = %run.name(), "a snapshot is installed");
        let waiting = VecDeque::new();
        replica.phase = Phase::Installing(Box::new(Installing { run, restored, waiting }));
    }

    /// The replica has no data to go on from.
    fn lack(&self, group: GroupId, replica: &mut Applying, restored: Option<Restored>, why: &str) {
        tracing::error!(group = group.0, why, "a snapshot is lost: the replica needs another");
        self.metrics.snapshot(SnapshotStep::Failed);
        replica.phase = Phase::Lacking;
        replica.view.replace_data(0);
        match restored {
            Some(restored) => restored(None),
            None => {
                self.host.push(Event::SnapshotLost { group });
            }
        }
    }

    /// A step of each installation. Answers whether there is more to do.
    fn install_some(&self, replicas: &mut All) -> bool {
        let is_installing = |replica: &Applying| matches!(replica.phase, Phase::Installing(_));
        let groups: Vec<GroupId> = replicas
            .iter()
            .filter(|(_, replica)| is_installing(replica))
            .map(|(id, _)| *id)
            .collect();
        for group in &groups {
            self.install_step(replicas, *group);
        }
        !groups.is_empty()
    }

    fn install_step(&self, replicas: &mut All, group: GroupId) {
        let Some(replica) = replicas.get_mut(&group) else { return };
        let Phase::Installing(installing) = &mut replica.phase else { return };
        match installing.run.step(&mut replica.applier, &replica.view) {
            Ok(Progress::More) => {
                let reached = installing.run.reached();
                replica.failing.take_if(|failing| failing.is_past(reached));
            }
            Ok(Progress::Installed(mark)) => {
                self.installed(replicas, group, (mark.index, mark.term));
            }
            Ok(Progress::Lost(why)) => {
                let restored = installing.restored.take();
                self.lack(group, replica, restored, &why);
            }
            Err(error) => self.recover(replicas, group, error),
        }
    }

    /// A snapshot is installed: what came behind it is applied.
    fn installed(&self, replicas: &mut All, group: GroupId, mark: (u64, u64)) {
        let Some(replica) = replicas.get_mut(&group) else { return };
        let Phase::Installing(installing) = std::mem::replace(&mut replica.phase, Phase::Serving)
        else {
            return;
        };
        tracing::info!(group = group.0, index = mark.0, "a snapshot has been installed");
        self.metrics.snapshot(SnapshotStep::Installed);
        // More was applied once, if the engine lost this snapshot after it had been installed.
        let target = replica.applied.max(mark.0);
        replica.applied = target;
        match replica.replay(group, &self.log) {
            Ok(true) => self.losses.recovered(group),
            Ok(false) => return,
            Err(error) if is_engines(&error) => self.recover(replicas, group, error),
            Err(error) => return self.fail(replicas, group, &error),
        }
        let Some(replica) = replicas.get_mut(&group) else { return };
        // If jobs wait, the first of them will tell: an engine that fails at it may lose the snapshot each time.
        if installing.waiting.is_empty() && matches!(replica.phase, Phase::Serving) {
            replica.failing = None;
        }
        match installing.restored {
            Some(restored) => restored(Some(mark)),
            None => self.applied(group, target),
        }
        for job in installing.waiting {
            self.apply(replicas, job);
        }
    }
}

impl Applying {
    /// Applies what is not applied yet: a batch that the engine has answered with an error may be there all the same.
    fn apply(&mut self, entries: &[Committed]) -> Result<()> {
        let held = entries.partition_point(|entry| entry.index <= self.applied);
        self.applier.apply(entries.get(held..).unwrap_or_default())?;
        if let Some(last) = entries.last() {
            self.applied = last.index;
        }
        Ok(())
    }
}

/// Whether it is the engine as a whole that failed, and not one replica's data.
pub(crate) fn is_engines(error: &Error) -> bool {
    matches!(error, Error::Engine(_) | Error::Full(_) | Error::Io { .. })
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
