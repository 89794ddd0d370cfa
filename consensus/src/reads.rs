//! Read index: asking a quorum whether this replica still leads, on behalf of all who wait for that answer (R5).
//!
//! At most one question is in flight per group; who comes meanwhile waits for the next one, because a confirmation is worth
//! something only to those who came before it was asked. raft-rs drops questions silently, so one that is not answered in a few
//! ticks is asked again, with a context of its own: a duplicated old answer would confirm a context used twice.

use std::collections::BTreeMap;

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
    pub(crate) fn context(&self) -> Vec<u8> {
        [self.term.to_be_bytes(), self.counter.to_be_bytes()].concat()
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
    retry_ticks: u64,
}

impl<W> Reads<W> {
    pub(crate) const fn new(retry_ticks: u64) -> Self {
        Self {
            counter: 0,
            in_flight: None,
            next: Vec::new(),
            confirmed: BTreeMap::new(),
            retry_ticks,
        }
    }

    /// Somebody waits for a confirmation that is asked from now on.
    pub(crate) fn wait(&mut self, waiter: W) {
        self.next.push(waiter);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.next.len()
            + self.in_flight.as_ref().map_or(0, |(_, waiters)| waiters.len())
            + self.confirmed.values().map(Vec::len).sum::<usize>()
    }

    pub(crate) const fn is_asking(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(crate) fn has_waiters(&self) -> bool {
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

    /// A quorum has answered; those who waited may go on once `index` is applied. Answers the question, if it is the one in flight.
    /// `need` tells for each the index that it rests on besides.
    pub(crate) fn confirm(
        &mut self,
        context: &[u8],
        index: u64,
        need: impl Fn(&W) -> u64,
    ) -> Option<Question> {
        let (question, waiters) = self.in_flight.take()?;
        if question.context() != context {
            self.in_flight = Some((question, waiters));
            return None;
        }
        for waiter in waiters {
            self.admit(index.max(need(&waiter)), waiter);
        }
        Some(question)
    }

    /// Somebody who needs no confirmation any more, only that `index` is applied.
    pub(crate) fn admit(&mut self, index: u64, waiter: W) {
        self.confirmed.entry(index).or_default().push(waiter);
    }

    /// Those who may go on now that `applied` is applied.
    pub(crate) fn ready(&mut self, applied: u64) -> Vec<W> {
        let later = self.confirmed.split_off(&(applied + 1));
        std::mem::replace(&mut self.confirmed, later).into_values().flatten().collect()
    }

    /// This replica leads no more: everybody who waits has to ask elsewhere.
    pub(crate) fn abandon(&mut self) -> Vec<W> {
        let mut all: Vec<W> = std::mem::take(&mut self.confirmed).into_values().flatten().collect();
        all.extend(self.in_flight.take().map(|(_, waiters)| waiters).unwrap_or_default());
        all.append(&mut self.next);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_the_asking_waits_for_the_next_question() {
        let mut reads = Reads::new(4);
        reads.wait("early");
        let first = reads.ask(3, 100, 0).expect("asks");
        reads.wait("late");
        assert_eq!(reads.ask(3, 110, 1), None, "one in flight");
        assert_eq!(reads.confirm(&first.context(), 20, |_| 0), Some(first));
        assert!(reads.ready(19).is_empty());
        assert_eq!(reads.ready(20), ["early"]);
        let second = reads.ask(3, 120, 2).expect("asks");
        reads.confirm(&second.context(), 20, |_| 0);
        assert_eq!(reads.ready(20), ["late"]);
    }

    #[test]
    fn an_old_answer_confirms_nothing() {
        let mut reads = Reads::new(4);
        reads.wait("reader");
        let lost = reads.ask(3, 100, 0).expect("asks");
        let again = reads.ask(3, 300, 4).expect("asks again");
        assert_ne!(lost.context(), again.context());
        assert_eq!(reads.confirm(&lost.context(), 20, |_| 0), None);
        assert!(reads.ready(20).is_empty());
        assert_eq!(reads.confirm(&again.context(), 21, |_| 0), Some(again));
        assert_eq!(reads.ready(21), ["reader"]);
    }
}
