//! Evaluation through the overlay, with delayed apply, refusals and changes of leadership, against a reference that knows
//! none of these: a map that every write changes at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Copy, Debug)]
enum Write {
    Put(usize, i64),
    PutIfAbsent(usize, i64),
    PutIf(usize, i64, i64),
    Add(usize, i64),
    Delete(usize),
    DeleteIf(usize, i64),
}

#[derive(Clone, Debug)]
enum Step {
    Write(Write),
    Batch(Vec<Write>),
    /// The turn ends, and its entry goes into the log.
    Propose,
    /// The turn ends, and its entry is refused.
    Refuse,
    /// The apply thread applies some entries.
    Apply(u64),
    /// The host hears how far it came.
    Hear,
    /// Leadership is lost and won again; so many of the entries not applied were committed.
    Lead(u64),
}

fn any_write() -> impl Strategy<Value = Write> {
    let (key, value) = (0..KEYS.len(), 0..3i64);
    prop_oneof![
        (key.clone(), value.clone()).prop_map(|(key, to)| Write::Put(key, to)),
        (key.clone(), value.clone()).prop_map(|(key, to)| Write::PutIfAbsent(key, to)),
        (key.clone(), value.clone(), value.clone())
            .prop_map(|(key, x, to)| Write::PutIf(key, x, to)),
        (key.clone(), 0..1000i64).prop_map(|(key, by)| Write::Add(key, by)),
        key.clone().prop_map(Write::Delete),
        (key, value).prop_map(|(key, x)| Write::DeleteIf(key, x)),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any_write().prop_map(Step::Write),
        2 => prop::collection::vec(any_write(), 1..4).prop_map(Step::Batch),
        5 => Just(Step::Propose),
        2 => Just(Step::Refuse),
        3 => (1..4u64).prop_map(Step::Apply),
        2 => Just(Step::Hear),
        1 => (0..4u64).prop_map(Step::Lead),
    ]
}

impl Write {
    fn prepare(self) -> PreparedWrite {
        match self {
            Self::Put(key, to) => put(KEYS[key], 1, to),
            Self::PutIfAbsent(key, to) => put_if(KEYS[key], 1, to, "attribute_not_exists(p)", None),
            Self::PutIf(key, x, to) => put_if(KEYS[key], 1, to, "v = :x", Some(x)),
            Self::Add(key, by) => add(KEYS[key], 1, by),
            Self::Delete(key) => delete(KEYS[key], 1),
            Self::DeleteIf(key, x) => delete_if(KEYS[key], 1, "v = :v", Some(x)),
        }
    }

    const fn key(self) -> usize {
        match self {
            Self::Put(key, _)
            | Self::PutIfAbsent(key, _)
            | Self::PutIf(key, ..)
            | Self::Add(key, _)
            | Self::Delete(key)
            | Self::DeleteIf(key, _) => key,
        }
    }

    /// The value after the write and the value answered, or the value shown with a failed condition.
    fn run(self, old: Option<i64>) -> Result<(Option<i64>, Option<i64>), Option<i64>> {
        match self {
            Self::Put(_, to) => Ok((Some(to), old)),
            Self::PutIfAbsent(_, to) if old.is_none() => Ok((Some(to), None)),
            Self::PutIf(_, x, to) if old == Some(x) => Ok((Some(to), old)),
            Self::PutIfAbsent(..) | Self::PutIf(..) => Err(old),
            Self::Add(_, by) => {
                let new = Some(old.unwrap_or_default() + by);
                Ok((new, new))
            }
            Self::Delete(_) => Ok((None, old)),
            Self::DeleteIf(_, x) if old == Some(x) => Ok((None, old)),
            // A delete here does not ask for the item that its condition failed on.
            Self::DeleteIf(..) => Err(None),
        }
    }
}

type State = BTreeMap<usize, i64>;

/// The reference: what is applied as far as the host heard, and the state after every entry behind that, with the entry's
/// index and the keys that it wrote.
#[derive(Default)]
struct Reference {
    applied: State,
    entries: Vec<(u64, State, Vec<usize>)>,
}

impl Reference {
    fn now(&self) -> &State {
        self.entries.last().map_or(&self.applied, |(_, state, _)| state)
    }

    /// The newest entry on its way that wrote a key.
    fn writer(&self, key: usize) -> u64 {
        let mut newest_first = self.entries.iter().rev();
        newest_first.find(|(_, _, keys)| keys.contains(&key)).map_or(0, |(index, ..)| *index)
    }

    fn write(&mut self, write: Write, index: u64) -> (WriteOutcome, u64) {
        let key = write.key();
        let shown = |value: Option<i64>| value.map(|value| item(KEYS[key], 1, value));
        let old = self.now().get(&key).copied();
        match write.run(old) {
            Err(seen) => {
                let error = RequestError::conditional_check_failed(shown(seen));
                (Err(error.into()), self.writer(key))
            }
            Ok((new, answered)) => {
                if new != old {
                    self.change(key, new, index);
                }
                (Ok(WriteAnswer { attributes: shown(answered) }), self.writer(key))
            }
        }
    }

    fn change(&mut self, key: usize, new: Option<i64>, index: u64) {
        let mut state = self.now().clone();
        match new {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
        match self.entries.last_mut() {
            Some((newest, last, keys)) if *newest == index => {
                *last = state;
                keys.push(key);
            }
            _ => self.entries.push((index, state, vec![key])),
        }
    }

    fn hear(&mut self, applied: u64) {
        while self.entries.first().is_some_and(|(index, ..)| *index <= applied) {
            self.applied = self.entries.remove(0).1;
        }
    }
}

/// A leader beside its reference.
struct Run {
    leader: Leader,
    reference: Reference,
}

impl Run {
    fn write(&mut self, write: Write) {
        let expected = self.reference.write(write, self.leader.draft.index);
        assert_eq!(self.leader.evaluate(write.prepare()), expected, "{write:?}");
    }

    fn batch(&mut self, writes: &[Write]) {
        let index = self.leader.draft.index;
        let (expected, rests): (Vec<_>, Vec<_>) =
            writes.iter().map(|write| self.reference.write(*write, index)).unzip();
        let request = PartitionRequest::Writes(writes.iter().map(|it| it.prepare()).collect());
        let evaluated = self.leader.evaluator.evaluate(request, &mut self.leader.draft).unwrap();
        assert_eq!(evaluated.outcome, PartitionOutcome::Writes(expected));
        assert_eq!(Some(evaluated.rests_on), rests.into_iter().max());
    }

    fn apply(&mut self, count: u64) {
        let applied = self.leader.applier.mark().unwrap().index;
        let count = usize::try_from(count).unwrap();
        let entries: Vec<_> = self.leader.after(applied).iter().take(count).cloned().collect();
        self.leader.applier.apply(&entries).unwrap();
    }

    fn hear(&mut self) {
        let applied = self.leader.applier.mark().unwrap().index;
        self.leader.evaluator.applied(applied);
        self.reference.hear(applied);
    }

    fn refuse(&mut self) {
        let draft = &mut self.leader.draft;
        self.leader.evaluator.refused(draft.index);
        *draft = Draft::new(draft.index, draft.term, draft.wall_ms);
        self.reference.entries.retain(|(index, ..)| *index < draft.index);
    }

    /// Of the entries in the log all that are applied stay, and so many more; a new term begins behind them.
    fn lead(&mut self, committed: u64) {
        let leader = &mut self.leader;
        leader.evaluator.stop_leading();
        let applied = leader.applier.mark().unwrap().index;
        let last = applied + committed.min(leader.after(applied).len() as u64);
        leader.log.truncate(usize::try_from(last - FIRST).unwrap());
        let term = leader.draft.term + 1;
        leader.log.push(Committed { index: last + 1, term, data: Bytes::new() });
        self.reference.entries.retain(|(index, ..)| *index <= last);
        self.apply(u64::MAX);
        self.reference.hear(last);
        let leader = &mut self.leader;
        leader.evaluator.begin_leading(term).unwrap();
        leader.draft = Draft::new(last + 2, term, leader.draft.wall_ms);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(write) => self.write(*write),
            Step::Batch(writes) => self.batch(writes),
            Step::Propose => self.leader.propose(),
            Step::Refuse => self.refuse(),
            Step::Apply(count) => self.apply(*count),
            Step::Hear => self.hear(),
            Step::Lead(committed) => self.lead(*committed),
        }
        let items = self.reference.now().len() as u64;
        assert_eq!(self.leader.evaluator.counters().item_count, items);
    }

    /// Once all is applied the engine holds what the reference does, counters included (R10), and so does a follower.
    fn end(mut self) {
        self.leader.propose();
        self.apply(u64::MAX);
        self.hear();
        assert_eq!(self.leader.evaluator.overlay_len(), 0);
        for (key, name) in KEYS.iter().enumerate() {
            let expected = self.reference.now().get(&key);
            let expected = expected.map(|value| item(name, 1, *value).decode().unwrap());
            assert_eq!(self.leader.get(name, 1), expected);
        }
        let sum = checksum(self.leader.engine.as_ref(), &spec()).unwrap().unwrap();
        assert_eq!(sum.counted, sum.recorded);
        assert_eq!(sum.counted, self.leader.evaluator.counters());

        let engine = Arc::<MemoryEngine>::default();
        found(&engine, &spec()).apply(&self.leader.log).unwrap();
        assert_eq!(everything(engine.as_ref()), everything(self.leader.engine.as_ref()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn evaluating_ahead_of_apply_is_as_if_all_were_applied_at_once(
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut run = Run { leader: Leader::on_memory(), reference: Reference::default() };
        for step in &steps {
            run.step(step);
        }
        run.end();
    }
}
