//! The apply thread: committed entries, and snapshots, into the engine (R11, R18).
//!
//! What comes in for a group is applied in order, in one engine batch per job. A snapshot is installed in many small steps, with the
//! jobs of other groups in between; the jobs behind it wait.
//!
//! An engine that fails is opened again in place; what it lost by that is applied once more from the log, which holds everything
//! the engine has not flushed, or installed once more from a snapshot's file, which stays until then. Until it has caught up, the
//! replicas answer no reads. On a full disk that waits for room, and the engine is read as it is meanwhile. One that fails on and on
//! for another reason ends the node, and so does a log that cannot be read back: the log has it all, and others lead meanwhile.
//!
//! ```text
//!   Serving ──install──▶ Installing ──last step──▶ Serving
//!      └─ the log was reset to a snapshot      └─ no file, or a damaged one ──▶ Lacking ──install──▶ Installing
//!         that is not installed ──▶ Lacking
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// How long to wait before a failed engine is opened once more.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// How long an engine may fail, for another reason than a full disk, before the node ends: it keeps its leaderships meanwhile.
const ENGINE_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// Bytes of entries read back from the log at once.
const REPLAY_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 8 << 20 };

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
    /// Since when the engine has failed, with nothing written in between.
    pub(crate) failing_since: Cell<Option<Instant>>,
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
            ApplyEvent::Add { group, applier, applied, view } => {
                replicas.insert(group, Applying { applier, applied, view, phase: Phase::Serving });
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
                let run = self.find(job.group, (job.index, job.term), Some(&job.header));
                self.begin_install(replicas, job.group, run, None);
            }
            ApplyEvent::Restore { group, mark, done } => {
                let run = self.find(group, mark, None);
                self.begin_install(replicas, group, run, Some(done));
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
                    self.failing_since.set(None);
                    return self.applied(group, replica.applied);
                }
                // That brings the replica to where it was before, and the job is tried again.
                Err(error) if is_engines(&error) => self.recover(replicas, &error),
                Err(error) => return self.fail(replicas, group, &error),
            }
        }
    }

    fn applied(&self, group: GroupId, index: u64) {
        self.host.push(Event::Applied { group, index });
    }

    fn fail(&self, replicas: &mut All, group: GroupId, error: &Error) {
        replicas.remove(&group);
        self.failing_since.set(None);
        let reason = error.to_string();
        if matches!(error, Error::LogFailed(_)) {
            (self.fatal)(reason.clone());
        }
        tracing::error!(group = group.0, reason, "a replica stopped: it cannot apply");
        self.replicas.failed(group, reason.clone());
        self.host.push(Event::Stop { group, reason });
    }

    // Snapshots.

    fn find(
        &self,
        group: GroupId,
        mark: (u64, u64),
        header: Option<&bytes::Bytes>,
    ) -> Option<InstallRun> {
        InstallRun::new(self.snapshots.as_ref()?, group, mark, header)
    }

    /// From now on the replica's data are the snapshot's, or nobody's. What waits for a snapshot before it is dropped: it goes no
    /// further than this one.
    fn begin_install(
        &self,
        replicas: &mut All,
        group: GroupId,
        run: Option<InstallRun>,
        restored: Option<Restored>,
    ) {
        let Some(replica) = replicas.get_mut(&group) else { return };
        match run {
            Some(run) => {
                tracing::info!(name = %run.name(), "a snapshot is installed");
                let waiting = VecDeque::new();
                replica.phase = Phase::Installing(Box::new(Installing { run, restored, waiting }));
            }
            None => self.lack(group, replica, restored, "its file is not here"),
        }
    }

    /// The replica has no data to go on from.
    fn lack(&self, group: GroupId, replica: &mut Applying, restored: Option<Restored>, why: &str) {
        tracing::error!(group = group.0, why, "a snapshot is lost: the replica needs another");
        self.metrics.snapshot(SnapshotStep::Failed);
        replica.phase = Phase::Lacking;
        replica.view.replace_data(0);
        self.failing_since.set(None);
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
            Ok(Progress::More) => self.failing_since.set(None),
            Ok(Progress::Installed(mark)) => {
                self.installed(replicas, group, (mark.index, mark.term));
            }
            Ok(Progress::Lost(why)) => {
                let restored = installing.restored.take();
                self.lack(group, replica, restored, &why);
            }
            Err(error) => self.recover(replicas, &error),
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
            Ok(()) => self.losses.recovered(group),
            Err(error) if is_engines(&error) => self.recover(replicas, &error),
            Err(_) if self.awaits_snapshot(group, target) => {
                replica.phase = Phase::Lacking;
                return;
            }
            Err(error) => return self.fail(replicas, group, &error),
        }
        match installing.restored {
            Some(restored) => restored(Some(mark)),
            None => self.applied(group, target),
        }
        for job in installing.waiting {
            self.apply(replicas, job);
        }
    }

    // An engine that failed.

    /// Brings back an engine that failed, with all that it held. If the node is to end it does not wait for that, for the log has it
    /// all: without replicas, what still waits is dropped.
    fn recover(&self, replicas: &mut All, failure: &Error) {
        tracing::error!(error = %failure, "the engine failed: it is opened again");
        self.metrics.engine_failed();
        // Whatever was seen of the disk a moment ago.
        self.room.look_again();
        if !self.wait_for_room() || !self.comes_back(replicas, failure) {
            replicas.clear();
        }
    }

    /// Opens the engine again, and applies once more what it lost. All replicas share it, so all may have lost something. False if
    /// the node is to end, which it is once this has gone on for too long.
    fn comes_back(&self, replicas: &mut All, failure: &Error) -> bool {
        for replica in replicas.values() {
            replica.applier.suspend_reads();
            replica.view.replace_data(replica.applied);
        }
        self.losses.begin(replicas.keys().copied());
        if self.is_beyond_hope(failure) {
            return false;
        }
        while let Err(error) = self.reopen_and_replay(replicas) {
            if self.is_beyond_hope(&error) || self.inbox.is_closed() {
                return false;
            }
            tracing::error!(%error, "the engine does not come back: it is tried again");
            std::thread::sleep(REOPEN_PAUSE);
        }
        true
    }

    /// Whether an engine has failed for too long; then the node is told to end. The time on a full disk does not count.
    fn is_beyond_hope(&self, failure: &Error) -> bool {
        let now = Instant::now();
        let since = self.failing_since.get().filter(|_| !matches!(failure, Error::Full(_)));
        let since = since.unwrap_or(now);
        self.failing_since.set(Some(since));
        let is_over = now - since >= ENGINE_PATIENCE;
        if is_over {
            (self.fatal)(format!("the engine does not come back: {failure}"));
        }
        is_over
    }

    /// An engine that has failed on a full disk can be read as long as it is not closed: if there is no spare room for what is to
    /// be applied, it stays open until the reserve is back, with which it will not fail again at once. Answers whether there is
    /// room; if not, the node is to end.
    fn wait_for_room(&self) -> bool {
        if self.room.is_ample() || self.room.spend_spare() {
            return true;
        }
        tracing::error!("the disk is full: nothing is applied until there is room, reads go on");
        self.room.note_waited_for(true);
        while !self.room.is_ample() {
            if self.inbox.is_closed() {
                return false;
            }
            std::thread::sleep(REOPEN_PAUSE);
        }
        self.room.note_waited_for(false);
        self.failing_since.set(None);
        true
    }

    fn reopen_and_replay(&self, replicas: &mut All) -> Result<()> {
        self.engine.reopen()?;
        let mut failed = Vec::new();
        for (group, replica) in replicas.iter_mut() {
            match self.restore(*group, replica) {
                Ok(()) => {}
                Err(error) if is_engines(&error) => return Err(error),
                Err(error) => failed.push((*group, error)),
            }
        }
        for (group, error) in failed {
            self.fail(replicas, group, &error);
        }
        Ok(())
    }

    /// Whether the log has been reset, perhaps just now, to a snapshot that is on its way to this thread.
    fn awaits_snapshot(&self, group: GroupId, applied: u64) -> bool {
        self.log.mark(group).is_some_and(|mark| mark.index > applied)
    }

    /// Brings a replica to where it was before the engine lost something, or sees to it that it will be.
    fn restore(&self, group: GroupId, replica: &mut Applying) -> Result<()> {
        match &mut replica.phase {
            Phase::Installing(installing) => installing.run.restart(),
            Phase::Lacking => {}
            Phase::Serving => {
                let held = replica.applier.mark()?;
                let log_mark = self.log.mark(group).map_or((0, 0), |mark| (mark.index, mark.term));
                let replayed = (held.index >= log_mark.0).then(|| replica.replay(group, &self.log));
                match replayed {
                    Some(Ok(())) => {
                        self.losses.recovered(group);
                        return Ok(());
                    }
                    Some(Err(error)) if is_engines(&error) => return Err(error),
                    _ if self.awaits_snapshot(group, replica.applied) => {
                        replica.phase = Phase::Lacking;
                        return Ok(());
                    }
                    Some(Err(error)) => return Err(error),
                    None => {}
                }
                // The engine has lost a snapshot that it had not flushed yet. What was applied behind it is in the log.
                match self.find(group, log_mark, None) {
                    Some(run) => {
                        let (restored, waiting) = (None, VecDeque::new());
                        let installing = Installing { run, restored, waiting };
                        replica.phase = Phase::Installing(Box::new(installing));
                    }
                    None => {
                        self.lack(group, replica, None, "the engine lost it, and its file is gone");
                    }
                }
            }
        }
        Ok(())
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

    /// Applies from what the engine holds to what it held. Then the replica may be read again.
    fn replay(&mut self, group: GroupId, log: &Log) -> Result<()> {
        let held = self.applier.mark()?.index;
        self.applied = self.applied.max(held);
        let mut next = held + 1;
        while next <= self.applied {
            let read = log.entries(group, next..self.applied + 1, REPLAY_BYTES).map_err(of_log)?;
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
        self.applier.resume_reads()?;
        self.view.data_restored();
        Ok(())
    }
}

/// A fault of the log, which must not be taken for one of the engine.
fn of_log(error: Error) -> Error {
    match error {
        Error::Io { .. } | Error::Full(_) => Error::LogFailed(error.to_string()),
        other => other,
    }
}

/// Whether it is the engine as a whole that failed, and not one replica's data.
pub(crate) fn is_engines(error: &Error) -> bool {
    matches!(error, Error::Engine(_) | Error::Full(_) | Error::Io { .. })
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
