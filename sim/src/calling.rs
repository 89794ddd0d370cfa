//! What callers do, and what becomes of it: a call is begun, sent, answered, sent elsewhere, given up.

use stator_consensus::{Event, GroupId, Refusal};

use crate::callers::{End, Reply, each};
use crate::history::Output;
use crate::items::{NODES, content_of, node_at, output_of};
use crate::node::{Reading, Token};
use crate::time::{MS, Ns, SECOND};
use crate::world::{Action, Phase, World};

impl World {
    /// A caller begins its next call.
    pub(crate) fn caller_acts(&mut self, caller: usize) {
        if self.callers.callers[caller].is_some() {
            return;
        }
        if let Phase::Safety = self.phase
            && let Some((from, to)) = self.plan.quiet
            && (from..to).contains(&self.now)
        {
            return self.queue.push(to + caller as Ns, Action::Caller { caller });
        }
        let (parts, patience) = match &mut self.callers.last {
            None => {
                let patience = self.callers.rng.between(200 * MS, 4 * SECOND);
                (self.callers.draw_parts(self.now), patience)
            }
            Some(last) => match last.pop_front() {
                Some(part) => (vec![part], 1000 * SECOND),
                None => return,
            },
        };
        let until = self.now + patience;
        let call = self.callers.begin(caller, &parts, until);
        self.trace.note(self.now, format_args!("caller {caller} begins {call}: {parts:?}"));
        self.queue.push(until, Action::Impatience { caller, call });
        self.attempt(call);
    }

    /// Sends a call to whom its caller takes for the leader.
    fn attempt(&mut self, call: u64) {
        let attempt = self.callers.id();
        let Some(of) = self.callers.calls.get_mut(&call) else { return };
        self.callers.attempts.remove(&of.attempt);
        of.attempt = attempt;
        let group = of.group;
        self.callers.attempts.insert(attempt, call);
        // Now and then a caller asks anybody, and so hears of a new leader before the old one has answered.
        let node = match self.callers.leaders.get(&group) {
            Some(node) if !self.callers.rng.chance(100) => *node,
            _ => self.callers.rng.index(NODES),
        };
        let perfect = self.phase == Phase::Liveness;
        if let Some(at) = self.network.pass_caller(self.now, perfect) {
            self.queue.push(at, Action::Request { node, attempt });
        }
        // Without any answer a read is sent elsewhere; a write may be under way.
        let is_read = self.callers.calls.get(&call).is_some_and(|call| call.request.is_none());
        if is_read {
            self.callers.leaders.remove(&group);
        }
    }

    /// A request arrives at a node.
    pub(crate) fn request_arrives(&mut self, node: usize, attempt: u64) {
        let Some(call) = self.callers.attempts.get(&attempt) else { return };
        let Some(call) = self.callers.calls.get(call) else { return };
        let left = call.until.saturating_sub(self.now);
        let deadline_ns = self.nodes[node].clock.monotonic_ns(self.now) + left;
        let group = call.group;
        match call.request.clone() {
            Some(_) if self.log_waits(node) => {
                self.reply(attempt, Reply::Refused(Refusal::Throttled));
            }
            Some(request) => {
                let token = Token::Write(attempt);
                self.tell(node, Event::Submit { group, request, deadline_ns, token });
            }
            None => {
                let reading = Reading {
                    attempt,
                    group,
                    key: self.callers.items[call.parts[0].item].name.key.clone(),
                    deadline_ns,
                    tries: 0,
                    noted: None,
                    found: None,
                };
                self.begin_read(node, attempt, reading);
            }
        }
    }

    /// A node answers a caller, if the answer gets there.
    pub(crate) fn reply(&mut self, attempt: u64, reply: Reply) {
        let perfect = self.phase == Phase::Liveness;
        if let Some(at) = self.network.pass_caller(self.now, perfect) {
            self.queue.push(at, Action::Reply { attempt, reply: Box::new(reply) });
        }
    }

    /// A caller is answered.
    pub(crate) fn reply_arrives(&mut self, attempt: u64, reply: &Reply) {
        let Some(call) = self.callers.attempts.get(&attempt).copied() else { return };
        let Some(of) = self.callers.calls.get(&call) else { return };
        let (caller, group) = (of.caller, of.group);
        self.trace.note(self.now, format_args!("caller {caller} hears of {call}: {reply:?}"));
        let outputs = match reply {
            Reply::Refused(Refusal::Uncertain) => {
                return self.finish(caller, call, &End::Unknown);
            }
            Reply::Refused(refusal) => return self.go_elsewhere(call, group, refusal),
            Reply::Found(found) => {
                content_of(found.as_ref()).map(|content| vec![Output::Now(content)])
            }
            Reply::Outcome(outcome) => {
                let outputs = of.parts.iter().zip(each(outcome));
                outputs.map(|(part, outcome)| output_of(part.input, outcome)).collect()
            }
        };
        match outputs {
            Ok(outputs) => {
                let failed = outputs.iter().filter(|output| matches!(output, Output::Failed(_)));
                self.reached.add("conditions failed", failed.count() as u64);
                self.finish(caller, call, &End::Answered(&outputs));
            }
            Err(what) => self.fail(format!("call {call}: {what}")),
        }
    }

    /// Surely nothing was done: the call is sent again.
    fn go_elsewhere(&mut self, call: u64, group: GroupId, refusal: &Refusal) {
        match refusal {
            Refusal::NotLeader(Some(leader)) => {
                self.reached.one("redirects");
                self.callers.leaders.insert(group, node_at(*leader));
            }
            Refusal::Throttled => {}
            _ => {
                let elsewhere = self.callers.rng.index(NODES);
                self.callers.leaders.insert(group, elsewhere);
            }
        }
        let pause = self.callers.rng.between(MS, 60 * MS);
        let Some(of) = self.callers.calls.get(&call) else { return };
        let caller = of.caller;
        if self.now + pause >= of.until {
            return self.finish(caller, call, &End::Nothing);
        }
        // A refused call is nobody's until it is sent again.
        if let Some(of) = self.callers.calls.get_mut(&call) {
            self.callers.attempts.remove(&of.attempt);
            of.attempt = 0;
        }
        self.queue.push(self.now + pause, Action::Again { call });
    }

    /// A call is sent again.
    pub(crate) fn again(&mut self, call: u64) {
        self.attempt(call);
    }

    /// A caller has waited too long.
    pub(crate) fn caller_gives_up(&mut self, caller: usize, call: u64) {
        let Some(of) = self.callers.calls.get(&call) else { return };
        self.callers.leaders.remove(&of.group);
        let end = if of.attempt == 0 { End::Nothing } else { End::Unknown };
        if matches!(end, End::Unknown) && of.request.is_some() {
            self.reached.one("calls without an answer");
        }
        self.finish(caller, call, &end);
    }

    fn finish(&mut self, caller: usize, call: u64, end: &End<'_>) {
        let void = self.callers.end(call, end);
        let holds = self.invariants.acknowledged.void(void);
        self.check("acknowledged", holds);
        if self.callers.rng.chance(20) {
            self.callers.think = self.callers.rng.pick(&[MS, 10 * MS, 50 * MS, 200 * MS]);
        }
        let think = match self.phase {
            Phase::Safety => self.callers.rng.between(MS / 10, 2 * self.callers.think),
            Phase::Liveness => MS,
        };
        self.queue.push(self.now + think, Action::Caller { caller });
    }
}
