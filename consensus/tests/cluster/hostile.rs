//! Bytes that no correct replica sends: dropped, and never a panic, a fault, or a lost value.

use bytes::Bytes;
use protobuf::{Message as _, ProtobufEnum as _};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use stator_consensus::{Class, Config, Event, NodeId, PeerMessage, ReplicaId};

use crate::history::End;
use crate::stories::{GROUP, await_lease, put, put_done};
use crate::world::{MS, Rng, SECOND, Weather, World};

fn wrap(from: u64, to: u64, message: &mut Message) -> PeerMessage {
    (message.from, message.to) = (100 + from, 100 + to);
    PeerMessage {
        group: GROUP,
        from: ReplicaId(100 + from),
        to: ReplicaId(100 + to),
        class: Class::Control,
        payload: Bytes::from(message.write_to_bytes().expect("small")),
    }
}

fn message(kind: MessageType, term: u64) -> Message {
    let mut message = Message::default();
    message.set_msg_type(kind);
    message.term = term;
    message
}

fn inject(world: &mut World, to: u64, message: PeerMessage) {
    world.tell(to, Event::Message(message));
    world.run(5 * MS);
}

fn term(world: &World) -> u64 {
    world.status(1, GROUP).expect("there").term
}

fn settled(seed: u64) -> World {
    let config = Config { sleep_ticks: 0, ..Config::default() };
    let mut world = World::with_group(3, seed, config);
    put_done(&mut world, 1);
    world.run(SECOND);
    world
}

/// The messages of a real course of events, as they were.
fn harvest() -> Vec<(u64, PeerMessage)> {
    let mut world = World::with_group(3, 1, Config { truncate_entries: 8, ..Config::default() });
    world.keeps_messages = true;
    for value in 1..=30 {
        put_done(&mut world, value);
        if value == 10 {
            world.crash(3);
        }
    }
    world.run(SECOND);
    for id in [1, 2] {
        world.tell(id, Event::Pressure { group: GROUP, index: 30 });
    }
    world.boot(3);
    world.run(SECOND);
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    world.run(SECOND);
    world.kept.clone()
}

fn mutate(rng: &mut Rng, message: &PeerMessage) -> PeerMessage {
    let mut raft_message = Message::default();
    let is_raft = raft_message.merge_from_bytes(&message.payload).is_ok();
    if !is_raft || rng.one_in(3) {
        // Bytes of it are others.
        let mut bytes = message.payload.to_vec();
        for _ in 0..rng.range(1, 4) {
            let at = rng.range(0, bytes.len() as u64 + 1) as usize;
            match rng.range(0, 3) {
                0 if at < bytes.len() => bytes[at] = rng.next() as u8,
                1 => bytes.insert(at, rng.next() as u8),
                _ => bytes.truncate(at),
            }
        }
        return PeerMessage { payload: bytes.into(), ..message.clone() };
    }
    // A field of it says something else.
    let near = |rng: &mut Rng, number: u64| match rng.range(0, 5) {
        0 => number.saturating_sub(1),
        1 => number + 1,
        2 => number + rng.range(0, 40),
        3 => rng.range(0, 60),
        _ => rng.next() >> rng.range(0, 64),
    };
    for _ in 0..rng.range(1, 3) {
        match rng.range(0, 11) {
            0 => raft_message.index = near(rng, raft_message.index),
            1 => raft_message.log_term = near(rng, raft_message.log_term),
            2 => raft_message.commit = near(rng, raft_message.commit),
            3 => raft_message.commit_term = near(rng, raft_message.commit_term),
            4 => raft_message.reject_hint = near(rng, raft_message.reject_hint),
            5 => raft_message.reject = !raft_message.reject,
            6 => raft_message.request_snapshot = near(rng, 0),
            7 => {
                let kinds = MessageType::values();
                let at = rng.range(0, kinds.len() as u64) as usize;
                raft_message.set_msg_type(kinds[at]);
            }
            8 => {
                let mut entries: Vec<Entry> = raft_message.take_entries().into();
                if entries.is_empty() || rng.one_in(2) {
                    entries.push(Entry::default());
                }
                let at = rng.range(0, entries.len() as u64) as usize;
                entries[at].index = near(rng, entries[at].index);
                entries[at].term = near(rng, entries[at].term);
                if rng.one_in(2) {
                    entries[at].set_entry_type(EntryType::EntryConfChange);
                }
                raft_message.set_entries(entries.into());
            }
            9 => {
                let metadata = raft_message.mut_snapshot().mut_metadata();
                metadata.index = near(rng, metadata.index);
                metadata.term = near(rng, metadata.term);
                if rng.one_in(2) {
                    metadata.mut_conf_state().set_learners(vec![101]);
                }
            }
            _ => raft_message.term = near(rng, raft_message.term),
        }
    }
    PeerMessage { payload: raft_message.write_to_bytes().expect("small").into(), ..message.clone() }
}

#[test]
fn mutated_messages_stop_no_replica() {
    let harvest = harvest();
    assert!(harvest.len() > 300);
    let (mut refused, mut sent) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut world = World::with_group(3, seed, Config::default());
        world.weather = Weather { sync: (MS, 30 * MS), ..Weather::default() };
        world.is_hostile = true;
        world.run(100 * MS);
        for _ in 0..150 {
            let (to, message) = harvest[rng.range(0, harvest.len() as u64) as usize].clone();
            let message = mutate(&mut rng, &message);
            world.tell(to, Event::Message(message));
            sent += 1;
            if rng.one_in(4) {
                put(&mut world, to, rng.next());
            }
            world.run(rng.range(1, 20) * MS);
        }
        assert_eq!(world.faults, [], "seed {seed}");
        refused += world.counts.refused;
    }
    assert!(refused * 3 > sent, "{refused} of {sent} refused");
}

#[test]
fn random_bytes_stop_no_replica() {
    let mut world = settled(2);
    let mut rng = Rng::new(2);
    for _ in 0..2000 {
        let payload: Vec<u8> = (0..rng.range(0, 60)).map(|_| rng.next() as u8).collect();
        let class = rng.pick(&[Class::Control, Class::Entries, Class::Rest]);
        let (group, from, to) =
            (GROUP, ReplicaId(rng.range(99, 105)), ReplicaId(rng.range(99, 105)));
        let message = PeerMessage { group, from, to, class, payload: payload.into() };
        world.tell(1, Event::Message(message));
    }
    world.run(SECOND);
    assert!(world.counts.refused > 1000);
    put_done(&mut world, 2);
    world.check();
}

#[test]
fn a_commit_beyond_the_log_is_refused() {
    let mut world = settled(3);
    let mut heartbeat = message(MessageType::MsgHeartbeat, term(&world));
    heartbeat.commit = 1000;
    inject(&mut world, 2, wrap(1, 2, &mut heartbeat));
    assert_eq!(world.counts.refused, 1);
    put_done(&mut world, 2);
    world.check();
}

/// R1: what a deposed leader, or anybody, wants proposed is not taken.
#[test]
fn proposals_reads_and_transfers_from_peers_are_refused() {
    let mut world = settled(4);
    let last = world.status(1, GROUP).expect("there").last_index;
    let kinds = [
        MessageType::MsgPropose,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
        MessageType::MsgTransferLeader,
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
    ];
    for (count, kind) in (1..).zip(kinds) {
        let mut wish = message(kind, term(&world));
        if kind == MessageType::MsgPropose {
            wish.term = 0;
        }
        let entry = Entry { data: vec![0; 32].into(), ..Entry::default() };
        wish.set_entries(vec![entry].into());
        inject(&mut world, 1, wrap(2, 1, &mut wish));
        assert_eq!(world.counts.refused, count, "{kind:?}");
    }
    assert_eq!(world.status(1, GROUP).expect("there").last_index, last, "nothing was proposed");
    assert_eq!(world.counts.transfers, 0);
    world.check();
}

/// R2: a higher term makes raft-rs forget what it promised; the host does not.
#[test]
fn a_promise_outlives_a_higher_term() {
    let mut world = settled(5);
    await_lease(&mut world, 1);
    let before = term(&world);
    // A late rejection of a pre-vote moves the follower to a later term, without a leader.
    let mut rejection = message(MessageType::MsgRequestPreVoteResponse, before + 3);
    rejection.reject = true;
    world.isolate(1);
    inject(&mut world, 2, wrap(3, 2, &mut rejection));
    assert_eq!(world.status(2, GROUP).expect("there").leader, None);
    let mut solicit = message(MessageType::MsgRequestVote, before + 4);
    (solicit.index, solicit.log_term) = (1000, before + 3);
    inject(&mut world, 2, wrap(3, 2, &mut solicit));
    assert_eq!(world.counts.promises_kept, 1);
    assert_eq!(
        world.status(2, GROUP).expect("there").term,
        before + 3,
        "no vote in the later term"
    );
    // The leader, cut off and not knowing, may still read.
    let clock = world.nodes[&1].clock(world.now);
    assert!(world.nodes[&1].views[&GROUP].begin(clock).is_some());
}

/// R5: a leader that a higher term deposes may vote for another at once, so its lease ends at once.
#[test]
fn a_deposed_leader_holds_no_lease() {
    let mut world = settled(12);
    await_lease(&mut world, 1);
    let mut rejection = message(MessageType::MsgRequestPreVoteResponse, term(&world) + 3);
    rejection.reject = true;
    inject(&mut world, 1, wrap(3, 1, &mut rejection));
    let clock = world.nodes[&1].clock(world.now);
    assert!(world.nodes[&1].views[&GROUP].begin(clock).is_none());
    put_done(&mut world, 2);
    world.check();
}

/// R2: and it outlives the process.
#[test]
fn a_promise_outlives_a_restart() {
    let mut world = settled(6);
    await_lease(&mut world, 1);
    let before = term(&world);
    world.isolate(1);
    world.crash(2);
    world.boot(2);
    world.run(60 * MS);
    let mut solicit = message(MessageType::MsgRequestVote, before + 1);
    (solicit.index, solicit.log_term) = (1000, before + 1);
    inject(&mut world, 2, wrap(3, 2, &mut solicit));
    assert_eq!(world.counts.promises_kept, 1);
    assert_eq!(world.status(2, GROUP).expect("there").term, before, "no vote in the later term");
}

/// R2: nor does the replica campaign itself, however fast its ticks come.
#[test]
fn a_promise_forbids_to_campaign() {
    let mut world = settled(11);
    world.isolate(2);
    for _ in 0..60 {
        world.tell(2, Event::Tick);
        world.run(MS);
    }
    assert_eq!(world.status(2, GROUP).expect("there").leader, Some(NodeId(1)));
    world.run(SECOND);
    assert_eq!(world.status(2, GROUP).expect("there").leader, None, "now it does");
}

/// R2: only a transfer's requests for votes pass.
#[test]
fn a_transfer_passes_the_promise() {
    let mut world = settled(7);
    let before = term(&world);
    let mut solicit = message(MessageType::MsgRequestVote, before + 1);
    (solicit.index, solicit.log_term) = (1000, before);
    solicit.context = Bytes::from_static(b"CampaignTransfer");
    let mut pretext = solicit.clone();
    pretext.set_msg_type(MessageType::MsgRequestPreVote);
    inject(&mut world, 2, wrap(3, 2, &mut pretext));
    assert_eq!(world.counts.promises_kept, 1, "a transfer asks without a pre-vote");
    inject(&mut world, 2, wrap(3, 2, &mut solicit));
    assert_eq!(world.status(2, GROUP).expect("there").term, before + 1);
}

/// R3: an order to campaign that comes late, of another term or from another, is nothing.
#[test]
fn a_stale_order_to_campaign_is_dropped() {
    let mut world = settled(8);
    let before = term(&world);
    for (from, of) in [(1, before - 1), (3, before)] {
        let mut order = message(MessageType::MsgTimeoutNow, of);
        inject(&mut world, 2, wrap(from, 2, &mut order));
    }
    world.run(100 * MS);
    assert_eq!((term(&world), world.leader(GROUP)), (before, Some(1)));
    let mut order = message(MessageType::MsgTimeoutNow, before);
    inject(&mut world, 2, wrap(1, 2, &mut order));
    assert_eq!(world.status(2, GROUP).expect("there").leader, Some(NodeId(2)));
}

/// R5: a doubled old answer confirms nothing new. An isolated leader whose last questions were answered is sent those answers
/// over and over: its lease ends all the same, and its readers are not let in.
#[test]
fn doubled_answers_do_not_prolong_a_lease() {
    let mut world = settled(9);
    world.keeps_messages = true;
    world.run(SECOND);
    world.keeps_messages = false;
    let answers: Vec<PeerMessage> = world
        .kept
        .iter()
        .filter(|(to, message)| *to == 1 && message.class == Class::Control)
        .map(|(_, message)| message.clone())
        .collect();
    assert!(answers.len() > 10);
    world.isolate(1);
    world.run(50 * MS);
    world.read(1, GROUP, 1);
    for _ in 0..40 {
        answers.iter().for_each(|answer| world.tell(1, Event::Message(answer.clone())));
        world.run(20 * MS);
    }
    let clock = world.nodes[&1].clock(world.now);
    assert!(world.nodes[&1].views[&GROUP].begin(clock).is_none(), "its lease is over");
    let late = world.read(1, GROUP, 1);
    world.run(100 * MS);
    answers.iter().for_each(|answer| world.tell(1, Event::Message(answer.clone())));
    world.run(10 * MS);
    assert!(!matches!(world.history.end(late), Some(End::Saw(_))));
    put_done(&mut world, 2);
    world.check();
}

/// A group of which nothing is known here, or whose members are not who they say.
#[test]
fn strangers_are_not_heard() {
    let mut world = settled(10);
    let mut heartbeat = message(MessageType::MsgHeartbeat, term(&world) + 5);
    inject(&mut world, 2, wrap(7, 2, &mut heartbeat));
    inject(&mut world, 2, wrap(2, 2, &mut heartbeat));
    let mut forged = wrap(1, 2, &mut heartbeat);
    forged.from = ReplicaId(103);
    inject(&mut world, 2, forged);
    assert_eq!(world.counts.refused, 3);
    let mut elsewhere = wrap(1, 2, &mut heartbeat);
    elsewhere.group = stator_consensus::GroupId(77);
    inject(&mut world, 2, elsewhere);
    put_done(&mut world, 2);
    world.check();
}
