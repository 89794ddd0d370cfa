//! Callers: at most eight, each with one call at a time, to items that all fight for and items where they seldom meet.
//!
//! A caller sends its call to the node that it takes for the leader, goes elsewhere when it is told that nothing was done, and
//! gives up after a while. What was surely not done is struck from the history; what may have been done stays in it with an open
//! end. An item that has seen much is retired, and a fresh one takes its place, so that histories stay short enough to check.
//!
//! Callers talk to partitions directly: a server's routing and catalog are not part of the simulation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use stator_consensus::{Event, GroupId, Refusal};
use stator_model::EncodedItem;
use stator_storage::partition::{PartitionOutcome, PartitionRequest};

use crate::history::{Input, ItemHistory};
use crate::invariants::{Holds, Invariants};
use crate::items::{ItemName, NODES, content_of, groups, id_of, node_at, output_of};
use crate::node::{Reading, Token};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::time::{MS, Ns, SECOND};
use crate::world::{Action, Phase, World};

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
    rng: Rng,
    /// Where items are taken from: the contended places first.
    places: Vec<Place>,
    contended: usize,
    large_per_mille: u64,
    items: Vec<Known>,
    callers: Vec<Option<u64>>,
    calls: BTreeMap<u64, Call>,
    /// Which call an attempt is of; only a call's newest attempt counts.
    attempts: BTreeMap<u64, u64>,
    next: u64,
    /// Orders the events of all histories.
    moment: u64,
    /// Who is taken for a group's leader.
    leaders: BTreeMap<GroupId, usize>,
    /// What is left to do in the end; `None` before.
    last: Option<VecDeque<(usize, Input)>>,
    finished: u64,
    /// The item that most callers want, and until when.
    focus: Option<(usize, Ns)>,
    /// How long callers think between two calls; changes now and then.
    think: Ns,
}

struct Place {
    name: String,
    item: usize,
    generation: u64,
}

/// An item that there is or was.
struct Known {
    name: ItemName,
    history: ItemHistory,
    uncertain: usize,
    /// What callers take for its last write.
    last: Option<u64>,
}

/// A call under way.
struct Call {
    caller: usize,
    group: GroupId,
    parts: Vec<Part>,
    request: Option<PartitionRequest>,
    until: Ns,
    attempt: u64,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    item: usize,
    input: Input,
    /// Its number in the item's history.
    number: usize,
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

    fn id(&mut self) -> u64 {
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

    fn draw_item(&mut self, now: Ns) -> usize {
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
    fn draw_parts(&mut self, now: Ns) -> Vec<(usize, Input)> {
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
    fn begin(&mut self, caller: usize, parts: &[(usize, Input)], until: Ns) -> u64 {
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
    fn end(&mut self, call: u64, end: End<'_>) -> Holds {
        let Some(ended) = self.calls.remove(&call) else { return Ok(()) };
        self.attempts.remove(&ended.attempt);
        self.callers[ended.caller] = None;
        self.finished += 1;
        for (at, part) in ended.parts.iter().enumerate() {
            let moment = self.moment();
            let known = &mut self.items[part.item];
            match (&end, part.input) {
                (End::Answered(outputs), _) => {
                    let output = outputs[at];
                    known.history.answer(part.number, moment, output);
                    known.last = last_after(part.input, output, known.last);
                }
                (End::Nothing, _) | (End::Unknown, Input::Get) => {
                    known.history.forget(part.number);
                }
                (End::Unknown, _) => known.uncertain += 1,
            }
        }
        Ok(())
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
enum End<'a> {
    Answered(&'a [crate::history::Output]),
    Nothing,
    Unknown,
}

fn each(outcome: &PartitionOutcome) -> &[stator_storage::partition::WriteOutcome] {
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
                let patience = self.callers.rng.between(200 * MS, 5 * SECOND);
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
        if let Some(at) = self.network.to_caller(self.now, perfect) {
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
        if let Some(at) = self.network.to_caller(self.now, perfect) {
            self.queue.push(at, Action::Reply { attempt, reply: Box::new(reply) });
        }
    }

    /// A caller is answered.
    pub(crate) fn reply_arrives(&mut self, attempt: u64, reply: Reply) {
        let Some(call) = self.callers.attempts.get(&attempt).copied() else { return };
        let Some(of) = self.callers.calls.get(&call) else { return };
        let (caller, group) = (of.caller, of.group);
        self.trace.note(self.now, format_args!("caller {caller} hears of {call}: {reply:?}"));
        let outputs = match &reply {
            Reply::Refused(Refusal::Uncertain) => {
                return self.finish(caller, call, End::Unknown);
            }
            Reply::Refused(refusal) => return self.go_elsewhere(call, group, refusal),
            Reply::Found(found) => content_of(found.as_ref())
                .map(|content| vec![crate::history::Output::Now(content)]),
            Reply::Outcome(outcome) => {
                let outputs = of.parts.iter().zip(each(outcome));
                outputs.map(|(part, outcome)| output_of(part.input, outcome)).collect()
            }
        };
        match outputs {
            Ok(outputs) => {
                let failed = outputs
                    .iter()
                    .filter(|output| matches!(output, crate::history::Output::Failed(_)));
                self.reached.add("conditions failed", failed.count() as u64);
                self.finish(caller, call, End::Answered(&outputs));
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
            return self.finish(caller, call, End::Nothing);
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
        self.finish(caller, call, end);
    }

    fn finish(&mut self, caller: usize, call: u64, end: End<'_>) {
        let holds = self.callers.end(call, end);
        self.check(holds);
        if self.callers.rng.chance(20) {
            self.callers.think = self.callers.rng.pick(&[MS, 20 * MS, 100 * MS, 500 * MS]);
        }
        let think = match self.phase {
            Phase::Safety => self.callers.rng.between(MS / 10, 2 * self.callers.think),
            Phase::Liveness => MS,
        };
        self.queue.push(self.now + think, Action::Caller { caller });
    }
}
