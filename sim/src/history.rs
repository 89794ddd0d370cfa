//! Histories: what callers asked of an item and what they were told, and whether one item could have answered so.
//!
//! An item is a register with a counter: the id of the last write that replaced it or stamped it, and a number that updates add
//! to. Every write has an id of its own, so every value is unique. A call whose fate is not known gets its response at the end of
//! time, with any result: it may take effect at any moment after it began, or never, which is the same as at the very end.
//!
//! The checker is `todc-utils`' Wing-Gong-Lowe. It has no bound of its own; the specification counts the steps that it is asked
//! for, and stops a check that takes too many. A check that is stopped is a failure of the run.

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind};

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// The most steps that a check may take.
const STEPS_MAX: u64 = 3_000_000;

/// What is stored under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// The id of the last write.
    pub last: u64,
    /// What updates have added up since the item was last replaced.
    pub sum: i64,
}

/// What a caller asks of an item. Absent is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A strong read.
    Get,
    /// Replaces the item.
    Put {
        /// The write's id.
        id: u64,
        /// Whether to answer what was there.
        old: bool,
    },
    /// Replaces the item if its last write was this one.
    PutIf {
        /// The write's id.
        id: u64,
        /// What the caller takes for the item's last write.
        expected: Option<u64>,
    },
    /// Adds to the sum, making the item if it is absent, and answers what it is then.
    Add {
        /// The write's id.
        id: u64,
        /// How much.
        amount: i64,
    },
    /// Deletes the item.
    Delete {
        /// Whether to answer what was there.
        old: bool,
    },
    /// Deletes the item if its last write was this one.
    DeleteIf {
        /// What the caller takes for the item's last write.
        expected: Option<u64>,
    },
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Only that it is done.
    Done,
    /// What was there before.
    Old(Option<Content>),
    /// What is there now.
    Now(Option<Content>),
    /// The condition did not hold on what is there.
    Failed(Option<Content>),
}

/// One call.
#[derive(Clone, Debug)]
struct Call {
    input: Input,
    /// `None` is a call whose fate is not known.
    output: Option<Output>,
    invoked: u64,
    returned: Option<u64>,
    /// It is certain that nothing came of it.
    void: bool,
}

/// What was asked of one item, and answered.
#[derive(Clone, Debug, Default)]
pub struct ItemHistory {
    calls: Vec<Call>,
}

impl ItemHistory {
    /// A call begins; times only order. Gives its number.
    pub fn invoke(&mut self, at: u64, input: Input) -> usize {
        self.calls.push(Call { input, output: None, invoked: at, returned: None, void: false });
        self.calls.len() - 1
    }

    /// A call is answered.
    pub fn answer(&mut self, call: usize, at: u64, output: Output) {
        self.calls[call].returned = Some(at);
        self.calls[call].output = Some(output);
    }

    /// A call has certainly come to nothing.
    pub fn forget(&mut self, call: usize) {
        self.calls[call].void = true;
    }

    /// How many calls there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing was ever asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether some order of the calls, each at one moment between its beginning and its answer, explains all answers.
    ///
    /// # Errors
    /// In words, that there is none, or that none was found in time.
    pub fn check(&self) -> Result<(), String> {
        let actions = self.actions();
        if actions.is_empty() {
            return Ok(());
        }
        STEPS_LEFT.set(STEPS_MAX);
        let history = History::from_actions(actions);
        match catch_unwind(|| WGLChecker::<ItemModel>::is_linearizable(history)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("no order of the calls explains their answers:\n{self:#?}")),
            Err(panic) if panic.is::<OutOfSteps>() => {
                Err(format!("the checker came to no end in {STEPS_MAX} steps"))
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// As the checker wants it: every call is a process of its own, for the response of an uncertain one comes after its caller
    /// has gone on.
    fn actions(&self) -> Vec<(usize, Action<Observed>)> {
        let mut timed = Vec::new();
        for (process, call) in self.calls.iter().filter(|call| !call.void).enumerate() {
            let observed = Observed { input: call.input, output: call.output };
            timed.push((call.invoked, process, Action::Call(observed)));
            let returned = call.returned.unwrap_or(u64::MAX);
            timed.push((returned, process, Action::Response(observed)));
        }
        timed.sort_by_key(|(at, process, _)| (*at, *process));
        timed.into_iter().map(|(_, process, action)| (process, action)).collect()
    }
}

#[derive(Clone, Copy, Debug)]
struct Observed {
    input: Input,
    output: Option<Output>,
}

/// What unwinds out of a check that takes too long.
struct OutOfSteps;

thread_local! {
    static STEPS_LEFT: Cell<u64> = const { Cell::new(0) };
}

struct ItemModel;

impl Specification for ItemModel {
    type State = Option<Content>;
    type Operation = Observed;

    fn init() -> Self::State {
        None
    }

    fn apply(observed: &Observed, state: &Self::State) -> (bool, Self::State) {
        let left = STEPS_LEFT.get();
        if left == 0 {
            resume_unwind(Box::new(OutOfSteps));
        }
        STEPS_LEFT.set(left - 1);
        let (output, after) = step(observed.input, *state);
        match observed.output {
            Some(told) if told != output => (false, *state),
            _ => (true, after),
        }
    }
}

/// What an item answers, and what it is after that.
fn step(input: Input, now: Option<Content>) -> (Output, Option<Content>) {
    let last = now.map(|content| content.last);
    match input {
        Input::Get => (Output::Now(now), now),
        Input::Put { id, old } => {
            let answer = if old { Output::Old(now) } else { Output::Done };
            (answer, Some(Content { last: id, sum: 0 }))
        }
        Input::PutIf { id, expected } if expected == last => {
            (Output::Done, Some(Content { last: id, sum: 0 }))
        }
        Input::Add { id, amount } => {
            let sum = now.map_or(0, |content| content.sum) + amount;
            let after = Some(Content { last: id, sum });
            (Output::Now(after), after)
        }
        Input::Delete { old } => (if old { Output::Old(now) } else { Output::Done }, None),
        Input::DeleteIf { expected } if expected == last => (Output::Done, None),
        Input::PutIf { .. } | Input::DeleteIf { .. } => (Output::Failed(now), now),
    }
}

#[cfg(test)]
mod tests;
