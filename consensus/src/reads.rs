//! Read index: asking a quorum whether this replica still leads, on behalf of all who wait for that answer (R5).
//!
//! At most one question is in flight per group; who comes meanwhile waits for the next one, because a confirmation is worth
//! something only to those who came before it was asked. raft-rs drops questions silently, so one that is not answered in a few
//! ticks is asked again, with a context of its own: a duplicated old answer would confirm a context used twice.

use std::collections::BTreeMap;

use stator_storage::mutation::{Mutation, planted};

/// A question to the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) term: u64,
    counter: u64,
    /// The time just before it was asked.
    pub(crate) asked_ns: u64,
    asked_tick: u64,
}

impl Question {
    /// What comes back with the answer: never used twice, over restarts too, for a term is led only once.
    pub(crate) fn context(&self) -> Vec<u8> {
        let counter = if planted(Mutation::ContextReused) { 0 } else { self.counter };
        [self.term.to_be_bytes(), counter.to_be_bytes()].concat()
    }
}

/// Those who wait: `W` is whatever the caller keeps of them.
#[derive(Debug)]
pub(crate) struct Reads<W> {
    counter: u64,
    in_flight: Option<(Question, Vec<W>)>,
    next: Vec<W>,
    /// Confirmed, by the index that has to be applied before they may go on.
    confirmed: BTreeMap<u64, Vec<W>>,
    len: usize,
    /// What those who wait hold.
    bytes: usize,
    bytes_of: fn(&W) -> usize,
    retry_ticks: u64,
}

impl<W> Reads<W> {
    /// `bytes_of` tells how many bytes somebody holds who waits.
    pub(crate) const fn new(retry_ticks: u64, bytes_of: fn(&W) -> usize) -> Self {
        Self {
            counter: 0,
            in_flight: None,
            next: Vec::new(),
            confirmed: BTreeMap::new(),
            len: 0,
            bytes: 0,
            bytes_of,
            retry_ticks,
        }
    }

    /// Somebody waits for a confirmation that is asked from now on.
    pub(crate) fn wait(&mut self, waiter: W) {
        self.count(&waiter);
        self.next.push(waiter);
    }

    /// Somebody who needs no confirmation any more, only that `index` is applied.
    pub(crate) fn admit(&mut self, index: u64, waiter: W) {
        self.count(&waiter);
        self.confirmed.entry(index).or_default().push(waiter);
    }

    fn count(&mut self, waiter: &W) {
        self.len += 1;
        self.bytes += (self.bytes_of)(waiter);
    }

    fn forget(&mut self, waiters: &[W]) {
        self.len -= waiters.len();
        self.bytes -= waiters.iter().map(self.bytes_of).sum::<usize>();
    }

    /// How many bytes those hold who wait.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_asking(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether somebody waits for a question that has not been asked yet.
    pub(crate) fn has_unasked(&self) -> bool {
        !self.next.is_empty()
    }

    /// The next question, unless one is in flight that is not overdue. A question asked again keeps those who wait for it: the
    /// later asking confirms more.
    pub(crate) fn ask(&mut self, term: u64, now_ns: u64, tick: u64) -> Option<Question> {
        let mut waiters = match &self.in_flight {
            Some((question, _)) if tick < question.asked_tick + self.retry_ticks => return None,
            _ => self.in_flight.take().map(|(_, waiters)| waiters).unwrap_or_default(),
        };
        waiters.append(&mut self.next);
        self.counter += 1;
        let question = Question { term, counter: self.counter, asked_ns: now_ns, asked_tick: tick };
        self.in_flight = Some((question, waiters));
        Some(question)
    }

    /// A quorum has answered: if it is the question in flight, those who waited for it may go on once `index` is applied.
    /// `settle` notes the question in each, and tells the index that it rests on besides.
    pub(crate) fn confirm(
        &mut self,
        context: &[u8],
        index: u64,
        settle: impl Fn(&mut W, &Question) -> u64,
    ) {
        let Some((question, waiters)) =
            self.in_flight.take_if(|(question, _)| question.context() == context)
        else {
            return;
        };
        for mut waiter in waiters {
            let rests_on = settle(&mut waiter, &question);
            self.confirmed.entry(index.max(rests_on)).or_default().push(waiter);
        }
    }

    /// Those who may go on now that `applied` is applied.
    pub(crate) fn ready(&mut self, applied: u64) -> Vec<W> {
        if self.confirmed.first_key_value().is_none_or(|(index, _)| *index > applied) {
            return Vec::new();
        }
        let later = self.confirmed.split_off(&(applied + 1));
        let ready: Vec<W> =
            std::mem::replace(&mut self.confirmed, later).into_values().flatten().collect();
        self.forget(&ready);
        ready
    }

    /// Takes out those who have waited too long.
    pub(crate) fn expire(&mut self, is_over: impl Fn(&mut W) -> bool) -> Vec<W> {
        let mut over = Vec::new();
        let in_flight = self.in_flight.iter_mut().map(|(_, waiters)| waiters);
        for waiters in in_flight.chain([&mut self.next]).chain(self.confirmed.values_mut()) {
            over.extend(waiters.extract_if(.., |waiter| is_over(waiter)));
        }
        self.confirmed.retain(|_, waiters| !waiters.is_empty());
        self.forget(&over);
        over
    }

    /// This replica leads no more: everybody who waits has to ask elsewhere.
    pub(crate) fn abandon(&mut self) -> Vec<W> {
        (self.len, self.bytes) = (0, 0);
        let mut all: Vec<W> = std::mem::take(&mut self.confirmed).into_values().flatten().collect();
        all.extend(self.in_flight.take().map(|(_, waiters)| waiters).unwrap_or_default());
        all.append(&mut self.next);
        all
    }
}

#[cfg(test)]
mod tests;
