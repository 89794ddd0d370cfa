//! Flipped bits: whatever was known to be synced and is needed is refused with its place, and never read wrong.

use crate::disk::{Crash, CrashDisk, Disk};
use crate::error::Error;
use crate::log::Recovery;
use crate::log::tests::node::Node;
use crate::log::tests::{entry, hard, reset, small, truncate};

const SEGMENTS: usize = 2;

/// A log over several segments, ended cleanly, and what is found in it.
fn log() -> (CrashDisk, Recovery) {
    let disk = CrashDisk::new();
    let (mut node, _) = Node::open(&disk, &small()).unwrap();
    node.core.stage(&[reset(1, 10, 1), reset(2, 10, 1), hard(1, 1, 2, 10)]).unwrap();
    for n in 0..12 {
        node.core.stage(&[entry(1, 11 + n, 1, vec![1; 2500]), hard(2, n, 1, 10)]).unwrap();
        node.core.stage(&[entry(2, 11 + n, 1, vec![2; 300])]).unwrap();
        node.flush().unwrap();
    }
    node.core.stage(&[truncate(1, 17, 1), truncate(2, 17, 1)]).unwrap();
    node.flush().unwrap();
    let write = node.core.flush_mark().unwrap();
    node.files.perform_all(&write).unwrap();
    node.core.completed(write);
    assert_eq!((node.core.stats().segments, node.core.stats().spares), (SEGMENTS, 3));
    let disk = node.crash(Crash::LoseAll);
    let (_, found) = Node::open(&disk.crash(Crash::LoseAll), &small()).unwrap();
    (disk, found)
}

#[test]
fn every_flipped_bit_is_refused_or_does_not_matter() {
    let (disk, found) = log();
    let mut refused = 0;
    for name in disk.list().unwrap() {
        let len = disk.bytes(&name).unwrap().len() as u64;
        for offset in (0..len).filter(|offset| *offset < 80 || offset % 61 == 0) {
            let damaged = disk.crash(Crash::LoseAll);
            let bit = offset % 8;
            assert!(damaged.damage(&name, offset, |byte| byte ^ (1 << bit)));
            match Node::open(&damaged, &small()) {
                Ok((node, again)) => {
                    assert_eq!(again, found, "{name} at {offset}");
                    node.read_all(&again).unwrap();
                }
                Err(Error::Corruption { place, offset: at, .. }) => {
                    assert_eq!(place, name);
                    // The record's start: no record here is longer than that. In a file never used, that it is.
                    let is_named = at <= offset && offset < at + 2600;
                    assert!(is_named || at == 0, "{name}: {at} for {offset}");
                    refused += 1;
                }
                Err(Error::Version { place, .. }) => assert_eq!(place, name),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused > 300, "only {refused} were refused");
}

#[test]
fn a_record_damaged_while_the_log_is_open_is_not_read() {
    let (disk, _) = log();
    let (node, _) = Node::open(&disk, &small()).unwrap();
    let located = node.core.locate(crate::machine::GroupId(1), 18..19, 100).unwrap();
    let source = node.core.source(located[0]).unwrap();
    let at = u64::from(source.place.offset) + 100;
    assert!(disk.damage(&source.file.to_string(), at, |byte| byte ^ 1));
    let error = node.entries(1, 18..20).unwrap_err();
    let place = source.file.to_string();
    assert!(matches!(&error, Error::Corruption { place: named, .. } if *named == place), "{error}");
    assert_eq!(node.entries(1, 19..20).unwrap().len(), 1);
}

#[test]
fn a_missing_segment_is_missed() {
    let (disk, _) = log();
    let names = disk.list().unwrap();
    let opened = names.iter().map(|name| {
        let damaged = disk.crash(Crash::LoseAll);
        damaged.remove(name).unwrap();
        Node::open(&damaged, &small()).map(|_| ())
    });
    let missed = opened.filter(|opened| matches!(opened, Err(Error::Corruption { .. }))).count();
    // All in use but the last, whose absence cannot be told from its never having been written.
    assert_eq!(missed, SEGMENTS - 1);
}
