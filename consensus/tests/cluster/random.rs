//! Random courses of events: callers, crashes, cuts, pauses, transfers, truncations, by a seed. A failing seed replays exactly.

use std::collections::BTreeMap;

use stator_consensus::{Config, Event, GroupId, Refusal};

use crate::history::{End, What};
use crate::node::Token;
use crate::toy::Request;
use crate::world::{Counts, MS, Rng, SECOND, Weather, World};

const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(2)];
const KEYS: [u8; 2] = [1, 2];

/// A caller who writes one register, or reads it.
struct Caller {
    group: GroupId,
    key: u8,
    writes: bool,
    target: u64,
    waits_for: Option<Token>,
    rests_until: u64,
    /// A write is proposed by then or never will be: whatever becomes of it comes before the caller's next one.
    gives_up_at: u64,
    value: u64,
}

impl Caller {
    /// Does what there is to do: looks at the answer, follows hints, asks anew.
    fn step(&mut self, world: &mut World, rng: &mut Rng) {
        if let Some(token) = self.waits_for {
            match world.history.end(token) {
                None if world.now < self.gives_up_at => return,
                None => self.target = rng.range(1, 4),
                Some(End::Refused(Refusal::NotLeader(Some(hint)))) => self.target = hint.0,
                Some(End::Refused(_) | End::Lost) => self.target = rng.range(1, 4),
                Some(End::Done | End::Saw(_)) => {}
            }
            self.waits_for = None;
            self.rests_until = world.now + rng.range(0, 60 * MS);
        }
        if world.now < self.rests_until {
            return;
        }
        let patience = if rng.one_in(8) { rng.range(MS, 50 * MS) } else { 300 * MS };
        self.gives_up_at = world.now + patience + 100 * MS;
        let token = if self.writes {
            self.value += 1;
            let (key, value) = (self.key, self.value);
            let request = match rng.range(0, 8) {
                0 => Request::Big { key, value, len: rng.range(100, 3000) as usize },
                _ => Request::Put { key, value },
            };
            world.submit_until(self.target, self.group, request, patience)
        } else if rng.one_in(3) {
            let request = Request::PutIf { key: self.key, expected: u64::MAX, value: 0 };
            world.submit_until(self.target, self.group, request, patience)
        } else {
            world.read(self.target, self.group, self.key)
        };
        self.waits_for = Some(token);
    }
}

fn callers() -> Vec<Caller> {
    let mut callers = Vec::new();
    for group in GROUPS {
        for key in KEYS {
            for writes in [true, false, false] {
                callers.push(Caller {
                    group,
                    key,
                    writes,
                    target: 1,
                    waits_for: None,
                    rests_until: 0,
                    gives_up_at: 0,
                    value: 0,
                });
            }
        }
    }
    callers
}

/// Things go wrong.
fn disturb(world: &mut World, rng: &mut Rng, down: &mut BTreeMap<u64, u64>) {
    let id = rng.range(1, 4);
    match rng.range(0, 12) {
        0 | 1 if world.nodes[&id].is_up() => {
            world.crash(id);
            down.insert(id, world.now + rng.range(0, 1500 * MS));
        }
        2 if down.is_empty() => {
            for id in world.ids() {
                world.crash(id);
                down.insert(id, world.now + rng.range(0, 100 * MS));
            }
        }
        3 | 4 => world.isolate(id),
        5 => {
            let other = 1 + id % 3;
            world.cut.insert((id, other));
        }
        6 | 7 => world.pause(id, rng.range(100 * MS, 2 * SECOND)),
        8 => {
            let group = rng.pick(&GROUPS);
            if let Some(leader) = world.leader(group) {
                world.tell(leader, Event::HandOver { group, to: None });
            }
        }
        9 => {
            for (id, group) in
                world.ids().into_iter().flat_map(|id| GROUPS.map(|group| (id, group)))
            {
                let index = world.status(id, group).map_or(0, |status| status.last_index);
                world.tell(id, Event::Pressure { group, index });
            }
        }
        10 => {
            world.weather.lost = rng.pick(&[0, 5, 20]);
            world.weather.stall = rng.pick(&[0, 20]);
        }
        _ => world.heal(),
    }
}

fn weather(rng: &mut Rng) -> Weather {
    let slowest = |rng: &mut Rng| rng.pick(&[MS, 5 * MS, 40 * MS]);
    Weather {
        delay: (MS / 10, slowest(rng)),
        sync: (MS / 10, slowest(rng)),
        apply: (MS / 50, slowest(rng)),
        lost: rng.pick(&[0, 0, 10, 50]),
        twice: rng.pick(&[0, 3, 10]),
        stall: 0,
    }
}

fn run(seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let config = Config {
        entry_bytes_max: 2 << 10,
        in_flight_bytes_max: 5 << 10,
        message_bytes_max: 4 << 10,
        cache_bytes_max: 512,
        truncate_entries: 16,
        apply_backlog_bytes_max: 4 << 10,
        apply_bytes_max: 1 << 10,
        sleep_ticks: 10,
        snapshot_ticks: 40,
        ..Config::default()
    };
    let mut world = World::new(3, seed, config);
    world.weather = weather(&mut rng);
    world.create(GROUPS[0], &[1, 2, 3]);
    world.create(GROUPS[1], &[2, 3, 1]);
    let mut callers = callers();
    let mut down = BTreeMap::new();
    let mut next_trouble = rng.range(100 * MS, SECOND);
    while world.now < 8 * SECOND {
        world.run(rng.range(MS, 10 * MS));
        callers.iter_mut().for_each(|caller| caller.step(&mut world, &mut rng));
        if world.now > next_trouble {
            disturb(&mut world, &mut rng, &mut down);
            next_trouble = world.now + rng.range(50 * MS, 800 * MS);
        }
        let up: Vec<u64> =
            down.iter().filter(|(_, until)| **until <= world.now).map(|(id, _)| *id).collect();
        for id in up {
            down.remove(&id);
            world.boot(id);
        }
    }
    calm_down(&mut world);
    world
}

/// When nothing goes wrong any more everything gets well.
fn calm_down(world: &mut World) {
    world.heal();
    world.weather = Weather::default();
    for id in world.ids() {
        world.pause(id, 0);
        if !world.nodes[&id].is_up() {
            world.boot(id);
        }
    }
    world.run(5 * SECOND);
    for (key, group) in (10..).zip(GROUPS) {
        world.run_until("a write in calm", |world| {
            let Some(leader) = world.leader(group) else { return false };
            let token = world.submit(leader, group, Request::Put { key, value: world.now });
            world.run(200 * MS);
            world.history.end(token) == Some(&End::Done)
        });
        world.run_until("convergence", |world| world.is_converged(group));
    }
    world.check();
    assert_eq!(world.history.unanswered(), [], "everybody is answered");
    assert_eq!(world.counts.refused, 0, "no correct replica's message is refused");
}

fn run_many(seeds: std::ops::Range<u64>) {
    let mut total = Counts::default();
    let (mut done, mut seen) = (0, 0);
    for seed in seeds {
        let world = std::panic::catch_unwind(|| run(seed));
        let world = world.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            panic!("seed {seed}: {}", text.unwrap_or_default());
        });
        done += world.history.count(|operation| {
            matches!((&operation.what, &operation.end), (What::Write(_), Some((_, End::Done))))
        });
        seen += world.history.count(|operation| matches!(operation.end, Some((_, End::Saw(_)))));
        total.add(&world.counts);
    }
    // A course of events that reaches nothing proves nothing.
    assert!(done > 1000 && seen > 1000, "{done} writes done, {seen} values seen");
    for (what, count) in total.all() {
        assert!(count > 0, "{what} never happened");
    }
}

#[test]
fn random_courses_are_linearizable() {
    // `STATOR_SEEDS=1000..3000` looks further.
    let seeds = std::env::var("STATOR_SEEDS").ok();
    let bounds = seeds.as_deref().and_then(|seeds| seeds.split_once(".."));
    let number = |text: &str| text.parse::<u64>().expect("STATOR_SEEDS is two numbers");
    let (from, to) = bounds.map_or((0, 500), |(from, to)| (number(from), number(to)));
    let middle = u64::midpoint(from, to);
    std::thread::scope(|scope| {
        scope.spawn(|| run_many(from..middle));
        run_many(middle..to);
    });
}

#[test]
fn a_seed_replays_exactly() {
    let (one, other) = (run(7), run(7));
    assert_eq!(one.trace(), other.trace());
    assert_ne!(one.trace(), run(8).trace());
}
