//! What the conformance suite cannot ask: pieces, blobs, the note of the boot, and images of the directory.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::engine::conformance::{all, open_small, put, puts, scan};
use crate::engine::{EngineKind, open, trust};

fn engine(dir: &Path) -> SledEngine {
    SledEngine::new(dir, &EngineOptions::within(0)).unwrap()
}

fn pieces(engine: &SledEngine) -> usize {
    engine.slot.get().unwrap().db.range(FIRST_PIECE..).count()
}

#[test]
fn pieces_go_with_their_value() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path());
    put(&engine, b"a", &[1; 420_000]);
    put(&engine, b"b", &[2; 200_000]);
    assert_eq!(pieces(&engine), 3 + 1);
    put(&engine, b"a", &[3; 250_000]);
    assert_eq!(pieces(&engine), 2 + 1);
    drop(engine);
    engine = self::engine(dir.path());
    put(&engine, b"a", b"small");
    assert_eq!(pieces(&engine), 1);
    for _ in 0..4 {
        put(&engine, b"c", &[4; 420_000]);
    }
    assert_eq!(engine.get(b"b").unwrap().unwrap(), vec![2; 200_000], "its id was used again");
    let mut batch = Batch::default();
    batch.put("b", vec![5; 300_000]);
    batch.delete("b");
    batch.delete("c");
    engine.write(&batch).unwrap();
    assert_eq!(pieces(&engine), 0);
    assert_eq!(scan(&engine, &all(), Direction::Forward).len(), 1);
}

#[test]
fn a_missing_piece_is_corruption_and_names_the_key() {
    let dir = TempDir::new().unwrap();
    let engine = engine(dir.path());
    put(&engine, &[0xab], &[1; 420_000]);
    let open = engine.slot.get().unwrap();
    open.db.remove(piece_key(1, 1)).unwrap();
    let error = engine.get(&[0xab]).unwrap_err();
    assert!(
        matches!(&error, Error::Corruption { place, .. } if place.ends_with("key ab")),
        "{error}"
    );
    for garbage in [&[][..], &[2], &[PIECES, 0]] {
        open.db.insert(b"k", garbage).unwrap();
        assert!(matches!(engine.get(b"k"), Err(Error::Corruption { .. })), "{garbage:?}");
    }
}

#[test]
fn no_blob_is_ever_written() {
    let dir = TempDir::new().unwrap();
    let engine = engine(dir.path());
    // Values just below and well above a piece, side by side, overwritten, so that full leaves are written whole.
    for n in 0..90u32 {
        let len = if n % 2 == 0 { PIECE_BYTES - 1 } else { 2 * PIECE_BYTES };
        let key = (n % 40).to_be_bytes().to_vec();
        engine.write(&puts([(key, vec![n as u8; len])])).unwrap();
    }
    engine.flush().unwrap();
    assert_eq!(fs::read_dir(dir.path().join("data/blobs")).unwrap().count(), 0);
}

/// Copies a directory of files and of directories of files.
fn image(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            image(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_prefix_with_all_that_was_flushed() {
    let live = TempDir::new().unwrap();
    let engine = open_small(live.path(), EngineKind::Sled).engine;
    for n in 1..=20u8 {
        let items = [(vec![1, n], vec![n; 6_000]), (vec![2, n], vec![n; 210_000])];
        engine.write(&puts(items.into_iter().chain([(b"mark".to_vec(), vec![n])]))).unwrap();
        let flushed = n / 10 * 10;
        if n == flushed {
            engine.flush().unwrap();
        } else if n % 10 != 5 {
            continue;
        }
        let copy = TempDir::new().unwrap();
        image(live.path(), copy.path());
        let opened = open_small(copy.path(), EngineKind::Sled);
        assert!(opened.trusted, "the machine did not die");
        let mark = opened.engine.get(b"mark").unwrap().map_or(0, |value| value[0]);
        assert!((flushed..=n).contains(&mark), "batch {n}: {mark}");
        let mut found = scan(&*opened.engine, &all(), Direction::Forward);
        found.retain(|(key, _)| key != "mark");
        assert_eq!(found.len(), 2 * usize::from(mark), "batch {n}");
        assert!(found.iter().all(|(key, value)| value.iter().all(|byte| *byte == key[1])));
    }
}

#[test]
fn an_engine_open_when_the_machine_died_is_not_trusted_until_somebody_says_so() {
    let dir = TempDir::new().unwrap();
    let opened = || open(dir.path(), EngineKind::Sled, &EngineOptions::within(0)).unwrap().trusted;
    assert!(opened(), "a new one");
    assert!(opened(), "closed before");
    fs::write(dir.path().join("boot"), "another boot\n").unwrap();
    assert!(!opened());
    assert!(!opened(), "and it was closed, but never right");
    trust(dir.path()).unwrap();
    assert!(opened());
    trust(dir.path()).unwrap();
}

#[test]
fn the_note_of_a_boot() {
    let dir = TempDir::new().unwrap();
    let begin = |boot: Option<&str>| Boot::begin_at(dir.path(), boot.map(str::to_owned)).unwrap();
    let first = begin(Some("boot 1"));
    assert!(first.trusted());
    assert!(begin(Some("boot 1")).trusted(), "the process was killed, the machine went on");
    first.end(dir.path()).unwrap();
    let second = begin(Some("boot 2"));
    assert!(second.trusted(), "the engine had been closed");
    let third = begin(Some("boot 3"));
    assert!(!third.trusted());
    third.end(dir.path()).unwrap();
    assert!(!begin(Some("boot 3")).trusted());
    trust(dir.path()).unwrap();
    assert!(begin(None).trusted());
    assert!(!begin(None).trusted(), "where no boot has an id, an open end is a death");
}

#[test]
fn a_directory_has_one_engine_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = open_small(dir.path(), EngineKind::Sled);
    put(&*first.engine, b"a", b"1");
    let second = open(dir.path(), EngineKind::Sled, &EngineOptions::within(0));
    assert!(matches!(second, Err(Error::Io { .. })), "{second:?}");
    drop(first);
    let third = open_small(dir.path(), EngineKind::Sled);
    assert_eq!(third.engine.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
}
