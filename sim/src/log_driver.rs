//! Drives the log of a node: every operation on the disk is an event of its own, so that a crash may come between any two.

use stator_consensus::Event;
use stator_storage::Error;
use stator_storage::log::{DiskOp, Record, read_sources};
use stator_storage::mutation::{Mutation, planted};

use crate::faults::CrashKind;
use crate::time::{MS, Ns, SECOND, US};
use crate::world::{Step, World};

impl World {
    /// Writes what waits, in order. A log that has no room keeps it waiting, and requests out, until truncations have made some.
    pub(crate) fn write_log(&mut self, node: usize) {
        while let Some(process) = &mut self.nodes[node].process
            && let Some((turn, records)) = process.log.stalled.pop_front()
        {
            match self.stage(node, &records) {
                Ok(write) => {
                    if let Some(process) = &mut self.nodes[node].process {
                        process.log.waiting.push_back((write, turn));
                    }
                    if planted(Mutation::PersistedBeforeSync) {
                        self.tell(node, Event::Persisted { turn });
                    }
                }
                Err(error) => {
                    self.trace.note(self.now, format_args!("{node} log waits: {error}"));
                    if let Some(process) = &mut self.nodes[node].process {
                        process.log.stalled.push_front((turn, records));
                    }
                    match error {
                        Error::LogBusy(_) => {}
                        Error::LogFull(_) => {
                            self.reached.one("turns that waited for room in the log");
                            self.truncate_first(node);
                        }
                        error => self.fail(format!("the log of node {node} refuses: {error}")),
                    }
                    break;
                }
            }
        }
        self.pump_log(node);
    }

    /// Whether the log has no room: no more requests are to come meanwhile.
    pub(crate) fn log_waits(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| !process.log.stalled.is_empty())
    }

    /// Truncations go ahead of what waits: they speak of what is long synced, and are what makes room.
    fn truncate_first(&mut self, node: usize) {
        let is_truncation = |record: &Record| matches!(record, Record::Truncate { .. });
        let Some(process) = &self.nodes[node].process else { return };
        let waiting = process.log.stalled.iter().flat_map(|(_, records)| records);
        let truncations: Vec<Record> = waiting.filter(|it| is_truncation(it)).cloned().collect();
        if truncations.is_empty() || self.stage(node, &truncations).is_err() {
            return;
        }
        self.reached.one("truncations that went ahead");
        let Some(process) = &mut self.nodes[node].process else { return };
        for (_, records) in &mut process.log.stalled {
            records.retain(|record| !is_truncation(record));
        }
    }

    /// Gives records to the log. Answers the number of the write that they are in.
    fn stage(&mut self, node: usize, records: &[Record]) -> stator_storage::Result<u64> {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return Ok(0) };
        let mut core = process.log.access.core();
        // Who votes alone may lead, and propose to nobody, before its vote is synced: a crash makes that term anew.
        let shape = self.plan.shape;
        let shared = records.iter().filter(|it| shape.members(it.group()).len() > 1);
        let holds = self.invariants.matching.staged(shared, |group, index| core.term(group, index));
        core.stage(records)?;
        let write = core.staging();
        drop(core);
        state.shadow.stage(write, records);
        self.check("matching", holds);
        Ok(write)
    }

    /// Begins the next write, if none is under way and there is something to write.
    pub(crate) fn pump_log(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.log.write.is_some() {
            return;
        }
        let access = &process.log.access;
        let stranded = access.core().stranded();
        match read_sources(&access.files, &stranded) {
            Ok(entries) => {
                access.core().rewrite(&stranded, &entries);
                self.reached.add("entries rewritten ahead", entries.len() as u64);
            }
            Err(error) => {
                let what = format!("the log of node {node} cannot be read: {error}");
                self.fail(what);
                return;
            }
        }
        let Some(write) = access.core().flush() else { return };
        process.log.write = Some((write, 0));
        self.next_log_step(node);
    }

    fn next_log_step(&mut self, node: usize) {
        let state = &self.nodes[node];
        let Some(process) = &state.process else { return };
        let Some((write, done)) = &process.log.write else { return };
        let is_sync = matches!(write.ops.get(*done), Some(DiskOp::Sync { .. } | DiskOp::SyncDir));
        let is_slow = self.now < state.slow_disk_until;
        let delay: Ns = match (is_sync, is_slow) {
            (false, _) => self.rng.between(5 * US, 50 * US),
            (true, false) => match self.rng.below(100) {
                0 => self.rng.between(5 * MS, 40 * MS),
                _ => self.rng.between(100 * US, 2 * MS),
            },
            (true, true) => self.rng.between(20 * MS, 400 * MS),
        };
        self.after(delay, node, Step::Log);
    }

    /// The next operation is done.
    pub(crate) fn log_step(&mut self, node: usize) {
        if self.is_torn(node) || self.blacks_out(node) {
            return;
        }
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some((write, done)) = &mut process.log.write else { return };
        if let Some(op) = write.ops.get(*done) {
            let result = process.log.access.files.perform(op);
            if let Err(error) = result {
                self.trace.note(self.now, format_args!("{node} log failed: {error}"));
                if matches!(op, DiskOp::Sync { .. }) {
                    self.reached.one("failed syncs");
                    if planted(Mutation::SyncTriedAgain) {
                        self.next_log_step(node);
                        return;
                    }
                }
                process.log.access.core().failed(write, &error);
                // A node whose log has failed stops.
                self.crash(node, CrashKind::Kill, SECOND);
                return;
            }
        }
        *done += 1;
        if *done < write.ops.len() {
            self.next_log_step(node);
            return;
        }
        self.log_written(node);
    }

    /// Whether the power goes now, with something written and not synced.
    fn is_torn(&mut self, node: usize) -> bool {
        let state = &mut self.nodes[node];
        let Some((write, done)) = state.process.as_ref().and_then(|it| it.log.write.as_ref())
        else {
            return false;
        };
        let is_before_sync = matches!(write.ops.get(*done), Some(DiskOp::Sync { .. }));
        let is_long = match done.checked_sub(1).and_then(|last| write.ops.get(last)) {
            Some(DiskOp::Write { data, .. }) => data.iter().skip(600).any(|byte| *byte != 0),
            _ => false,
        };
        if !state.tears || !is_before_sync || !is_long {
            return false;
        }
        state.tears = false;
        let down = self.rng.between(5 * MS, 500 * MS);
        self.crash(node, CrashKind::MidWrite, down);
        true
    }

    fn log_written(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        let Some((write, _)) = process.log.write.take() else { return };
        let number = write.number();
        let mut core = process.log.access.core();
        let before = core.stats().spares;
        core.completed(write);
        if number.is_some() && core.stats().spares > before {
            self.reached.one("segments used again");
        }
        drop(core);
        let mut turns = Vec::new();
        if let Some(number) = number {
            state.shadow.complete(number);
            while let Some((write, turn)) = process.log.waiting.front().copied()
                && write <= number
            {
                process.log.waiting.pop_front();
                turns.push(turn);
            }
            self.trace.note(self.now, format_args!("{node} log has written {number}"));
        }
        for turn in turns {
            if !planted(Mutation::PersistedBeforeSync) {
                self.tell(node, Event::Persisted { turn });
            }
        }
        self.write_log(node);
    }
}
