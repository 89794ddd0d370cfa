//! Idle groups: they rest, and whatever happens wakes those it concerns.

use stator_consensus::{Config, GroupId};

use crate::history::End;
use crate::stories::{GROUP, await_end, finish, put, put_done};
use crate::world::{SECOND, World};

fn is_asleep(world: &World, node: u64) -> bool {
    world.status(node, GROUP).is_some_and(|status| status.asleep)
}

fn await_sleep(world: &mut World) {
    world.run_until("sleep", |world| world.ids().into_iter().all(|id| is_asleep(world, id)));
}

#[test]
fn an_idle_group_sends_nothing_but_pings() {
    let mut world = World::new(3, 1, Config::default());
    for group in 1..=20 {
        world.create(GroupId(group), &[1, 2, 3]);
    }
    put_done(&mut world, 1);
    await_sleep(&mut world);
    world.run(SECOND);
    let (messages, pings) = (world.counts.messages, world.counts.pings);
    world.run(10 * SECOND);
    assert_eq!(world.counts.messages, messages);
    assert!(
        (590..=610).contains(&(world.counts.pings - pings)),
        "two peers, ten a second, three nodes"
    );
    assert!(world.ids().into_iter().all(|id| is_asleep(&world, id)));
}

#[test]
fn a_write_wakes_the_group_and_it_rests_again() {
    let mut world = World::with_group(3, 2, Config::default());
    put_done(&mut world, 1);
    await_sleep(&mut world);
    let term = world.status(1, GROUP).expect("there").term;
    let token = put(&mut world, 1, 2);
    await_end(&mut world, token, &End::Done);
    await_sleep(&mut world);
    let token = world.read(1, GROUP, 1);
    await_end(&mut world, token, &End::Saw(2));
    assert_eq!(world.counts.lease_reads, 0, "a sleeping leader holds no lease");
    await_sleep(&mut world);
    assert_eq!(world.status(1, GROUP).expect("there").term, term, "nobody campaigned");
    finish(&mut world);
}

#[test]
fn the_death_of_the_leaders_node_wakes_its_followers() {
    let mut world = World::with_group(3, 3, Config::default());
    put_done(&mut world, 1);
    await_sleep(&mut world);
    world.crash(1);
    let leader = world.await_leader(GROUP);
    assert_ne!(leader, 1);
    put_done(&mut world, 2);
    finish(&mut world);
}

#[test]
fn a_request_to_a_sleeping_follower_of_a_dead_replica_brings_a_leader() {
    let mut world = World::with_group(3, 4, Config::default());
    world.create(GroupId(2), &[1, 2, 3]);
    put_done(&mut world, 1);
    await_sleep(&mut world);
    // The node lives and gives signs of life; only its replica is gone.
    let reason = "its disk failed".to_owned();
    world.tell(1, stator_consensus::Event::Stop { group: GROUP, reason });
    world.run(5 * SECOND);
    assert!(is_asleep(&world, 2), "nobody has noticed");
    put(&mut world, 2, 2);
    let leader = world.await_leader(GROUP);
    let token = put(&mut world, leader, 3);
    await_end(&mut world, token, &End::Done);
}

#[test]
fn a_lost_word_to_rest_is_said_again() {
    let mut world = World::with_group(3, 5, Config::default());
    put_done(&mut world, 1);
    let is_rest = |message: &stator_consensus::PeerMessage, to: u64| {
        message.class == stator_consensus::Class::Rest && to == 3
    };
    world.filter = Some(is_rest);
    world.run_until("the leader sleeps", |world| is_asleep(world, 1));
    assert!(!is_asleep(&world, 3));
    world.filter = None;
    await_sleep(&mut world);
    assert_eq!(world.leader(GROUP), Some(1));
    finish(&mut world);
}

#[test]
fn a_group_with_a_dead_follower_does_not_rest() {
    let mut world = World::with_group(3, 6, Config::default());
    put_done(&mut world, 1);
    world.crash(3);
    put_done(&mut world, 2);
    world.run(6 * SECOND);
    assert!(!is_asleep(&world, 1), "it has to be told when it is back");
    world.boot(3);
    await_sleep(&mut world);
    finish(&mut world);
}
