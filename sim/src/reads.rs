//! Strong reads, as a node serves them: check, engine read and second look are events of their own (R23).
//!
//! ```text
//! lease holds? ──▶ note term, generation ──▶ (later) read the engine ──▶ (later) all as noted, and the lease holds still? ──▶ answer
//!     └── no ──▶ ask the quorum ──▶ may read ──┘                                   └── no ──▶ once more
//! ```

use stator_consensus::{Event, Refusal};
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition;

use crate::callers::Reply;
use crate::faults::Fault;
use crate::node::{NotedBefore, Reading, Token};
use crate::time::{MS, Ns, US};
use crate::world::{Step, World};

/// How often a read is begun again before its caller is sent elsewhere.
const TRIES: u32 = 4;

impl World {
    /// A caller's read has arrived.
    pub(crate) fn begin_read(&mut self, node: usize, id: u64, reading: Reading) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.readings.insert(id, reading);
        self.try_read(node, id);
    }

    fn try_read(&mut self, node: usize, id: u64) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        let Some(reading) = process.readings.get_mut(&id) else { return };
        let Some(replica) = process.replicas.get(&reading.group) else {
            return self.read_refused(node, id, Refusal::NoGroup);
        };
        reading.tries += 1;
        if reading.tries > TRIES {
            let leader = replica.view.leader();
            return self.read_refused(node, id, Refusal::NotLeader(leader));
        }
        let now_ns = state.clock.monotonic_ns(self.now);
        if let Some(ticket) = replica.view.begin(now_ns) {
            self.note_and_read(node, id, Some(ticket));
        } else {
            let (group, deadline_ns) = (reading.group, reading.deadline_ns);
            self.tell(node, Event::Read { group, deadline_ns, token: Token::Read(id) });
        }
    }

    /// A quorum has confirmed the leader since the read came.
    pub(crate) fn may_read(&mut self, node: usize, id: u64) {
        self.note_and_read(node, id, None);
    }

    fn note_and_read(
        &mut self,
        node: usize,
        id: u64,
        leased: Option<stator_consensus::ReadTicket>,
    ) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(reading) = process.readings.get_mut(&id) else { return };
        let Some(replica) = process.replicas.get(&reading.group) else { return };
        let noted = replica.data.note().zip(replica.view.begin_unleased());
        let Some((data, unleased)) = noted else {
            let leader = replica.view.leader();
            return self.read_refused(node, id, Refusal::NotLeader(leader));
        };
        reading.noted = Some(NotedBefore { leased, unleased, data });
        reading.found = None;
        let mut delay = self.read_delay();
        if leased.is_some() {
            self.pause_reader(node, id);
            if std::mem::take(&mut self.nodes[node].engine_fails_at_read) {
                delay = self.rng.between(10 * MS, 80 * MS);
                self.nodes[node].slow_engine_until = self.now + 200 * MS;
                self.strike(Fault::EngineFails { node });
            }
        }
        self.after(delay, node, Step::Read(id));
    }

    /// Pauses a node in the middle of a read, if that is planned, and has callers turn to what is being read.
    fn pause_reader(&mut self, node: usize, id: u64) {
        let Some(for_ns) = self.nodes[node].pauses_at_read else { return };
        if self.callers.focus(id, self.now + for_ns) {
            self.nodes[node].pauses_at_read = None;
            self.pause(node, for_ns);
        }
    }

    fn read_delay(&mut self) -> Ns {
        match self.rng.below(100) {
            0 => self.rng.between(50 * MS, 1500 * MS),
            1..=5 => self.rng.between(MS, 50 * MS),
            _ => self.rng.between(US, 50 * US),
        }
    }

    /// Reads the engine, or looks a second time at what was noted before.
    pub(crate) fn read_step(&mut self, node: usize, id: u64) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        let Some(reading) = process.readings.get_mut(&id) else { return };
        let Some(replica) = process.replicas.get(&reading.group) else { return };
        if reading.found.is_none() {
            match partition::get(state.engine.as_ref(), &replica.spec, &reading.key) {
                Ok(found) => reading.found = Some(found),
                Err(error) => return self.fail(format!("node {node} cannot read: {error:?}")),
            }
            // Who has read an engine that is being restored looks again when it is whole, if nothing holds it back.
            let delay = match process.restoring {
                true => self.rng.between(20 * MS, 200 * MS),
                false => self.read_delay(),
            };
            return self.after(delay, node, Step::Read(id));
        }
        let Some(noted) = reading.noted else { return };
        let now_ns = state.clock.monotonic_ns(self.now);
        let is_still = replica.data.holds(noted.data)
            && match noted.leased {
                Some(ticket) => replica.view.holds(ticket, now_ns),
                None => replica.view.holds_unleased(noted.unleased),
            };
        if !is_still && !planted(Mutation::NoSecondLook) {
            self.reached.one("lease reads begun again");
            return self.try_read(node, id);
        }
        self.reached.one(if noted.leased.is_some() { "lease reads" } else { "read-index reads" });
        if let Some(reading) = process.readings.remove(&id)
            && let Some(found) = reading.found
        {
            self.reply(reading.attempt, Reply::Found(found));
        }
    }

    pub(crate) fn read_refused(&mut self, node: usize, id: u64, refusal: Refusal) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if let Some(reading) = process.readings.remove(&id) {
            self.reply(reading.attempt, Reply::Refused(refusal));
        }
    }
}
