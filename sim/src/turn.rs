//! A host's mailbox, its turns, and what becomes of their effects: the same as in a real node, in the same order.

use stator_consensus::{Answer, Class, Effects, Event, PeerMessage, Refusal};
use stator_storage::partition::PartitionOutcome;

use crate::callers::Reply;
use crate::evaluator::SimEvaluator;
use crate::faults::{CrashKind, Fault};
use crate::invariants::backlog;
use crate::items::{node_at, short};
use crate::node::{HostEvent, SnapshotParcel, Token, Work};
use crate::time::{MS, SECOND, US};
use crate::world::{Action, Phase, Step, World};

impl World {
    /// Puts something into a host's mailbox.
    pub(crate) fn tell(&mut self, node: usize, event: HostEvent) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.mailbox.push(event);
        if !process.turn_due {
            process.turn_due = true;
            let delay = match self.rng.below(200) {
                0 => self.rng.between(MS, 10 * MS),
                _ => self.rng.between(2 * US, 40 * US),
            };
            self.after(delay, node, Step::Turn);
        }
    }

    /// A tick of a node's clock is over. Ticks that were missed are not made up.
    pub(crate) fn tick(&mut self, node: usize) {
        let tick = self.plan.config.tick.as_nanos() as u64;
        let delay = self.nodes[node].clock.real(tick);
        self.after(delay, node, Step::Tick);
        self.tell(node, Event::Tick);
    }

    pub(crate) fn turn(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        process.turn_due = false;
        let events = std::mem::take(&mut process.mailbox);
        let count = events.len();
        let now_ns = state.clock.monotonic_ns(self.now);
        let wall_ms = state.clock.wall_ms(self.now);
        let effects = process.host.turn(now_ns, wall_ms, events);
        self.trace.note(
            self.now,
            format_args!(
                "{node} turn {} of {count}: log {} send {} apply {} answers {} elections {} leases {}",
                effects.turn,
                effects.log.len(),
                effects.send.len(),
                effects.apply.len(),
                effects.answers.len(),
                effects.elections,
                effects.leases
            ),
        );
        self.count(&effects);
        let is_elected = effects.elections > 0;
        self.carry_out(node, effects);
        self.check_leases();
        if is_elected && std::mem::take(&mut self.nodes[node].dies_elected) {
            let at = self.now + self.rng.between(MS / 5, 3 * MS);
            let (kind, down) = (CrashKind::PowerCut, 10 * MS);
            self.queue.push(at, Action::Fault(Fault::Crash { node, kind, down }));
        }
    }

    fn carry_out(&mut self, node: usize, effects: Effects<SimEvaluator, Token>) {
        for (to, message) in effects.send {
            let to = node_at(to);
            if message.class == Class::Snapshot {
                self.send_snapshot(node, to, message);
            } else {
                self.send(node, to, message);
            }
        }
        if let Some(process) = &mut self.nodes[node].process
            && !effects.log.is_empty()
        {
            process.log.stalled.push_back((effects.turn, effects.log));
        }
        self.write_log(node);
        for job in effects.install {
            self.give_work(node, Work::Install(job));
        }
        for job in effects.apply {
            let bytes_max = self.plan.config.apply_backlog_bytes_max;
            if let Some(process) = &self.nodes[node].process {
                let holds = backlog::bounded(job.group, &process.work, bytes_max);
                self.check("backlog", holds);
            }
            self.give_work(node, Work::Apply(job));
        }
        for (token, answer) in effects.answers {
            self.answered(node, token, answer);
        }
        for to in effects.ping {
            let to = node_at(to);
            if let Some(at) = self.network.pass(self.now, node, to).first {
                self.queue.push(at, Action::Ping { from: node, to });
            }
        }
        for group in effects.removed {
            self.removal_synced(node, group);
        }
        for (group, to) in effects.snapshots_wanted {
            self.begin_snapshot(node, group, to);
        }
        if let Some(process) = &mut self.nodes[node].process {
            for group in effects.snapshots_over {
                process.sending.remove(&group);
            }
        }
        for (group, reason) in effects.faults {
            self.fail(format!("node {node} stopped its replica of group {}: {reason}", group.0));
        }
    }

    fn send(&mut self, from: usize, to: usize, message: PeerMessage) {
        let passage = self.network.pass(self.now, from, to);
        if passage.overtakes {
            self.reached.one("messages overtaken");
        }
        let Some(first) = passage.first else {
            self.reached.one("messages dropped");
            // What the transport drops it reports, if it knows: a message that it had no room for, or that the way broke.
            if self.rng.chance(100) {
                let event = match message.class {
                    Class::Entries => Event::Dropped { group: message.group, to: message.to },
                    _ => Event::Unreachable(crate::items::node_id(to)),
                };
                self.tell(from, event);
            }
            return;
        };
        if let Some(again) = passage.again {
            self.reached.one("messages duplicated");
            self.queue.push(again, Action::Message { from, to, message: message.clone() });
        }
        self.queue.push(first, Action::Message { from, to, message });
    }

    fn send_snapshot(&mut self, from: usize, to: usize, message: PeerMessage) {
        let life = self.nodes[from].life;
        let frames = self.nodes[from]
            .process
            .as_ref()
            .and_then(|process| process.sending.get(&message.group))
            .map(|sending| sending.frames.clone());
        let at = self.network.pass(self.now, from, to).first;
        let is_lost = self.phase == Phase::Safety && self.rng.chance(100);
        match (frames, at.filter(|_| !is_lost)) {
            (Some(frames), Some(at)) => {
                let parcel = Box::new(SnapshotParcel { message, frames });
                let slower = self.rng.between(0, 300 * MS);
                self.queue.push(at + slower, Action::Snapshot { from, to, parcel });
            }
            _ => {
                // The sender finds out by time.
                self.reached.one("snapshots lost");
                let message = Box::new(message);
                let end = Action::SnapshotEnd { from, life, message, arrived: false };
                self.queue.push(self.now + SECOND, end);
            }
        }
    }

    fn answered(&mut self, node: usize, token: Token, answer: Answer<PartitionOutcome>) {
        match (token, answer) {
            (Token::Write(attempt), Answer::Outcome(outcome)) => {
                let holds = self.callers.judge_outcome(&self.invariants, attempt, &outcome);
                self.check("acknowledged", holds);
                self.reply(attempt, Reply::Outcome(outcome));
            }
            (Token::Write(attempt), Answer::Refused(refusal)) => {
                if refusal != Refusal::Uncertain {
                    let holds = self.callers.judge_refusal(&self.invariants, attempt);
                    self.check("acknowledged", holds);
                }
                self.reply(attempt, Reply::Refused(refusal));
            }
            (Token::Read(reading), Answer::MayRead) => self.may_read(node, reading),
            (Token::Read(reading), Answer::Refused(refusal)) => {
                self.read_refused(node, reading, refusal);
            }
            (Token::Task(attempt), Answer::Outcome(outcome)) => {
                self.task_answered(node, attempt, outcome);
            }
            (Token::Task(attempt), Answer::MayRead) => self.task_may_read(node, attempt),
            (Token::Task(attempt), Answer::Refused(refusal)) => {
                self.task_refused(attempt, &refusal);
            }
            (Token::Write(_), Answer::MayRead) | (Token::Read(_), Answer::Outcome(_)) => {
                self.fail(format!("node {node} answers what was not asked"));
            }
        }
    }

    fn count(&mut self, effects: &Effects<SimEvaluator, Token>) {
        for (what, count) in [
            ("elections", effects.elections),
            ("leases granted", effects.leases),
            ("entries proposed", effects.proposed),
            ("truncations", effects.truncations),
            ("messages refused", effects.refused_messages),
            ("messages throttled", effects.throttled_messages),
            ("promises kept", effects.promises_kept),
            ("uncertain answers", effects.uncertain),
            ("requests throttled", effects.throttled),
            ("requests expired", effects.expired),
            ("transfers", effects.transfers),
            ("snapshots accepted", effects.snapshots_accepted),
            ("snapshots wanted", effects.snapshots_wanted.len() as u64),
            ("groups put to sleep", effects.sleeps),
            ("groups woken", effects.wakes),
        ] {
            self.reached.add(what, count);
        }
    }

    /// Whatever its bytes are, for the trace.
    pub(crate) fn note_bytes(&mut self, node: usize, what: &str, bytes: &bytes::Bytes) {
        self.trace.note(self.now, format_args!("{node} {what} {:x}", short(bytes)));
    }
}
