//! When a segment may be given up.

use crate::disk::{Crash, CrashDisk, Disk, Fault, FaultOp};
use crate::error::Error;
use crate::log::tests::node::Node;
use crate::log::tests::{entry, hard, small, truncate};
use crate::log::{LogOptions, Record};
use crate::machine::GroupId;

/// What supersedes the oldest segment is staged while the write before it is under way. That write's end must not release
/// the segment: the next one's head would say so, and may survive a tear that the truncation behind it does not.
#[test]
fn a_segment_is_kept_until_what_supersedes_it_is_synced() {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &small()).unwrap();
    for index in 1..=6 {
        node.core.stage(&[entry(1, index, 1, vec![1; 2900])]).unwrap();
        node.flush().unwrap();
    }
    node.core.stage(&[entry(2, 1, 1, vec![2; 10])]).unwrap();
    let write = node.core.flush().unwrap();
    node.core.stage(&[entry(2, 2, 1, vec![2; 2000]), truncate(1, 6, 1)]).unwrap();
    node.files.perform_all(&write).unwrap();
    node.core.completed(write);
    assert_eq!(node.core.stats().segments, 2);
    assert_eq!(node.flush_part(1).unwrap(), 1);
    let (mut with, mut without) = (0, 0);
    for seed in 0..40 {
        let (node, found) = Node::open(&node.crash(Crash::Prefix(seed)), &small()).unwrap();
        match found.groups[&GroupId(1)].terms.len() {
            6 => with += 1,
            0 => without += 1,
            other => panic!("{other} entries"),
        }
        node.read_all(&found).unwrap();
    }
    assert!(with > 0 && without > 0, "both ends were seen: {with}, {without}");
}

/// Stages and writes until the log is full; gives how often it was not.
fn fill(node: &mut Node, mut batch: impl FnMut(u64) -> Record) -> u64 {
    for n in 0.. {
        match node.core.stage(&[batch(n)]) {
            Ok(()) => node.flush().unwrap(),
            Err(Error::LogFull(_)) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    0
}

/// A group that never truncates, as one whose replica has stopped, keeps what it has in a log that others fill again and again; a
/// power cut at any moment leaves all of it.
#[test]
fn a_group_that_cannot_truncate_does_not_fill_the_log() {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &small()).unwrap();
    // Its entries lie among those of others, so that they are rewritten in several turns, and behind newer ones in the end.
    let (mut last, mut rewritten) = (0, 0);
    for index in 1..=12 {
        node.core.stage(&[entry(1, index, 1, vec![index as u8; 400])]).unwrap();
        last += 1;
        node.core.stage(&[entry(2, last, 1, vec![0; 2500])]).unwrap();
        node.flush().unwrap();
        node.core.stage(&[truncate(2, last, 1)]).unwrap();
    }
    for round in 0..400_u64 {
        last += 1;
        node.core.stage(&[entry(2, last, 1, vec![0; 2500])]).expect("there is room");
        if round % 7 == 0 {
            rewritten += node.core.stats().rewritten;
            node.flush_part(round as usize % 5).unwrap();
            let crash = if round % 2 == 0 { Crash::Prefix(round) } else { Crash::Pages(round) };
            (node, _) = Node::open(&node.crash(crash), &small()).unwrap();
            last = node.core.last_index(GroupId(2)).unwrap();
        }
        let write = node.next_write().unwrap();
        let held = node.core.mark(GroupId(1)).unwrap_or_default().index + 1
            ..node.core.last_index(GroupId(1)).unwrap() + 1;
        // Also while they are being rewritten.
        let entries = node.entries(1, held.clone()).unwrap();
        assert!(entries.iter().map(|it| it.index).eq(held.clone()), "{held:?}");
        assert!(entries.iter().all(|it| *it.data == [it.index as u8; 400]));
        let is_cut = round > 300 && held.start == 3;
        assert!(is_cut || held.start == 1 && held.end >= 13, "{round}: {held:?}");
        if let Some(write) = write {
            node.files.perform_all(&write).unwrap();
            node.core.completed(write);
        }
        if round == 200 {
            node.core.stage(&[entry(1, 13, 2, vec![13; 400])]).unwrap();
        }
        if round == 300 {
            node.core.stage(&[entry(1, 9, 3, vec![9; 400]), truncate(1, 2, 1)]).unwrap();
        }
        node.flush().unwrap();
        node.core.stage(&[truncate(2, last, 1)]).unwrap();
    }
    assert!(rewritten > 100, "{rewritten}");
}

/// The few entries of a group that is idle do not keep all that others have written since: a start would have to read it.
#[test]
fn an_idle_group_does_not_keep_the_log_long() {
    let disk = CrashDisk::new();
    let options = LogOptions { budget_bytes: 100 * small().segment_bytes, ..small() };
    let (mut node, _) = Node::open(&disk, &options).unwrap();
    node.core.stage(&[entry(1, 1, 1, vec![1; 100])]).unwrap();
    let (mut last, mut longest) = (0, 0);
    for round in 0..200 {
        last += 1;
        node.core.stage(&[entry(2, last, 1, vec![0; 2500])]).expect("there is room");
        node.flush().unwrap();
        node.core.stage(&[truncate(2, last, 1)]).unwrap();
        longest = longest.max(node.core.stats().segments);
        if round % 50 == 49 {
            (node, _) = Node::open(&node.crash(Crash::LoseAll), &options).unwrap();
            last = node.core.last_index(GroupId(2)).unwrap();
            assert_eq!(node.entries(1, 1..2).unwrap()[0].data[..], [1; 100]);
        }
    }
    assert!(longest <= 6, "{longest} segments");
    assert!(node.core.stats().rewritten < 200, "not again and again");
}

/// Too many open files, say, are no reason to stop: what is in the log is all there, and the segment is made later.
#[test]
fn a_segment_that_cannot_be_made_does_not_stop_the_log() {
    for op in [FaultOp::Create, FaultOp::Sync] {
        let disk = CrashDisk::new();
        let (mut node, _) = Node::open(&disk, &small()).unwrap();
        for index in 1..=4 {
            node.core.stage(&[entry(1, index, 1, vec![1; 2900])]).unwrap();
            node.flush().unwrap();
        }
        // The next write begins a segment, and the one after it makes a spare one.
        node.core.stage(&[entry(1, 5, 1, vec![1; 2900])]).unwrap();
        while node.core.stats().spares == 2 {
            let write = node.core.flush().unwrap();
            node.files.perform_all(&write).unwrap();
            node.core.completed(write);
        }
        disk.fail(Fault { op, after: 0, times: 1, kind: std::io::ErrorKind::Other });
        node.flush().expect("it goes on");
        disk.heal();
        let kept = fill(&mut node, |n| entry(1, 6 + n, 1, vec![1; 1000]));
        node.flush().unwrap();
        let more = fill(&mut node, |n| entry(1, 6 + kept + n, 1, vec![1; 1000]));
        assert!(kept > 1 && more > 1, "{kept} and {more} entries were taken");
    }
}

/// What waits only for a segment that is being made is not refused for good.
#[test]
fn a_log_that_may_grow_is_busy_and_not_full() {
    let options = LogOptions { spare_segments: 1, ..small() };
    let (mut node, _) = Node::open(&CrashDisk::new(), &options).unwrap();
    let big = |index| entry(1, index, 1, vec![1; 2500]);
    let mut last = 0;
    while node.core.stats().spares == 1 {
        last += 1;
        node.core.stage(&[big(last)]).unwrap();
        if node.core.stats().spares == 1 {
            node.flush().unwrap();
        }
    }
    let mut more = last + 1..;
    let refused = more.find_map(|index| node.core.stage(&[big(index)]).err().map(|it| (index, it)));
    let Some((index, refused)) = refused else { unreachable!("it is bounded") };
    assert!(matches!(&refused, Error::LogBusy(why) if why.contains("made")), "{refused:?}");
    node.flush().unwrap();
    node.core.stage(&[big(index)]).expect("it has been made");
}

/// A full log takes hard states for a while, and truncations after that, also once it has been opened again; its files stay
/// within the budget; and truncated, it takes entries.
#[test]
fn a_full_log_can_be_relieved_whatever_it_was_filled_with() {
    for restarts in 0..3 {
        let disk = CrashDisk::new();
        let (mut node, _) = Node::open(&disk, &small()).unwrap();
        let last = fill(&mut node, |n| entry(1, n + 1, 1, vec![0; 1000]));
        assert!(last > 40, "full after {last}");
        assert!(fill(&mut node, |n| hard(1, n, 0, 0)) > 10);
        for _ in 0..restarts {
            (node, _) = Node::open(&node.crash(Crash::LoseAll), &small()).unwrap();
            let names = node.disk.list().unwrap();
            let bytes = names.iter().map(|name| node.disk.bytes(name).unwrap().len() as u64);
            assert!(bytes.sum::<u64>() <= small().budget_bytes);
            fill(&mut node, |n| hard(1, n, 0, 0));
        }
        let pressure = node.core.pressure();
        assert_eq!((pressure.len(), pressure[0].group), (1, GroupId(1)));
        assert!(pressure[0].truncate_to < last);
        node.core.stage(&[truncate(1, pressure[0].truncate_to, 1)]).expect("it makes room");
        node.flush().unwrap();
        assert!(node.core.pressure().is_empty());
        assert!(fill(&mut node, |n| entry(1, last + n + 1, 1, vec![0; 1000])) > 10);
    }
}
