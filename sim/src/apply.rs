//! The apply thread of a node, one piece of work at a time, and the flushes of its engine (R11, R16).
//!
//! Entries are put into the engine in one event, and the host hears of it in another. An engine that fails is opened again, and
//! what it lost is applied once more from the log; between the two, hosts and readers go on.

use stator_consensus::{Event, GroupId, LogReader};
use stator_storage::Error;
use stator_storage::disk::CrashDisk;
use stator_storage::engine::Engine;
use stator_storage::item::StoredItem;
use stator_storage::machine::{Applier, Committed};
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::entry::Entry;
use stator_storage::partition::{AppliedRecord, checksum};

use crate::catalog::records::CATALOG_GROUP;
use crate::faults::full;
use crate::invariants::{Invariants, counters};
use crate::items::last_write;
use crate::node::{LogAccess, Replica, Work};
use crate::snapshots::install_again;
use crate::time::{MS, Ns, US};
use crate::world::{Step, World};

/// Replicas are compared at every so many entries.
const COMPARE_EVERY: u64 = 8;

impl World {
    /// Something for the apply thread.
    pub(crate) fn give_work(&mut self, node: usize, work: Work) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.work.push_back(work);
        if !process.working {
            process.working = true;
            self.next_apply_step(node);
        }
    }

    fn next_apply_step(&mut self, node: usize) {
        let delay: Ns = if self.now < self.nodes[node].slow_engine_until {
            self.rng.between(5 * MS, 100 * MS)
        } else {
            match self.rng.below(100) {
                0 => self.rng.between(MS, 20 * MS),
                _ => self.rng.between(5 * US, 100 * US),
            }
        };
        self.after(delay, node, Step::Apply);
    }

    /// The apply thread does the next thing.
    pub(crate) fn apply_step(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.restoring {
            self.restore(node);
        } else if process.installing.is_some() {
            self.install_step(node);
        } else {
            match process.work.pop_front() {
                Some(Work::Apply(job)) => self.apply(node, job.group, &job.entries),
                Some(Work::Install(job)) => self.begin_install(node, &job),
                Some(Work::Remove(group, order)) => self.remove_applied(node, group, order),
                Some(Work::Delete(spec)) => self.delete_on(node, spec),
                None => {
                    process.working = false;
                    return;
                }
            }
        }
        if self.nodes[node].process.is_some() {
            self.next_apply_step(node);
        }
    }

    fn apply(&mut self, node: usize, group: GroupId, entries: &[Committed]) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(replica) = process.replicas.get_mut(&group) else { return };
        if replica.lacking {
            // What waits before the snapshot goes no further than it.
            return;
        }
        match replica.applier.apply(entries) {
            Ok(()) => {
                let Some(last) = entries.last() else { return };
                replica.applied = last.index;
                self.trace.note(
                    self.now,
                    format_args!("{node} applied group {} up to {}", group.0, last.index),
                );
                for entry in entries {
                    if let Err((invariant, what)) =
                        note_committed(&mut self.invariants, group, entry)
                    {
                        self.violated(invariant, what);
                    }
                }
                let sampled = entries.iter().any(|entry| entry.index % COMPARE_EVERY == 0);
                if sampled && last.index % COMPARE_EVERY == 0 {
                    self.compare_replica(node, group);
                }
                self.tell(node, Event::Applied { group, index: last.index });
            }
            Err(error) if is_engines(&error) => {
                let entries = entries.to_vec();
                let job = stator_consensus::ApplyJob { group, entries };
                process.work.push_front(Work::Apply(job));
                self.reopen(node);
            }
            Err(error) => self.fail(format!("node {node} cannot apply: {error}")),
        }
    }

    /// The engine failed: it is opened again, and has lost some of what was written since it was flushed.
    pub(crate) fn reopen(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        for replica in process.replicas.values() {
            replica.applier.suspend_reads();
            replica.view.replace_data(replica.applied);
        }
        process.restoring = true;
        let reopened = state.engine.reopen();
        if let Some(left) = state.full_times.checked_sub(1) {
            state.full_times = left;
            state.slow_engine_until = state.slow_engine_until.max(self.now + 100 * MS);
            state.engine.fail_next_write(full(), self.now);
            self.reached.one("engines that find their disk still full");
        }
        self.trace.note(self.now, format_args!("{node} engine opened again"));
        self.reached.one("engine reopened");
        if let Err(error) = reopened {
            self.fail(format!("the engine of node {node} does not come back: {error}"));
        }
        self.glance_again(node);
    }

    /// Applies again what the engine lost.
    fn restore(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        process.restoring = false;
        let access = process.log.access.clone();
        let mut failure = None;
        let mut fails_again = false;
        for (group, replica) in &mut process.replicas {
            let is_installing =
                process.installing.as_ref().is_some_and(|installing| installing.group == *group);
            if is_installing {
                // It notices by itself that a part of it is lost, and begins again.
                continue;
            }
            if planted(Mutation::NotRestored) {
                replica.view.data_restored();
                continue;
            }
            let mark = access.core().mark(*group).unwrap_or_default();
            if mark.index > replica.applied {
                replica.lacking = true;
                self.reached.one("restored before a snapshot");
                continue;
            }
            let mark = (mark.index, mark.term);
            let restored = install_lost(&state.snapshots, *group, replica, mark)
                .and_then(|()| replay(&access, *group, replica).map_err(Restoring::from));
            match restored {
                Ok(()) => replica.view.data_restored(),
                Err(Restoring::EngineFailed) => fails_again = true,
                // The log has let go of it already, and soon so will this thread.
                Err(_) if process.removed.contains_key(group) => {}
                Err(Restoring::Impossible(error)) => failure = Some((*group, error)),
            }
        }
        if fails_again {
            self.reopen(node);
        }
        if let Some((group, error)) = failure {
            self.fail(format!("node {node} cannot replay group {}: {error}", group.0));
        }
    }

    /// Compares a replica with what others had at its index, and its counters with what it holds.
    pub(crate) fn compare_replica(&mut self, node: usize, group: GroupId) {
        let state = &self.nodes[node];
        let Some(process) = &state.process else { return };
        let Some(replica) = process.replicas.get(&group) else { return };
        let engine: &dyn Engine = state.engine.as_ref();
        let found = checksum(engine, &replica.spec);
        let record = AppliedRecord::read(engine, group);
        match (found, record) {
            (Ok(Some(found)), Ok(Some(record))) => {
                self.check("counters", counters::exact(group, node, &found));
                match self.invariants.replicas.compare(group, node, &found, &record) {
                    Ok(true) => self.reached.one("replicas compared"),
                    Ok(false) => {}
                    Err(what) => self.violated("replicas", what),
                }
            }
            (Ok(None), Ok(_)) => {}
            (found, record) => self.fail(format!(
                "node {node} cannot be read: {:?}, {:?}",
                found.err(),
                record.err()
            )),
        }
    }

    /// A flush of the engine begins: what is applied now is durable once it ends (R16).
    pub(crate) fn flush_begins(&mut self, node: usize) {
        let every = self.rng.between(20 * MS, self.plan.flush_every);
        self.after(every, node, Step::FlushBegin);
        let Some(process) = &self.nodes[node].process else { return };
        let applied =
            process.replicas.iter().map(|(group, replica)| (*group, replica.view.applied()));
        let applied = applied.collect();
        let delay = self.rng.between(MS, 15 * MS);
        self.after(delay, node, Step::FlushEnd(applied));
    }

    pub(crate) fn flush_ends(&mut self, node: usize, applied: &[(GroupId, u64)]) {
        let state = &mut self.nodes[node];
        let Some(process) = &state.process else { return };
        // A failed engine does not flush, and one that is being restored does not hold what was applied.
        let is_flushed = planted(Mutation::DurableUnflushed) || state.engine.flush().is_ok();
        if process.restoring || !is_flushed {
            return;
        }
        self.trace.note(self.now, format_args!("{node} engine flushed"));
        let pressure = process.log.access.core().pressure();
        for (group, index) in applied {
            self.forget_snapshots(node, *group, *index);
            self.tell(node, Event::Durable { group: *group, index: *index });
        }
        for pressure in pressure {
            let (group, index) = (pressure.group, pressure.truncate_to);
            self.tell(node, Event::Pressure { group, index });
        }
    }
}

/// Notes what an entry commits, the first time that a node applies it. The error names the invariant that does not hold.
fn note_committed(
    invariants: &mut Invariants,
    group: GroupId,
    entry: &Committed,
) -> Result<(), (&'static str, String)> {
    let is_new = invariants.committed.applied(group, entry).map_err(|what| ("committed", what))?;
    if !is_new || entry.data.is_empty() {
        return Ok(());
    }
    let is_catalog = group == CATALOG_GROUP;
    let unreadable = |error: Error| ("no_fault", error.to_string());
    let decoded = Entry::decode(entry.index, &entry.data).map_err(unreadable)?;
    if decoded.header.term != entry.term {
        return Ok(());
    }
    for change in &decoded.writes {
        let stator_storage::engine::Change::Put(key, value) = change else {
            invariants.shown.committed(entry.index, change.key(), None);
            continue;
        };
        let stored = StoredItem::open(value, key).map_err(unreadable)?;
        invariants.shown.committed(entry.index, key, Some(&stored.item));
        invariants.stamps.stamped(group, stored.stamp.time).map_err(|what| ("stamps", what))?;
        if is_catalog {
            continue;
        }
        let without_id = || ("no_fault", "an item without the id of its last write".to_owned());
        let id = last_write(&stored.item).ok_or_else(without_id)?;
        invariants.acknowledged.committed(id).map_err(|what| ("acknowledged", what))?;
    }
    Ok(())
}

/// An installation that the engine has lost the end of is made again: the log was reset to this mark.
fn install_lost(
    disk: &CrashDisk,
    group: GroupId,
    replica: &mut Replica,
    mark: (u64, u64),
) -> Result<(), Restoring> {
    if replica.applier.mark()?.index < mark.0 {
        install_again(disk, &mut replica.applier, group, mark)?;
    }
    Ok(())
}

/// Why a replica is not restored.
enum Restoring {
    /// The engine failed once more.
    EngineFailed,
    Impossible(String),
}

impl From<Error> for Restoring {
    fn from(error: Error) -> Self {
        if is_engines(&error) { Self::EngineFailed } else { Self::Impossible(error.to_string()) }
    }
}

/// Applies from what the engine holds to what it held.
fn replay(access: &LogAccess, group: GroupId, replica: &mut Replica) -> stator_storage::Result<()> {
    let mut next = replica.applier.mark()?.index + 1;
    while next <= replica.applied {
        let read = access.entries(group, next..replica.applied + 1, 64 << 10)?;
        let entries: Vec<Committed> = read
            .into_iter()
            .map(|entry| Committed { index: entry.index, term: entry.term, data: entry.data })
            .collect();
        let Some(last) = entries.last().map(|entry| entry.index) else {
            let what = format!("entry {next} is not in the log any more");
            return Err(Error::corruption("the log", 0, what));
        };
        replica.applier.apply(&entries)?;
        next = last + 1;
    }
    replica.applier.resume_reads()
}

pub(crate) const fn is_engines(error: &Error) -> bool {
    matches!(error, Error::Engine(_) | Error::Full(_) | Error::Io { .. })
}
