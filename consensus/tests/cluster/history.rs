//! What callers saw, and whether that is what registers do.
//!
//! Each register has one writer, which writes growing values one after another. Then a history is linearizable exactly if every
//! observation lies between the last value acknowledged before it was asked for and the last one asked for before it was made,
//! and if no observation is older than one that ended before it began.

use std::collections::BTreeMap;

use stator_consensus::{GroupId, Refusal};

use crate::node::Token;
use crate::toy::{Outcome, Request};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Write(u64),
    Read,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Saw(u64),
    Refused(Refusal),
    /// The node crashed.
    Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) node: u64,
    pub(crate) group: GroupId,
    pub(crate) key: u8,
    pub(crate) what: What,
    pub(crate) begun: u64,
    pub(crate) end: Option<(u64, End)>,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    operations: BTreeMap<Token, Operation>,
}

impl History {
    pub(crate) fn invoke(
        &mut self,
        token: Token,
        node: u64,
        group: GroupId,
        request: &Request,
        now: u64,
    ) {
        let (key, what) = match *request {
            Request::Put { key, value }
            | Request::Big { key, value, .. }
            | Request::Answered { key, value, .. }
            | Request::Grown { key, value, .. } => (key, What::Write(value)),
            // Those that are meant to fail are reads.
            Request::PutIf { key, expected: u64::MAX, .. } => (key, What::Read),
            Request::PutIf { key, value, .. } => (key, What::Write(value)),
            Request::Fail { .. }
            | Request::Unreadable
            | Request::Disturb
            | Request::Told { .. } => (0, What::Other),
        };
        let operation = Operation { node, group, key, what, begun: now, end: None };
        self.operations.insert(token, operation);
    }

    pub(crate) fn invoke_read(
        &mut self,
        token: Token,
        node: u64,
        group: GroupId,
        key: u8,
        now: u64,
    ) {
        let operation = Operation { node, group, key, what: What::Read, begun: now, end: None };
        self.operations.insert(token, operation);
    }

    pub(crate) fn group(&self, token: Token) -> GroupId {
        self.operations[&token].group
    }

    pub(crate) fn end(&self, token: Token) -> Option<&End> {
        self.operations[&token].end.as_ref().map(|(_, end)| end)
    }

    fn finish(&mut self, token: Token, end: End, now: u64) {
        let operation = self.operations.get_mut(&token).expect("nobody else is answered");
        match &operation.end {
            // A crash cuts short what an answer on its way would have said.
            Some((_, End::Lost)) => {}
            Some(before) => panic!("{token} is answered twice: {before:?}, then {end:?}"),
            None => operation.end = Some((now, end)),
        }
    }

    pub(crate) fn answer(&mut self, token: Token, outcome: &Outcome, now: u64) {
        let end = match (outcome, &self.operations[&token].what) {
            (Outcome::Held(value), What::Read) => End::Saw(*value),
            (Outcome::Held(value), _) => panic!("a write held back by {value}"),
            (Outcome::Done | Outcome::Large(_), _) => End::Done,
        };
        self.finish(token, end, now);
    }

    pub(crate) fn observe(&mut self, token: Token, value: u64, now: u64) {
        self.finish(token, End::Saw(value), now);
    }

    pub(crate) fn refuse(&mut self, token: Token, refusal: Refusal, now: u64) {
        self.finish(token, End::Refused(refusal), now);
    }

    /// The node is gone, and with it all answers.
    pub(crate) fn lose(&mut self, node: u64, now: u64) {
        for operation in self.operations.values_mut() {
            if operation.node == node && operation.end.is_none() {
                operation.end = Some((now, End::Lost));
            }
        }
    }

    pub(crate) fn unanswered(&self) -> Vec<Token> {
        let open = self.operations.iter().filter(|(_, operation)| operation.end.is_none());
        open.map(|(token, _)| *token).collect()
    }

    pub(crate) fn count(&self, is: impl Fn(&Operation) -> bool) -> usize {
        self.operations.values().filter(|operation| is(operation)).count()
    }

    pub(crate) fn check(&self) {
        let mut registers: BTreeMap<(GroupId, u8), Vec<&Operation>> = BTreeMap::new();
        for operation in self.operations.values() {
            registers.entry((operation.group, operation.key)).or_default().push(operation);
        }
        for (register, operations) in registers {
            check_register(register, &operations);
        }
    }
}

fn check_register(register: (GroupId, u8), operations: &[&Operation]) {
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let mut asked: Vec<(u64, u64)> = Vec::new();
    let mut observed: Vec<(u64, u64)> = Vec::new();
    for operation in operations {
        match (&operation.what, &operation.end) {
            (What::Write(value), Some((at, End::Done))) => acknowledged.push((*at, *value)),
            (What::Read, Some((at, End::Saw(value)))) => observed.push((*at, *value)),
            _ => {}
        }
        // What was surely not applied may not be seen at all.
        let surely_not = matches!(
            &operation.end,
            Some((_, End::Refused(refusal))) if *refusal != Refusal::Uncertain
        );
        if let (What::Write(value), false) = (&operation.what, surely_not) {
            asked.push((operation.begun, *value));
        }
    }
    let newest = |of: &[(u64, u64)], before: u64| {
        let earlier = of.iter().filter(|(at, _)| *at < before);
        earlier.map(|(_, value)| *value).max().unwrap_or(0)
    };
    for operation in operations {
        let (What::Read, Some((at, End::Saw(value)))) = (&operation.what, &operation.end) else {
            continue;
        };
        let floor = newest(&acknowledged, operation.begun).max(newest(&observed, operation.begun));
        assert!(*value >= floor, "{register:?}: a stale {value} after {floor}: {operation:?}");
        let is_known = *value == 0 || asked.iter().any(|(begun, of)| of == value && begun < at);
        assert!(is_known, "{register:?}: {value} from nowhere: {operation:?}");
    }
}

mod tests {
    use super::*;

    fn history(operations: &[(What, u64, u64, End)]) -> History {
        let operations = operations.iter().cloned().map(|(what, begun, ended, end)| Operation {
            node: 1,
            group: GroupId(1),
            key: 1,
            what,
            begun,
            end: Some((ended, end)),
        });
        History { operations: (0..).zip(operations).collect() }
    }

    #[test]
    fn what_a_register_does_passes() {
        history(&[
            (What::Write(1), 0, 10, End::Done),
            (What::Read, 5, 12, End::Saw(0)),
            (What::Write(2), 11, 20, End::Lost),
            (What::Read, 30, 40, End::Saw(2)),
        ])
        .check();
    }

    #[test]
    #[should_panic(expected = "a stale 0 after 1")]
    fn a_stale_read_is_refused() {
        history(&[(What::Write(1), 0, 10, End::Done), (What::Read, 11, 12, End::Saw(0))]).check();
    }

    #[test]
    #[should_panic(expected = "a stale 1 after 2")]
    fn a_read_older_than_the_one_before_is_refused() {
        history(&[
            (What::Write(1), 0, 10, End::Done),
            (What::Write(2), 11, 20, End::Lost),
            (What::Read, 21, 22, End::Saw(2)),
            (What::Read, 23, 24, End::Saw(1)),
        ])
        .check();
    }

    #[test]
    #[should_panic(expected = "3 from nowhere")]
    fn a_write_that_was_surely_not_applied_is_not_seen() {
        history(&[
            (What::Write(3), 0, 10, End::Refused(Refusal::Throttled)),
            (What::Read, 11, 12, End::Saw(3)),
        ])
        .check();
    }
}
