//! A turn that is larger than what the log takes at once, and a log that is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stator_consensus::{Class, Config, Event, Host, NodeId, PeerMessage, ReplicaId};
use stator_storage::disk::{Crash, CrashDisk};
use stator_storage::log::{HardState, Log, LogCore, LogEntry, LogOptions, Mark, Record, recover};
use stator_storage::machine::GroupId;

use super::{HostShell, LogAccess, Outbound, in_pieces};
use crate::clock::RealClock;
use crate::mailbox::mailbox;
use crate::metrics::Metrics;
use crate::node::room::{Full, Room};
use crate::replicas::Replicas;
use crate::shell::apply::ApplyMailbox;

fn entry(index: u64, bytes: usize) -> Record {
    let entry = LogEntry { index, term: 1, kind: 0, data: vec![0; bytes].into() };
    Record::Entry { group: GroupId(7), entry }
}

#[test]
fn a_turn_is_cut_where_it_has_to_be_and_nothing_is_lost() {
    let sizes = [10, 900, 100, 2000, 10, 10, 990];
    let records: Vec<Record> =
        (11..).zip(sizes).map(|(index, bytes)| entry(index, bytes)).collect();
    let whole = LogCore::weight(&records);
    assert_eq!(in_pieces(records.clone(), whole), [records.clone()].map(Vec::from));
    for bytes_max in [1, 1000, 1100, 2500, whole - 1] {
        let pieces = in_pieces(records.clone(), bytes_max);
        assert_eq!(pieces.concat(), records);
        assert!(pieces.len() > 1);
        for piece in &pieces {
            assert!(piece.len() == 1 || LogCore::weight(piece) <= bytes_max, "{bytes_max}");
        }
    }
}

const GROUPS: [GroupId; 2] = [GroupId(7), GroupId(8)];

/// Four readies of each of two groups in one turn: entries, and a hard state that says that they are committed, and a vote.
fn turn() -> Vec<Record> {
    let ready = |group: GroupId, number: u64| {
        let first = 11 + 3 * number;
        let entries = (first..first + 3).map(move |index| {
            let data = vec![number as u8; 700 * (1 + index as usize % 3)].into();
            Record::Entry { group, entry: LogEntry { index, term: 2 + number, kind: 0, data } }
        });
        let state = HardState { term: 2 + number, vote: 1, commit: first + 2 };
        entries.chain([Record::HardState { group, state }])
    };
    GROUPS.into_iter().flat_map(|group| (0..4).flat_map(move |n| ready(group, n))).collect()
}

/// What a crash has left of the turn: of each group the first entries, and no hard state that is ahead of them. Answers whether
/// all of it is there.
fn check(image: CrashDisk, options: &LogOptions) -> bool {
    let (_, _, found) = recover(Arc::new(image), options).expect("it opens");
    let mut whole = true;
    for group in GROUPS {
        let group = found.groups.get(&group).expect("the group was there before");
        let expected: Vec<u64> = (0..12).map(|at| 2 + at / 3).collect();
        assert!(expected.starts_with(&group.terms), "{:?}", group.terms);
        let HardState { term, commit, .. } = group.hard_state;
        assert!(commit <= group.last_index(), "{commit} is ahead of {}", group.last_index());
        assert!(term == 1 && commit == 10 || commit == 13 + 3 * (term - 2), "{term} {commit}");
        whole &= term == 5 && group.last_index() == 22;
    }
    whole
}

#[test]
fn a_crash_between_the_pieces_of_a_turn_leaves_no_commit_ahead_of_its_entries() {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        budget_bytes: 1 << 20,
        pending_bytes: 32 << 10,
        ..LogOptions::default()
    };
    let disk = CrashDisk::new();
    let (mut core, files, _) = recover(Arc::new(disk.clone()), &options).expect("made");
    let perform = |core: &mut LogCore, on_disk: &mut dyn FnMut()| {
        while let Some(write) = core.flush() {
            for op in &write.ops {
                files.perform(op).expect("done");
                on_disk();
            }
            core.completed(write);
        }
    };
    let before = GROUPS.into_iter().flat_map(|group| {
        let state = HardState { term: 1, vote: 0, commit: 10 };
        let mark = Mark { index: 10, term: 1 };
        [Record::Reset { group, mark }, Record::HardState { group, state }]
    });
    core.stage(&before.collect::<Vec<_>>()).expect("taken");
    perform(&mut core, &mut || ());

    let pieces = in_pieces(turn(), 4 << 10);
    assert!(pieces.len() > 4);
    let (last, mut images) = (pieces.len() - 1, 0);
    for (number, piece) in pieces.iter().enumerate() {
        core.stage(piece).expect("taken");
        perform(&mut core, &mut || {
            for seed in 0..8 {
                for crash in
                    [Crash::LoseAll, Crash::KeepAll, Crash::Prefix(seed), Crash::Pages(seed)]
                {
                    let whole = check(disk.crash(crash), &options);
                    assert!(
                        !whole || number == last,
                        "the turn is not whole before its last piece"
                    );
                    images += 1;
                }
            }
        });
        // Only now, behind the last one, the turn would be reported.
        assert_eq!(check(disk.crash(Crash::LoseAll), &options), number == last);
    }
    assert!(images > 200, "{images}");
}

/// Takes what is for one node.
struct OneTaken(NodeId);

impl Outbound for OneTaken {
    fn send(&self, node: NodeId, _: PeerMessage) -> bool {
        node == self.0
    }
    fn ping(&self, _: NodeId) {}
    fn send_snapshot(&self, _: NodeId, _: PeerMessage) {}
    fn snapshot_wanted(&self, _: GroupId, _: ReplicaId) {}
    fn snapshot_over(&self, _: GroupId) {}
}

/// A shell that works with a log of these sizes, and of whose messages those to one node are taken.
fn shell(options: &LogOptions) -> HostShell {
    let (log, _) = Log::open(Arc::new(CrashDisk::new()), options).expect("opens");
    let (host, inbox) = mailbox(1000);
    HostShell {
        config: Config::default(),
        mailbox: host,
        inbox,
        log: Arc::new(log),
        apply: ApplyMailbox(mailbox(1000).0),
        outbound: Arc::new(OneTaken(NodeId(2))),
        clock: Arc::new(RealClock),
        replicas: Arc::new(Replicas::default()),
        room: Arc::new(Room::new(None, 0, Arc::new(RealClock))),
        metrics: Arc::new(Metrics::new(1, 0)),
        write_bytes_max: 32 << 10,
        stalled: VecDeque::new(),
        is_stalled: false,
        is_full: false,
        fatal: Arc::new(|why| panic!("{why}")),
    }
}

/// Tries again, as the thread does, until the log has taken everything, or is full.
fn write(shell: &mut HostShell) -> bool {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        shell.write_log();
        if shell.stalled.is_empty() || shell.is_full {
            return shell.is_full;
        }
        assert!(Instant::now() < deadline, "the log is busy for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn others_are_told_of_a_full_log_until_there_is_room_again() {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        budget_bytes: 256 << 10,
        pending_bytes: 32 << 10,
        ..LogOptions::default()
    };
    let mut shell = shell(&options);
    let mark = |index| Mark { index, term: 1 };
    shell.stalled.push_back((None, vec![Record::Reset { group: GroupId(7), mark: mark(10) }]));
    let mut last = 10;
    while !write(&mut shell) {
        assert!(shell.room.full().is_none() && last < 200, "{last} entries");
        last += 1;
        shell.stalled.push_back((Some(last), vec![entry(last, 8 << 10)]));
    }
    assert!(shell.room.full() == Some(Full::Log) && shell.replicas.log_stalled());
    assert!(!(shell.takes_entries())(GroupId(7)));
    // It stays so for as long as nothing is released.
    shell.write_log();
    assert_eq!(shell.room.full(), Some(Full::Log));
    let truncation = Record::Truncate { group: GroupId(7), mark: mark(last - 2) };
    shell.stalled.push_back((None, vec![truncation]));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !shell.stalled.is_empty() {
        assert!(Instant::now() < deadline, "there is room again");
        shell.write_log();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(shell.room.full().is_none() && !shell.replicas.log_stalled());
    assert!((shell.takes_entries())(GroupId(7)));
}

#[test]
fn a_turn_of_many_groups_is_one_write_and_one_sync() {
    let mut shell = shell(&LogOptions::default());
    let groups = 1..=200_u64;
    let records = groups.flat_map(|group| {
        let group = GroupId(group);
        let entry = LogEntry { index: 1, term: 1, kind: 0, data: vec![7; 100].into() };
        let state = HardState { term: 1, vote: 1, commit: 0 };
        [Record::Entry { group, entry }, Record::HardState { group, state }]
    });
    shell.write_bytes_max = 1 << 20;
    let syncs = shell.log.stats().syncs;
    let log = Arc::new(LogAccess(shell.log.clone()));
    let mut effects = Host::new(shell.config, log).turn(0, 0, []);
    effects.log = records.collect();
    let this = effects.turn;
    shell.carry_out(effects);
    let mut told = Vec::new();
    shell.inbox.drain(&mut told, Some(Duration::from_secs(30)));
    assert!(matches!(told[..], [Event::Persisted { turn }] if turn == this));
    assert_eq!(shell.log.stats().syncs, syncs + 1);
}

#[test]
fn each_message_that_is_not_taken_is_reported_to_its_group() {
    let mut shell = shell(&LogOptions::default());
    let log = Arc::new(LogAccess(shell.log.clone()));
    let mut effects = Host::new(shell.config, log).turn(0, 0, []);
    for (group, node) in [(7, 2), (7, 3), (8, 2), (9, 3), (9, 3)] {
        let (group, from, to) = (GroupId(group), ReplicaId(1), ReplicaId(100 * group + node));
        let message = PeerMessage { group, from, to, class: Class::Control, payload: "x".into() };
        effects.send.push((NodeId(node), message));
    }
    shell.carry_out(effects);
    let mut told = Vec::new();
    shell.inbox.drain(&mut told, Some(Duration::ZERO));
    let dropped = told.iter().map(|event| match event {
        Event::Dropped { group, to } => (group.0, to.0),
        _ => panic!("only what was dropped is told"),
    });
    // What is dropped is reported (R9), and costs nobody else a look.
    assert_eq!(dropped.collect::<Vec<_>>(), [(7, 703), (9, 903), (9, 903)]);
}
