use std::sync::Arc;

use super::super::spec::read_spec;
use super::super::testing::*;
use super::super::{Member, PartitionApplier};
use super::*;
use crate::engine::memory::MemoryEngine;
use crate::item::{Stamp, StoredItem};
use crate::key::{item_key, table_range};
use crate::machine::{Applier, GroupId};

/// Puts items straight into an engine, spread over the hashes.
fn fill(engine: &MemoryEngine, table_id: u32) -> usize {
    let mut batch = Batch::default();
    for s in 0..20 {
        let key = item_key(table_id, &key(&format!("artist {s}"), s));
        let stored = StoredItem { stamp: Stamp::local(1), serialized: None, item: item("a", s, s) };
        batch.put(key.clone(), stored.seal(&key));
    }
    engine.write(&batch).unwrap();
    batch.changes.len()
}

fn deletion(engine: &MemoryEngine, spec: &PartitionSpec) -> Deletion {
    Deletion::new(&list_specs(engine).unwrap(), spec.clone())
}

#[test]
fn a_founder_begins_at_the_made_up_index_and_serves() {
    let engine = Arc::<MemoryEngine>::default();
    let applier = found(&engine, &spec());
    assert_eq!(applier.mark().unwrap(), first_mark());
    assert!(applier.data_generation().note().is_some());
    assert_eq!(read_spec(engine.as_ref(), spec().group).unwrap(), Some(spec()));
}

#[test]
fn one_that_joins_holds_nothing_and_takes_no_entries() {
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = join(&engine, &spec());
    assert_eq!(applier.mark().unwrap(), AppliedMark::default());
    assert!(applier.data_generation().note().is_none());
    let entry = crate::machine::Committed { index: 1, term: 1, data: Bytes::new() };
    assert!(applier.apply(&[entry]).is_err());
}

#[test]
fn nobody_founds_a_partition_on_items_that_are_there() {
    let engine = MemoryEngine::new();
    fill(&engine, 7);
    assert!(initialise(&engine, &spec(), Some(&first_mark())).is_err());
    initialise(&engine, &spec(), None).unwrap();
}

#[test]
fn beginning_again_changes_nothing() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    leader.apply_all();
    let before = everything(leader.engine.as_ref());
    initialise(leader.engine.as_ref(), &spec(), Some(&first_mark())).unwrap();
    assert_eq!(everything(leader.engine.as_ref()), before);
    let other = PartitionSpec { members: vec![Member { replica: 1, node: 1 }], ..spec() };
    assert!(initialise(leader.engine.as_ref(), &other, Some(&first_mark())).is_err());
}

#[test]
fn a_range_that_somebody_owns_has_to_be_deleted_first() {
    let engine = Arc::<MemoryEngine>::default();
    let lower = PartitionSpec { hash_end: 99, ..spec() };
    found(&engine, &lower);
    let group = GroupId(2);
    let at = |hash_start| PartitionSpec { group, hash_start, ..spec() };
    assert!(initialise(engine.as_ref(), &at(99), None).is_err());
    initialise(engine.as_ref(), &at(100), None).unwrap();
    let other_table = PartitionSpec { group: GroupId(3), table_id: 8, ..spec() };
    initialise(engine.as_ref(), &other_table, None).unwrap();
    // It is not free before all of it is gone.
    let again = PartitionSpec { group: GroupId(4), hash_end: 99, ..spec() };
    assert!(initialise(engine.as_ref(), &again, None).is_err());
    let mut lower_deletion = deletion(engine.as_ref(), &lower);
    while !lower_deletion.step(engine.as_ref(), 5).unwrap() {}
    initialise(engine.as_ref(), &again, None).unwrap();
}

#[test]
fn deleting_is_paced_begins_again_after_a_crash_and_spares_other_tables() {
    let engine = Arc::<MemoryEngine>::default();
    found(&engine, &spec());
    fill(&engine, 8);
    let others = pairs(engine.as_ref(), &table_range(8));
    let count = fill(&engine, 7);
    assert!(!deletion(engine.as_ref(), &spec()).step(engine.as_ref(), 6).unwrap());
    assert_eq!(pairs(engine.as_ref(), &table_range(7)).len(), count - 6);
    // Half deleted it is nobody's to open, and nobody's to begin again.
    let shared: Arc<dyn Engine> = Arc::<MemoryEngine>::clone(&engine);
    assert!(PartitionApplier::open(shared, Arc::new(spec())).is_err());
    assert!(initialise(engine.as_ref(), &spec(), None).is_err());
    engine.crash(1);
    let mut steps = 1;
    let mut deletion = deletion(engine.as_ref(), &spec());
    while !deletion.step(engine.as_ref(), 6).unwrap() {
        steps += 1;
    }
    assert_eq!(steps, count.div_ceil(6));
    assert_eq!(everything(engine.as_ref()), others);
}

#[test]
fn what_a_step_has_deleted_the_next_does_not_look_at() {
    let engine = Arc::<MemoryEngine>::default();
    found(&engine, &spec());
    fill(&engine, 7);
    let mut deletion = deletion(&engine, &spec());
    let first = pairs(engine.as_ref(), &table_range(7))[0].clone();
    assert!(!deletion.step(engine.as_ref(), 6).unwrap());
    // Nobody writes there: it is what an engine keeps of something deleted.
    let mut batch = Batch::default();
    batch.put(first.0.clone(), first.1.clone());
    engine.write(&batch).unwrap();
    while !deletion.step(engine.as_ref(), 6).unwrap() {}
    assert_eq!(everything(engine.as_ref()), [first]);
}

#[test]
fn deleting_over_an_engine_that_lost_a_step_leaves_nothing() {
    let engine = Arc::<MemoryEngine>::default();
    found(&engine, &spec());
    let count = fill(&engine, 7);
    let mut deletion = deletion(&engine, &spec());
    assert!(!deletion.step(engine.as_ref(), 6).unwrap());
    engine.flush().unwrap();
    assert!(!deletion.step(engine.as_ref(), 6).unwrap());
    // Another replica's fault has the engine reopened under it.
    engine.fail_next_write(Error::Engine("test".into()), 1);
    engine.write(&Batch::default()).unwrap_err();
    engine.reopen().unwrap();
    assert_eq!(pairs(engine.as_ref(), &table_range(7)).len(), count - 6);
    while !deletion.step(engine.as_ref(), 6).unwrap() {}
    assert_eq!(everything(engine.as_ref()), []);
}

#[test]
fn what_others_own_of_the_range_is_spared() {
    let engine = Arc::<MemoryEngine>::default();
    let group = |id| GroupId(id);
    let quarter = u64::MAX / 4;
    // Two children of a split lie in the middle and at the end of what their parent had.
    let middle =
        PartitionSpec { group: group(2), hash_start: quarter, hash_end: 2 * quarter, ..spec() };
    let end = PartitionSpec { group: group(3), hash_start: 3 * quarter, ..spec() };
    initialise(engine.as_ref(), &middle, Some(&first_mark())).unwrap();
    initialise(engine.as_ref(), &end, Some(&first_mark())).unwrap();
    let count = fill(&engine, 7);
    let kept = [&middle, &end].map(|it| pairs(engine.as_ref(), &it.items())).concat();
    assert!(!kept.is_empty() && kept.len() < count);
    let mut deletion = deletion(engine.as_ref(), &spec());
    while !deletion.step(engine.as_ref(), 4).unwrap() {}
    assert_eq!(pairs(engine.as_ref(), &table_range(7)), kept);
    let left = list_specs(engine.as_ref()).unwrap();
    assert_eq!(left.iter().map(|it| it.group.0).collect::<Vec<_>>(), [2, 3]);
}
