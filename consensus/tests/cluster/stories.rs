//! What a group does for its callers, and what it does when nodes fail.

use stator_consensus::{Class, Config, Event, GroupId, Refusal, ReplicaId};

use crate::history::End;
use crate::node::Token;
use crate::toy::{Request, open};
use crate::world::{MS, SECOND, Weather, World};

pub(crate) const GROUP: GroupId = GroupId(1);

pub(crate) fn put(world: &mut World, node: u64, value: u64) -> Token {
    world.submit(node, GROUP, Request::Put { key: 1, value })
}

/// Puts at the leader and waits for the answer.
pub(crate) fn put_done(world: &mut World, value: u64) {
    let leader = world.await_leader(GROUP);
    let token = put(world, leader, value);
    await_end(world, token, &End::Done);
}

pub(crate) fn await_end(world: &mut World, token: Token, end: &End) {
    world.run_until("an answer", |world| world.history.end(token).is_some());
    assert_eq!(world.history.end(token), Some(end));
}

pub(crate) fn await_lease(world: &mut World, node: u64) {
    world.run_until("a lease", |world| {
        let clock = world.nodes[&node].clock(world.now);
        world.nodes[&node].views[&GROUP].begin(clock).is_some()
    });
}

pub(crate) fn finish(world: &mut World) {
    world.heal();
    for id in world.ids() {
        if !world.nodes[&id].is_up() {
            world.boot(id);
        }
    }
    world.run(SECOND);
    world.run_until("convergence", |world| world.is_converged(GROUP));
    world.check();
    assert_eq!(world.history.unanswered(), [], "everybody is answered");
}

#[test]
fn the_first_rank_of_a_fresh_group_leads_at_once() {
    let mut world = World::with_group(3, 1, Config::default());
    world.run(100 * MS);
    assert_eq!(world.leader(GROUP), Some(1));
    assert_eq!(world.counts.elections, 1);
}

#[test]
fn what_was_put_is_read_under_the_lease() {
    let mut world = World::with_group(3, 2, Config::default());
    put_done(&mut world, 7);
    await_lease(&mut world, 1);
    let asked = world.counts.read_indexes;
    let token = world.read(1, GROUP, 1);
    await_end(&mut world, token, &End::Saw(7));
    assert_eq!((world.counts.lease_reads, world.counts.index_reads), (1, 0));
    assert!(world.counts.read_indexes <= asked + 2, "no question for the read itself");
    finish(&mut world);
}

#[test]
fn without_leases_a_read_asks_the_quorum() {
    let config = Config { leases: false, ..Config::default() };
    let mut world = World::with_group(3, 3, config);
    put_done(&mut world, 7);
    let token = world.read(1, GROUP, 1);
    await_end(&mut world, token, &End::Saw(7));
    assert_eq!((world.counts.lease_reads, world.counts.index_reads), (0, 1));
    finish(&mut world);
}

#[test]
fn a_follower_names_the_leader() {
    let mut world = World::with_group(3, 4, Config::default());
    put_done(&mut world, 7);
    let (write, read) = (put(&mut world, 2, 8), world.read(3, GROUP, 1));
    let refused = End::Refused(Refusal::NotLeader(Some(stator_consensus::NodeId(1))));
    await_end(&mut world, write, &refused);
    await_end(&mut world, read, &refused);
}

#[test]
fn a_group_of_one_serves_by_itself() {
    let mut world = World::with_group(1, 5, Config::default());
    put_done(&mut world, 7);
    let token = world.read(1, GROUP, 1);
    await_end(&mut world, token, &End::Saw(7));
    assert_eq!((world.counts.lease_reads, world.counts.messages), (1, 0));
    world.crash(1);
    world.boot(1);
    let token = put(&mut world, 1, 8);
    await_end(&mut world, token, &End::Done);
    finish(&mut world);
}

#[test]
fn a_group_that_is_not_here_is_refused() {
    let mut world = World::with_group(1, 6, Config::default());
    let token = world.submit(1, GroupId(9), Request::Put { key: 1, value: 1 });
    await_end(&mut world, token, &End::Refused(Refusal::NoGroup));
}

#[test]
fn a_dead_leader_is_followed_and_nothing_acknowledged_is_lost() {
    let mut world = World::with_group(3, 7, Config::default());
    for value in 1..=20 {
        put_done(&mut world, value);
    }
    world.crash(1);
    let leader = world.await_leader(GROUP);
    assert_ne!(leader, 1);
    let token = world.read(leader, GROUP, 1);
    await_end(&mut world, token, &End::Saw(20));
    put_done(&mut world, 21);
    finish(&mut world);
}

#[test]
fn all_nodes_lose_power_at_once_and_nothing_acknowledged_is_lost() {
    for seed in 0..10 {
        let mut world = World::with_group(3, 100 + seed, Config::default());
        for value in 1..=20 {
            put_done(&mut world, value);
        }
        put(&mut world, 1, 21);
        world.run(seed * MS / 5);
        world.ids().into_iter().for_each(|id| world.crash(id));
        world.ids().into_iter().for_each(|id| world.boot(id));
        let leader = world.await_leader(GROUP);
        let token = world.read(leader, GROUP, 1);
        world.run_until("an answer", |world| world.history.end(token).is_some());
        finish(&mut world);
    }
}

#[test]
fn lost_doubled_and_reordered_messages_change_nothing() {
    let mut world = World::with_group(3, 8, Config::default());
    world.weather = Weather { lost: 20, twice: 5, delay: (MS / 5, 40 * MS), ..Weather::default() };
    for value in 1..=40 {
        world.await_leader(GROUP);
        let leader = world.leader(GROUP).expect("leads");
        let token = put(&mut world, leader, value);
        world.run_until("an answer", |world| world.history.end(token).is_some());
        let token = world.read(leader, GROUP, 1);
        world.run_until("an answer", |world| world.history.end(token).is_some());
    }
    world.weather = Weather::default();
    finish(&mut world);
    assert_eq!(world.counts.refused, 0, "no correct replica's message is refused");
}

#[test]
fn a_message_that_was_dropped_concerns_its_group_alone() {
    let mut world = World::new(3, 18, Config::default());
    let groups = [GROUP, GroupId(2)];
    for group in groups {
        world.create(group, &[1, 2, 3]);
        assert_eq!(world.await_leader(group), 1);
        let token = world.submit(1, group, Request::Put { key: 1, value: 1 });
        await_end(&mut world, token, &End::Done);
    }
    world.run(200 * MS);
    // So slow a way that nobody answers for now.
    world.weather = Weather { delay: (20 * MS, 21 * MS), ..Weather::default() };
    world.keeps_messages = true;
    world.tell(1, Event::Dropped { group: GROUP, to: ReplicaId(103) });
    for value in 2..=5 {
        for group in groups {
            world.submit(1, group, Request::Put { key: 1, value });
        }
        world.run(MS);
    }
    world.run(30 * MS);
    let sent = groups.map(|group| {
        let is_one = |(to, message): &&(u64, stator_consensus::PeerMessage)| {
            (*to, message.group, message.class) == (3, group, Class::Entries)
        };
        world.kept.iter().filter(is_one).count()
    });
    assert_eq!(sent, [1, 4], "the one asks first what is there, and the other knows");
    finish(&mut world);
}

#[test]
fn a_write_in_flight_when_leadership_goes_is_uncertain() {
    let mut world = World::with_group(3, 9, Config::default());
    put_done(&mut world, 1);
    world.isolate(1);
    let token = put(&mut world, 1, 2);
    await_end(&mut world, token, &End::Refused(Refusal::Uncertain));
    put_done(&mut world, 3);
    finish(&mut world);
    assert_eq!(open(&world.nodes[&1].engines[&GROUP]).data.registers[&1], 3);
}

#[test]
fn a_failed_condition_waits_for_what_it_saw() {
    let mut world = World::with_group(3, 10, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    world.isolate(1);
    // The put never commits, so nobody may be told that it was seen.
    let unseen = put(&mut world, 1, 2);
    world.run(5 * MS);
    let seer = world.submit(1, GROUP, Request::PutIf { key: 1, expected: u64::MAX, value: 9 });
    world.run(100 * MS);
    assert_eq!((world.history.end(unseen), world.history.end(seer)), (None, None));
    world.run_until("an answer", |world| world.history.end(seer).is_some());
    assert!(matches!(world.history.end(seer), Some(End::Refused(Refusal::NotLeader(_)))));
    finish(&mut world);
}

#[test]
fn a_failed_condition_is_a_consistent_read() {
    let mut world = World::with_group(3, 11, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    world.isolate(1);
    world.run_until("the lease to end", |world| {
        let clock = world.nodes[&1].clock(world.now);
        world.nodes[&1].views[&GROUP].begin(clock).is_none()
    });
    // Its lease is over, but it does not know yet that it leads no more.
    let seer = world.submit(1, GROUP, Request::PutIf { key: 1, expected: u64::MAX, value: 9 });
    world.run(50 * MS);
    assert_eq!(world.history.end(seer), None, "not without a quorum");
    put_done(&mut world, 2);
    finish(&mut world);
}

#[test]
fn a_transfer_moves_leadership_and_names_the_heir() {
    let mut world = World::with_group(3, 12, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    let refused = put(&mut world, 1, 2);
    world.run(MS);
    assert!(matches!(world.history.end(refused), Some(End::Refused(Refusal::NotLeader(Some(_))))));
    world.run(50 * MS);
    let leader = world.leader(GROUP).expect("the heir leads at once");
    assert_ne!(leader, 1);
    put_done(&mut world, 3);
    finish(&mut world);
}

#[test]
fn the_heir_is_the_one_furthest_ahead() {
    let mut world = World::with_group(3, 16, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    // Heartbeats reach node 3, and entries do not.
    world.filter = Some(|message, to| message.class == Class::Entries && to == 3);
    for value in 2..=9 {
        put_done(&mut world, value);
    }
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    world.run_until("an heir", |world| world.leader(GROUP).is_some_and(|leader| leader != 1));
    assert_eq!((world.leader(GROUP), world.counts.transfers), (Some(2), 1));
    world.filter = None;
    put_done(&mut world, 10);
    finish(&mut world);
}

#[test]
fn an_heir_of_which_nothing_came_gives_way_to_another() {
    let mut world = World::with_group(3, 17, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    world.filter = Some(|message, to| is_timeout_now(message) && to == 3);
    world.tell(1, Event::Retire);
    world.run_until("an heir", |world| world.leader(GROUP).is_some_and(|leader| leader != 1));
    assert_eq!((world.leader(GROUP), world.counts.transfers), (Some(2), 2));
    world.filter = None;
    put_done(&mut world, 2);
    finish(&mut world);
}

#[test]
fn a_transfer_of_which_nothing_comes_leaves_a_leader_without_a_lease() {
    let mut world = World::with_group(3, 13, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    let is_order = |message: &stator_consensus::PeerMessage, _: u64| is_timeout_now(message);
    world.filter = Some(is_order);
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    world.run(2 * SECOND);
    assert_eq!((world.leader(GROUP), world.counts.transfers), (Some(1), 1));
    put_done(&mut world, 2);
    let clock = world.nodes[&1].clock(world.now);
    assert!(world.nodes[&1].views[&GROUP].begin(clock).is_none(), "no lease in this term (R3)");
    let token = world.read(1, GROUP, 1);
    await_end(&mut world, token, &End::Saw(2));
    finish(&mut world);
}

#[test]
fn a_leader_that_cannot_apply_hands_over_what_is_committed() {
    let mut world = World::with_group(3, 15, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    world.run(200 * MS);
    // From now on its engine takes nothing.
    world.node(1).applier_busy = true;
    let stuck = put(&mut world, 1, 2);
    world.run(SECOND);
    assert_eq!(world.history.end(stuck), None);
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    world.run(200 * MS);
    assert_eq!(world.counts.transfers, 0, "it may yet be applied");
    await_end(&mut world, stuck, &End::Refused(Refusal::Uncertain));
    world.run(200 * MS);
    let heir = world.leader(GROUP).expect("the heir leads");
    assert_ne!(heir, 1);
    let token = world.read(heir, GROUP, 1);
    await_end(&mut world, token, &End::Saw(2));
    world.node(1).applier_busy = false;
    put_done(&mut world, 3);
    finish(&mut world);
}

pub(crate) fn is_timeout_now(message: &stator_consensus::PeerMessage) -> bool {
    use protobuf::Message as _;
    let mut raft_message = raft::eraftpb::Message::default();
    raft_message.merge_from_bytes(&message.payload).is_ok()
        && raft_message.get_msg_type() == raft::eraftpb::MessageType::MsgTimeoutNow
}

#[test]
fn a_node_that_retires_leads_nothing_in_the_end() {
    let mut world = World::new(3, 14, Config::default());
    for group in 1..=6 {
        world.create(GroupId(group), &[1, 2, 3]);
    }
    world.create(GroupId(7), &[1]);
    world.run(SECOND);
    assert_eq!(world.nodes[&1].host.as_ref().expect("up").leads(), 6);
    world.tell(1, Event::Retire);
    world.run_until("no leader on node 1", |world| {
        world.nodes[&1].host.as_ref().expect("up").leads() == 0
    });
    world.run(3 * SECOND);
    assert_eq!(world.nodes[&1].host.as_ref().expect("up").leads(), 0, "and it stays so");
    world.check();
}

#[test]
fn a_waiting_request_runs_out_of_time() {
    let config = Config { leases: false, ..Config::default() };
    let mut world = World::with_group(3, 15, config);
    put_done(&mut world, 1);
    world.isolate(1);
    let reader = world.read(1, GROUP, 1);
    let request = Request::PutIf { key: 1, expected: u64::MAX, value: 1 };
    let seer = world.submit_until(1, GROUP, request, 200 * MS);
    world.run(300 * MS);
    assert_eq!(world.history.end(seer), Some(&End::Refused(Refusal::Expired)));
    assert_eq!(world.history.end(reader), None, "it has more patience");
    finish(&mut world);
}

#[test]
fn what_does_not_fit_is_throttled_and_certainly_not_done() {
    let config = Config {
        entry_bytes_max: 4 << 10,
        message_bytes_max: 4 << 10,
        in_flight_bytes_max: 16 << 10,
        ..Config::default()
    };
    let mut world = World::with_group(3, 16, config);
    put_done(&mut world, 1);
    let begun = world.counts.messages;
    let tokens: Vec<Token> = (2..40)
        .map(|value| world.submit(1, GROUP, Request::Big { key: value as u8, value, len: 1000 }))
        .collect();
    world.run(SECOND);
    let ends =
        |end: &End| tokens.iter().filter(|token| world.history.end(**token) == Some(end)).count();
    let (done, throttled) = (ends(&End::Done), ends(&End::Refused(Refusal::Throttled)));
    assert_eq!(done + throttled, tokens.len());
    assert!(done >= 14 && throttled >= 14, "{done} done, {throttled} throttled");
    assert!(world.counts.messages > begun);
    finish(&mut world);
}

#[test]
fn what_is_to_be_answered_counts_with_the_entries() {
    let config = Config {
        entry_bytes_max: 4 << 10,
        message_bytes_max: 4 << 10,
        in_flight_bytes_max: 16 << 10,
        leases: false,
        ..Config::default()
    };
    let mut world = World::with_group(3, 16, config);
    put_done(&mut world, 1);
    // The answers of one entry, of many, and of none.
    for (nth, pause) in [0, MS / 100, MS / 100].into_iter().enumerate() {
        let submit = |value| {
            let (key, len) = (value as u8, 1000);
            let put = Request::Answered { key, value, len };
            let request = if nth == 2 { Request::Told { len } } else { put };
            let token = world.submit(1, GROUP, request);
            world.run(pause);
            token
        };
        let first = 2 + 40 * nth as u64;
        let tokens: Vec<Token> = (first..first + 38).map(submit).collect();
        world.run(SECOND);
        let ends = |end: &End| {
            tokens.iter().filter(|token| world.history.end(**token) == Some(end)).count()
        };
        let (done, throttled) = (ends(&End::Done), ends(&End::Refused(Refusal::Throttled)));
        assert_eq!(done + throttled, tokens.len());
        assert!(done >= 14 && throttled >= 14, "{nth}: {done} done, {throttled} throttled");
    }
    finish(&mut world);
}

#[test]
fn a_host_bounds_what_all_its_groups_hold() {
    let config = Config {
        entry_bytes_max: 4 << 10,
        message_bytes_max: 4 << 10,
        in_flight_bytes_max: 8 << 10,
        host_in_flight_bytes_max: 12 << 10,
        ..Config::default()
    };
    let mut world = World::new(3, 17, config);
    for group in 1..=4 {
        world.create(GroupId(group), &[1, 2, 3]);
    }
    world.run(SECOND);
    let tokens: Vec<Token> = (0..24)
        .map(|at| {
            let request = Request::Big { key: at as u8, value: at + 1, len: 1000 };
            world.submit(1, GroupId(1 + at % 4), request)
        })
        .collect();
    world.run(SECOND);
    let done = tokens.iter().filter(|token| world.history.end(**token) == Some(&End::Done)).count();
    assert!((10..=12).contains(&done), "{done} of 24 fit in 12 KiB");
    assert_eq!(world.nodes[&1].host.as_ref().expect("up").in_flight_bytes(), 0);
    finish(&mut world);
}

/// Ten requests of one turn come to five entries of a bounded length.
fn comes_to_five_entries(request: impl Fn(u8) -> Request) {
    let config = Config { entry_bytes_max: 2 << 10, ..Config::default() };
    let mut world = World::with_group(3, 18, config);
    put_done(&mut world, 1);
    let before = world.status(1, GROUP).expect("there").last_index;
    let tokens: Vec<Token> = (0..10).map(|at| world.submit(1, GROUP, request(2 + at))).collect();
    for token in tokens {
        await_end(&mut world, token, &End::Done);
    }
    assert_eq!(world.status(1, GROUP).expect("there").last_index, before + 5);
    finish(&mut world);
}

#[test]
fn an_entry_is_bounded_and_a_turn_makes_several() {
    comes_to_five_entries(|key| Request::Big { key, value: 1, len: 900 });
}

#[test]
fn an_entry_is_bounded_by_what_its_requests_came_to() {
    // The second is begun with room left, and fills the entry beyond it: no third.
    comes_to_five_entries(|key| Request::Grown { key, value: 1, len: 1600 });
}

#[test]
fn a_follower_without_room_takes_no_entries_and_catches_up_later() {
    let mut world = World::with_group(3, 19, Config::default());
    put_done(&mut world, 1);
    world.run(SECOND);
    let take = |world: &mut World, takes: fn(GroupId) -> bool| {
        world.node(3).host.as_mut().expect("up").set_takes_entries(takes);
    };
    take(&mut world, |_| false);
    let before = world.status(3, GROUP).expect("there");
    for value in 2..50 {
        put_done(&mut world, value);
    }
    world.run(2 * SECOND);
    let without = world.status(3, GROUP).expect("there");
    assert_eq!(without.last_index, before.last_index, "nothing was taken");
    assert_eq!((without.term, without.leader), (before.term, before.leader), "it follows on");
    take(&mut world, |group| group == GROUP);
    put_done(&mut world, 50);
    let last = world.status(1, GROUP).expect("there").last_index;
    world.run_until("catching up", |world| {
        world.status(3, GROUP).expect("there").last_index == last
    });
    finish(&mut world);
}

#[test]
fn a_fault_in_one_group_leaves_the_others_alone_and_loses_no_token() {
    for panic in [false, true] {
        let mut world = World::new(1, 19, Config::default());
        for group in 1..=3 {
            world.create(GroupId(group), &[1]);
        }
        world.run(SECOND);
        let mut ask = |group, request| world.submit(1, GroupId(group), request);
        let doomed = [
            ask(2, Request::Put { key: 1, value: 1 }),
            ask(2, Request::PutIf { key: 1, expected: 1, value: 2 }),
            ask(2, Request::Fail { panic }),
            ask(2, Request::Put { key: 1, value: 3 }),
        ];
        let safe = [1, 3].map(|group| ask(group, Request::Put { key: 1, value: 1 }));
        world.run(SECOND);
        for token in doomed {
            let end = world.history.end(token);
            assert!(matches!(end, Some(End::Refused(Refusal::Stopped(_)))), "{end:?}");
        }
        for token in safe {
            assert_eq!(world.history.end(token), Some(&End::Done));
        }
        assert_eq!(world.faults.len(), 1);
        world.faults.clear();
        world.check();
    }
}

#[test]
fn an_engine_that_cannot_be_read_for_a_moment_stops_nothing() {
    let mut world = World::with_group(1, 21, Config::default());
    put_done(&mut world, 1);
    let mut ask = |request| world.submit(1, GROUP, request);
    let refused = [ask(Request::Put { key: 1, value: 2 }), ask(Request::Unreadable)];
    let behind = ask(Request::PutIf { key: 1, expected: 1, value: 3 });
    for token in refused {
        await_end(&mut world, token, &End::Refused(Refusal::Throttled));
    }
    await_end(&mut world, behind, &End::Done);
    finish(&mut world);
}

#[test]
fn a_removed_replica_does_not_come_back() {
    let mut world = World::with_group(3, 20, Config::default());
    put_done(&mut world, 1);
    world.tell(3, Event::Remove { group: GROUP });
    world.tell(3, Event::Remove { group: GROUP });
    world.run(SECOND);
    assert_eq!(world.removed, [(3, GROUP, true)], "told once the log has it, and not before");
    world.tell(3, Event::Remove { group: GROUP });
    world.run(SECOND);
    assert_eq!(world.removed, [(3, GROUP, true); 2], "who asks again is told again");
    assert!(world.status(3, GROUP).is_none());
    assert!(world.nodes[&3].disk.recover(GROUP).is_none(), "the log remembers");
    let spec = world.nodes[&3].specs[&GROUP].clone();
    world.node(3).create(&spec);
    world.run(SECOND);
    assert!(world.status(3, GROUP).is_none());
    assert_eq!(world.faults.len(), 1);
    put_done(&mut world, 2);
}

#[test]
fn what_was_evaluated_while_the_data_was_replaced_is_taken_back() {
    let mut world = World::with_group(3, 21, Config::default());
    put_done(&mut world, 1);
    let taken_back = [
        world.submit(1, GROUP, Request::Put { key: 2, value: 5 }),
        world.submit(1, GROUP, Request::PutIf { key: 2, expected: 5, value: 6 }),
        world.submit(1, GROUP, Request::Disturb),
    ];
    let token = world.submit(1, GROUP, Request::PutIf { key: 2, expected: 0, value: 7 });
    for token in taken_back {
        await_end(&mut world, token, &End::Refused(Refusal::Throttled));
    }
    await_end(&mut world, token, &End::Done);
    finish(&mut world);
}

#[test]
fn nobody_reads_or_evaluates_while_the_data_is_not_whole() {
    let mut world = World::with_group(3, 22, Config::default());
    put_done(&mut world, 1);
    await_lease(&mut world, 1);
    let view = world.nodes[&1].views[&GROUP].clone();
    view.replace_data(0);
    let clock = world.nodes[&1].clock(world.now);
    assert!(view.begin(clock).is_none() && view.begin_unleased().is_none());
    let token = put(&mut world, 1, 2);
    world.run(500 * MS);
    assert_eq!(world.history.end(token), None, "it waits");
    view.data_restored();
    await_end(&mut world, token, &End::Done);
    finish(&mut world);
}

/// A replica that was stopped and started again hears from the applier what it did in the former life.
#[test]
fn late_word_from_the_applier_is_no_news() {
    let mut world = World::with_group(3, 23, Config::default());
    put_done(&mut world, 1);
    for id in world.ids() {
        let applied = world.status(id, GROUP).expect("there").applied;
        for index in [0, applied - 1, applied + 1, 10_000] {
            world.tell(id, Event::Applied { group: GROUP, index });
            world.tell(id, Event::Durable { group: GROUP, index });
        }
    }
    put_done(&mut world, 2);
    finish(&mut world);
}
