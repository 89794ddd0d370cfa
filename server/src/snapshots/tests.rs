use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stator_consensus::{ApplyJob, Event, GroupId, InstallJob, ReplicaView};
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{EncodedItem, Item};
use stator_storage::disk::{Crash, CrashDisk, Disk, Fault, FaultOp};
use stator_storage::engine::Engine;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::item::{Region, Stamp, StoredItem};
use stator_storage::key::EngineKey;
use stator_storage::log::{Log, LogEntry, LogOptions, Mark, Record};
use stator_storage::machine::{AppliedMark, Applier, Committed};
use stator_storage::partition::entry::{self, EntryHeader};
use stator_storage::partition::{
    Counters, Member, PartitionApplier, PartitionChecksum, PartitionSpec, SnapshotHeader, checksum,
    initialise,
};
use stator_storage::{Error, Result};

use super::Name;
use super::chain::Chain;
use super::files::{Announced, Begun, Rejected, SnapshotFiles};
use super::incoming::Incoming;
use super::install::{InstallRun, Progress};
use crate::clock::RealClock;
use crate::mailbox::mailbox;
use crate::metrics::Metrics;
use crate::node::room::Room;
use crate::replicas::Replicas;
use crate::shell::apply::{ApplyEvent, ApplyMailbox, ApplyShell};
use crate::shell::flush::Losses;

pub(crate) const GROUP: GroupId = GroupId(7);
pub(crate) const TERM: u64 = 5;
/// The entries that the sender has applied when the snapshot is begun, behind the made-up first one.
const ENTRIES: u64 = 40;
pub(crate) const S: u64 = 10 + ENTRIES;

pub(crate) fn spec(replica: u64) -> Arc<PartitionSpec> {
    Arc::new(PartitionSpec {
        group: GROUP,
        table_id: 3,
        table_name: "songs".into(),
        generation: 1,
        hash_start: 0,
        hash_end: u64::MAX,
        key_schema: KeySchema {
            partition: KeyAttribute { name: "p".into(), key_type: KeyType::S },
            sort: None,
        },
        region: Region::default(),
        members: (1..=3).map(|id| Member { replica: id, node: id }).collect(),
        replica,
    })
}

/// A put of an item of its own. The counters are no matter here.
pub(crate) fn committed(index: u64) -> Committed {
    let spec = spec(1);
    let item = Item::from([
        ("p".to_owned(), format!("song-{index}").into()),
        ("value".to_owned(), "x".repeat(2000).into()),
    ]);
    let key = Key::of_item(&spec.key_schema, &item).expect("a key");
    let key =
        EngineKey::Item { table_id: spec.table_id, hash: key.hash(), key: key.bytes().clone() }
            .encode();
    let stored = StoredItem {
        stamp: Stamp::local(index),
        serialized: None,
        item: EncodedItem::encode(&item),
    };
    let mut payload = Vec::new();
    entry::push(&mut payload, &key, Some(&stored.seal(&key)));
    let header = EntryHeader {
        term: TERM,
        generation: 1,
        highest_stamp: index,
        counters: Counters { item_count: index - 10, size_bytes: 0 },
    };
    Committed { index, term: TERM, data: entry::seal(payload, &header, 1) }
}

fn applier(engine: &Arc<MemoryEngine>, replica: u64) -> PartitionApplier {
    let spec = spec(replica);
    let mark = AppliedMark { index: 10, term: TERM, voters: vec![1, 2, 3] };
    initialise(engine.as_ref(), &spec, Some(&mark)).expect("begun");
    PartitionApplier::open(engine.clone(), spec).expect("opens")
}

/// The frames of a snapshot, and its end.
pub(crate) fn frames() -> (SnapshotHeader, Vec<Bytes>) {
    let engine = Arc::new(MemoryEngine::new());
    let mut sender = applier(&engine, 1);
    for index in 11..=S {
        sender.apply(&[committed(index)]).expect("applied");
    }
    let mut writer = sender.begin_snapshot(99).expect("begun");
    let header = writer.header().clone();
    let mut frames = vec![header.encode()];
    while let Some(frame) = writer.next_chunk(8000).expect("a chunk") {
        frames.push(frame);
    }
    assert!(frames.len() > 5);
    (header, frames)
}

pub(crate) fn open(disk: &CrashDisk) -> Arc<SnapshotFiles> {
    let files = SnapshotFiles::open(Arc::new(disk.clone()), Box::new(|| true));
    Arc::new(files.expect("opens"))
}

fn announced() -> Announced {
    Announced { name: Name { group: GROUP, id: 99 }, spec: spec(2), mark: (S, TERM) }
}

fn begin(files: &Arc<SnapshotFiles>) -> Incoming {
    match files.begin(announced()).expect("begun") {
        Begun::Part(incoming) => incoming,
        Begun::Whole => panic!("it is whole"),
    }
}

pub(crate) fn receive(files: &Arc<SnapshotFiles>) {
    let (_, frames) = frames();
    let incoming = begin(files);
    for (number, frame) in (0..).zip(&frames) {
        incoming.put(number, frame).expect("taken");
    }
    incoming.finish(frames.len() as u64, S).expect("whole");
}

fn whole(files: &Arc<SnapshotFiles>) -> bool {
    files.find(GROUP, (S, TERM), Some(99)).is_some()
}

#[test]
fn names_are_read_back_and_nothing_else_is() {
    let name = Name { group: GroupId(0x1_0000_0002), id: u64::MAX };
    assert_eq!(Name::parse(&name.to_string()), Some(name));
    for text in ["", "-", "1-2", "../1-2", "+000000000000001-0000000000000002"] {
        assert_eq!(Name::parse(text), None, "{text}");
    }
}

#[test]
fn whatever_a_power_cut_leaves_is_gone_on_from() {
    let (_, frames) = frames();
    for cut_behind in 0..frames.len() {
        let disk = CrashDisk::new();
        let files = open(&disk);
        let incoming = begin(&files);
        for (number, frame) in (0..).zip(frames.iter().take(cut_behind)) {
            incoming.put(number, frame).expect("taken");
        }
        let synced = incoming.sync().expect("synced");
        assert_eq!(synced, cut_behind as u64);
        // Two more that no receipt speaks of.
        for (number, frame) in (0..).zip(&frames).skip(cut_behind).take(2) {
            incoming.put(number, frame).expect("taken");
        }
        let seed = cut_behind as u64;
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Prefix(seed), Crash::Pages(seed)] {
            let files = open(&disk.crash(crash));
            let incoming = begin(&files);
            let next = incoming.sync().expect("synced");
            assert!(next >= synced, "{crash:?}: a receipt spoke of {synced}, {next} are here");
            for (number, frame) in (0..).zip(&frames).skip(usize::try_from(next).expect("small")) {
                incoming.put(number, frame).expect("taken");
            }
            incoming.finish(frames.len() as u64, S).expect("whole");
            assert!(whole(&files));
        }
    }
}

#[test]
fn a_whole_snapshot_survives_a_power_cut() {
    let disk = CrashDisk::new();
    receive(&open(&disk));
    for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Prefix(1), Crash::Pages(2)] {
        let files = open(&disk.crash(crash));
        assert!(whole(&files), "{crash:?}");
        assert!(matches!(files.begin(announced()), Ok(Begun::Whole)));
    }
}

#[test]
fn a_record_follows_the_one_that_it_was_written_behind() {
    let file = CrashDisk::new().create("file", 0).expect("made");
    let mut chain = Chain::default();
    chain.append(file.as_ref(), b"first").expect("written");
    let mut behind_first = chain;
    chain.append(file.as_ref(), b"second").expect("written");
    chain.append(file.as_ref(), b"third").expect("written");
    let too_long = vec![0; super::FRAME_BYTES_MAX + 1];
    assert!(chain.append(file.as_ref(), &too_long).is_err());

    // As long as what it takes the place of, so that a whole record lies behind it.
    behind_first.append(file.as_ref(), b"SECOND").expect("written");
    let mut read = Chain::default();
    assert_eq!(read.next(file.as_ref()).expect("reads").as_deref(), Some(&b"first"[..]));
    assert_eq!(read.next(file.as_ref()).expect("reads").as_deref(), Some(&b"SECOND"[..]));
    assert_eq!(read.next(file.as_ref()).expect("reads"), None);
    assert_eq!(read, behind_first);
}

#[test]
fn what_is_behind_the_end_of_a_file_is_not_taken_for_a_part_of_it() {
    let (_, frames) = frames();
    let disk = CrashDisk::new();
    let files = open(&disk);
    let incoming = begin(&files);
    for (number, frame) in (0..).zip(frames.iter().take(4)) {
        incoming.put(number, frame).expect("taken");
    }
    incoming.sync().expect("synced");
    let name = format!("{}.part", announced().name);
    // Frame 2 is damaged: frame 3 behind it may be whole, and does not count.
    let offset = (8 + frames[0].len()) + (8 + frames[1].len()) + 100;
    assert!(disk.damage(&name, offset as u64, |byte| !byte));
    let files = open(&disk.crash(Crash::KeepAll));
    let incoming = begin(&files);
    assert_eq!(incoming.sync().expect("synced"), 2);
    incoming.put(2, &frames[2]).expect("taken");
    assert_eq!(incoming.put(4, &frames[4]), Err(wrong("frame 4 comes in place of 3")));
}

fn wrong(why: &str) -> Rejected {
    Rejected::Wrong(why.to_owned())
}

#[test]
fn only_the_last_stream_writes() {
    let (_, frames) = frames();
    let files = open(&CrashDisk::new());
    let first = begin(&files);
    first.put(0, &frames[0]).expect("taken");
    let second = begin(&files);
    assert_eq!(first.put(1, &frames[1]), Err(Rejected::Superseded));
    assert_eq!(first.finish(1, S), Err(Rejected::Superseded));
    second.put(1, &frames[1]).expect("taken");

    // A later snapshot of the group takes the place of one that is not whole.
    let later = Announced { name: Name { group: GROUP, id: 100 }, ..announced() };
    assert!(matches!(files.begin(later), Ok(Begun::Part(_))));
    assert_eq!(second.put(2, &frames[2]), Err(Rejected::Superseded));
    assert_eq!(files.len(), 1);
}

#[test]
fn a_disk_that_fails_ends_the_snapshot() {
    let (_, frames) = frames();
    for op in [FaultOp::Write, FaultOp::Sync, FaultOp::SyncDir] {
        let disk = CrashDisk::new();
        let files = open(&disk);
        let incoming = begin(&files);
        incoming.put(0, &frames[0]).expect("taken");
        disk.fail(Fault { op, after: 0, times: 1, kind: std::io::ErrorKind::Other });
        let put = incoming.put(1, &frames[1]);
        let failed = put.and_then(|()| incoming.sync());
        assert!(matches!(failed, Err(Rejected::Disk(_))), "{op:?}: {failed:?}");
        assert_eq!(files.len(), 0, "what is on the disk is not known");
    }
}

#[test]
fn files_go_when_they_are_needed_no_more() {
    let disk = CrashDisk::new();
    let files = open(&disk);
    receive(&files);
    files.flushed(&[(GROUP, S - 1)], |_| None);
    assert!(whole(&files), "it may have to be installed again");
    files.flushed(&[(GROUP, S)], |_| None);
    assert!(!whole(&files));
    assert_eq!(disk.list().expect("a list"), Vec::<String>::new());

    receive(&files);
    files.retain(|group| group == GROUP);
    assert!(whole(&files));
    files.retain(|group| group != GROUP);
    assert!(!whole(&files));

    disk.create("nothing.part", 10).expect("made");
    disk.create("0000000000000007-0000000000000063.whole", 10).expect("made");
    assert_eq!(open(&disk).len(), 0);
    assert_eq!(disk.list().expect("a list"), Vec::<String>::new());
}

// Installing.

fn sum(engine: &MemoryEngine) -> Option<(u64, u64)> {
    let sum: Option<PartitionChecksum> = checksum(engine, &spec(2)).expect("sound");
    sum.map(|sum| (sum.index, sum.sum))
}

/// What a replica that applied all entries up to an index holds.
fn expected(index: u64) -> Option<(u64, u64)> {
    let engine = Arc::new(MemoryEngine::new());
    let mut all = applier(&engine, 2);
    for index in 11..=index {
        all.apply(&[committed(index)]).expect("applied");
    }
    sum(&engine)
}

fn install(run: &mut InstallRun, applier: &mut PartitionApplier, steps: usize) -> Option<Progress> {
    let view = ReplicaView::default();
    for _ in 0..steps {
        match run.step(applier, &view).expect("the engine works") {
            Progress::More => {}
            progress => return Some(progress),
        }
    }
    None
}

#[test]
fn an_installation_is_begun_again_after_a_crash_at_any_step() {
    let files = open(&CrashDisk::new());
    receive(&files);
    let run = || InstallRun::new(&files, GROUP, (S, TERM), None).expect("its file is here");
    for steps in 0..15 {
        for draw in 0..4 {
            let engine = Arc::new(MemoryEngine::new());
            let mut before = applier(&engine, 2);
            before.apply(&[committed(11)]).expect("applied");
            engine.flush().expect("flushed");
            install(&mut run(), &mut before, steps);
            engine.crash(draw * 5);
            let mut after = PartitionApplier::open(engine.clone(), spec(2)).expect("opens");
            let done = install(&mut run(), &mut after, 100);
            assert!(matches!(done, Some(Progress::Installed(mark)) if mark.index == S));
            assert_eq!(sum(&engine), expected(S));
        }
    }
}

#[test]
fn a_damaged_file_is_a_lost_snapshot() {
    let disk = CrashDisk::new();
    let files = open(&disk);
    receive(&files);
    assert!(disk.damage(&format!("{}.whole", announced().name), 30_000, |byte| !byte));
    let mut run = InstallRun::new(&files, GROUP, (S, TERM), None).expect("its file is here");
    let engine = Arc::new(MemoryEngine::new());
    let lost = install(&mut run, &mut applier(&engine, 2), 100);
    assert!(matches!(lost, Some(Progress::Lost(_))), "{lost:?}");
    assert!(!whole(&files), "it is not tried again");
}

/// An apply thread with a replica, and a log that says what it says.
struct Thread {
    mailbox: ApplyMailbox,
    thread: std::thread::JoinHandle<()>,
    inbox: crate::mailbox::Inbox<crate::shell::HostEvent>,
    engine: Arc<MemoryEngine>,
}

impl Thread {
    fn start(files: &Arc<SnapshotFiles>, records: &[Record]) -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let applier = applier(&engine, 2);
        engine.flush().expect("flushed");
        let options = LogOptions {
            segment_bytes: 1 << 20,
            budget_bytes: 4 << 20,
            pending_bytes: 1 << 19,
            ..LogOptions::default()
        };
        let (log, _) = Log::open(Arc::new(CrashDisk::new()), &options).expect("opens");
        let (done, synced) = std::sync::mpsc::channel();
        log.append(records, move |result| done.send(result).expect("heard")).expect("taken");
        synced.recv().expect("done").expect("synced");
        let (host, inbox) = mailbox(1000);
        let (apply, apply_inbox) = mailbox(usize::MAX);
        let shell = ApplyShell {
            inbox: apply_inbox,
            host,
            engine: engine.clone(),
            log: Arc::new(log),
            replicas: Arc::new(Replicas::default()),
            fatal: Arc::new(|why| panic!("{why}")),
            metrics: Arc::new(Metrics::new(1, 0)),
            snapshots: Some(files.clone()),
            losses: Arc::new(Losses::default()),
            room: Arc::new(Room::new(None, 0, Arc::new(RealClock))),
        };
        let thread = shell.spawn(0).expect("a thread");
        let view = Arc::new(ReplicaView::default());
        apply.push(ApplyEvent::Add { group: GROUP, applier, applied: 10, view });
        Self { mailbox: ApplyMailbox(apply), thread, inbox, engine }
    }

    fn install(&self) {
        let (header, _) = frames();
        let header = header.encode();
        self.mailbox.install(InstallJob { group: GROUP, index: S, term: TERM, header });
    }

    fn apply(&self, index: u64) {
        self.mailbox.apply(ApplyJob { group: GROUP, entries: vec![committed(index)] });
    }

    /// The next word to the host: how far it has applied, or none if its snapshot is lost.
    fn told(&mut self) -> Vec<Option<u64>> {
        let mut events = Vec::new();
        self.inbox.drain(&mut events, Some(Duration::from_secs(10)));
        let told = events.drain(..).map(|event| match event {
            Event::Applied { group: GROUP, index } => Some(index),
            Event::SnapshotLost { group: GROUP } => None,
            Event::Stop { reason, .. } => panic!("it stopped: {reason}"),
            _ => panic!("something else was told"),
        });
        told.collect()
    }

    fn wait_for(&mut self, wanted: Option<u64>) {
        loop {
            let told = self.told();
            assert!(!told.is_empty(), "{wanted:?} is never told");
            if told.contains(&wanted) {
                return;
            }
        }
    }

    fn end(self) {
        self.mailbox.0.close();
        self.thread.join().expect("no panic");
    }
}

/// A log that was reset to the snapshot, and goes on behind it.
pub(crate) fn reset_log() -> Vec<Record> {
    let mark = Mark { index: S, term: TERM };
    let mut records = vec![Record::Reset { group: GROUP, mark }];
    records.extend((S + 1..=S + 3).map(|index| {
        let Committed { term, data, .. } = committed(index);
        Record::Entry { group: GROUP, entry: LogEntry { index, term, kind: 0, data } }
    }));
    records
}

#[test]
fn jobs_behind_a_snapshot_wait_for_it() -> Result<()> {
    let files = open(&CrashDisk::new());
    receive(&files);
    let mut thread = Thread::start(&files, &reset_log());
    thread.install();
    thread.apply(S + 1);
    thread.wait_for(Some(S));
    thread.apply(S + 2);
    thread.wait_for(Some(S + 2));
    assert_eq!(sum(&thread.engine), expected(S + 2));
    thread.end();
    Ok(())
}

#[test]
fn an_engine_that_fails_before_or_after_an_installation_has_it_done_again() {
    for before in [true, false] {
        for draw in [0, 3, 100] {
            let files = open(&CrashDisk::new());
            receive(&files);
            let mut thread = Thread::start(&files, &reset_log());
            let fail = |thread: &Thread| {
                // All that was not flushed, the installation with it.
                let draw = if draw == 100 { thread.engine.unflushed() as u64 } else { draw };
                thread.engine.fail_next_write(Error::Engine("it fails".into()), draw);
            };
            if before {
                fail(&thread);
            }
            thread.install();
            thread.apply(S + 1);
            thread.wait_for(Some(S + 1));
            if !before {
                fail(&thread);
            }
            thread.apply(S + 2);
            thread.apply(S + 3);
            thread.wait_for(Some(S + 3));
            assert_eq!(sum(&thread.engine), expected(S + 3), "before: {before}, draw {draw}");
            thread.end();
        }
    }
}

#[test]
fn a_snapshot_whose_file_is_gone_is_told_lost_and_the_next_one_installed() {
    let files = open(&CrashDisk::new());
    let mut thread = Thread::start(&files, &reset_log());
    thread.install();
    thread.apply(S + 1);
    thread.wait_for(None);
    receive(&files);
    thread.install();
    thread.apply(S + 1);
    thread.wait_for(Some(S + 1));
    assert_eq!(sum(&thread.engine), expected(S + 1));
    thread.end();
}

#[test]
fn a_replica_is_brought_to_its_log_before_it_is_started() {
    let files = open(&CrashDisk::new());
    for here in [false, true] {
        if here {
            receive(&files);
        }
        let thread = Thread::start(&files, &reset_log());
        let (done, restored) = std::sync::mpsc::channel();
        thread.mailbox.0.push(ApplyEvent::Restore {
            group: GROUP,
            mark: (S, TERM),
            done: Box::new(move |restored| done.send(restored).expect("heard")),
        });
        let restored = restored.recv_timeout(Duration::from_secs(10)).expect("told");
        assert_eq!(restored, here.then_some((S, TERM)));
        thread.end();
    }
}
