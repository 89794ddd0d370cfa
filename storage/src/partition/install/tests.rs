use std::sync::Arc;

use proptest::prelude::*;

use super::super::testing::*;
use super::super::{PartitionSpec, checksum, get};
use super::*;
use crate::engine::Engine;
use crate::engine::memory::MemoryEngine;
use crate::error::Error;
use crate::machine::{Applier, Committed};

fn library(engine: Arc<MemoryEngine>) -> Leader {
    let mut leader = Leader::new(engine, &spec());
    leader.propose_each((0..12).map(|s| put(&format!("artist {s}"), s, s)));
    leader.apply_all();
    leader
}

/// Takes a snapshot while the leader goes on writing between its chunks.
fn fuzzy_frames(leader: &mut Leader) -> Vec<Bytes> {
    let mut writer = leader.applier.begin_snapshot(1).unwrap();
    let mut frames = vec![writer.header().encode()];
    for round in 0.. {
        let Some(chunk) = writer.next_chunk(200).unwrap() else { break };
        frames.push(chunk);
        let (s, t) = (round % 12, (round + 7) % 12);
        leader.propose_each([
            add(&format!("artist {s}"), s, 100),
            put(&format!("new {round}"), 1, round),
        ]);
        if leader.evaluate(delete(&format!("artist {t}"), t)).0.is_ok() {
            leader.propose();
        }
        leader.apply_all();
    }
    frames.push(writer.finish(&leader.applier).unwrap());
    frames
}

#[test]
fn a_snapshot_taken_while_writes_go_on_and_the_log_behind_it_make_the_same_replica() {
    for engine in engines() {
        let mut leader = library(engine);
        let frames = fuzzy_frames(&mut leader);
        for target in engines() {
            let mut applier = join(&target, &spec());
            install(&mut applier, &frames).unwrap();
            let mark = applier.mark().unwrap();
            assert!(mark.index < leader.applier.mark().unwrap().index);
            let rest = leader.after(mark.index).to_vec();
            for entry in &rest {
                applier.apply(std::slice::from_ref(entry)).unwrap();
            }
            let items = |engine: &MemoryEngine| pairs(engine, &spec().items());
            assert_eq!(items(&target), items(&leader.engine));
            let sum = |engine: &MemoryEngine| checksum(engine, &spec()).unwrap();
            assert_eq!(sum(&target), sum(&leader.engine));
            assert!(sum(&target).is_some_and(|sum| sum.counted == sum.recorded));
            assert_eq!(applier.mark(), leader.applier.mark());
        }
    }
}

#[test]
fn nobody_reads_before_the_senders_end_is_applied() {
    let mut leader = library(Arc::new(MemoryEngine::without_snapshots()));
    let frames = fuzzy_frames(&mut leader);
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = found(&engine, &spec());
    let generation = applier.data_generation();
    let before = generation.note().unwrap();
    install(&mut applier, &frames).unwrap();
    assert!(!generation.holds(before));
    assert_eq!(generation.note(), None);
    assert_eq!(checksum(engine.as_ref(), &spec()), Ok(None));
    // Nor after a restart in between.
    assert_eq!(open(&engine, &spec()).data_generation().note(), None);
    let end = leader.applier.mark().unwrap().index;
    let rest = leader.after(applier.mark().unwrap().index).to_vec();
    for entry in &rest {
        assert_eq!(generation.note(), None);
        applier.apply(std::slice::from_ref(entry)).unwrap();
    }
    assert_eq!(applier.mark().unwrap().index, end);
    let noted = generation.note().unwrap();
    assert!(generation.holds(noted) && !generation.holds(before));
}

#[test]
fn what_was_there_before_is_gone() {
    let leader = library(Arc::default());
    let frames = frames(&leader.applier, 1, 300);
    let mut stale = Leader::on_memory();
    stale.propose_each((0..9).map(|s| put("stale", s, s)));
    stale.apply_all();
    install(&mut stale.applier, &frames).unwrap();
    assert_eq!(
        pairs(stale.engine.as_ref(), &spec().items()),
        pairs(leader.engine.as_ref(), &spec().items())
    );
    assert_eq!(stale.applier.record().unwrap().counters, leader.applier.record().unwrap().counters);
}

#[test]
fn the_steps_have_an_order() {
    let leader = library(Arc::default());
    let frames = frames(&leader.applier, 1, 300);
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = join(&engine, &spec());
    assert!(applier.clear_some(1).is_err());
    assert!(applier.install_chunk(&frames[1]).is_err());
    assert!(applier.finish_install(frames.last().unwrap()).is_err());
    applier.begin_install(&frames[0]).unwrap();
    assert!(applier.install_chunk(&frames[1]).is_err());
    let entry = Committed { index: 1, term: 1, data: Bytes::new() };
    assert!(applier.apply(std::slice::from_ref(&entry)).is_err());
    assert!(applier.clear_some(1).unwrap());
    applier.install_chunk(&frames[1]).unwrap();
    assert!(applier.finish_install(frames.last().unwrap()).is_err());
    assert_eq!(applier.mark().unwrap(), AppliedMark::default());
    // It begins again from the start.
    install(&mut applier, &frames).unwrap();
    assert_eq!(applier.mark(), leader.applier.mark());
}

#[test]
fn a_snapshot_of_another_partition_or_of_the_past_is_refused() {
    let mut leader = library(Arc::default());
    let old = frames(&leader.applier, 1, 300);
    leader.propose_each([put("a", 1, 1)]);
    leader.apply_all();
    let before = everything(leader.engine.as_ref());
    assert!(leader.applier.begin_install(&old[0]).is_err());
    assert_eq!(everything(leader.engine.as_ref()), before);
    assert!(leader.applier.data_generation().note().is_some());
    for other in [
        PartitionSpec { generation: 4, ..spec() },
        PartitionSpec { hash_end: 4, ..spec() },
        PartitionSpec { table_id: 8, ..spec() },
        PartitionSpec { group: crate::machine::GroupId(2), ..spec() },
    ] {
        assert!(join(&Arc::default(), &other).begin_install(&old[0]).is_err());
    }
}

#[test]
fn the_range_of_others_is_not_touched() {
    let leader = library(Arc::default());
    let frames = frames(&leader.applier, 1, 300);
    let engine = Arc::<MemoryEngine>::default();
    let other = PartitionSpec { group: crate::machine::GroupId(2), table_id: 8, ..spec() };
    let mut neighbour = Leader::new(Arc::clone(&engine), &other);
    neighbour.propose_each([put("a", 1, 1)]);
    neighbour.apply_all();
    install(&mut join(&engine, &spec()), &frames).unwrap();
    assert_eq!(get(engine.as_ref(), &other, &key("a", 1)), Ok(Some(item("a", 1, 1))));
}

#[test]
fn an_engine_that_lost_a_step_is_not_loaded_over_the_gap() {
    let leader = library(Arc::default());
    let frames = frames(&leader.applier, 1, 300);
    assert!(frames.len() > 4);
    let engine = Arc::<MemoryEngine>::default();
    let mut applier = join(&engine, &spec());
    applier.begin_install(&frames[0]).unwrap();
    while !applier.clear_some(5).unwrap() {}
    applier.install_chunk(&frames[1]).unwrap();
    // Another replica's fault has the engine reopened under this one.
    engine.fail_next_write(Error::Engine("test".into()), 1);
    engine.write(&Batch::default()).unwrap_err();
    engine.reopen().unwrap();
    assert!(applier.install_chunk(&frames[2]).is_err());
    assert!(applier.install_chunk(&frames[2]).is_err());
    install(&mut applier, &frames).unwrap();
    assert_eq!(applier.mark(), leader.applier.mark());
}

#[test]
fn what_is_cleared_is_not_looked_at_again() {
    let leader = library(Arc::default());
    let frames = frames(&leader.applier, 1, 300);
    let mut stale = Leader::on_memory();
    stale.propose_each((0..9).map(|s| put("stale", s, s)));
    let first = pairs(leader.engine.as_ref(), &spec().items())[0].clone();
    stale.apply_all();
    stale.applier.begin_install(&frames[0]).unwrap();
    assert!(!stale.applier.clear_some(4).unwrap());
    // Nobody writes there: it is what an engine keeps of something deleted.
    let mut batch = Batch::default();
    batch.put(spec().items().start, first.1);
    stale.engine.write(&batch).unwrap();
    while !stale.applier.clear_some(4).unwrap() {}
    assert_eq!(pairs(stale.engine.as_ref(), &spec().items()).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However far an installation came, and whatever a crash took of it: the replica either is what it was before, or says that
    /// it awaits a snapshot, or is what the snapshot says. And it comes through when it is done again.
    #[test]
    fn an_installation_that_a_crash_cuts_short_is_redone(steps in 0..12usize, draw in any::<u64>()) {
        let leader = library(Arc::default());
        let frames = frames(&leader.applier, 1, 200);
        let mut stale = Leader::on_memory();
        stale.propose_each((0..9).map(|s| put("stale", s, s)));
        stale.apply_all();
        stale.engine.flush().unwrap();
        let before = everything(stale.engine.as_ref());
        let mut left = steps;
        let _: crate::Result<()> = (|| {
            let mut step = || {
                let go_on = left > 0;
                left = left.saturating_sub(1);
                if go_on { Ok(()) } else { Err(Error::Engine("the process ends here".into())) }
            };
            step()?;
            stale.applier.begin_install(&frames[0])?;
            step()?;
            while !stale.applier.clear_some(4)? { step()?; }
            for chunk in &frames[1..frames.len() - 1] {
                step()?;
                stale.applier.install_chunk(chunk)?;
            }
            step()?;
            stale.applier.finish_install(frames.last().unwrap())?;
            Ok(())
        })();
        stale.engine.crash(draw);
        let mut applier = open(&stale.engine, &spec());
        let mark = applier.mark().unwrap();
        let readable = applier.data_generation().note().is_some();
        if mark == leader.applier.mark().unwrap() {
            prop_assert!(readable);
        } else if mark.index > 0 {
            prop_assert_eq!(everything(stale.engine.as_ref()), before);
            install(&mut applier, &frames).unwrap();
        } else {
            prop_assert!(!readable);
            install(&mut applier, &frames).unwrap();
        }
        prop_assert_eq!(
            pairs(stale.engine.as_ref(), &spec().items()),
            pairs(leader.engine.as_ref(), &spec().items())
        );
        prop_assert!(applier.data_generation().note().is_some());
    }
}
