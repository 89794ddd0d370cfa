//! Leadership, evaluation and proposals (R1, R4, R7).
//!
//! Requests of a turn are evaluated one after another into one entry, or into several if they do not fit. Room is reserved before
//! a request is evaluated; an entry that Raft refuses all the same is taken back whole: its images leave the overlay, and all who
//! saw them are told that nothing was done.
//!
//! The evaluator reads the engine, and the engine may be replaced under it (a snapshot, a reopening): as any reader it notes the
//! data's generation before and checks it after, and what was evaluated across a change is taken back. So is what was evaluated while
//! the engine could not be read; only damaged data stop the replica.

use raft::StateRole;
use raft::eraftpb::{Entry, Message, MessageType};
use stator_storage::Error;
use stator_storage::machine::{Draft, Evaluator};
use stator_storage::mutation::{Mutation, planted};

use super::{Context, Fault, Group};
use crate::host::LeaderChange;
use crate::lease::ReadTicket;
use crate::types::Refusal;
use crate::waiting::Submission;

/// This replica leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) term: u64,
    /// Whether it has applied its term's first entry: before that it evaluates nothing.
    pub(super) ready: bool,
}

/// Why the filling of an entry ended.
enum Filled {
    /// It is full, or there are no more requests; the outcomes that wait for it take so many bytes.
    Whole { held: usize },
    /// The data was replaced meanwhile, or could not be read: nothing that was evaluated counts.
    Disturbed,
}

/// Whether the replica's data are at fault; whatever else an engine fails of may pass.
const fn stops(error: &Error) -> bool {
    matches!(error, Error::Corruption { .. } | Error::Version { .. })
}

impl<E: Evaluator, T> Group<E, T> {
    /// A caller's request.
    pub(crate) fn submit(
        &mut self,
        cx: &mut Context<'_, E, T>,
        request: E::Request,
        deadline_ns: u64,
        token: T,
    ) {
        self.sleep.wake();
        // Until it is pushed the token is where a panicking evaluator cannot lose it.
        self.evaluating = Some(token);
        let weight = self.evaluator.weight(&request);
        let Some(token) = self.evaluating.take() else { return };
        let config = cx.config;
        let has_room = self.waiting.len() < config.waiting_max
            && self.waiting.bytes().saturating_add(weight) <= config.waiting_bytes_max
            && self.host_bytes(cx).saturating_add(weight) <= config.host_in_flight_bytes_max;
        if has_room {
            self.waiting.push(Submission { request, weight, deadline_ns, token });
        } else {
            cx.effects.refuse(token, Refusal::Throttled);
        }
    }

    /// What all groups of the host hold of requests and entries in flight.
    fn host_bytes(&self, cx: &Context<'_, E, T>) -> usize {
        cx.others.in_flight + self.footprint().in_flight
    }

    /// A candidate that nobody has refused yet, or the only voter: requests may wait for it; their deadline bounds that.
    pub(super) fn is_about_to_lead(&self) -> bool {
        self.is_alone() || self.node.raft.state == StateRole::Candidate
    }

    /// Takes up or lays down leadership as Raft's own state says, never by its soft state, which can hide a change of term (R6).
    pub(super) fn note_leadership(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        let raft = &self.node.raft;
        let leads = (raft.state == StateRole::Leader).then_some(raft.term);
        if self.leading.map(|leading| leading.term) != leads {
            if self.leading.take().is_some() {
                self.lay_down(cx);
            }
            if let Some(term) = leads {
                self.lease.lead(term);
                self.leading = Some(Leading { term, ready: false });
                cx.effects.elections += 1;
            }
        }
        self.announce(cx);
        self.take_up()
    }

    fn lay_down(&mut self, cx: &mut Context<'_, E, T>) {
        self.lease.give_up();
        self.lease.view().set_serves(false);
        (self.transfer, self.vain_heir) = (None, None);
        self.end_snapshot(cx);
        let refusal = Refusal::NotLeader(self.leader());
        self.refuse_all(cx.effects, &refusal);
        self.evaluator.stop_leading();
    }

    fn announce(&mut self, cx: &mut Context<'_, E, T>) {
        let (term, leader) = (self.node.raft.term, self.leader());
        if self.announced == (term, leader) || (leader.is_none() && self.announced.1.is_none()) {
            return;
        }
        self.announced = (term, leader);
        self.lease.view().set_leader(leader);
        let here = self.leading.is_some();
        cx.effects.leader_changes.push(LeaderChange { group: self.spec.group, term, leader, here });
    }

    /// A leader evaluates once it has applied its own term's first entry: it knows then what all before it left.
    fn take_up(&mut self) -> Result<(), Fault> {
        let Some(leading) = self.leading.filter(|leading| !leading.ready) else { return Ok(()) };
        if !self.node.raft.apply_to_current_term() && !planted(Mutation::LeadsEarly) {
            return Ok(());
        }
        let Some(ticket) = self.lease.view().begin_unleased() else { return Ok(()) };
        let begun = self.evaluator.begin_leading(leading.term);
        if !self.lease.view().holds_unleased(ticket) {
            return Ok(());
        }
        match begun {
            Ok(()) => {}
            Err(error) if stops(&error) => return Err(error.to_string()),
            // The next turn tries again.
            Err(_) => return Ok(()),
        }
        self.leading = Some(Leading { ready: true, ..leading });
        self.lease.view().set_serves(true);
        if self.is_alone() {
            self.lease.grant_for_good(leading.term);
        }
        Ok(())
    }

    pub(super) fn evaluate_waiting(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Some(leading) = self.leading else {
            if !self.is_about_to_lead() {
                let refusal = Refusal::NotLeader(self.leader());
                self.refuse_waiting(cx.effects, &refusal);
            }
            return Ok(());
        };
        if let Some(transfer) = &self.transfer {
            let heir = self.spec.node_of(transfer.to);
            self.refuse_waiting(cx.effects, &Refusal::NotLeader(heir));
            return Ok(());
        }
        while leading.ready && !self.waiting.is_empty() {
            let Some(ticket) = self.lease.view().begin_unleased() else { break };
            let index = self.node.raft.raft_log.last_index() + 1;
            let mut draft = Draft::new(index, leading.term, cx.wall_ms);
            let filled = self.fill(cx, &mut draft, ticket)?;
            match filled {
                Filled::Whole { .. } if self.drafted.is_empty() && draft.is_empty() => {}
                Filled::Whole { held } => self.propose(cx, draft, held),
                Filled::Disturbed => self.take_back(cx, index),
            }
        }
        Ok(())
    }

    /// Evaluates waiting requests into an entry, until it is full or there are no more.
    fn fill(
        &mut self,
        cx: &mut Context<'_, E, T>,
        draft: &mut Draft,
        ticket: ReadTicket,
    ) -> Result<Filled, Fault> {
        let (mut reserved, mut held) = (0usize, 0usize);
        while let Some(weight) = self.waiting.next_weight() {
            // An update's image may have come to more than it was taken for.
            let with_next = reserved.max(draft.payload.len()).saturating_add(weight);
            if reserved > 0 && with_next > cx.config.entry_bytes_max {
                break;
            }
            let Some(submission) = self.waiting.pop() else { break };
            let Submission { request, deadline_ns, token, .. } = submission;
            if deadline_ns <= cx.now_ns || !(cx.claim)(&token) {
                cx.effects.refuse(token, Refusal::Expired);
                continue;
            }
            if !self.has_room(cx, with_next.saturating_add(held)) {
                cx.effects.refuse(token, Refusal::Throttled);
                continue;
            }
            reserved = with_next;
            self.evaluating = Some(token);
            let evaluated = self.evaluator.evaluate(request, draft);
            // Judged before the error: an engine that is being opened again refuses to be read, which is no fault of the replica.
            if !self.lease.view().holds_unleased(ticket) {
                return Ok(Filled::Disturbed);
            }
            let evaluated = match evaluated {
                Ok(evaluated) => evaluated,
                Err(error) if stops(&error) => return Err(error.to_string()),
                Err(error) => {
                    tracing::warn!(group = self.spec.group.0, %error, "a request was not evaluated");
                    return Ok(Filled::Disturbed);
                }
            };
            let Some(token) = self.evaluating.take() else { break };
            if evaluated.rests_on == draft.index {
                held = held.saturating_add(self.evaluator.outcome_bytes(&evaluated.outcome));
                self.drafted.push((token, evaluated.outcome));
            } else {
                let answer = (token, evaluated.outcome);
                self.answer_unchanged(cx, answer, evaluated.rests_on, deadline_ns);
            }
        }
        Ok(Filled::Whole { held })
    }

    fn has_room(&self, cx: &Context<'_, E, T>, bytes: usize) -> bool {
        let held = self.pending.bytes().saturating_add(self.reads.bytes());
        held.saturating_add(bytes) <= cx.config.in_flight_bytes_max
            && self.host_bytes(cx).saturating_add(bytes) <= cx.config.host_in_flight_bytes_max
            && self.reads.len() < cx.config.waiting_max
    }

    /// Proposes an entry, if this replica still leads the term that it was evaluated in (R1).
    fn propose(&mut self, cx: &mut Context<'_, E, T>, draft: Draft, held: usize) {
        let (index, term) = (draft.index, draft.term);
        let data = self.evaluator.seal(draft);
        let bytes = data.len();
        let raft = &self.node.raft;
        let is_entitled =
            raft.state == StateRole::Leader && raft.term == term && raft.lead_transferee.is_none();
        let is_entitled = is_entitled || planted(Mutation::NoAuthority);
        let is_accepted = is_entitled && {
            let entry = Entry { data, ..Entry::default() };
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = self.spec.replica.0;
            message.entries = vec![entry].into();
            self.node.step(message).is_ok()
                && (self.node.raft.raft_log.last_index() == index || planted(Mutation::NoAuthority))
        };
        if is_accepted {
            cx.effects.proposed += 1;
            self.pending.add(index, bytes + held, std::mem::take(&mut self.drafted));
        } else {
            self.take_back(cx, index);
        }
    }

    /// An entry is not proposed after all: certainly not done, for nothing of it is in anybody's log (R7).
    fn take_back(&mut self, cx: &mut Context<'_, E, T>, index: u64) {
        if !planted(Mutation::RefusedImageStays) {
            self.evaluator.refused(index);
        }
        if let Some(token) = self.evaluating.take() {
            cx.effects.refuse(token, Refusal::Throttled);
        }
        self.refuse_drafted(cx.effects, &Refusal::Throttled);
    }
}
