//! One suite for every engine, and for both modes of the one in memory: what the rest of the node may rest on.
//!
//! Each case gets a [`Lab`] with an empty engine; [`conformance!`] runs it once for each kind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use super::memory::MemoryEngine;
use super::*;

/// An engine under test, and the way to end it and have it again.
struct Lab {
    engine: Option<Arc<dyn Engine>>,
    /// The same engine, if it is the one in memory.
    memory: Option<Arc<MemoryEngine>>,
    kind: EngineKind,
    // Behind the engine, for it is to go after it.
    dir: TempDir,
}

impl Lab {
    fn memory(engine: MemoryEngine) -> Self {
        let memory = Arc::new(engine);
        let engine = Arc::clone(&memory) as Arc<dyn Engine>;
        let dir = TempDir::new().unwrap();
        Self { dir, kind: EngineKind::Memory, engine: Some(engine), memory: Some(memory) }
    }

    #[cfg(any(feature = "engine-fjall", feature = "engine-sled"))]
    fn on_disk(kind: EngineKind) -> Self {
        let dir = TempDir::new().unwrap();
        let engine = Some(open_small(dir.path(), kind).engine);
        Self { dir, kind, engine, memory: None }
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        self.engine.as_ref().unwrap()
    }

    /// Ends the engine and opens it again; the one in memory crashes and loses all that may be lost.
    fn restart(&mut self) {
        if let Some(memory) = &self.memory {
            memory.crash(memory.unflushed() as u64);
            return;
        }
        self.engine = None;
        let opened = open_small(self.dir.path(), self.kind);
        assert!(opened.trusted);
        assert_eq!(opened.cut_bytes, 0);
        self.engine = Some(opened.engine);
    }
}

pub(super) fn open_small(dir: &Path, kind: EngineKind) -> Opened {
    open(dir, kind, &EngineOptions::within(0)).unwrap()
}

pub(super) fn all() -> KeyRange {
    KeyRange { start: Bytes::new(), end: None }
}

pub(super) fn scan(
    reader: &dyn Reader,
    range: &KeyRange,
    direction: Direction,
) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    reader
        .scan(range, direction, &mut |key, value| {
            found.push((key, value));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

pub(super) fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
    engine.write(&puts([(key.to_vec(), value.to_vec())])).unwrap();
}

pub(super) fn puts(pairs: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(key, value);
    }
    batch
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() {
                super::$case(&mut super::Lab::memory(super::MemoryEngine::new()));
            })*
        }
        mod memory_without_snapshots {
            $(#[test] fn $case() {
                super::$case(&mut super::Lab::memory(super::MemoryEngine::without_snapshots()));
            })*
        }
        #[cfg(feature = "engine-fjall")]
        mod fjall {
            $(#[test] fn $case() {
                super::$case(&mut super::Lab::on_disk(super::EngineKind::Fjall));
            })*
        }
        #[cfg(feature = "engine-sled")]
        mod sled {
            $(#[test] fn $case() {
                super::$case(&mut super::Lab::on_disk(super::EngineKind::Sled));
            })*
        }
    };
}

conformance!(
    values_come_and_go,
    a_batch_is_applied_in_order,
    keys_that_no_engine_takes_are_refused_by_all,
    scans_match_a_map,
    ranges_may_have_any_bounds,
    a_visitor_ends_a_scan,
    what_was_flushed_is_there_after_a_restart,
    large_values_are_values,
    five_thousand_keys,
    snapshots_stay,
    no_isolated_read_sees_half_a_batch,
    no_read_is_older_than_one_before_it,
    an_engine_is_reopened_in_place,
    reads_are_right_or_refused_during_a_reopening,
);

fn values_come_and_go(lab: &mut Lab) {
    let engine = lab.engine();
    assert_eq!(engine.name(), lab.kind.name());
    assert_eq!(engine.get(b"k").unwrap(), None);
    for value in [&b"one"[..], b"", &[0, 0xff, 0]] {
        put(&**engine, b"k", value);
        assert_eq!(engine.get(b"k").unwrap().as_deref(), Some(value));
    }
    let long = [0x42; MAX_KEY_BYTES];
    for key in [&[0][..], &[0, 0], &[0xfe, 0xff, 0xff], b"k\0", &long] {
        put(&**engine, key, key);
        assert_eq!(engine.get(key).unwrap().as_deref(), Some(key));
    }
    let mut batch = Batch::default();
    batch.delete(&b"k"[..]);
    batch.delete(&b"absent"[..]);
    engine.write(&batch).unwrap();
    assert_eq!(engine.get(b"k").unwrap(), None);
    assert_eq!(engine.get(b"k\0").unwrap().as_deref(), Some(&b"k\0"[..]));
    engine.write(&Batch::default()).unwrap();
    assert_eq!(scan(&**engine, &all(), Direction::Forward).len(), 5);
}

fn a_batch_is_applied_in_order(lab: &mut Lab) {
    let engine = lab.engine();
    let mut batch = Batch::default();
    batch.put("put twice", "first");
    batch.put("put, deleted", "value");
    batch.delete("deleted, put");
    batch.put("put twice", vec![1; 250_000]);
    batch.delete("put, deleted");
    batch.put("deleted, put", "value");
    batch.put("put twice", "last");
    engine.write(&batch).unwrap();
    let found = scan(&**engine, &all(), Direction::Forward);
    assert_eq!(
        found,
        [("deleted, put".into(), "value".into()), ("put twice".into(), "last".into())]
    );
}

fn keys_that_no_engine_takes_are_refused_by_all(lab: &mut Lab) {
    let engine = lab.engine();
    for key in [vec![], vec![ENGINE_TAG], vec![ENGINE_TAG, 1, 2], vec![1; MAX_KEY_BYTES + 1]] {
        let batch = puts([(b"innocent".to_vec(), vec![]), (key.clone(), vec![])]);
        assert!(matches!(engine.write(&batch), Err(Error::Engine(_))), "{}", hex(&key));
        assert_eq!(engine.get(&key).unwrap(), None);
    }
    assert_eq!(scan(&**engine, &all(), Direction::Forward), []);
    put(&**engine, b"the engine goes on", b"");
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfe), Just(0xff)], 0..4)
}

/// Batches, gets and scans against a map, in one engine that fills up as cases go on.
fn scans_match_a_map(lab: &mut Lab) {
    let engine = lab.engine();
    let map = std::cell::RefCell::new(BTreeMap::<Vec<u8>, Vec<u8>>::new());
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..20));
    let key = any_key().prop_filter("a node's key", |key| !matches!(key[..], [] | [0xff, ..]));
    let case = (
        prop::collection::vec((key, value), 0..12),
        prop::collection::vec((any_key(), prop::option::of(any_key())), 1..8),
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(60));
    let result = runner.run(&case, |(changes, ranges)| {
        let mut map = map.borrow_mut();
        let mut batch = Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => {
                    batch.put(key.clone(), value.clone());
                    map.insert(key, value);
                }
                None => {
                    batch.delete(key.clone());
                    map.remove(&key);
                }
            }
        }
        engine.write(&batch).unwrap();
        let snapshot = engine.snapshot();
        for (start, end) in ranges {
            let expected = map.get(&start).map(|value| Bytes::copy_from_slice(value));
            prop_assert_eq!(engine.get(&start).unwrap(), expected);
            let inside = |key: &Vec<u8>| *key >= start && end.as_ref().is_none_or(|end| key < end);
            let mut expected: Vec<(Bytes, Bytes)> = map
                .iter()
                .filter(|(key, _)| inside(key))
                .map(|(key, value)| (key.clone().into(), value.clone().into()))
                .collect();
            let range = KeyRange { start: start.clone().into(), end: end.clone().map(Into::into) };
            let readers = [Some(&**engine as &dyn Reader), snapshot.as_deref()];
            for reader in readers.iter().flatten() {
                prop_assert_eq!(&scan(*reader, &range, Direction::Forward), &expected);
            }
            expected.reverse();
            for reader in readers.iter().flatten() {
                prop_assert_eq!(&scan(*reader, &range, Direction::Backward), &expected);
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

fn ranges_may_have_any_bounds(lab: &mut Lab) {
    let engine = lab.engine();
    let key = |last: u8, len: usize| [vec![7; len - 1], vec![last]].concat();
    let keys: Vec<Vec<u8>> =
        vec![vec![0], key(6, MAX_KEY_BYTES), key(7, MAX_KEY_BYTES), key(8, MAX_KEY_BYTES)];
    engine.write(&puts(keys.iter().map(|key| (key.clone(), vec![])))).unwrap();
    let mut ends = keys.clone();
    ends.extend([vec![], vec![0xff], vec![0xff, 0xff], key(7, MAX_KEY_BYTES - 1)]);
    // Longer than any key.
    ends.extend([key(0, MAX_KEY_BYTES + 1), key(9, MAX_KEY_BYTES + 1), key(9, MAX_KEY_BYTES + 2)]);
    for start in &ends {
        for end in ends.iter().map(Some).chain([None]) {
            let inside = |key: &&Vec<u8>| *key >= start && end.is_none_or(|end| *key < end);
            let range =
                KeyRange { start: start.clone().into(), end: end.map(|end| end.clone().into()) };
            let expected: Vec<_> = keys.iter().filter(inside).collect();
            for direction in [Direction::Forward, Direction::Backward] {
                let mut found = scan(&**engine, &range, direction);
                found.sort();
                assert!(found.iter().map(|(key, _)| key).eq(expected.iter().copied()));
            }
        }
    }
}

fn a_visitor_ends_a_scan(lab: &mut Lab) {
    let engine = lab.engine();
    engine.write(&puts((0..10u8).map(|n| (vec![n], vec![n])))).unwrap();
    for (direction, expected) in [(Direction::Forward, [0, 1, 2]), (Direction::Backward, [9, 8, 7])]
    {
        let mut seen = Vec::new();
        let mut visit = |key: Bytes, _| {
            seen.push(key[0]);
            Ok(if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        engine.scan(&all(), direction, &mut visit).unwrap();
        assert_eq!(seen, expected);

        let mut calls = 0;
        let mut visit = |_, _| {
            calls += 1;
            Err(Error::Full("said the visitor".into()))
        };
        let answer = engine.scan(&all(), direction, &mut visit);
        assert_eq!((answer, calls), (Err(Error::Full("said the visitor".into())), 1));
    }
}

fn what_was_flushed_is_there_after_a_restart(lab: &mut Lab) {
    let batch = |n: u8| puts([(b"last".to_vec(), vec![n]), (vec![n], vec![n; 3])]);
    for round in 0..3u8 {
        let engine = lab.engine();
        let last = engine.get(b"last").unwrap().map_or(0, |value| value[0]);
        for n in 1..=5 {
            engine.write(&batch(last + n)).unwrap();
        }
        engine.flush().unwrap();
        for n in 6..=7 {
            engine.write(&batch(last + n)).unwrap();
        }
        lab.restart();
        // A prefix of the batches, with all that were flushed.
        let engine = lab.engine();
        let now = engine.get(b"last").unwrap().unwrap()[0];
        assert!((last + 5..=last + 7).contains(&now), "round {round}: {last}, then {now}");
        let expected = (1..=now).map(|n| (vec![n].into(), vec![n; 3].into()));
        let mut found = scan(&**engine, &all(), Direction::Forward);
        found.retain(|(key, _)| key != "last");
        assert_eq!(found, expected.collect::<Vec<_>>(), "round {round}");
    }
}

fn large_values_are_values(lab: &mut Lab) {
    const SIZES: &[usize] =
        &[0, 1, 1_000, 4_096, 65_536, 199_999, 200_000, 200_001, 400_000, 400_001, 420_000];
    let value = |seed: usize, size: usize| {
        (0..size).map(|at| (at * 31 + at / 251 + seed) as u8).collect::<Vec<_>>()
    };
    let expect = |engine: &dyn Engine, turn: usize| {
        let expected: Vec<(Bytes, Bytes)> = (0..SIZES.len())
            .map(|n| (vec![n as u8].into(), value(n, SIZES[(n + turn) % SIZES.len()]).into()))
            .collect();
        // `assert!`, for a failure should not print megabytes.
        assert!(scan(engine, &all(), Direction::Forward) == expected, "turn {turn}");
        assert!(
            scan(engine, &all(), Direction::Backward).iter().eq(expected.iter().rev()),
            "turn {turn}, backward"
        );
        for (key, value) in expected {
            assert!(engine.get(&key).unwrap() == Some(value), "turn {turn}, key {key:?}");
        }
    };
    // Every key gets every size after another: large after small, small after large.
    for turn in 0..SIZES.len() {
        let batch =
            (0..SIZES.len()).map(|n| (vec![n as u8], value(n, SIZES[(n + turn) % SIZES.len()])));
        lab.engine().write(&puts(batch)).unwrap();
        expect(&**lab.engine(), turn);
    }
    lab.engine().flush().unwrap();
    lab.restart();
    expect(&**lab.engine(), SIZES.len() - 1);
    put(&**lab.engine(), &[0], &value(0, 300_000));
    assert!(lab.engine().get(&[0]).unwrap().unwrap() == value(0, 300_000));
    let mut batch = Batch::default();
    for n in 0..SIZES.len() {
        batch.delete(vec![n as u8]);
    }
    lab.engine().write(&batch).unwrap();
    assert!(scan(&**lab.engine(), &all(), Direction::Forward).is_empty());
}

fn five_thousand_keys(lab: &mut Lab) {
    let key = |n: u32| n.wrapping_mul(0x9e37_79b1).to_be_bytes().map(|byte| byte & 0x7f).to_vec();
    let mut expected = BTreeMap::new();
    for start in (0..5_000u32).step_by(100) {
        let pairs: Vec<_> = (start..start + 100).map(|n| (key(n), vec![n as u8; 100])).collect();
        lab.engine().write(&puts(pairs.iter().cloned())).unwrap();
        expected.extend(pairs.into_iter().map(|(key, value)| (Bytes::from(key), value.into())));
    }
    lab.engine().flush().unwrap();
    for _ in 0..2 {
        let found = scan(&**lab.engine(), &all(), Direction::Forward);
        assert!(found.into_iter().eq(expected.clone()));
        let size = lab.engine().size();
        assert!(size.disk_bytes + size.buffer_bytes > 5_000 * 100, "{size:?}");
        lab.restart();
    }
}

fn snapshots_stay(lab: &mut Lab) {
    let engine = lab.engine();
    put(&**engine, b"a", b"1");
    put(&**engine, b"b", b"1");
    let Some(snapshot) = engine.snapshot() else {
        assert_eq!(engine.isolation(), Isolation::Gets);
        return;
    };
    assert_eq!(engine.isolation(), Isolation::Snapshots);
    let before = scan(&*snapshot, &all(), Direction::Forward);
    let mut batch = Batch::default();
    batch.delete("a");
    batch.put("b", "2");
    batch.put("c", "2");
    engine.write(&batch).unwrap();
    engine.flush().unwrap();
    assert_eq!(scan(&*snapshot, &all(), Direction::Forward), before);
    assert_eq!(snapshot.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(snapshot.get(b"c").unwrap(), None);
    let later = engine.snapshot().unwrap();
    assert_eq!(later.get(b"a").unwrap(), None);
    assert_eq!(scan(&*later, &all(), Direction::Backward).len(), 2);
}

/// Writes batches one after another, and reads again and again meanwhile, on some threads; the first batch is there before.
fn while_written(
    engine: &dyn Engine,
    mut batches: impl Iterator<Item = Batch> + Send,
    readers: usize,
    read: impl Fn() + Sync,
) {
    engine.write(&batches.next().expect("a batch")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    read();
                }
            });
        }
        for batch in batches {
            engine.write(&batch).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}

/// A writer gives many keys one value in each batch, two of the values large; readers look for two values at once.
fn no_isolated_read_sees_half_a_batch(lab: &mut Lab) {
    const KEYS: u8 = 40;
    const BATCHES: u8 = 120;
    let engine = lab.engine();
    let batch = |n: u8| {
        let small = (0..KEYS).map(move |key| (vec![1, key], vec![n; 10]));
        small.chain([(vec![0], vec![n; 250_000]), (vec![2], vec![n; 5_000])])
    };
    let batches = (0..=BATCHES).map(|n| puts(batch(n)));
    while_written(&**engine, batches, 2, || {
        for key in [&[0][..], &[2]] {
            let value = engine.get(key).unwrap().unwrap();
            assert!(value.iter().all(|&byte| byte == value[0]), "half a value");
        }
        let Some(snapshot) = engine.snapshot() else { return };
        let found = scan(&*snapshot, &all(), Direction::Forward);
        assert_eq!(found.len(), usize::from(KEYS) + 2);
        let first = found[0].1[0];
        assert!(found.iter().all(|(_, value)| value[0] == first), "half a batch");
        let value = snapshot.get(&[2]).unwrap().unwrap();
        assert_eq!(value[0], first, "a get and a scan of one snapshot disagree");
    });
    assert_eq!(engine.get(&[1, 7]).unwrap().unwrap()[0], BATCHES);
}

/// What one kind of read has shown the other kinds show too, also while a batch is being written.
fn no_read_is_older_than_one_before_it(lab: &mut Lab) {
    const KEYS: u16 = 600;
    const BATCHES: u8 = 60;
    let engine = lab.engine();
    let batch = |n: u8| (0..KEYS).map(move |key| (key.to_be_bytes().to_vec(), vec![n; 20]));
    // The first key of a batch, of which the rest takes its time.
    let key = 0u16.to_be_bytes();
    let only = KeyRange {
        start: Bytes::copy_from_slice(&key),
        end: Some(Bytes::copy_from_slice(&1u16.to_be_bytes())),
    };
    let batches = (0..=BATCHES).map(|n| puts(batch(n)));
    while_written(&**engine, batches, 1, || {
        let got = engine.get(&key).unwrap().unwrap()[0];
        let scanned = scan(&**engine, &only, Direction::Forward)[0].1[0];
        assert!(scanned >= got, "a scan shows {scanned}, and a get before it {got}");
        let Some(snapshot) = engine.snapshot() else { return };
        let kept = snapshot.get(&key).unwrap().unwrap()[0];
        assert!(kept >= scanned, "a snapshot shows {kept}, and a scan before it {scanned}");
        assert!(engine.get(&key).unwrap().unwrap()[0] >= kept);
    });
}

fn an_engine_is_reopened_in_place(lab: &mut Lab) {
    let engine = Arc::clone(lab.engine());
    put(&*engine, b"a", &vec![1; 300_000]);
    engine.flush().unwrap();
    let snapshot = engine.snapshot();
    for _ in 0..2 {
        engine.reopen().unwrap();
        assert_eq!(engine.get(b"a").unwrap().map(|value| value.len()), Some(300_000));
    }
    put(&*engine, b"b", &vec![2; 300_000]);
    assert_eq!(scan(&*engine, &all(), Direction::Forward).len(), 2);
    // A snapshot of before may answer as before, or not at all.
    if let Some(snapshot) = snapshot {
        match snapshot.get(b"b") {
            Ok(value) => assert_eq!(value, None),
            Err(error) => assert!(matches!(error, Error::Engine(_)), "{error}"),
        }
    }
    engine.flush().unwrap();
    drop(engine);
    lab.restart();
    assert_eq!(scan(&**lab.engine(), &all(), Direction::Forward).len(), 2);
}

fn reads_are_right_or_refused_during_a_reopening(lab: &mut Lab) {
    let engine = lab.engine();
    put(&**engine, b"a", b"1");
    engine.flush().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                match engine.get(b"a") {
                    Ok(found) => assert_eq!(found.as_deref(), Some(&b"1"[..])),
                    Err(error) => assert!(matches!(error, Error::Engine(_)), "{error}"),
                }
            }
        });
        for _ in 0..3 {
            engine.reopen().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(scan(&**engine, &all(), Direction::Forward).len(), 1);
}

#[cfg(any(feature = "engine-fjall", feature = "engine-sled"))]
#[path = "../../../tests/main/faults/small_disk.rs"]
mod small_disk;

#[test]
#[cfg(any(feature = "engine-fjall", feature = "engine-sled"))]
fn a_full_disk_is_survived() {
    let Some(disk) = small_disk::SmallDisk::mount(60) else { return };
    let small = disk.path();
    for &kind in EngineKind::BUILT.iter().filter(|&&kind| kind != EngineKind::Memory) {
        let dir = small.join(kind.name());
        std::fs::create_dir(&dir).unwrap();
        let engine = open_small(&dir, kind).engine;
        let ballast = small.join("ballast");
        std::fs::write(&ballast, vec![1; 20 << 20]).unwrap();
        let batch = |n: u32| puts([(n.to_be_bytes().to_vec(), vec![n as u8; 50_000])]);
        let mut n = 0;
        loop {
            let answer = engine
                .write(&batch(n))
                .and_then(|()| if n % 10 == 9 { engine.flush() } else { Ok(()) });
            match answer {
                Ok(()) => n += 1,
                Err(_) => break,
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        // Space is back, but that does not help by itself.
        engine.write(&batch(n)).and_then(|()| engine.flush()).unwrap_err();
        engine.reopen().unwrap();
        let found = scan(&*engine, &all(), Direction::Forward);
        assert!(found.len() as u32 >= n / 10 * 10 && found.len() as u32 <= n + 1);
        for (at, (key, value)) in found.iter().enumerate() {
            assert_eq!(key.as_ref(), (at as u32).to_be_bytes());
            assert!(value.len() == 50_000 && value.iter().all(|&byte| byte == at as u8));
        }
        engine.write(&batch(n)).unwrap();
        engine.flush().unwrap();
        drop(engine);
        open_small(&dir, kind);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
