use stator_model::ErrorKind;

use super::super::testing::*;
use super::super::{ReplicaState, checksum};
use super::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Change, Reader};
use crate::item::Region;
use crate::machine::{Applier, Committed};

mod model;

/// The time of the stamp of each put in an entry, in order.
fn stamps(entry: &Committed) -> Vec<Stamp> {
    let writes = entry::Entry::decode(entry.index, &entry.data).unwrap().writes;
    let puts = writes.iter().filter_map(|write| match write {
        Change::Put(key, value) => Some(StoredItem::open(value, key).unwrap().stamp),
        Change::Delete(_) => None,
    });
    puts.collect()
}

fn header(entry: &Committed) -> EntryHeader {
    entry::Entry::decode(entry.index, &entry.data).unwrap().header
}

#[test]
fn a_request_is_judged_against_what_is_on_its_way() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    let (outcome, rests_on) = leader.evaluate(add("a", 1, 2));
    assert_eq!(outcome.unwrap().attributes, Some(item("a", 1, 3)));
    assert_eq!(rests_on, leader.draft.index);
    assert_eq!(leader.get("a", 1), None);
    leader.propose();
    leader.apply_all();
    assert_eq!(leader.get("a", 1), Some(item("a", 1, 3).decode().unwrap()));
    assert_eq!(leader.evaluator.overlay_len(), 0);
}

#[test]
fn an_outcome_rests_on_the_newest_entry_it_saw() {
    let mut leader = Leader::on_memory();
    let absent = "attribute_not_exists(p)";
    leader.propose_each([put("a", 1, 1), put("b", 1, 1)]);
    leader.apply_all();
    // Applied data only.
    let (failed, rests_on) = leader.evaluate(put_if("a", 1, 9, absent, None));
    let Err(WriteError::Refused(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(error.kind(), ErrorKind::ConditionalCheckFailed);
    assert_eq!(error.item(), Some(&item("a", 1, 1)));
    assert_eq!(rests_on, 0);
    // An image of an entry on its way, though a newer one of another item is there too.
    leader.propose_each([put("a", 1, 2), put("b", 1, 2)]);
    let (failed, rests_on) = leader.evaluate(put_if("a", 1, 9, "v = :x", Some(1)));
    assert!(failed.is_err());
    assert_eq!(rests_on, FIRST + 4);
    // That an item will be absent is an image, too; and so is what the draft itself holds.
    leader.propose_each([delete("a", 1)]);
    assert_eq!(leader.evaluate(delete("a", 1)).1, FIRST + 6);
    assert_eq!(leader.evaluate(put("c", 1, 1)).1, FIRST + 7);
    assert_eq!(leader.evaluate(put("c", 1, 1)).1, FIRST + 7);
    // An expression that does not fit the item has read it.
    leader.propose();
    let text = PreparedWrite { action: Action::Put(item("b", 1, "text")), ..put("b", 1, 1) };
    leader.propose_each([text, put("c", 1, 2)]);
    let (refused, rests_on) = leader.evaluate(add("b", 1, 1));
    let Err(WriteError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert_eq!(rests_on, FIRST + 8);
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    leader.apply_all();
    let before = leader.evaluator.highest_stamp;
    leader.evaluate(put("a", 1, 1)).0.unwrap();
    leader.evaluate(delete("nobody", 1)).0.unwrap();
    leader.evaluate(put_if("a", 1, 2, "v = :x", Some(7))).0.unwrap_err();
    assert!(leader.draft.is_empty() && leader.draft.payload.is_empty());
    assert_eq!(leader.evaluator.highest_stamp, before);
    assert_eq!(leader.evaluator.overlay_len(), 0);
}

#[test]
fn a_key_outside_of_the_range_is_sent_away() {
    let hash = key("a", 1).hash();
    let elsewhere = PartitionSpec { hash_start: hash + 1, ..spec() };
    let mut leader = Leader::new(Arc::default(), &elsewhere);
    let (outcome, rests_on) = leader.evaluate(put("a", 1, 1));
    assert_eq!((outcome, rests_on), (Err(WriteError::Moved { generation: 3 }), 0));
    assert!(leader.draft.is_empty());
    let last = PartitionSpec { hash_start: 0, hash_end: hash, ..spec() };
    assert!(Leader::new(Arc::default(), &last).evaluate(put("a", 1, 1)).0.is_ok());
}

#[test]
fn the_writes_of_a_batch_have_outcomes_of_their_own_and_one_entry() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("b", 1, 1)]);
    let failing = put_if("b", 1, 2, "v = :x", Some(7));
    let writes = vec![put("a", 1, 1), failing, delete("b", 1)];
    let weight = leader.evaluator.weight(&PartitionRequest::Writes(writes.clone()));
    let request = PartitionRequest::Writes(writes);
    let evaluated = leader.evaluator.evaluate(request, &mut leader.draft).unwrap();
    // The item that was deleted, and the one that the condition was judged on.
    let old_bytes = 2 * item("b", 1, 1).as_bytes().len();
    assert_eq!(leader.evaluator.outcome_bytes(&evaluated.outcome), old_bytes);
    let PartitionOutcome::Writes(outcomes) = evaluated.outcome else { panic!("of a batch") };
    assert!(outcomes[0].is_ok() && outcomes[1].is_err());
    assert_eq!(outcomes[2].as_ref().unwrap().attributes, Some(item("b", 1, 1)));
    assert_eq!(evaluated.rests_on, leader.draft.index);
    assert_eq!(leader.draft.writes, 1);
    // The failing put was weighed, too.
    assert!(leader.draft.payload.len() <= weight + entry::HEADER_BYTES);
    leader.propose();
    leader.apply_all();
    assert_eq!(leader.get("b", 1), None);
    assert!(leader.get("a", 1).is_some());
    assert_eq!(leader.evaluator.counters().item_count, 1);
}

#[test]
fn a_whole_item_weighs_what_it_adds() {
    let mut leader = Leader::on_memory();
    for write in [put("a", 1, 12345), put("quite a long partition key", 2, 1), delete("a", 1)] {
        let before = leader.draft.payload.len().max(entry::HEADER_BYTES);
        let weight = leader.evaluator.weight(&PartitionRequest::Write(write.clone()));
        leader.evaluate(write).0.unwrap();
        let added = leader.draft.payload.len() - before;
        assert!((added..added + 20).contains(&weight), "{added} {weight}");
    }
}

#[test]
fn stamps_grow_strictly_and_are_never_behind_the_clock() {
    let mut leader = Leader::on_memory();
    leader.draft.wall_ms = 5;
    leader.evaluate(put("a", 1, 1)).0.unwrap();
    leader.evaluate(put("a", 1, 2)).0.unwrap();
    leader.propose();
    // The clock steps back.
    leader.draft.wall_ms = 4;
    leader.evaluate(delete("a", 1)).0.unwrap();
    leader.evaluate(put("a", 1, 3)).0.unwrap();
    leader.propose();
    leader.draft.wall_ms = 6;
    leader.evaluate(put("a", 1, 4)).0.unwrap();
    leader.propose();
    let times: Vec<u64> = leader.log[1..].iter().flat_map(stamps).map(|it| it.time).collect();
    assert_eq!(times, [5 << 16, (5 << 16) + 1, (5 << 16) + 3, 6 << 16]);
    assert_eq!(header(&leader.log[2]).highest_stamp, (5 << 16) + 3);
}

#[test]
fn a_stamp_names_the_region_if_the_table_has_any() {
    let region = Region::new("eu-1").unwrap();
    let mut leader = Leader::new(Arc::default(), &PartitionSpec { region, ..spec() });
    leader.propose_each([put("a", 1, 1)]);
    assert_eq!(stamps(&leader.log[1])[0].region, region);
}

#[test]
fn a_new_leader_goes_on_from_stamp_and_counters() {
    let mut leader = Leader::on_memory();
    leader.draft.wall_ms = 1000;
    leader.propose_each([put("a", 1, 1), put("b", 1, 1), delete("a", 1)]);
    leader.apply_all();
    let counters = leader.evaluator.counters();
    let engine: Arc<dyn Engine> = Arc::<MemoryEngine>::clone(&leader.engine);
    let mut next = PartitionEvaluator::new(engine, Arc::new(spec()));
    next.begin_leading(TERM + 1).unwrap();
    assert_eq!(next.counters(), counters);
    assert_eq!(counters.item_count, 1);
    let mut draft = Draft::new(99, TERM + 1, 0);
    next.evaluate(PartitionRequest::Write(put("c", 1, 1)), &mut draft).unwrap();
    let data = next.seal(draft);
    let entry = Committed { index: 99, term: TERM + 1, data };
    // The delete took a stamp, too, at 1002 ms.
    assert_eq!(stamps(&entry)[0].time, (1002 << 16) + 1);
}

#[test]
fn a_refused_entry_leaves_no_trace_but_its_stamps() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    let before = leader.evaluator.counters();
    leader.evaluate(put("a", 1, 2)).0.unwrap();
    leader.evaluate(put("b", 1, 1)).0.unwrap();
    let used = leader.evaluator.highest_stamp;
    let index = leader.draft.index;
    leader.evaluator.refused(index);
    assert_eq!(leader.evaluator.counters(), before);
    leader.draft = Draft::new(index, TERM, 0);
    // The image of the entry before is uncovered.
    let (outcome, rests_on) = leader.evaluate(put_if("a", 1, 3, "v = :x", Some(2)));
    assert!(outcome.is_err());
    assert_eq!(rests_on, index - 1);
    leader.evaluate(put("b", 1, 5)).0.unwrap();
    leader.propose();
    leader.apply_all();
    assert_eq!(header(&leader.log[2]).highest_stamp, used + 1);
    assert_eq!(leader.get("b", 1), Some(item("b", 1, 5).decode().unwrap()));
    assert_eq!(leader.evaluator.counters().item_count, 2);
}

#[test]
fn refusing_an_entry_refuses_those_after_it() {
    let mut leader = Leader::on_memory();
    let before = leader.evaluator.counters();
    leader.propose_each([put("a", 1, 1), put("a", 1, 2), put("b", 1, 1)]);
    leader.evaluator.refused(FIRST + 2);
    assert_eq!(leader.evaluator.counters(), before);
    assert_eq!(leader.evaluator.overlay_len(), 0);
    // Saying so again does no harm.
    leader.evaluator.refused(FIRST + 3);
    assert_eq!(leader.evaluator.counters(), before);
}

#[test]
fn lost_leadership_drops_everything_on_its_way() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    leader.apply_all();
    leader.propose_each([put("a", 1, 2), put("b", 1, 2)]);
    leader.evaluator.stop_leading();
    assert_eq!(leader.evaluator.overlay_len(), 0);
    leader.evaluator.begin_leading(TERM + 2).unwrap();
    leader.draft = Draft::new(FIRST + 3, TERM + 2, 0);
    let (outcome, rests_on) = leader.evaluate(add("a", 1, 10));
    assert_eq!(outcome.unwrap().attributes, Some(item("a", 1, 11)));
    assert_eq!(rests_on, FIRST + 3);
    assert_eq!(leader.evaluator.counters().item_count, 1);
}

#[test]
#[should_panic = "evaluates in a term that it does not lead"]
fn evaluating_for_another_term_is_a_fault_of_the_host() {
    let mut leader = Leader::on_memory();
    leader.draft.term += 1;
    let _ = leader.evaluate(put("a", 1, 1));
}

#[test]
fn nobody_leads_from_what_is_not_complete() {
    let leader = Leader::on_memory();
    let record = leader.applier.record().unwrap();
    let with = |change: &dyn Fn(&mut AppliedRecord)| {
        let mut changed = record.clone();
        change(&mut changed);
        let mut batch = Batch::default();
        changed.put(spec().group, &mut batch);
        leader.engine.write(&batch).unwrap();
        let engine: Arc<dyn Engine> = Arc::<MemoryEngine>::clone(&leader.engine);
        PartitionEvaluator::new(engine, Arc::new(spec())).begin_leading(TERM)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert!(with(&|record| record.state = ReplicaState::AwaitingSnapshot).is_err());
    assert!(with(&|record| record.complete_from = record.mark.index + 1).is_err());
    assert!(with(&|record| record.generation += 1).is_err());
}

#[test]
fn a_corrupt_item_is_a_fault_that_names_its_key() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1)]);
    leader.apply_all();
    let stored = item_key(7, &key("a", 1));
    let mut value = leader.engine.get(&stored).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(stored.clone(), value);
    leader.engine.write(&batch).unwrap();
    let request = PartitionRequest::Write(put("a", 1, 2));
    let error = leader.evaluator.evaluate(request, &mut leader.draft).unwrap_err();
    assert!(matches!(&error, Error::Corruption { place, .. } if place.contains(&hex(&stored))));
}
