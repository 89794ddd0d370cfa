//! The entries of idle groups, rewritten ahead by the thread: in pieces, by itself, and past reads that fail.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::disk::{CrashDisk, Disk, DiskFile, Fault, FaultOp};
use crate::error::Error;
use crate::log::tests::{entry, small, truncate};
use crate::log::writer::tests::append;
use crate::log::{Log, LogOptions, LogStats};
use crate::machine::GroupId;

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, Default)]
struct Reads {
    all: usize,
    since_write: usize,
    /// The most between two writes.
    longest: usize,
}

/// Counts the reads of a disk.
#[derive(Clone, Default)]
struct Counting(CrashDisk, Arc<Mutex<Reads>>);

struct CountingFile(Arc<dyn DiskFile>, Arc<Mutex<Reads>>);

impl Counting {
    fn reads(&self) -> Reads {
        *self.1.lock().unwrap()
    }
}

impl Disk for Counting {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile(self.0.create(name, len)?, Arc::clone(&self.1))))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(CountingFile(self.0.open(name)?, Arc::clone(&self.1))))
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

impl DiskFile for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut reads = self.1.lock().unwrap();
        reads.all += 1;
        reads.since_write += 1;
        reads.longest = reads.longest.max(reads.since_write);
        drop(reads);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.1.lock().unwrap().since_write = 0;
        self.0.write_at(data, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// Small segments, and as many as are wanted.
fn roomy() -> LogOptions {
    LogOptions { budget_bytes: 100 * small().segment_bytes, ..small() }
}

/// Group 2 writes on behind this index, and lets go of it, until the first segment is kept by what others have in it.
fn pass_by(log: &Log, mut last: u64, bytes: usize) -> u64 {
    while log.stats().synced.segment < 3 {
        last += 1;
        append(log, &[entry(2, last, 1, vec![0; bytes]), truncate(2, last - 1, 1)]).unwrap();
    }
    last
}

/// Waits until the log has come to this by itself.
fn wait_for(log: &Log, is_so: impl Fn(&LogStats) -> bool) {
    for _ in 0..30_000 {
        if is_so(&log.stats()) {
            return;
        }
        assert!(log.shared.state().core.failure().is_none(), "the log goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it stays at {:?}", log.stats());
}

/// A batch does not wait for more than some of many thousand reads; and with no batches at all, all is moved, and then it is over.
#[test]
fn many_scattered_entries_are_moved_in_pieces() {
    const ENTRIES: u64 = 1800;
    let disk = Counting::default();
    let options = LogOptions {
        segment_bytes: 8 << 20,
        budget_bytes: 80 << 20,
        pending_bytes: 4 << 20,
        ..small()
    };
    let (log, _) = Log::open(Arc::new(disk.clone()), &options).unwrap();
    for from in (1..=ENTRIES).step_by(100) {
        let pairs = (from..from + 100).flat_map(|index| {
            [entry(1, index, 1, vec![index as u8; 20]), entry(2, index, 1, vec![0; 4200])]
        });
        append(&log, &pairs.collect::<Vec<_>>()).unwrap();
    }
    append(&log, &[truncate(2, ENTRIES, 1)]).unwrap();
    assert_eq!((log.stats().rewritten, log.stats().synced.segment), (0, 1));
    pass_by(&log, ENTRIES, 1 << 20);
    wait_for(&log, |stats| stats.rewritten >= ENTRIES && stats.segments <= 2);
    let reads = disk.reads();
    assert!(reads.all as u64 >= ENTRIES, "each took a read: {reads:?}");
    assert!(reads.longest <= 256, "{reads:?}");
    let stats = log.stats();
    assert!(stats.rewritten < ENTRIES + 10, "not again and again: {stats:?}");
    let kept = log.entries(GroupId(1), 1..ENTRIES + 1, u64::MAX).unwrap();
    assert!(kept.iter().map(|it| it.index).eq(1..=ENTRIES));
    assert!(kept.iter().all(|it| *it.data == [it.index as u8; 20]));
}

/// A read that fails may go well the next time, and nobody has to write for that.
#[test]
fn a_read_that_fails_is_tried_again() {
    let disk = CrashDisk::new();
    let pause = Duration::from_millis(1);
    let (log, _) = Log::open_with(Arc::new(disk.clone()), &roomy(), pause).unwrap();
    append(&log, &[entry(1, 1, 1, vec![1; 40])]).unwrap();
    disk.fail(Fault { op: FaultOp::Read, after: 0, times: 3, kind: io::ErrorKind::Other });
    pass_by(&log, 0, 2500);
    wait_for(&log, |stats| stats.rewritten > 0 && stats.segments <= 2);
    assert_eq!(log.entries(GroupId(1), 1..2, 100).unwrap()[0].data[..], [1; 40]);
    log.close().unwrap();
}

/// Until then it is left alone for a while, whatever is written meanwhile, and stops nobody.
#[test]
fn a_disk_that_goes_on_refusing_is_not_asked_for_each_write() {
    let disk = Counting::default();
    let (log, _) = Log::open_with(Arc::new(disk.clone()), &roomy(), NEVER).unwrap();
    append(&log, &[entry(1, 1, 1, vec![1; 40])]).unwrap();
    let op = FaultOp::Read;
    disk.0.fail(Fault { op, after: 0, times: u64::MAX, kind: io::ErrorKind::Other });
    let last = pass_by(&log, 0, 2500);
    let write =
        |index| append(&log, &[entry(2, index, 1, vec![0; 100]), truncate(2, index - 1, 1)]);
    (last + 1..last + 100).for_each(|index| write(index).unwrap());
    assert_eq!((disk.reads().all, log.stats().rewritten), (1, 0));
    // Without a moment's rest for the thread, too, it is tried again.
    disk.0.heal();
    let mut more = last + 100..last + 2000;
    while log.stats().rewritten == 0 {
        write(more.next().expect("it is tried again")).unwrap();
    }
    log.close().unwrap();
}

/// Damage is no passing fault: whoever waits, or writes next, is told where it is.
#[test]
fn damage_found_while_moving_stops_the_log() {
    let disk = CrashDisk::new();
    let (log, _) = Log::open(Arc::new(disk.clone()), &roomy()).unwrap();
    append(&log, &[entry(1, 1, 1, vec![1; 40])]).unwrap();
    let source = {
        let state = log.shared.state();
        let located = state.core.locate(GroupId(1), 1..2, 100).unwrap();
        state.core.source(located[0]).unwrap()
    };
    let at = u64::from(source.place.offset);
    assert!(disk.damage(&source.file.to_string(), at + 30, |byte| byte ^ 1));
    let names_it = |error: &Error| {
        let place = format!("{} at offset {at}:", source.file);
        matches!(error, Error::LogFailed(why) if why.contains(&place))
    };
    let (done, wait) = channel();
    let mut taken = 0;
    let failed = loop {
        let batch = [entry(2, taken + 1, 1, vec![0; 2500]), truncate(2, taken, 1)];
        let done = done.clone();
        match log.append(&batch, move |result| done.send(result).unwrap()) {
            Ok(()) => taken += 1,
            Err(Error::LogBusy(_)) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(names_it(&failed), "{failed}");
    let failed = log.append(&[truncate(2, 1, 1)], |_| panic!("it was not taken")).unwrap_err();
    assert!(names_it(&failed), "{failed}");
    assert_eq!(log.stats().rewritten, 0);
    let failed = log.close().unwrap_err();
    assert!(names_it(&failed), "{failed}");
    drop(done);
    let outcomes: Vec<_> = wait.iter().collect();
    assert_eq!(outcomes.len() as u64, taken, "all who waited are told");
    let failed = outcomes.iter().skip_while(|outcome| outcome.is_ok());
    assert!(failed.clone().all(|it| it.as_ref().is_err_and(names_it)), "{outcomes:?}");
}
