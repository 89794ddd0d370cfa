//! Who waits for what, and how each is answered: exactly once.

use stator_storage::machine::Evaluator;
use stator_storage::mutation::{Mutation, planted};

use super::{Context, Group};
use crate::host::{Answer, Effects};
use crate::reads::Question;
use crate::types::Refusal;

/// Somebody who waits for a confirmed read index, or only for an index to be applied.
pub(super) enum Waiter<O, T> {
    /// A reader: it reads by itself once it may.
    Reader { token: T, deadline_ns: u64 },
    /// An outcome that changed nothing, with the index that it rests on (R4).
    Outcome { token: T, outcome: O, bytes: usize, rests_on: u64, deadline_ns: u64 },
    /// The lease itself.
    Renewal { term: u64, asked_ns: u64 },
}

impl<O, T> Waiter<O, T> {
    /// Notes the question that a quorum has answered. Answers the index that this waiter rests on besides.
    fn settle(&mut self, question: &Question) -> u64 {
        match self {
            Self::Reader { .. } => 0,
            Self::Outcome { rests_on, .. } => *rests_on,
            Self::Renewal { term, asked_ns } => {
                (*term, *asked_ns) = (question.term, question.asked_ns);
                0
            }
        }
    }

    /// What it holds until it is answered.
    pub(super) const fn bytes(&self) -> usize {
        match self {
            Self::Outcome { bytes, .. } => *bytes,
            Self::Reader { .. } | Self::Renewal { .. } => 0,
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        match self {
            Self::Reader { deadline_ns, .. } | Self::Outcome { deadline_ns, .. } => {
                *deadline_ns <= now_ns
            }
            Self::Renewal { .. } => false,
        }
    }

    fn into_token(self) -> Option<T> {
        match self {
            Self::Reader { token, .. } | Self::Outcome { token, .. } => Some(token),
            Self::Renewal { .. } => None,
        }
    }
}

impl<E: Evaluator, T> Group<E, T> {
    /// A caller wants to read, and has no lease to do so under.
    pub(crate) fn read(&mut self, cx: &mut Context<'_, E, T>, token: T, deadline_ns: u64) {
        self.sleep.wake();
        if self.reads.len() >= cx.config.waiting_max {
            cx.effects.refuse(token, Refusal::Throttled);
        } else {
            self.reads.wait(Waiter::Reader { token, deadline_ns });
        }
    }

    /// An outcome that changed nothing is a consistent read (R4).
    pub(super) fn answer_unchanged(
        &mut self,
        cx: &Context<'_, E, T>,
        (token, outcome): (T, E::Outcome),
        rests_on: u64,
        deadline_ns: u64,
    ) {
        let bytes = self.evaluator.outcome_bytes(&outcome);
        let waiter = Waiter::Outcome { token, outcome, bytes, rests_on, deadline_ns };
        if self.lease.holds(cx.now_ns) || planted(Mutation::OutcomeWithoutLease) {
            self.reads.admit(rests_on, waiter);
        } else {
            self.reads.wait(waiter);
        }
    }

    /// Asks the quorum, if somebody waits for that or the lease runs low.
    pub(super) fn ask(&mut self, cx: &mut Context<'_, E, T>) {
        let Some(leading) = self.leading else {
            if self.reads.len() > 0 && !self.is_about_to_lead() {
                let refusal = Refusal::NotLeader(self.leader());
                self.refuse_readers(cx.effects, &refusal);
            }
            return;
        };
        // raft-rs drops the question of a leader that has committed nothing in its term yet.
        if !self.node.raft.commit_to_current_term() {
            return;
        }
        let renew = !self.is_alone()
            && !self.sleep.asleep()
            && !self.reads.is_asking()
            && self.lease.wants_renewal(cx.now_ns);
        if renew {
            self.renewals += 1;
            self.reads.wait(Waiter::Renewal { term: leading.term, asked_ns: cx.now_ns });
        }
        if !self.reads.has_unasked() && !self.reads.is_asking() {
            return;
        }
        if let Some(question) = self.reads.ask(leading.term, cx.now_ns, cx.tick) {
            cx.effects.read_indexes += 1;
            self.node.read_index(question.context());
        }
    }

    /// A quorum has answered a question.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64) {
        let index = if planted(Mutation::LeaseBeforeApplied) { 0 } else { index };
        self.reads.confirm(context, index, Waiter::settle);
    }

    /// Answers those whose entries are applied, and those whose reads are confirmed and applied.
    pub(super) fn answer_applied(&mut self, cx: &mut Context<'_, E, T>) {
        let applied = self.feed.applied();
        let answered = if planted(Mutation::AnswerAtOnce) { u64::MAX } else { applied };
        while let Some(waiters) = self.pending.next_applied(answered) {
            for (token, outcome) in waiters {
                cx.effects.answer(token, Answer::Outcome(outcome));
            }
        }
        for waiter in self.reads.ready(applied) {
            match waiter {
                Waiter::Reader { token, deadline_ns } if deadline_ns <= cx.now_ns => {
                    cx.effects.refuse(token, Refusal::Expired);
                }
                Waiter::Reader { token, .. } => cx.effects.answer(token, Answer::MayRead),
                Waiter::Outcome { token, outcome, .. } => {
                    cx.effects.answer(token, Answer::Outcome(outcome));
                }
                // It renews only if this replica has led that term without a break: a break abandons the waiters (R5).
                Waiter::Renewal { term, asked_ns } => {
                    self.renewals -= 1;
                    let is_late = planted(Mutation::LeaseFromTheAnswer);
                    self.lease.grant(term, if is_late { cx.now_ns } else { asked_ns });
                    cx.effects.leases += 1;
                }
            }
        }
    }

    /// Answers those who have waited too long. What is proposed waits on: it may yet be applied.
    pub(super) fn expire(&mut self, cx: &mut Context<'_, E, T>) {
        for token in self.waiting.expire(cx.now_ns) {
            cx.effects.refuse(token, Refusal::Expired);
        }
        if self.reads.len() > 0 {
            for waiter in self.reads.expire(|waiter| waiter.is_over(cx.now_ns)) {
                if let Some(token) = waiter.into_token() {
                    cx.effects.refuse(token, Refusal::Expired);
                }
            }
        }
    }

    pub(super) fn refuse_readers(&mut self, effects: &mut Effects<E, T>, refusal: &Refusal) {
        self.renewals = 0;
        for token in self.reads.abandon().into_iter().filter_map(Waiter::into_token) {
            effects.refuse(token, refusal.clone());
        }
    }

    pub(super) fn refuse_waiting(&mut self, effects: &mut Effects<E, T>, refusal: &Refusal) {
        for token in self.waiting.abandon() {
            effects.refuse(token, refusal.clone());
        }
    }

    /// The entry that was being filled will not be proposed: certainly not done.
    pub(super) fn refuse_drafted(&mut self, effects: &mut Effects<E, T>, refusal: &Refusal) {
        for (token, _) in self.drafted.drain(..) {
            effects.refuse(token, refusal.clone());
        }
    }

    /// Everybody who waits is answered: this replica leads no more, or stops. What was proposed may yet be applied.
    pub(super) fn refuse_all(&mut self, effects: &mut Effects<E, T>, refusal: &Refusal) {
        for (token, _) in self.pending.abandon() {
            let is_failed = planted(Mutation::UncertainAsFailed);
            effects.refuse(token, if is_failed { refusal.clone() } else { Refusal::Uncertain });
        }
        if let Some(token) = self.evaluating.take() {
            effects.refuse(token, refusal.clone());
        }
        self.refuse_drafted(effects, refusal);
        self.refuse_readers(effects, refusal);
        self.refuse_waiting(effects, refusal);
    }

    /// The replica stops, perhaps on a panic in its own evaluator: nothing foreign is called any more.
    pub(crate) fn stop(&mut self, effects: &mut Effects<E, T>, reason: &str) {
        self.lease.give_up();
        self.lease.view().set_leader(None);
        self.lease.view().set_serves(false);
        self.refuse_all(effects, &Refusal::Stopped(reason.to_owned()));
    }
}
