//! An engine that failed: opened again in place, and given back what it lost.
//!
//! All replicas share it, so all may have lost something. It is applied once more from the log, which holds everything the engine
//! has not flushed, or installed once more from a snapshot's file, which stays until then. Until it has caught up, a replica answers
//! no reads. On a full disk that waits for room, and the engine is read as it is meanwhile. Replicas are let go of all the same; what
//! the engine holds of them goes once it is open again.
//!
//! An engine that fails on and on for another reason ends the node, and so does a log that cannot be read back: the log has it all,
//! and others lead meanwhile. Each replica counts the time for itself, until it has got further than where the engine failed: an
//! engine may fail at the same chunk of a snapshot, or at the entry behind it, whenever it comes to that, and do all else.

use std::time::{Duration, Instant};

use stator_storage::log::Log;
use stator_storage::machine::{Applier, Committed, GroupId};
use stator_storage::{Error, Result};

use super::{All, ApplyEvent, ApplyShell, Applying, Phase, is_engines};
use crate::snapshots::install::Reached;

/// How long to wait before a failed engine is opened once more.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// How long an engine may fail, for another reason than a full disk, before the node ends: it keeps its leaderships meanwhile.
pub(super) const ENGINE_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });
/// Bytes of entries read back from the log at once.
const REPLAY_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 8 << 20 };

/// An engine's failures at a replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing {
    since: Instant,
    /// How far an installation had got at the most when it failed; as far as any gets, if it was at something else.
    at: Reached,
}

impl Failing {
    /// Whether an installation that has got so far is past where the engine failed.
    pub(super) fn is_past(&self, reached: Reached) -> bool {
        reached > self.at
    }
}

impl ApplyShell {
    /// Brings back an engine that failed at a replica, with all that it held. If the node is to end it does not wait for that, for
    /// the log has it all: without replicas, what still waits is dropped.
    pub(super) fn recover(&self, replicas: &mut All, group: GroupId, failure: Error) {
        tracing::error!(error = %failure, "the engine failed: it is opened again");
        self.metrics.engine_failed();
        // Whatever was seen of the disk a moment ago.
        self.room.look_again();
        let replica = replicas.get(&group);
        let former = replica.and_then(|replica| replica.failing);
        let at = match replica.map(|replica| &replica.phase) {
            Some(Phase::Installing(installing)) => installing.run.reached(),
            _ => Reached::ALL,
        };
        let mut since = former.map(|former| former.since);
        if !self.wait_for_room(replicas, &mut since)
            || !self.comes_back(replicas, &mut since, failure)
        {
            return replicas.clear();
        }
        if let Some(replica) = replicas.get_mut(&group) {
            let at = former.map_or(at, |former| former.at.max(at));
            replica.failing = since.map(|since| Failing { since, at });
        }
    }

    /// An engine that has failed on a full disk can be read as long as it is not closed: if there is no spare room for what is to
    /// be applied, it stays open until the reserve is back, with which it will not fail again at once. Answers whether there is
    /// room; if not, the node is to end.
    fn wait_for_room(&self, replicas: &mut All, failing_since: &mut Option<Instant>) -> bool {
        if self.room.is_ample() || self.room.spend_spare() {
            return true;
        }
        tracing::error!("the disk is full: nothing is applied until there is room, reads go on");
        self.room.note_waited_for(true);
        while !self.room.is_ample() {
            if self.inbox.is_closed() {
                return false;
            }
            // They overtake what waits: nothing of that is for one that is not here yet, and what is for one that has gone is dropped.
            for event in self.inbox.take_if(ApplyEvent::begins_or_ends) {
                self.handle(replicas, event);
            }
            std::thread::sleep(REOPEN_PAUSE);
        }
        self.room.note_waited_for(false);
        *failing_since = None;
        true
    }

    /// Opens the engine again, and applies once more what it lost. False if the node is to end, which it is once this has gone on
    /// for too long.
    fn comes_back(
        &self,
        replicas: &mut All,
        failing_since: &mut Option<Instant>,
        mut failure: Error,
    ) -> bool {
        loop {
            // One failure may be the only one; what fails again is not to be opened again all the time. Reads go on meanwhile.
            if failing_since.is_some() {
                std::thread::sleep(REOPEN_PAUSE);
            }
            if self.is_beyond_hope(failing_since, &failure) || self.inbox.is_closed() {
                return false;
            }
            for replica in replicas.values() {
                replica.applier.suspend_reads();
                replica.view.replace_data(replica.applied);
            }
            self.losses.begin(replicas.keys().copied());
            let Err(error) = self.reopen_and_replay(replicas) else { return true };
            tracing::error!(%error, "the engine does not come back: it is tried again");
            failure = error;
        }
    }

    /// Whether an engine has failed for too long; then the node is told to end. The time on a full disk does not count.
    fn is_beyond_hope(&self, failing_since: &mut Option<Instant>, failure: &Error) -> bool {
        let now = Instant::now();
        if matches!(failure, Error::Full(_)) {
            *failing_since = None;
        }
        let is_over = now - *failing_since.get_or_insert(now) >= ENGINE_PATIENCE;
        if is_over {
            (self.fatal)(format!("the engine fails again and again: {failure}"));
        }
        is_over
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

    /// Brings a replica to where it was before the engine lost something, or sees to it that it will be.
    fn restore(&self, group: GroupId, replica: &mut Applying) -> Result<()> {
        match &mut replica.phase {
            Phase::Installing(installing) => installing.run.restart(),
            Phase::Lacking => {}
            Phase::Serving => {
                let held = replica.applier.mark()?.index;
                let mark = self.log.mark(group).map_or((0, 0), |mark| (mark.index, mark.term));
                if held < mark.0 && mark.0 <= replica.applied {
                    // A snapshot that it had not flushed yet. What was applied behind it is in the log.
                    self.begin_install(group, replica, mark, None, None);
                } else if replica.replay(group, &self.log)? {
                    self.losses.recovered(group);
                }
            }
        }
        Ok(())
    }
}

impl Applying {
    /// Applies from what the engine holds to what it held. Then the replica may be read again. False if that is worth nothing any
    /// more: the log has been reset, perhaps just now, to a snapshot that is on its way to this thread.
    pub(super) fn replay(&mut self, group: GroupId, log: &Log) -> Result<bool> {
        match self.catch_up(group, log) {
            Err(error) if is_engines(&error) => return Err(error),
            _ if log.mark(group).is_some_and(|mark| mark.index > self.applied) => {
                self.phase = Phase::Lacking;
                return Ok(false);
            }
            caught_up => caught_up?,
        }
        self.applier.resume_reads()?;
        self.view.data_restored();
        Ok(true)
    }

    fn catch_up(&mut self, group: GroupId, log: &Log) -> Result<()> {
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
