//! Callers: requests, readers step by step, and their answers.

use stator_consensus::{Answer, Event, GroupId, GroupStatus, Refusal};

use super::{Action, How, MS, SECOND, World};
use crate::node::Token;
use crate::toy::{Outcome, Request};

impl World {
    pub(crate) fn status(&self, id: u64, group: GroupId) -> Option<GroupStatus> {
        self.nodes[&id].host.as_ref()?.status(group)
    }

    /// The node that serves a group, if there is one.
    pub(crate) fn leader(&self, group: GroupId) -> Option<u64> {
        self.nodes.keys().copied().find(|id| {
            self.status(*id, group).is_some_and(|status| status.serves) && !self.is_isolated(*id)
        })
    }

    pub(crate) fn await_leader(&mut self, group: GroupId) -> u64 {
        self.run_until("a leader", |world| world.leader(group).is_some());
        self.leader(group).expect("just found")
    }

    pub(crate) fn submit(&mut self, id: u64, group: GroupId, request: Request) -> Token {
        self.submit_until(id, group, request, 5 * SECOND)
    }

    pub(crate) fn submit_until(
        &mut self,
        id: u64,
        group: GroupId,
        request: Request,
        patience: u64,
    ) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        self.history.invoke(token, id, group, &request, self.now);
        if self.nodes[&id].is_up() {
            let deadline_ns = self.nodes[&id].clock(self.now) + patience;
            self.tell(id, Event::Submit { group, request, deadline_ns, token });
        } else {
            self.history.refuse(token, Refusal::NoGroup, self.now);
        }
        token
    }

    /// A strong read: by the lease if the node has one, else by read index.
    pub(crate) fn read(&mut self, id: u64, group: GroupId, key: u8) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        self.history.invoke_read(token, id, group, key, self.now);
        if !self.nodes[&id].is_up() {
            self.history.refuse(token, Refusal::NoGroup, self.now);
            return token;
        }
        let node = &self.nodes[&id];
        let (life, clock) = (node.life, node.clock(self.now));
        let ticket = node.views.get(&group).and_then(|view| view.begin(clock));
        if let Some(ticket) = ticket.filter(|_| node.paused_until <= self.now) {
            let how = How::Lease(ticket);
            let delay = self.reader_delay();
            self.at(delay, Action::Read { node: id, life, token, group, key, how });
        } else {
            self.reading.insert(token, key);
            let deadline_ns = clock + 5 * SECOND;
            self.tell(id, Event::Read { group, deadline_ns, token });
        }
        token
    }

    /// Readers are preempted now and then, between any two steps.
    pub(super) fn reader_delay(&mut self) -> u64 {
        if self.rng.one_in(10) { self.rng.range(MS, 900 * MS) } else { self.rng.range(1, MS / 10) }
    }

    pub(super) fn finish_read(
        &mut self,
        id: u64,
        token: Token,
        group: GroupId,
        value: u64,
        how: How,
    ) {
        let node = &self.nodes[&id];
        if node.paused_until > self.now {
            let (life, left) = (node.life, node.paused_until - self.now);
            self.at(left, Action::Finish { node: id, life, token, group, value, how });
            return;
        }
        let clock = node.clock(self.now);
        let view = &node.views[&group];
        match how {
            How::Lease(ticket) if view.holds(ticket, clock) => {
                self.counts.lease_reads += 1;
                self.history.observe(token, value, self.now);
            }
            How::Index(ticket) if view.holds_unleased(ticket) => {
                self.counts.index_reads += 1;
                self.history.observe(token, value, self.now);
            }
            _ => self.history.refuse(token, Refusal::NotLeader(None), self.now),
        }
    }

    pub(super) fn answer(&mut self, id: u64, token: Token, answer: Answer<Outcome>) {
        match answer {
            Answer::Outcome(outcome) => self.history.answer(token, &outcome, self.now),
            Answer::Refused(refusal) => self.history.refuse(token, refusal, self.now),
            Answer::MayRead => {
                let key = self.reading.remove(&token).expect("a reader");
                let group = self.history.group(token);
                let life = self.nodes[&id].life;
                match self.nodes[&id].views[&group].begin_unleased() {
                    Some(ticket) => {
                        let how = How::Index(ticket);
                        let delay = self.reader_delay();
                        self.at(delay, Action::Read { node: id, life, token, group, key, how });
                    }
                    None => self.history.refuse(token, Refusal::NotLeader(None), self.now),
                }
            }
        }
    }
}
