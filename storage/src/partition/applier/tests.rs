use bytes::Bytes;

use super::super::entry::{self, EntryHeader};
use super::super::record::Counters;
use super::super::testing::*;
use super::super::{checksum, get};
use super::*;
use crate::engine::Reader;
use crate::engine::memory::MemoryEngine;
use crate::key::{EngineKey, item_key};

/// A leader that has proposed a few entries, the last of which overwrites and deletes.
fn busy_leader() -> Leader {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1), put("b", 1, 1), put("c", 1, 1)]);
    leader.evaluate(put("a", 1, 2)).0.unwrap();
    leader.evaluate(delete("b", 1)).0.unwrap();
    leader.propose();
    leader
}

/// An entry that puts one item, as a leader of this term and generation would have made it.
fn entry_of(index: u64, raft_term: u64, term: u64, generation: u64) -> Committed {
    let mut payload = Vec::new();
    entry::push(&mut payload, &item_key(7, &key("x", 1)), Some(b"blind"));
    let counters = Counters { item_count: 77, size_bytes: 777 };
    let header = EntryHeader { term, generation, highest_stamp: 99 << 16, counters };
    Committed { index, term: raft_term, data: entry::seal(payload, &header, 1) }
}

#[test]
fn replicas_that_applied_the_same_entries_hold_the_same_bytes_however_batched() {
    let leader = busy_leader();
    let [one_by_one, at_once] = engines();
    let mut applier = found(&one_by_one, &spec());
    for entry in &leader.log {
        applier.apply(std::slice::from_ref(entry)).unwrap();
    }
    found(&at_once, &spec()).apply(&leader.log).unwrap();
    assert_eq!(everything(one_by_one.as_ref()), everything(at_once.as_ref()));
    let sums = [&one_by_one, &at_once].map(|it| checksum(it.as_ref(), &spec()).unwrap().unwrap());
    assert_eq!(sums[0], sums[1]);
    assert_eq!(sums[0].counted, sums[0].recorded);
    assert_eq!(sums[0].counted.item_count, 2);
}

#[test]
fn data_and_mark_are_one_batch() {
    let leader = busy_leader();
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    engine.flush().unwrap();
    applier.apply(&leader.log).unwrap();
    assert_eq!(engine.unflushed(), 1);
    assert_eq!(applier.mark().unwrap().index, leader.log.last().unwrap().index);
    assert_eq!(applier.mark().unwrap().voters, [1, 2, 3]);
    // A crash takes all of it or nothing; then the same entries come again.
    assert_eq!(engine.crash(1), 1);
    assert_eq!(applier.mark().unwrap(), first_mark());
    applier.apply(&leader.log).unwrap();
    assert_eq!(applier.mark().unwrap().index, leader.log.last().unwrap().index);
}

#[test]
fn an_entry_of_another_term_or_generation_is_skipped_and_counted_as_applied() {
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    let before = applier.record().unwrap();
    // A deposed leader's proposal that travelled to the leader of term 5; one from before a split; one of Raft's own.
    let skipped = [
        entry_of(11, 5, 4, 3),
        entry_of(12, 5, 5, 2),
        entry_of(13, 5, 5, 4),
        Committed { index: 14, term: 5, data: Bytes::new() },
    ];
    applier.apply(&skipped).unwrap();
    let after = applier.record().unwrap();
    assert_eq!((after.mark.index, after.mark.term), (14, 5));
    assert_eq!(after.counters, before.counters);
    assert_eq!(after.highest_stamp, before.highest_stamp);
    let item = item_key(7, &key("x", 1));
    assert_eq!(engine.get(&item), Ok(None));
    applier.apply(&[entry_of(15, 5, 5, 3)]).unwrap();
    assert_eq!(engine.get(&item), Ok(Some(Bytes::from_static(b"blind"))));
    let after = applier.record().unwrap();
    assert_eq!(after.counters, Counters { item_count: 77, size_bytes: 777 });
    assert_eq!(after.highest_stamp, 99 << 16);
}

#[test]
fn nothing_is_applied_over_a_gap_twice_or_backwards() {
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    applier.apply(&[entry_of(11, 2, 2, 3)]).unwrap();
    let before = everything(engine.as_ref());
    let at = |index, term| Committed { index, term, data: Bytes::new() };
    for bad in [
        vec![at(13, 2)],
        vec![at(11, 2)],
        vec![at(12, 2), at(14, 2)],
        vec![at(12, 2), at(12, 2)],
        vec![at(12, 1)],
    ] {
        assert!(applier.apply(&bad).is_err(), "{bad:?}");
    }
    applier.apply(&[]).unwrap();
    assert_eq!(everything(engine.as_ref()), before);
}

#[test]
fn no_entry_writes_outside_of_the_partition() {
    let hash = key("x", 1).hash();
    let write_of = |key: Bytes| {
        let mut payload = Vec::new();
        entry::push(&mut payload, &key, None);
        let header = EntryHeader { term: 2, generation: 3, ..EntryHeader::default() };
        Committed { index: 11, term: 2, data: entry::seal(payload, &header, 1) }
    };
    let inside = PartitionSpec { hash_start: hash, hash_end: hash, ..spec() };
    let outside = PartitionSpec { hash_start: 0, hash_end: hash - 1, ..spec() };
    let item = item_key(7, &key("x", 1));
    let group = inside.group;
    assert_eq!(found(&Arc::default(), &inside).apply(&[write_of(item.clone())]), Ok(()));
    for (spec, key) in [
        (&outside, item),
        (&inside, item_key(8, &key("x", 1))),
        (&inside, EngineKey::Applied { group }.encode()),
        (&inside, Bytes::new()),
    ] {
        let engine = Arc::<MemoryEngine>::default();
        let mut applier = found(&engine, spec);
        let before = everything(engine.as_ref());
        assert!(applier.apply(&[write_of(key)]).is_err());
        assert_eq!(everything(engine.as_ref()), before);
    }
}

#[test]
fn a_malformed_entry_stops_the_replica() {
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    let data = Bytes::from_static(b"\x01not an entry");
    let error = applier.apply(&[Committed { index: 11, term: 2, data }]).unwrap_err();
    assert!(matches!(error, Error::Corruption { .. }), "{error}");
    assert_eq!(applier.mark().unwrap(), first_mark());
}

#[test]
fn after_an_engine_fault_the_call_is_made_again_from_the_mark() {
    for lost in 0..=2 {
        let leader = busy_leader();
        let engine = Arc::<MemoryEngine>::default();
        let mut applier = found(&engine, &spec());
        engine.flush().unwrap();
        let (first, rest) = leader.log.split_at(2);
        for entry in first {
            applier.apply(std::slice::from_ref(entry)).unwrap();
        }
        engine.fail_next_write(Error::Full("test".into()), lost);
        assert_eq!(applier.apply(rest), Err(Error::Full("test".into())));
        engine.reopen().unwrap();
        // The reopened engine holds less than this applier once wrote: what follows then is a gap.
        assert_eq!(applier.mark().unwrap().index, FIRST + 2 - lost);
        if lost > 0 {
            assert!(applier.apply(rest).is_err());
        }
        let again = leader.after(applier.mark().unwrap().index).to_vec();
        applier.apply(&again).unwrap();
        let reference = Arc::<MemoryEngine>::default();
        found(&reference, &spec()).apply(&leader.log).unwrap();
        assert_eq!(everything(engine.as_ref()), everything(reference.as_ref()));
    }
}

#[test]
fn an_applier_opens_only_what_is_its_replicas() {
    let engine = Arc::<MemoryEngine>::default();
    let open = |spec: &PartitionSpec| {
        PartitionApplier::open(Arc::<MemoryEngine>::clone(&engine), Arc::new(spec.clone()))
            .map(|applier| applier.data_generation().note().is_some())
    };
    assert!(open(&spec()).is_err());
    found(&engine, &spec());
    assert_eq!(open(&spec()), Ok(true));
    assert!(open(&PartitionSpec { generation: 4, ..spec() }).is_err());
}

#[test]
fn a_replica_that_is_gone_is_not_read_any_more() {
    let applier = found(&Arc::default(), &spec());
    let generation = applier.data_generation();
    let noted = generation.note().unwrap();
    drop(applier);
    assert!(!generation.holds(noted));
    assert_eq!(generation.note(), None);
}

#[test]
fn readers_see_what_is_applied_and_nothing_else() {
    let mut leader = busy_leader();
    let read = |leader: &Leader, p| get(leader.engine.as_ref(), &spec(), &key(p, 1)).unwrap();
    assert_eq!(read(&leader, "a"), None);
    leader.apply_all();
    assert_eq!(read(&leader, "a"), Some(item("a", 1, 2)));
    assert_eq!(read(&leader, "b"), None);
}

#[test]
fn reads_open_again_where_they_were_suspended_and_not_before() {
    let leader = busy_leader();
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    let data = applier.data_generation();
    engine.flush().unwrap();
    for entry in &leader.log {
        applier.apply(std::slice::from_ref(entry)).unwrap();
    }
    let noted = data.note().unwrap();

    // Nothing is lost: nothing has to be applied for it to go on.
    applier.suspend_reads();
    assert_eq!(data.note(), None);
    applier.resume_reads().unwrap();
    assert!(data.note().is_some() && !data.holds(noted));

    // What is lost has been read: what is there before it is applied again is not to be.
    applier.suspend_reads();
    assert_eq!(engine.crash(leader.log.len() as u64), leader.log.len());
    applier.resume_reads().unwrap();
    for entry in &leader.log {
        assert_eq!(data.note(), None, "before entry {}", entry.index);
        applier.apply(std::slice::from_ref(entry)).unwrap();
    }
    assert!(data.note().is_some());
}

#[test]
fn what_an_engine_failed_at_has_been_seen_perhaps() {
    let leader = busy_leader();
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    let data = applier.data_generation();
    let (first, rest) = leader.log.split_at(2);
    applier.apply(first).unwrap();
    engine.flush().unwrap();
    engine.fail_next_write(Error::Full("test".into()), 0);
    applier.apply(rest).unwrap_err();
    applier.suspend_reads();
    engine.reopen().unwrap();
    assert_eq!(applier.mark().unwrap().index, FIRST + 2, "all that was applied is there");
    applier.resume_reads().unwrap();
    assert_eq!(data.note(), None);
    applier.apply(rest).unwrap();
    assert!(data.note().is_some());
}
