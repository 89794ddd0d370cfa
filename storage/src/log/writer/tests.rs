//! The thread: no completion before its sync, on real files; order, refusals, reading while writing, ending.

use std::io;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};

use crate::disk::{Crash, CrashDisk, Disk, DiskFile, Fault, FaultOp, RealDisk};
use crate::error::{Error, Result};
use crate::log::tests::{entry, hard, reset, small, truncate};
use crate::log::{Log, LogOptions, Record};
use crate::machine::GroupId;

mod rewriting;

/// What happened at the disk, and above it.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Written(String, Vec<u8>),
    SyncBegins(String),
    Synced(String),
    Done(u64),
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// Tells what goes to a disk.
struct RecordingDisk(RealDisk, Events);

struct RecordingFile(String, Arc<dyn DiskFile>, Events);

impl RecordingDisk {
    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(RecordingFile(name.to_owned(), file, self.1.clone()))
    }
}

impl Disk for RecordingDisk {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.0.create(name, len)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.0.open(name)?))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

impl DiskFile for RecordingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.write_at(data, offset)?;
        self.2.push(Event::Written(self.0.clone(), data.to_vec()));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.2.push(Event::SyncBegins(self.0.clone()));
        self.1.sync_data()?;
        self.2.push(Event::Synced(self.0.clone()));
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.1.len()
    }
}

fn marker(n: u64) -> Vec<u8> {
    format!("<batch {n:05}>").into_bytes()
}

#[test]
fn no_completion_runs_before_the_sync_that_covers_it() {
    const BATCHES: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let events = Events::default();
    let disk = RecordingDisk(RealDisk::open(dir.path()).unwrap(), events.clone());
    let (log, _) = Log::open(Arc::new(disk), &small()).unwrap();
    for n in 1..=BATCHES {
        let data = [marker(n), vec![0; 300]].concat();
        let batch = || vec![entry(1, n, 1, data.clone()), truncate(1, n.saturating_sub(3), 1)];
        loop {
            let events = events.clone();
            match log.append(&batch(), move |result| {
                result.unwrap();
                events.push(Event::Done(n));
            }) {
                Ok(()) => break,
                Err(Error::LogBusy(_)) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    log.close().unwrap();
    let events = events.0.lock().unwrap();
    for n in 1..=BATCHES {
        let done = events.iter().position(|event| *event == Event::Done(n)).expect("it is done");
        let holds = |event: &Event| match event {
            Event::Written(file, data) => {
                data.windows(13).any(|part| part == marker(n)).then(|| file.clone())
            }
            _ => None,
        };
        let (written, file) = events
            .iter()
            .enumerate()
            .find_map(|(at, event)| Some((at, holds(event)?)))
            .expect("it is written");
        let begins = events[written..].iter().position(|it| *it == Event::SyncBegins(file.clone()));
        let begins = written + begins.expect("a sync begins after it is written");
        let synced = events[begins..].iter().position(|it| *it == Event::Synced(file.clone()));
        assert!(begins + synced.expect("and ends") < done, "batch {n} was done too early");
    }
    let done = |event: &Event| if let Event::Done(n) = event { Some(*n) } else { None };
    let order: Vec<_> = events.iter().filter_map(done).collect();
    assert_eq!(order, (1..=BATCHES).collect::<Vec<_>>());
}

fn append(log: &Log, batch: &[Record]) -> Result<()> {
    let (done, wait) = sync_channel(1);
    log.append(batch, move |result| done.send(result).unwrap())?;
    wait.recv().unwrap()
}

#[test]
fn hosts_share_a_log_and_read_while_it_is_written() {
    let disk = CrashDisk::new();
    let options = LogOptions { budget_bytes: 64 * (16 << 10), ..small() };
    let (log, _) = Log::open(Arc::new(disk.clone()), &options).unwrap();
    std::thread::scope(|scope| {
        for group in 1..=4_u64 {
            let log = &log;
            scope.spawn(move || {
                append(log, &[reset(group, 10, 1)]).unwrap();
                for index in 11..300 {
                    let data = vec![group as u8; 50 + index as usize];
                    let mut batch = vec![entry(group, index, 1, data), hard(group, 1, 1, index)];
                    if index % 20 == 0 {
                        batch.push(truncate(group, index - 10, 1));
                    }
                    append(log, &batch).unwrap();
                    let from = index.saturating_sub(9).max(11);
                    let read = log.entries(GroupId(group), from..index + 1, u64::MAX).unwrap();
                    let indexes: Vec<_> = read.iter().map(|it| it.index).collect();
                    assert_eq!(indexes, (from..=index).collect::<Vec<_>>());
                    for it in read {
                        assert_eq!(it.data.len() as u64, 50 + it.index);
                        assert!(it.data.iter().all(|byte| *byte == group as u8));
                    }
                }
            });
        }
    });
    let stats = log.stats();
    assert!(stats.synced.segment > 20, "segments were recycled: {stats:?}");
    log.close().unwrap();
    let (log, found) = Log::open(Arc::new(disk.crash(Crash::LoseAll)), &options).unwrap();
    assert!(found.groups.values().all(|group| group.last_index() == 299));
    assert_eq!(log.last_index(GroupId(2)), Some(299));
    assert_eq!(log.term(GroupId(2), 299), Some(1));
}

/// A disk whose syncs wait for permission.
struct Gate(CrashDisk, Arc<Mutex<()>>);

struct GateFile(Arc<dyn DiskFile>, Arc<Mutex<()>>);

impl Disk for Gate {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GateFile(self.0.create(name, len)?, Arc::clone(&self.1))))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(GateFile(self.0.open(name)?, Arc::clone(&self.1))))
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }
}

impl DiskFile for GateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        let _open = self.1.lock().unwrap();
        self.0.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

#[test]
fn what_waits_is_bounded() {
    let gate = Arc::new(Mutex::new(()));
    let disk = CrashDisk::new();
    let door = Arc::new(Gate(disk, Arc::clone(&gate)));
    let (log, _) = Log::open(door, &LogOptions { pending_batches: 8, ..small() }).unwrap();
    let (done, wait) = channel();
    let append = |index: u64| {
        let done = done.clone();
        let batch = vec![entry(1, index, 1, vec![0; 2100])];
        log.append(&batch, move |result| done.send((index, result)).unwrap())
    };
    let closed = gate.lock().unwrap();
    append(1).unwrap();
    assert!(log.entries(GroupId(1), 1..2, 1).unwrap().is_empty(), "it is not synced");
    append(2).unwrap();
    append(3).unwrap();
    assert!(matches!(append(4), Err(Error::LogBusy(_))), "too many bytes wait");
    assert!(wait.try_recv().is_err(), "nothing is done");
    drop(closed);
    let done: Vec<_> = wait.iter().take(3).collect();
    assert_eq!(done, [(1, Ok(())), (2, Ok(())), (3, Ok(()))]);
    assert!(log.stats().syncs < 8, "what waited was written together");

    let closed = gate.lock().unwrap();
    for index in 0..8 {
        log.append(&[hard(1, index, 0, 0)], |_| {}).unwrap();
    }
    assert!(matches!(log.append(&[hard(1, 9, 0, 0)], |_| {}), Err(Error::LogBusy(_))));
    drop(closed);
    log.close().unwrap();
}

#[test]
fn a_failed_sync_reaches_every_completion_and_is_not_tried_again() {
    let disk = CrashDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), &small()).unwrap();
    append(&log, &[reset(1, 10, 1)]).unwrap();
    let syncs = disk.syncs();
    disk.fail(Fault { op: FaultOp::Sync, after: 0, times: 1, kind: io::ErrorKind::Other });
    let failed = append(&log, &[entry(1, 11, 1, vec![0; 10])]);
    assert!(matches!(failed, Err(Error::LogFailed(_))), "{failed:?}");
    let failed = log.append(&[hard(1, 1, 1, 1)], |_| panic!("it was not taken"));
    assert!(matches!(failed, Err(Error::LogFailed(_))), "{failed:?}");
    assert!(matches!(log.close(), Err(Error::LogFailed(_))));
    assert_eq!(disk.syncs(), syncs, "the sync was tried again");
}

#[test]
fn ending_writes_what_waits_and_a_panicking_completion_harms_nobody() {
    let disk = CrashDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), &small()).unwrap();
    let (done, wait) = channel();
    for index in 1..20 {
        let done = done.clone();
        log.append(&[entry(1, index, 1, vec![0; 100])], move |result| {
            done.send(result).unwrap();
            assert!(index != 5, "planned panic");
        })
        .unwrap();
    }
    drop(log);
    assert_eq!(wait.try_iter().filter(Result::is_ok).count(), 19);
    let (log, found) = Log::open(Arc::new(disk.crash(Crash::LoseAll)), &small()).unwrap();
    assert_eq!(found.groups[&GroupId(1)].terms.len(), 19);
    assert!(!found.torn);
    assert!(log.pressure().is_empty());
}

#[test]
fn a_log_on_a_real_disk_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Log::open(Arc::new(RealDisk::open(dir.path()).unwrap()), &small()).unwrap();
    let (log, _) = open();
    for n in 1..=30 {
        let from = vec![entry(1, n, 1, vec![n as u8; 1000]), truncate(1, n.saturating_sub(9), 1)];
        append(&log, &from).unwrap();
    }
    drop(log);
    let (log, found) = open();
    assert_eq!(found.groups[&GroupId(1)].last_index(), 30);
    let read = log.entries(GroupId(1), 25..31, 2500).unwrap();
    assert_eq!(
        read.iter().map(|it| (it.index, it.data[0])).collect::<Vec<_>>(),
        [(25, 25), (26, 26)]
    );
}

/// The thread rewrites what keeps a log from shrinking, and what it writes is found again.
#[test]
fn a_group_that_cannot_truncate_does_not_stop_the_others() {
    let disk = CrashDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), &small()).unwrap();
    for index in 1..=5 {
        append(&log, &[entry(1, index, 1, vec![index as u8; 300])]).unwrap();
    }
    for index in 1..=300 {
        let mut batch = vec![entry(2, index, 1, vec![0; 2000])];
        batch.extend((index > 3).then(|| truncate(2, index - 3, 1)));
        // A refusal wakes the thread, which is to make room then.
        let mut tries = (0..2000).map(|_| append(&log, &batch)).inspect(|result| {
            if result.is_err() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        assert!(tries.any(|result| result.is_ok()), "{index}: {:?}", append(&log, &batch));
    }
    assert!(log.stats().rewritten > 20, "{:?}", log.stats());
    log.close().unwrap();
    let (log, _) = Log::open(Arc::new(disk.crash(Crash::LoseAll)), &small()).unwrap();
    let entries = log.entries(GroupId(1), 1..6, u64::MAX).unwrap();
    assert_eq!(entries.len(), 5);
    assert!(entries.iter().all(|it| *it.data == [it.index as u8; 300]));
}
