//! What the tests of this folder share: a small table, requests in few words, and a leader with its followers.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use stator_model::api::{DeleteItem, Names, PutItem, ReturnValues, UpdateItem, Values};
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::write::PreparedWrite;
use stator_model::{AttributeValue, EncodedItem, Item};

use super::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Direction, Engine, KeyRange, Reader};
use crate::item::Region;
use crate::machine::{AppliedMark, Applier, Committed, Draft, Evaluated, Evaluator, GroupId};

/// The made-up first index and term of every group here.
pub(super) const FIRST: u64 = 10;
pub(super) const FIRST_TERM: u64 = 1;

/// The term that leaders here lead.
pub(super) const TERM: u64 = 2;

pub(super) fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "p".into(), key_type: KeyType::S },
        sort: Some(KeyAttribute { name: "s".into(), key_type: KeyType::N }),
    }
}

/// A partition that is its whole table.
pub(super) fn spec() -> PartitionSpec {
    PartitionSpec {
        group: GroupId(1),
        table_id: 7,
        table_name: "songs".into(),
        generation: 3,
        hash_start: 0,
        hash_end: u64::MAX,
        key_schema: schema(),
        region: Region::default(),
        members: (1..=3).map(|id| Member { replica: id, node: 10 + id }).collect(),
        replica: 1,
    }
}

pub(super) fn first_mark() -> AppliedMark {
    AppliedMark { index: FIRST, term: FIRST_TERM, voters: vec![1, 2, 3] }
}

/// One engine of each mode.
pub(super) fn engines() -> [Arc<MemoryEngine>; 2] {
    [Arc::new(MemoryEngine::new()), Arc::new(MemoryEngine::without_snapshots())]
}

pub(super) fn key_item(p: &str, s: i64) -> Item {
    Item::from([("p".to_owned(), p.into()), ("s".to_owned(), s.into())])
}

pub(super) fn key(p: &str, s: i64) -> Key {
    Key::of_key_attributes(&schema(), &key_item(p, s)).unwrap()
}

/// An item with one attribute, `v`, besides its key.
pub(super) fn item(p: &str, s: i64, v: impl Into<AttributeValue>) -> EncodedItem {
    let mut item = key_item(p, s);
    item.insert("v".into(), v.into());
    EncodedItem::encode(&item)
}

fn values(v: Option<i64>) -> Values {
    v.map(|v| (":v".to_owned(), AttributeValue::from(v))).into_iter().collect()
}

/// A put of [`item`], on a condition that may name `:x`.
pub(super) fn put_if(p: &str, s: i64, v: i64, condition: &str, x: Option<i64>) -> PreparedWrite {
    let put = PutItem {
        item: item(p, s, v),
        condition_expression: (!condition.is_empty()).then(|| condition.to_owned()),
        expression_attribute_values: x
            .map(|x| (":x".to_owned(), AttributeValue::from(x)))
            .into_iter()
            .collect(),
        return_values: ReturnValues::AllOld,
        return_old_on_condition_failure: true,
        ..PutItem::default()
    };
    put.prepare(&schema()).unwrap()
}

pub(super) fn put(p: &str, s: i64, v: i64) -> PreparedWrite {
    put_if(p, s, v, "", None)
}

/// Adds to an item's `v`.
pub(super) fn add(p: &str, s: i64, v: i64) -> PreparedWrite {
    let update = UpdateItem {
        key: key_item(p, s),
        update_expression: Some("ADD v :v".into()),
        expression_attribute_names: Names::new(),
        expression_attribute_values: values(Some(v)),
        return_values: ReturnValues::AllNew,
        ..UpdateItem::default()
    };
    update.prepare(&schema()).unwrap()
}

/// Deletes an item, on a condition that may name `:v`.
pub(super) fn delete_if(p: &str, s: i64, condition: &str, v: Option<i64>) -> PreparedWrite {
    let delete = DeleteItem {
        key: key_item(p, s),
        condition_expression: (!condition.is_empty()).then(|| condition.to_owned()),
        expression_attribute_values: values(v),
        return_values: ReturnValues::AllOld,
        ..DeleteItem::default()
    };
    delete.prepare(&schema()).unwrap()
}

pub(super) fn delete(p: &str, s: i64) -> PreparedWrite {
    delete_if(p, s, "", None)
}

/// Everything that an engine holds.
pub(super) fn everything(engine: &dyn Reader) -> Vec<(Bytes, Bytes)> {
    pairs(engine, &KeyRange { start: Bytes::new(), end: None })
}

pub(super) fn pairs(engine: &dyn Reader, range: &KeyRange) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    engine
        .scan(range, Direction::Forward, &mut |key, value| {
            found.push((key, value));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

/// A replica, as the founder of its group.
pub(super) fn found(engine: &Arc<MemoryEngine>, spec: &PartitionSpec) -> PartitionApplier {
    initialise(engine.as_ref(), spec, Some(&first_mark())).unwrap();
    open(engine, spec)
}

/// A replica that joins its group.
pub(super) fn join(engine: &Arc<MemoryEngine>, spec: &PartitionSpec) -> PartitionApplier {
    initialise(engine.as_ref(), spec, None).unwrap();
    open(engine, spec)
}

pub(super) fn open(engine: &Arc<MemoryEngine>, spec: &PartitionSpec) -> PartitionApplier {
    PartitionApplier::open(Arc::<MemoryEngine>::clone(engine), Arc::new(spec.clone())).unwrap()
}

/// A leader with its log, and the applier of its replica. Its term's first entry is applied, and a turn fills one entry.
pub(super) struct Leader {
    pub(super) engine: Arc<MemoryEngine>,
    pub(super) evaluator: PartitionEvaluator,
    pub(super) applier: PartitionApplier,
    /// The entries from behind the made-up first index on.
    pub(super) log: Vec<Committed>,
    pub(super) draft: Draft,
}

impl Leader {
    pub(super) fn new(engine: Arc<MemoryEngine>, spec: &PartitionSpec) -> Self {
        let mut applier = found(&engine, spec);
        let first = Committed { index: FIRST + 1, term: TERM, data: Bytes::new() };
        applier.apply(std::slice::from_ref(&first)).unwrap();
        let shared: Arc<dyn Engine> = Arc::<MemoryEngine>::clone(&engine);
        let mut evaluator = PartitionEvaluator::new(shared, Arc::new(spec.clone()));
        evaluator.begin_leading(TERM).unwrap();
        let draft = Draft::new(FIRST + 2, TERM, 1);
        Self { engine, evaluator, applier, log: vec![first], draft }
    }

    pub(super) fn on_memory() -> Self {
        Self::new(Arc::default(), &spec())
    }

    pub(super) fn evaluate(&mut self, write: PreparedWrite) -> (WriteOutcome, u64) {
        let request = PartitionRequest::Write(write);
        let Evaluated { outcome, rests_on } =
            self.evaluator.evaluate(request, &mut self.draft).unwrap();
        let PartitionOutcome::Write(outcome) = outcome else { panic!("{outcome:?}") };
        (outcome, rests_on)
    }

    /// Seals what the turn has filled and puts it into the log. Nothing if it has filled nothing.
    pub(super) fn propose(&mut self) {
        if self.draft.is_empty() {
            return;
        }
        let (index, term) = (self.draft.index, self.draft.term);
        let next = Draft::new(index + 1, term, self.draft.wall_ms + 1);
        let data = self.evaluator.seal(std::mem::replace(&mut self.draft, next));
        self.log.push(Committed { index, term, data });
    }

    /// Evaluates and proposes each write in a turn of its own.
    pub(super) fn propose_each(&mut self, writes: impl IntoIterator<Item = PreparedWrite>) {
        for write in writes {
            let (outcome, _) = self.evaluate(write);
            outcome.unwrap();
            self.propose();
        }
    }

    /// Applies all that is in the log.
    pub(super) fn apply_all(&mut self) {
        let applied = self.applier.mark().unwrap().index;
        let entries = self.after(applied).to_vec();
        self.applier.apply(&entries).unwrap();
        self.evaluator.applied(self.applier.mark().unwrap().index);
    }

    /// The entries after an index.
    pub(super) fn after(&self, index: u64) -> &[Committed] {
        &self.log[usize::try_from(index - FIRST).unwrap()..]
    }

    /// What a strong read would find.
    pub(super) fn get(&self, p: &str, s: i64) -> Option<Item> {
        let found = get(self.engine.as_ref(), &spec(), &key(p, s)).unwrap();
        found.map(|item| item.decode().unwrap())
    }
}

/// All frames of a snapshot: header, chunks of about this size, footer.
pub(super) fn frames(applier: &PartitionApplier, id: u64, chunk_bytes: usize) -> Vec<Bytes> {
    let mut writer = applier.begin_snapshot(id).unwrap();
    let mut frames = vec![writer.header().encode()];
    while let Some(chunk) = writer.next_chunk(chunk_bytes).unwrap() {
        frames.push(chunk);
    }
    frames.push(writer.finish(applier).unwrap());
    frames
}

/// Installs all frames of a snapshot.
pub(super) fn install(applier: &mut PartitionApplier, frames: &[Bytes]) -> crate::Result<()> {
    let [header, chunks @ .., footer] = frames else { panic!("too few frames") };
    applier.begin_install(header)?;
    while !applier.clear_some(3)? {}
    for chunk in chunks {
        applier.install_chunk(chunk)?;
    }
    applier.finish_install(footer)?;
    Ok(())
}
