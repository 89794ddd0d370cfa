//! Many groups, and restarts in a row.

use crate::disk::{Crash, CrashDisk};
use crate::log::tests::node::Node;
use crate::log::tests::{entry, hard, reset, small, tombstone, truncate};
use crate::log::{LogOptions, Mark, Record};
use crate::machine::GroupId;

fn options() -> LogOptions {
    let segment_bytes = 256 << 10;
    LogOptions {
        segment_bytes,
        budget_bytes: 5 * segment_bytes,
        pending_bytes: segment_bytes / 2,
        ..small()
    }
}

/// A thousand groups, half of them removed, live in a log that turns over many times: what is small moves ahead of it.
#[test]
fn small_records_of_many_groups_move_ahead() {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &options()).unwrap();
    let mut stage = |batch: Vec<Record>| {
        node.core.stage(&batch).unwrap();
        node.flush().unwrap();
        node.core.stats()
    };
    for id in 1..=1000 {
        stage(vec![reset(id, 10, 1), entry(id, 11, 2, vec![1; 20]), hard(id, 2, id % 3, 11)]);
        stage(vec![if id % 2 == 0 { tombstone(id) } else { truncate(id, 11, 2) }]);
    }
    let data = vec![0; 20_000];
    for n in 0..200 {
        let stats = stage(vec![entry(1, 12 + n, 2, data.clone()), truncate(1, 11 + n, 2)]);
        assert!(stats.segments <= 3 && stats.file_bytes <= options().budget_bytes, "{stats:?}");
    }
    let stats = node.core.stats();
    assert!(stats.rewritten > 10_000, "{stats:?}");
    let (node, found) = Node::open(&node.crash(Crash::LoseAll), &options()).unwrap();
    assert_eq!(found.groups.len(), 1000);
    for (GroupId(id), group) in found.groups {
        let (removed, mark) = (id % 2 == 0, if id == 1 { 210 } else { 11 });
        assert_eq!(group.tombstone, removed);
        assert_eq!(group.hard_state.vote, if removed { 0 } else { id % 3 });
        assert_eq!(
            group.mark,
            if removed { Mark::default() } else { Mark { index: mark, term: 2 } }
        );
    }
    assert_eq!(node.entries(1, 211..300).unwrap().len(), 1);
}

/// A process that dies again and again soon after its start does not eat the budget.
#[test]
fn restarts_in_a_row_take_no_room() {
    let mut disk = CrashDisk::new();
    for n in 1..100 {
        let (mut node, found) = Node::open(&disk, &small()).unwrap();
        let terms = found.groups.get(&GroupId(1)).map_or(0, |group| group.terms.len() as u64);
        assert_eq!(terms, n - 1);
        node.core.stage(&[entry(1, n, n, vec![0; 50]), hard(1, n, 1, 0)]).unwrap();
        node.flush().unwrap();
        // What is written fills a segment in the end, and segments are sealed half full.
        assert!(node.core.stats().segments <= 4, "{:?}", node.core.stats());
        disk = node.crash(Crash::Pages(n));
    }
}

/// A log opened with other options keeps what it has, and goes over to them as it turns.
#[test]
fn segments_of_another_length_are_used_up() {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &small()).unwrap();
    for n in 1..10 {
        node.core.stage(&[entry(1, n, 1, vec![0; 2900])]).unwrap();
        node.flush().unwrap();
    }
    let (mut node, _) = Node::open(&node.crash(Crash::LoseAll), &options()).unwrap();
    assert_eq!(node.entries(1, 1..10).unwrap().len(), 9);
    node.core.stage(&[truncate(1, 9, 1)]).unwrap();
    node.flush().unwrap();
    node.core.stage(&[hard(1, 1, 1, 1)]).unwrap();
    node.flush().unwrap();
    let stats = node.core.stats();
    assert_eq!(stats.file_bytes % options().segment_bytes, 0, "{stats:?}");
    let (node, found) = Node::open(&node.crash(Crash::LoseAll), &small()).unwrap();
    assert_eq!(found.groups[&GroupId(1)].mark, Mark { index: 9, term: 1 });
    assert!(node.core.stats().segments > 0);
}

/// A group that comes and goes between two writes is in one batch: its tombstone comes after all else of it.
#[test]
fn a_group_may_begin_and_end_in_one_batch() {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &options()).unwrap();
    let both =
        [reset(7, 10, 5), hard(7, 5, 0, 10), reset(8, 10, 5), tombstone(7), hard(8, 5, 0, 10)];
    node.core.stage(&both).unwrap();
    node.flush().unwrap();
    let (_, found) = Node::open(&node.crash(Crash::LoseAll), &options()).unwrap();
    assert!(found.groups[&GroupId(7)].tombstone);
    assert_eq!(found.groups[&GroupId(8)].hard_state.term, 5);
}
