//! An engine that fails under the apply thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use stator_storage::disk::{CrashDisk, Fault, FaultOp};
use stator_storage::engine::Batch;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::log::{LogEntry, LogOptions, Mark, Record};
use stator_storage::machine::AppliedMark;
use stator_storage::partition::initialise;

use super::recovery::ENGINE_PATIENCE;
use super::*;
use crate::clock::RealClock;
use crate::mailbox::mailbox;
use crate::shell::scripted::{Script, Scripted};
use crate::snapshots::tests::{GROUP, S, TERM, committed, frames, open, receive, reset_log, spec};

const PATIENCE: Duration = Duration::from_secs(20);

/// How the next write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fails {
    /// Nothing of it is done.
    Before,
    /// All of it is.
    After,
    /// Nothing of it is done, and that takes longer than an engine may fail.
    Late,
}

/// Writes fail when the test says so, and the engine comes back when it may.
#[derive(Default)]
struct Fickle {
    next: Mutex<Option<Fails>>,
    /// Which write fails before the first reopening, behind it and so on, and loses all that was not flushed; 0: none. The last
    /// goes for all that follow, and the others take longer than an engine may fail.
    each: Mutex<Vec<usize>>,
    written: AtomicUsize,
    reopened: AtomicUsize,
    comes_back: bool,
    /// Done once, behind the first write after it came back.
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Script for Fickle {
    fn write(&self, memory: &MemoryEngine, batch: &Batch) -> Result<()> {
        let each = self.each.lock().expect("no panic").clone();
        let reopened = self.reopened.load(Ordering::SeqCst);
        let fails = each.get(reopened).or(each.last()).copied();
        if Some(self.written.fetch_add(1, Ordering::SeqCst) + 1) == fails {
            if reopened + 1 < each.len() {
                std::thread::sleep(ENGINE_PATIENCE);
            }
            memory.crash(memory.unflushed() as u64);
            return Err(as_told());
        }
        let fails = self.next.lock().expect("no panic").take();
        match fails {
            None | Some(Fails::After) => memory.write(batch)?,
            Some(Fails::Before) => {}
            Some(Fails::Late) => std::thread::sleep(ENGINE_PATIENCE),
        }
        if self.reopened.load(Ordering::SeqCst) > 0
            && let Some(then) = self.then.lock().expect("no panic").take()
        {
            then();
        }
        fails.map_or(Ok(()), |_| Err(as_told()))
    }

    fn reopen(&self, memory: &MemoryEngine) -> Result<()> {
        self.reopened.fetch_add(1, Ordering::SeqCst);
        self.written.store(0, Ordering::SeqCst);
        if self.comes_back {
            memory.reopen()
        } else {
            Err(Error::Engine("it does not come back".into()))
        }
    }
}

fn as_told() -> Error {
    Error::Engine("as it was told".into())
}

/// An apply thread with one replica that has applied entry 10.
struct Lab {
    engine: Arc<Scripted<Fickle>>,
    log: Arc<Log>,
    disk: CrashDisk,
    mailbox: ApplyMailbox,
    inbox: Inbox<crate::shell::HostEvent>,
    thread: JoinHandle<()>,
    replicas: Arc<Replicas>,
    /// What the node was told to end for.
    ends: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    fn start(comes_back: bool) -> Self {
        Self::start_with(comes_back, None)
    }

    fn start_with(comes_back: bool, snapshots: Option<Arc<SnapshotFiles>>) -> Self {
        Self::start_in(Arc::new(Room::new(None, 0, Arc::new(RealClock))), comes_back, snapshots)
    }

    fn start_in(room: Arc<Room>, comes_back: bool, snapshots: Option<Arc<SnapshotFiles>>) -> Self {
        let script = Fickle { comes_back, ..Fickle::default() };
        let engine = Arc::new(Scripted { memory: MemoryEngine::new(), script });
        let mark = AppliedMark { index: 10, term: TERM, voters: vec![1, 2, 3] };
        initialise(engine.as_ref(), &spec(2), Some(&mark)).expect("begun");
        let applier = PartitionApplier::open(engine.clone(), spec(2)).expect("opens");
        let options = LogOptions {
            segment_bytes: 64 << 10,
            budget_bytes: 1 << 20,
            pending_bytes: 32 << 10,
            ..LogOptions::default()
        };
        let disk = CrashDisk::new();
        let (log, _) = Log::open(Arc::new(disk.clone()), &options).expect("opens");
        let log = Arc::new(log);
        let mark = Mark { index: 10, term: TERM };
        log.append(&[Record::Reset { group: GROUP, mark }], |_| ()).expect("taken");
        let (host, inbox) = mailbox(1000);
        let (apply, apply_inbox) = mailbox(usize::MAX);
        let ends = Arc::<Mutex<Vec<String>>>::default();
        let told = ends.clone();
        let replicas = Arc::new(Replicas::default());
        let shell = ApplyShell {
            inbox: apply_inbox,
            host,
            engine: engine.clone(),
            log: log.clone(),
            replicas: replicas.clone(),
            fatal: Arc::new(move |why| told.lock().expect("no panic").push(why)),
            metrics: Arc::new(Metrics::new(1, 0)),
            snapshots,
            losses: Arc::new(Losses::default()),
            room,
        };
        let thread = shell.spawn(0).expect("a thread");
        let view = Arc::new(ReplicaView::default());
        apply.push(ApplyEvent::Add { group: GROUP, applier, applied: 10, view });
        Self { engine, log, disk, mailbox: ApplyMailbox(apply), inbox, thread, replicas, ends }
    }

    fn fail_next(&self, fails: Fails) {
        *self.engine.script.next.lock().expect("no panic") = Some(fails);
    }

    fn reopened(&self) -> usize {
        self.engine.script.reopened.load(Ordering::SeqCst)
    }

    /// Waits until the node is told to end, and answers why; then ends the thread.
    fn end(self) -> String {
        eventually("it is given up", || !self.ends.lock().expect("no panic").is_empty());
        self.mailbox.0.close();
        self.thread.join().expect("without a panic");
        self.ends.lock().expect("no panic").remove(0)
    }

    fn apply(&self, index: u64) {
        self.mailbox.apply(ApplyJob { group: GROUP, entries: vec![committed(index)] });
    }

    /// Waits until the host has been told that this is applied.
    fn await_applied(&mut self, wanted: u64) {
        let mut events = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.inbox.drain(&mut events, Some(Duration::from_millis(100)));
            for event in events.drain(..) {
                match event {
                    Event::Applied { index, .. } if index == wanted => return,
                    Event::Applied { .. } => {}
                    Event::Stop { reason, .. } => panic!("it stopped: {reason}"),
                    _ => panic!("something else was told"),
                }
            }
        }
        panic!("{wanted} is not applied");
    }
}

fn entry(index: u64) -> Record {
    let Committed { index, term, data } = committed(index);
    Record::Entry { group: GROUP, entry: LogEntry { index, term, kind: 0, data } }
}

/// Appends records and waits until they are synced.
fn append(log: &Log, records: &[Record]) {
    let (synced, wait) = std::sync::mpsc::channel();
    let taken = log.append(records, move |_| {
        let _ = synced.send(());
    });
    taken.expect("taken");
    wait.recv_timeout(PATIENCE).expect("synced");
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_replica_whose_removal_has_overtaken_it_is_not_added() {
    let lab = Lab::start(true);
    let is_there = || {
        let (tell, told) = std::sync::mpsc::channel();
        let act: Act = Box::new(move |applier| tell.send(applier.is_some()).expect("awaited"));
        lab.mailbox.0.push(ApplyEvent::With { group: GROUP, act });
        told.recv_timeout(PATIENCE).expect("told")
    };
    assert!(is_there());
    lab.replicas.note_removed(GROUP);
    lab.mailbox.0.push(ApplyEvent::Remove { group: GROUP, done: Box::new(|| ()) });
    let applier = PartitionApplier::open(lab.engine.clone(), spec(2)).expect("opens");
    let view = Arc::new(ReplicaView::default());
    lab.mailbox.0.push(ApplyEvent::Add { group: GROUP, applier, applied: 10, view });
    assert!(!is_there());
    lab.mailbox.0.close();
    lab.thread.join().expect("without a panic");
}

#[test]
fn a_thread_that_is_to_end_does_not_wait_for_its_engine() {
    let lab = Lab::start(false);
    lab.fail_next(Fails::Before);
    lab.apply(11);
    eventually("it is tried again and again", || lab.reopened() > 1);
    lab.apply(12);
    lab.mailbox.0.close();
    eventually("it ends", || lab.thread.is_finished());
    lab.thread.join().expect("without a panic");
    assert_eq!(*lab.ends.lock().expect("no panic"), [""; 0]);
}

#[test]
fn a_replica_is_removed_while_the_engine_waits_for_room() {
    let dir = tempfile::tempdir().expect("a directory");
    // More than any disk has.
    let (dir, min_free) = (dir.path().to_owned(), u64::MAX / 2);
    let room = Arc::new(Room::new(Some(dir), min_free, Arc::new(RealClock)));
    let lab = Lab::start_in(room.clone(), true, None);
    lab.fail_next(Fails::Before);
    lab.apply(11);
    eventually("it waits", || room.reads_refusal().is_some());
    lab.apply(12);
    let is_removed = Arc::new(AtomicBool::new(false));
    let told = is_removed.clone();
    let done = Box::new(move || told.store(true, Ordering::SeqCst));
    lab.mailbox.0.push(ApplyEvent::Remove { group: GROUP, done });
    eventually("it is removed", || is_removed.load(Ordering::SeqCst));
    assert!(room.reads_refusal().is_some() && lab.reopened() == 0);
    lab.mailbox.0.close();
    lab.thread.join().expect("without a panic");
}

#[test]
fn an_engine_that_does_not_come_back_ends_the_node() {
    let lab = Lab::start(false);
    lab.fail_next(Fails::Before);
    lab.apply(11);
    lab.apply(12);
    assert!(lab.end().contains("does not come back"));
}

/// A lab that is to install a snapshot, and then entry `S + 1`, while those writes fail.
fn installing(each: &[usize]) -> Lab {
    let (header, _) = frames();
    let files = open(&CrashDisk::new());
    receive(&files);
    let lab = Lab::start_with(true, Some(files));
    lab.engine.flush().expect("flushed");
    append(&lab.log, &reset_log());
    lab.engine.script.written.store(0, Ordering::SeqCst);
    *lab.engine.script.each.lock().expect("no panic") = each.to_vec();
    let (group, header) = (GROUP, header.encode());
    lab.mailbox.install(InstallJob { group, index: S, term: TERM, header });
    lab.apply(S + 1);
    lab
}

#[test]
fn an_engine_that_fails_at_the_same_step_of_each_installation_ends_the_node() {
    // The second chunk, behind the beginning, the clearing and the first chunk; and the entry behind the last step.
    for each in [4, frames().1.len() + 3] {
        let lab = installing(&[each]);
        eventually("it is tried again", || lab.reopened() > 3);
        assert!(lab.end().contains("as it was told"));
    }
}

#[test]
fn an_installation_that_gets_further_each_time_has_time_for_failures() {
    let mut lab = installing(&[4, 5, 0]);
    lab.await_applied(S + 1);
    assert_eq!(lab.reopened(), 2);
    assert_eq!(*lab.ends.lock().expect("no panic"), [""; 0]);
    lab.mailbox.0.close();
    lab.thread.join().expect("without a panic");
}

#[test]
fn a_fault_of_the_log_ends_the_node_and_is_not_taken_for_one_of_the_engine() {
    let mut lab = Lab::start(true);
    lab.engine.flush().expect("flushed");
    append(&lab.log, &[entry(11)]);
    lab.apply(11);
    lab.await_applied(11);
    // The engine loses the entry, and the log cannot be read.
    let (op, kind) = (FaultOp::Read, std::io::ErrorKind::Other);
    lab.disk.fail(Fault { op, after: 0, times: u64::MAX, kind });
    lab.engine.memory.fail_next_write(as_told(), 1);
    lab.apply(12);
    let engine = lab.engine.clone();
    assert!(lab.end().contains("the log failed"));
    assert_eq!(engine.script.reopened.load(Ordering::SeqCst), 1);
}

#[test]
fn a_batch_that_failed_is_there_or_not_and_is_applied_once() {
    for fails in [Fails::Before, Fails::After, Fails::Late] {
        let mut lab = Lab::start(true);
        lab.apply(11);
        lab.await_applied(11);
        lab.fail_next(fails);
        lab.apply(12);
        lab.await_applied(12);
        lab.apply(13);
        lab.await_applied(13);
        assert_eq!(lab.reopened(), 1);
        assert_eq!(*lab.ends.lock().expect("no panic"), [""; 0]);
        lab.mailbox.0.close();
        lab.thread.join().expect("without a panic");
    }
}

#[test]
fn a_log_that_is_reset_to_a_snapshot_in_the_midst_of_a_replay_is_no_fault() {
    let mut lab = Lab::start(true);
    lab.engine.flush().expect("flushed");
    for index in 11..=20 {
        append(&lab.log, &[entry(index)]);
        lab.apply(index);
        lab.await_applied(index);
    }
    let log = lab.log.clone();
    let mark = Mark { index: 30, term: TERM };
    let reset = move || append(&log, &[Record::Reset { group: GROUP, mark }]);
    *lab.engine.script.then.lock().expect("no panic") = Some(Box::new(reset));
    lab.engine.memory.fail_next_write(as_told(), 10);
    lab.apply(21);
    eventually("it is reset", || lab.log.mark(GROUP) == Some(mark));
    // The thread goes on and waits for the snapshot, which is not here.
    lab.mailbox.install(InstallJob {
        group: GROUP,
        index: mark.index,
        term: mark.term,
        header: Bytes::new(),
    });
    let mut events = Vec::new();
    while events.is_empty() {
        lab.inbox.drain(&mut events, Some(PATIENCE));
    }
    assert!(matches!(events[..], [Event::SnapshotLost { .. }]), "{}", events.len());
    lab.mailbox.0.close();
    lab.thread.join().expect("without a panic");
}
