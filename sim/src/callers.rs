//! Callers: at most eight, each with one call at a time, to items that all fight for and items where they seldom meet.
//!
//! A caller sends its call to the node that it takes for the leader, goes elsewhere when it is told that nothing was done, and
//! gives up after a while. What was surely not done is struck from the history; what may have been done stays in it with an open
//! end. An item that has seen much is retired, and a fresh one takes its place, so that histories stay short enough to check.
//!
//! Callers talk to partitions directly: a server's routing and catalog are not part of the simulation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use stator_consensus::{GroupId, Refusal};
use stator_model::EncodedItem;
use stator_storage::partition::{PartitionOutcome, PartitionRequest};

use crate::history::{Input, ItemHistory};
use crate::invariants::{Holds, Invariants};
use crate::items::{ItemName, groups, id_of};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::time::{MS, Ns};

/// Calls of an item before a fresh one takes its place.
const CALLS_MAX: usize = 500;
/// Calls of unknown fate of an item before a fresh one takes its place: each doubles what the checker may have to try.
const UNCERTAIN_MAX: usize = 6;

/// What a caller is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Outcome(PartitionOutcome),
    Found(Option<EncodedItem>),
    Refused(Refusal),
}

/// All callers, and what they asked.
pub(crate) struct Callers {
    pub(crate) rng: Rng,
    /// Where items are taken from: the contended places first.
    places: Vec<Place>,
    contended: usize,
    large_per_mille: u64,
    pub(crate) items: Vec<Known>,
    pub(crate) callers: Vec<Option<u64>>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// Which call an attempt is of; only a call's newest attempt counts.
    pub(crate) attempts: BTreeMap<u64, u64>,
    next: u64,
    /// Orders the events of all histories.
    moment: u64,
    /// Who is taken for a group's leader.
    pub(crate) leaders: BTreeMap<GroupId, usize>,
    /// What is left to do in the end; `None` before.
    pub(crate) last: Option<VecDeque<(usize, Input)>>,
    finished: u64,
    /// The item that most callers want, and until when.
    focus: Option<(usize, Ns)>,
    /// The partition that callers leave alone, and until when.
    resting: Option<(GroupId, Ns)>,
    /// How long callers think between two calls; changes now and then.
    pub(crate) think: Ns,
}

struct Place {
    name: String,
    item: usize,
    generation: u64,
}

/// An item that there is or was.
pub(crate) struct Known {
    pub(crate) name: ItemName,
    history: ItemHistory,
    uncertain: usize,
    /// What callers take for its last write.
    last: Option<u64>,
}

/// A call under way.
pub(crate) struct Call {
    pub(crate) caller: usize,
    pub(crate) group: GroupId,
    pub(crate) parts: Vec<Part>,
    pub(crate) request: Option<PartitionRequest>,
    pub(crate) until: Ns,
    pub(crate) attempt: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) item: usize,
    pub(crate) input: Input,
    /// Its number in the item's history.
    pub(crate) number: usize,
}

impl Callers {
    pub(crate) fn new(rng: Rng, plan: &Plan) -> Self {
        let mut callers = Self {
            rng,
            places: Vec::new(),
            contended: plan.contended,
            large_per_mille: plan.large_per_mille,
            items: Vec::new(),
            callers: vec![None; plan.callers],
            calls: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next: 1,
            moment: 0,
            leaders: BTreeMap::new(),
            last: None,
            finished: 0,
            focus: None,
            resting: None,
            think: 20 * MS,
        };
        for place in 0..plan.contended + plan.spread {
            let kind = if place < plan.contended { "hot" } else { "item" };
            let name = format!("{kind}-{place}");
            let item = callers.new_item(&format!("{name}-0"));
            callers.places.push(Place { name, item, generation: 0 });
        }
        callers
    }

    fn new_item(&mut self, name: &str) -> usize {
        self.items.push(Known {
            name: ItemName::new(name),
            history: ItemHistory::default(),
            uncertain: 0,
            last: None,
        });
        self.items.len() - 1
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// The item at a place; a fresh one if the last has seen enough.
    fn item_at(&mut self, place: usize) -> usize {
        let known = &self.items[self.places[place].item];
        if known.history.len() < CALLS_MAX && known.uncertain < UNCERTAIN_MAX {
            return self.places[place].item;
        }
        self.places[place].generation += 1;
        let name = format!("{}-{}", self.places[place].name, self.places[place].generation);
        let item = self.new_item(&name);
        self.places[place].item = item;
        item
    }

    /// Has callers turn to the item of an attempt until then; not if its caller waits no longer than that.
    pub(crate) fn focus(&mut self, attempt: u64, until: Ns) -> bool {
        let call = self.attempts.get(&attempt).and_then(|call| self.calls.get(call));
        let Some(call) = call.filter(|call| call.until > until + 50 * MS) else { return false };
        self.focus = Some((call.parts[0].item, until));
        true
    }

    /// Has callers leave a partition alone until then.
    pub(crate) const fn rest(&mut self, group: GroupId, until: Ns) {
        self.resting = Some((group, until));
    }

    /// An item that is not to be left alone, if a few draws find one.
    fn draw_item(&mut self, now: Ns) -> usize {
        let mut item = self.draw_any_item(now);
        for _ in 0..4 {
            match self.resting {
                Some((group, until)) if now < until && self.items[item].name.group == group => {
                    item = self.draw_any_item(now);
                }
                _ => break,
            }
        }
        item
    }

    fn draw_any_item(&mut self, now: Ns) -> usize {
        if let Some((item, until)) = self.focus
            && now < until
            && self.items[item].uncertain < UNCERTAIN_MAX
            && self.rng.chance(500)
        {
            return item;
        }
        let is_contended = self.rng.chance(500);
        let place = if is_contended {
            self.rng.index(self.contended)
        } else {
            self.contended + self.rng.index(self.places.len() - self.contended)
        };
        self.item_at(place)
    }

    /// An item that there is now, mostly one that callers fight for.
    pub(crate) fn any_item(&self, rng: &mut Rng) -> usize {
        let places = if rng.chance(700) { self.contended } else { self.places.len() };
        self.places[rng.index(places)].item
    }

    fn draw_input(&mut self, item: usize) -> Input {
        let id = self.id();
        // Now and then a caller is wrong about what is there.
        let expected = match self.rng.below(10) {
            0 => None,
            1 => Some(1),
            _ => self.items[item].last,
        };
        match self.rng.below(100) {
            0..=34 => Input::Get,
            35..=54 => Input::Put { id, old: self.rng.chance(500) },
            55..=69 => Input::PutIf { id, expected },
            70..=87 => Input::Add { id, amount: self.rng.between(1, 1_000_000) as i64 },
            88..=94 => Input::Delete { old: self.rng.chance(500) },
            _ => Input::DeleteIf { expected },
        }
    }

    /// What the next call asks: of one item, or, in a batch, of several in one partition.
    pub(crate) fn draw_parts(&mut self, now: Ns) -> Vec<(usize, Input)> {
        let first = self.draw_item(now);
        let input = self.draw_input(first);
        let mut parts = vec![(first, input)];
        if matches!(input, Input::Put { .. }) && self.rng.chance(300) {
            let group = self.items[first].name.group;
            for _ in 0..6 {
                let item = self.draw_item(now);
                let is_new = parts.iter().all(|(other, _)| *other != item);
                if is_new && self.items[item].name.group == group {
                    let id = self.id();
                    let input = match self.rng.chance(800) {
                        true => Input::Put { id, old: false },
                        false => Input::Delete { old: false },
                    };
                    parts.push((item, input));
                }
            }
        }
        parts
    }

    fn pad(&mut self) -> usize {
        if self.rng.chance(self.large_per_mille) {
            self.rng.between(3_000, 9_000) as usize
        } else {
            self.rng.below(120) as usize
        }
    }

    /// Begins a call, and gives its number.
    pub(crate) fn begin(&mut self, caller: usize, parts: &[(usize, Input)], until: Ns) -> u64 {
        let call = self.id();
        let group = self.items[parts[0].0].name.group;
        let mut writes = Vec::new();
        let mut begun = Vec::new();
        for (item, input) in parts.iter().copied() {
            let pad = self.pad();
            let moment = self.moment();
            let known = &mut self.items[item];
            writes.extend(known.name.write(input, pad));
            begun.push(Part { item, input, number: known.history.invoke(moment, input) });
        }
        let request = match writes.len() {
            0 => None,
            1 => writes.pop().map(PartitionRequest::Write),
            _ => Some(PartitionRequest::Writes(writes)),
        };
        let call_of = Call { caller, group, parts: begun, request, until, attempt: 0 };
        self.calls.insert(call, call_of);
        self.callers[caller] = Some(call);
        call
    }

    /// Ends a call: with its answers, with certainty that nothing came of it, or without any certainty.
    /// Answers the writes of which surely nothing came.
    pub(crate) fn end(&mut self, call: u64, end: &End<'_>) -> Vec<u64> {
        let mut void = Vec::new();
        let Some(ended) = self.calls.remove(&call) else { return void };
        self.attempts.remove(&ended.attempt);
        self.callers[ended.caller] = None;
        self.finished += 1;
        for (at, part) in ended.parts.iter().enumerate() {
            let moment = self.moment();
            let known = &mut self.items[part.item];
            match (end, part.input) {
                (End::Answered(outputs), _) => {
                    let output = outputs[at];
                    known.history.answer(part.number, moment, output);
                    known.last = last_after(part.input, output, known.last);
                }
                (End::Nothing, _) | (End::Unknown, Input::Get) => {
                    known.history.forget(part.number);
                    void.extend(id_of(part.input).filter(|_| matches!(end, End::Nothing)));
                }
                (End::Unknown, _) => known.uncertain += 1,
            }
        }
        void
    }

    /// What a caller is told of its writes is true of what is committed.
    pub(crate) fn judge_outcome(
        &self,
        invariants: &Invariants,
        attempt: u64,
        outcome: &PartitionOutcome,
    ) -> Holds {
        let Some(call) = self.attempts.get(&attempt).and_then(|call| self.calls.get(call)) else {
            return Ok(());
        };
        for (part, outcome) in call.parts.iter().zip(each(outcome)) {
            match (id_of(part.input), outcome) {
                (Some(id), Ok(_)) => invariants.acknowledged.acknowledged(id)?,
                (Some(id), Err(_)) => invariants.acknowledged.refused(id)?,
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// A caller is told that surely nothing was done.
    pub(crate) fn judge_refusal(&self, invariants: &Invariants, attempt: u64) -> Holds {
        let Some(call) = self.attempts.get(&attempt).and_then(|call| self.calls.get(call)) else {
            return Ok(());
        };
        let ids = call.parts.iter().filter_map(|part| id_of(part.input));
        ids.into_iter().try_for_each(|id| invariants.acknowledged.refused(id))
    }

    /// From now on, callers only see to it that every partition serves, and read every item once more.
    pub(crate) fn begin_last_reads(&mut self) {
        let mut last = VecDeque::new();
        for group in groups() {
            let item = (0..)
                .map(|number| format!("last-{}-{number}", group.0))
                .find(|name| ItemName::new(name).group == group)
                .map(|name| self.new_item(&name));
            if let Some(item) = item {
                let id = self.id();
                last.push_back((item, Input::Put { id, old: true }));
            }
        }
        for item in 0..self.items.len() {
            last.push_back((item, Input::Get));
        }
        self.last = Some(last);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.calls.is_empty() && self.last.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// The calls that wait, for a failure's text.
    pub(crate) fn open_calls(&self) -> String {
        let mut text = String::new();
        for call in self.calls.values() {
            // Writing to a string does not fail.
            let _ = write!(text, "[group {}: {:?}] ", call.group.0, call.parts);
        }
        let left = self.last.as_ref().map_or(0, VecDeque::len);
        let _ = write!(text, "and {left} not begun");
        text
    }

    pub(crate) const fn finished(&self) -> u64 {
        self.finished
    }

    pub(crate) fn check_histories(&self) -> Holds {
        for known in &self.items {
            let checked = known.history.check();
            checked.map_err(|what| format!("item {}: {what}", known.name.name))?;
        }
        Ok(())
    }
}

/// How a call ends.
pub(crate) enum End<'a> {
    Answered(&'a [crate::history::Output]),
    Nothing,
    Unknown,
}

pub(crate) fn each(outcome: &PartitionOutcome) -> &[stator_storage::partition::WriteOutcome] {
    match outcome {
        PartitionOutcome::Write(one) => std::slice::from_ref(one),
        PartitionOutcome::Writes(many) => many,
    }
}

/// What a caller takes for an item's last write after an answer.
fn last_after(input: Input, output: crate::history::Output, before: Option<u64>) -> Option<u64> {
    use crate::history::Output;
    match output {
        Output::Now(content) | Output::Failed(content) => content.map(|content| content.last),
        Output::Done | Output::Old(_) => match input {
            Input::Put { id, .. } | Input::PutIf { id, .. } => Some(id),
            Input::Delete { .. } | Input::DeleteIf { .. } => None,
            Input::Get | Input::Add { .. } => before,
        },
    }
}
