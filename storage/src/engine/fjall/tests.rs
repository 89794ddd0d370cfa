//! What the conformance suite cannot ask: crash images of the directory, and the caveats that this engine works around.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::engine::conformance::{all, open_small, put, puts, scan};
use crate::engine::{EngineKind, open};

const PAGE: usize = 4_096;
const FLUSHED: u8 = 4;
const BATCHES: u8 = 8;

/// Copies a directory as it stands: what would be found after a crash that lost no page. Of the zeros that are allocated
/// ahead in a journal, one page is enough.
fn image(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            image(&from, &to);
            continue;
        }
        let mut bytes = fs::read(&from).unwrap();
        if from.extension().is_some_and(|extension| extension == "jnl") {
            bytes.truncate(journal::written(&from).unwrap() as usize + PAGE);
        }
        fs::write(&to, bytes).unwrap();
    }
}

/// A batch of a large, a small and a middling item, and of a mark that every batch overwrites.
fn batch(n: u8) -> Batch {
    let value = |len: usize| (0..len).map(|at| (at as u8 ^ n) | 1).collect::<Vec<_>>();
    puts([
        (vec![1, n], value(20_000)),
        (vec![2, n], value(400)),
        (vec![3, n], value(6_000)),
        (b"mark".to_vec(), vec![n]),
    ])
}

/// How many batches an engine holds: a prefix of them, each whole, or the test fails.
fn prefix(engine: &dyn Engine) -> u8 {
    let mark = engine.get(b"mark").unwrap().map_or(0, |value| value[0]);
    let mut expected = std::collections::BTreeMap::new();
    for change in (1..=mark).flat_map(|n| batch(n).changes) {
        let Change::Put(key, value) = change else { unreachable!() };
        expected.insert(key, value);
    }
    let found = scan(engine, &all(), Direction::Forward);
    assert!(found.into_iter().eq(expected), "the mark is {mark}, and other items are there");
    mark
}

/// The directory of an engine that was open when its machine died.
struct Crash {
    dir: TempDir,
    /// How long the journal was after each batch, in bytes.
    ends: Vec<usize>,
}

impl Crash {
    fn new() -> Self {
        let live = TempDir::new().unwrap();
        let dir = TempDir::new().unwrap();
        let engine = open_small(live.path(), EngineKind::Fjall).engine;
        let mut ends = vec![0];
        for n in 1..=BATCHES {
            engine.write(&batch(n)).unwrap();
            ends.push(journal::written(&live.path().join("data/0.jnl")).unwrap() as usize);
            if n == FLUSHED {
                engine.flush().unwrap();
            }
        }
        image(live.path(), dir.path());
        Self { dir, ends }
    }

    fn len(&self) -> usize {
        self.ends[usize::from(BATCHES)]
    }

    /// The number of batches whose end lies at or before a position.
    fn batches_before(&self, position: usize) -> u8 {
        (self.ends.iter().filter(|&&end| end <= position).count() - 1) as u8
    }

    /// Opens a copy whose journal lost something; gives the number of batches it holds, and that of bytes cut.
    fn open_damaged(&self, damage: impl FnOnce(&mut Vec<u8>)) -> (u8, u64) {
        let copy = TempDir::new().unwrap();
        image(self.dir.path(), copy.path());
        let journal = copy.path().join("data/0.jnl");
        let mut bytes = fs::read(&journal).unwrap();
        damage(&mut bytes);
        fs::write(&journal, &bytes).unwrap();

        let opened = open_small(copy.path(), EngineKind::Fjall);
        let found = prefix(&*opened.engine);
        let cut_bytes = opened.cut_bytes;
        if cut_bytes > 0 {
            assert!(fs::read(copy.path().join("refused.jnl")).unwrap() == bytes, "not kept");
        }
        assert!(!copy.path().join("scratch").exists());

        // Life goes on, and what was cut does not come back.
        opened.engine.write(&batch(found + 1)).unwrap();
        opened.engine.flush().unwrap();
        drop(opened);
        let opened = open_small(copy.path(), EngineKind::Fjall);
        assert_eq!((prefix(&*opened.engine), opened.cut_bytes), (found + 1, 0));
        (found, cut_bytes)
    }
}

#[test]
fn a_killed_process_leaves_every_batch() {
    assert_eq!(Crash::new().open_damaged(|_| {}), (BATCHES, 0));
}

#[test]
fn a_cut_journal_opens_with_the_batches_before_the_cut() {
    let crash = Crash::new();
    let flushed = crash.ends[usize::from(FLUSHED)];
    for at in (flushed..crash.len()).step_by(9_973).chain([flushed, crash.len() - 1]) {
        let (found, _) = crash.open_damaged(|journal| journal.truncate(at));
        assert_eq!(found, crash.batches_before(at), "cut at {at}");
    }
}

#[test]
fn a_lost_page_costs_the_batches_from_it_on() {
    let crash = Crash::new();
    let first = crash.ends[usize::from(FLUSHED)].next_multiple_of(PAGE);
    let mut cuts = 0;
    for at in (first..crash.len()).step_by(3 * PAGE) {
        let (found, cut_bytes) = crash.open_damaged(|journal| {
            let end = journal.len().min(at + PAGE);
            journal[at..end].fill(0);
        });
        assert_eq!(found, crash.batches_before(at), "page lost at {at}");
        if cut_bytes > 0 {
            cuts += 1;
            let kept = crash.ends[usize::from(found)];
            assert_eq!(cut_bytes, (crash.len() - kept) as u64, "page lost at {at}");
        }
    }
    assert!(cuts > 3, "fjall refused {cuts} times only, so what was tested?");
}

#[test]
fn a_sealed_journal_is_never_cut() {
    let crash = Crash::new();
    let journal = crash.dir.path().join("data/0.jnl");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[crash.ends[2] + 5_000] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    // A newer one makes it a sealed one: be the newer one whole, or be it damaged too, and then it is put back.
    for newest in [vec![0; PAGE], bytes.clone()] {
        fs::write(crash.dir.path().join("data/1.jnl"), &newest).unwrap();
        let opened = open(crash.dir.path(), EngineKind::Fjall, &EngineOptions::default());
        assert!(matches!(opened, Err(Error::Engine(_))), "{opened:?}");
        assert!(fs::read(&journal).unwrap() == bytes, "the sealed journal was changed");
        assert!(fs::read(crash.dir.path().join("data/1.jnl")).unwrap() == newest, "not put back");
        assert!(!crash.dir.path().join("refused.jnl").exists());
    }
}

#[test]
fn a_creation_that_was_interrupted_starts_again() {
    let dir = TempDir::new().unwrap();
    drop(open_small(dir.path(), EngineKind::Fjall));
    fs::write(dir.path().join("data/version"), "").unwrap();
    let engine = open_small(dir.path(), EngineKind::Fjall).engine;
    put(&*engine, b"a", b"1");
}

#[test]
fn a_directory_has_one_engine_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = open_small(dir.path(), EngineKind::Fjall);
    let second = open(dir.path(), EngineKind::Fjall, &EngineOptions::default());
    assert!(
        matches!(second, Err(Error::Io { kind: std::io::ErrorKind::ResourceBusy, .. })),
        "{second:?}"
    );
    drop(first);
    open_small(dir.path(), EngineKind::Fjall);
}

#[test]
fn memtables_keep_to_the_budget() {
    let dir = TempDir::new().unwrap();
    let options = EngineOptions::within(EngineOptions::MIN_BUDGET_BYTES);
    let engine = open(dir.path(), EngineKind::Fjall, &options).unwrap().engine;
    let mut highest = 0;
    for n in 0..400u32 {
        let value = vec![n as u8; 100_000];
        engine.write(&puts([(n.to_be_bytes().to_vec(), value)])).unwrap();
        highest = highest.max(engine.size().buffer_bytes);
    }
    // One memtable may be a batch over its size.
    assert!(highest <= options.buffer_bytes + 200_000, "{highest} bytes");
    assert_eq!(scan(&*engine, &all(), Direction::Forward).len(), 400);
}

#[test]
fn a_reopening_waits_for_a_scan_under_way() {
    let dir = TempDir::new().unwrap();
    let engine = open_small(dir.path(), EngineKind::Fjall).engine;
    engine.write(&puts((0..3).map(|n| (vec![n], vec![n])))).unwrap();
    let mut reopening = None;
    let mut seen = 0;
    let mut visit = |_, _| {
        seen += 1;
        let engine = Arc::clone(&engine);
        reopening.get_or_insert_with(|| std::thread::spawn(move || engine.reopen()));
        // Longer than fjall itself waits for the directory's lock.
        sleep(Duration::from_millis(250));
        Ok(std::ops::ControlFlow::Continue(()))
    };
    engine.scan(&all(), Direction::Forward, &mut visit).unwrap();
    assert_eq!(seen, 3);
    reopening.unwrap().join().unwrap().unwrap();
    assert_eq!(engine.get(&[1]).unwrap().as_deref(), Some(&[1][..]));
}
