//! Truncated logs, and followers that are too far behind for them.

use stator_consensus::{Class, Config, Event, GroupId, PeerMessage, ReplicaId};

use crate::history::End;
use crate::node::Job;
use crate::stories::{GROUP, await_end, finish, put_done};
use crate::toy::{Engine, open};
use crate::world::{MS, SECOND, Weather, World};

fn small() -> Config {
    Config { truncate_entries: 8, cache_bytes_max: 64, ..Config::default() }
}

/// Node 3 is away while the log is truncated past what it has.
fn left_behind(seed: u64) -> World {
    left_behind_as(seed, small())
}

fn left_behind_as(seed: u64, config: Config) -> World {
    let mut world = World::with_group(3, seed, config);
    put_done(&mut world, 1);
    world.crash(3);
    for value in 2..=30 {
        put_done(&mut world, value);
    }
    world.run(SECOND);
    press(&mut world);
    world
}

fn press(world: &mut World) {
    for id in world.ids() {
        let last = world.status(id, GROUP).map_or(0, |status| status.last_index);
        world.tell(id, Event::Pressure { group: GROUP, index: last });
    }
    world.run(100 * MS);
}

#[test]
fn what_all_have_is_truncated() {
    let mut world = World::with_group(3, 1, small());
    for value in 1..=40 {
        put_done(&mut world, value);
    }
    world.run(SECOND);
    for id in 1..=3 {
        let status = world.status(id, GROUP).expect("there");
        assert!(
            status.first_index > 30 && status.last_index - status.first_index < 16,
            "{status:?}"
        );
    }
    world.crash(2);
    world.boot(2);
    put_done(&mut world, 41);
    finish(&mut world);
}

#[test]
fn a_follower_that_lags_holds_the_log_until_it_is_pressed() {
    let mut world = World::with_group(3, 2, small());
    put_done(&mut world, 1);
    world.crash(3);
    for value in 2..=30 {
        put_done(&mut world, value);
    }
    world.run(SECOND);
    let first = world.status(1, GROUP).expect("there").first_index;
    assert!(first < 16, "the leader keeps what node 3 needs: {first}");
    press(&mut world);
    assert!(world.status(1, GROUP).expect("there").first_index > 30);
    world.boot(3);
    finish(&mut world);
    assert_eq!(world.counts.snapshots, 1);
}

#[test]
fn a_follower_a_little_behind_is_read_to_from_the_log() {
    let mut world = World::with_group(3, 3, small());
    put_done(&mut world, 1);
    world.isolate(3);
    for value in 2..=30 {
        put_done(&mut world, value);
    }
    finish(&mut world);
    assert_eq!(world.counts.snapshots, 0);
}

#[test]
fn a_follower_far_behind_gets_a_snapshot_and_then_serves() {
    let mut world = left_behind(4);
    world.boot(3);
    world.run_until("the snapshot", |world| world.counts.snapshots == 1);
    put_done(&mut world, 31);
    finish(&mut world);
    world.isolate(world.leader(GROUP).expect("leads"));
    put_done(&mut world, 32);
    finish(&mut world);
}

#[test]
fn an_interrupted_snapshot_is_tried_again() {
    let mut world = left_behind(5);
    let is_snapshot = |message: &PeerMessage, _: u64| message.class == Class::Snapshot;
    world.filter = Some(is_snapshot);
    world.boot(3);
    world.run(3 * SECOND);
    assert_eq!(world.counts.snapshots, 0);
    world.filter = None;
    world.run_until("the snapshot", |world| world.counts.snapshots == 1);
    finish(&mut world);
}

#[test]
fn a_crash_around_the_installing_of_a_snapshot_loses_nothing() {
    for seed in 0..40 {
        let mut world = left_behind(10 + seed);
        world.boot(3);
        world.weather =
            Weather { sync: (2 * MS, 9 * MS), apply: (2 * MS, 9 * MS), ..world.weather };
        world.run_until("the snapshot", |world| world.counts.snapshots == 1);
        world.run(seed * MS / 2);
        world.crash(3);
        world.boot(3);
        put_done(&mut world, 31);
        finish(&mut world);
    }
}

/// Node 3 has accepted a snapshot, and not installed it.
fn about_to_install(seed: u64) -> World {
    let mut world = left_behind(seed);
    world.boot(3);
    world.node(3).applier_busy = true;
    world.run_until("the snapshot", |world| world.counts.snapshots == 1);
    world.run(100 * MS);
    world
}

#[test]
fn a_replica_that_finds_its_snapshot_gone_at_its_start_gets_another() {
    for seed in 60..70 {
        let mut world = about_to_install(seed);
        world.crash(3);
        world.node(3).received.clear();
        world.boot(3);
        put_done(&mut world, 31);
        finish(&mut world);
        assert_eq!(world.counts.snapshots, 2);
        world.isolate(world.leader(GROUP).expect("leads"));
        put_done(&mut world, 32);
        finish(&mut world);
    }
}

/// One that may not campaign has no other way to wake it.
#[test]
fn a_replica_whose_engine_is_made_anew_wakes_a_leader_that_sleeps() {
    let mut world = left_behind(100);
    world.boot(3);
    finish(&mut world);
    world.crash(3);
    let node = world.node(3);
    node.received.clear();
    node.engines.insert(GROUP, Engine::starting_from((0, 0)));
    let sleeps = |world: &World, id| world.status(id, GROUP).is_some_and(|status| status.asleep);
    world.run_until("sleep", |world| [1, 2].iter().all(|id| sleeps(world, *id)));
    let before = world.counts.snapshots;
    world.boot(3);
    world.run_until("the snapshot", |world| world.counts.snapshots > before);
    finish(&mut world);
}

#[test]
fn a_replica_that_cannot_install_its_snapshot_gets_another() {
    let mut world = about_to_install(80);
    world.node(3).jobs.clear();
    world.tell(3, Event::SnapshotLost { group: GROUP });
    world.node(3).applier_busy = false;
    put_done(&mut world, 31);
    finish(&mut world);
    assert_eq!(world.counts.snapshots, 2);
}

/// It had been installed, and what came behind it applied.
#[test]
fn a_replica_that_lost_a_snapshot_it_had_installed_gets_another() {
    let mut world = left_behind(81);
    world.boot(3);
    world.run_until("the snapshot", |world| world.counts.snapshots == 1);
    put_done(&mut world, 31);
    finish(&mut world);
    world.node(3).jobs.clear();
    world.tell(3, Event::SnapshotLost { group: GROUP });
    put_done(&mut world, 32);
    world.run_until("another", |world| world.counts.snapshots == 2);
    finish(&mut world);
}

#[test]
fn a_leader_that_lost_its_data_hands_over_and_gets_a_snapshot() {
    let mut world = World::with_group(3, 82, small());
    put_done(&mut world, 1);
    let before = world.await_leader(GROUP);
    world.tell(before, Event::SnapshotLost { group: GROUP });
    world.run_until("another leader", |world| {
        world.leader(GROUP).is_some_and(|leader| leader != before)
    });
    put_done(&mut world, 2);
    world.run_until("its snapshot", |world| world.counts.snapshots == 1);
    finish(&mut world);
}

/// Its log is as long as the others', so that nothing but its question tells that it has no data.
#[test]
fn a_replica_that_asks_for_a_snapshot_is_nobodys_heir() {
    let config = Config { snapshot_ticks: 20, ..small() };
    let mut world = World::with_group(3, 83, config);
    put_done(&mut world, 1);
    world.run(SECOND / 5);
    world.drops_wishes = true;
    world.tell(3, Event::SnapshotLost { group: GROUP });
    world.run(SECOND / 5);
    let ends = [1, 3].map(|id| world.status(id, GROUP).expect("there").last_index);
    assert_eq!((world.leader(GROUP), ends[0]), (Some(1), ends[1]));
    world.tell(1, Event::HandOver { group: GROUP, to: None });
    world.run_until("an heir", |world| world.leader(GROUP).is_some_and(|leader| leader != 1));
    assert_eq!((world.leader(GROUP), world.counts.transfers), (Some(2), 1));
    world.drops_wishes = false;
    finish(&mut world);
}

#[test]
fn a_replica_without_data_votes_and_does_not_lead() {
    let mut world = about_to_install(90);
    world.crash(3);
    world.node(3).received.clear();
    // Node 2 ends, and node 1 needs the vote of the one without data.
    world.crash(2);
    world.crash(1);
    world.boot(1);
    world.boot(3);
    world.run_until("a leader", |world| world.leader(GROUP) == Some(1));
    put_done(&mut world, 31);
    world.boot(2);
    finish(&mut world);
    assert_eq!(world.counts.snapshots, 2);
}

#[test]
fn a_replica_without_data_does_not_lead_though_nobody_else_can() {
    let config = Config { snapshot_ticks: 20, ..small() };
    let mut world = World::with_group(3, 84, config);
    put_done(&mut world, 1);
    world.run(SECOND / 5);
    world.drops_wishes = true;
    world.tell(3, Event::SnapshotLost { group: GROUP });
    world.run(SECOND / 5);
    // Node 2 votes, but is on its way out.
    world.tell(2, Event::Retire);
    world.crash(1);
    world.run(3 * SECOND);
    let leads = |id| world.status(id, GROUP).expect("there").leads;
    assert!(!leads(2) && !leads(3) && world.faults.is_empty());
    world.drops_wishes = false;
    world.boot(1);
    world.run_until("a leader", |world| world.leader(GROUP) == Some(1));
    put_done(&mut world, 2);
    finish(&mut world);
}

/// R12: raft-rs panics when a replica campaigns whose log begins behind a snapshot that it has not installed.
#[test]
fn a_replica_that_is_still_installing_does_not_campaign() {
    let mut world = left_behind(60);
    world.boot(3);
    world.run(200 * MS);
    world.node(3).applier_busy = true;
    world.run_until("the snapshot", |world| world.counts.snapshots == 1);
    world.run(100 * MS);
    world.isolate(3);
    let term = world.status(3, GROUP).expect("there").term;
    world.run(3 * SECOND);
    assert_eq!(world.faults, []);
    assert_eq!(world.status(3, GROUP).expect("there").term, term);
    world.node(3).applier_busy = false;
    finish(&mut world);
}

#[test]
fn a_snapshot_that_nobody_reports_is_given_up() {
    let config = Config { snapshot_ticks: 20, ..small() };
    let mut world = left_behind_as(6, config);
    world.boot(3);
    // The leader's node prepares nothing: it lost the wish, or is slow.
    world.drops_wishes = true;
    world.run(4 * SECOND);
    assert!(world.counts.snapshots == 0 && world.counts.snapshots_over >= 2);
    world.drops_wishes = false;
    finish(&mut world);
    assert_eq!(world.counts.snapshots, 1);
}

#[test]
fn a_snapshot_that_goes_on_takes_as_long_as_it_takes() {
    let config = Config { snapshot_ticks: 20, ..small() };
    let mut world = left_behind_as(6, config);
    world.drops_wishes = true;
    world.boot(3);
    let leader = world.await_leader(GROUP);
    for _ in 0..20 {
        world.run(SECOND / 5);
        world.tell(leader, Event::SnapshotGoesOn { group: GROUP, to: ReplicaId(103) });
    }
    assert_eq!(world.counts.snapshots_over, 0);
    world.drops_wishes = false;
    world.run_until("the end of one that stands still", |world| world.counts.snapshots_over == 1);
    finish(&mut world);
}

#[test]
fn an_applier_that_is_behind_holds_entries_back() {
    let config = Config { apply_backlog_bytes_max: 2000, apply_bytes_max: 1000, ..small() };
    let mut world = World::with_group(3, 7, config);
    put_done(&mut world, 1);
    world.node(3).applier_busy = true;
    for value in 2..=80 {
        let token = world.submit(1, GROUP, crate::toy::Request::Big { key: 1, value, len: 200 });
        await_end(&mut world, token, &End::Done);
    }
    assert!(world.counts.throttled_messages > 0);
    let held: usize = world.nodes[&3].jobs.len();
    assert!(held <= 20, "{held} jobs wait for the applier");
    assert_eq!(open(&world.nodes[&3].engines[&GROUP]).data.registers.get(&1), Some(&1));
    world.node(3).applier_busy = false;
    world.tell(3, Event::Ping(stator_consensus::NodeId(1)));
    finish(&mut world);
}

#[test]
fn an_applier_that_is_behind_holds_back_all_groups_of_a_host() {
    let config = Config { host_apply_backlog_bytes_max: 10_000, ..small() };
    let mut world = World::new(3, 8, config);
    let groups = (1..=8).map(GroupId).collect::<Vec<_>>();
    for group in &groups {
        world.create(*group, &[1, 2, 3]);
    }
    world.run(SECOND);
    world.node(3).applier_busy = true;
    for value in 1..=20 {
        for group in &groups {
            let request = crate::toy::Request::Big { key: 1, value, len: 1000 };
            let token = world.submit(1, *group, request);
            await_end(&mut world, token, &End::Done);
        }
    }
    assert!(world.counts.throttled_messages > 0);
    let bytes = |job: &Job| match job {
        Job::Apply(job) => job.entries.iter().map(|entry| entry.data.len()).sum(),
        Job::Install(_) => 0,
    };
    let held: usize = world.nodes[&3].jobs.iter().map(bytes).sum();
    assert!((10_000..20_000).contains(&held), "{held} bytes wait for the applier");
    world.node(3).applier_busy = false;
    world.tell(3, Event::Ping(stator_consensus::NodeId(1)));
    finish(&mut world);
}
