//! The nodes, the network between them, and the agenda that moves virtual time on.

mod callers;
mod checks;
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use stator_consensus::{
    Class, Config, Event, GroupId, GroupSpec, Member, NodeId, PeerMessage, ReadTicket, ReplicaId,
};

use crate::history::History;
use crate::node::{Job, Node, NodeEffects, NodeEvent, Token, encode};
use crate::toy::open;

pub(crate) use self::weather::{Counts, Rng, Weather};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// What is going to happen.
enum Action {
    Tick { node: u64, life: u64 },
    Turn { node: u64 },
    Deliver { node: u64, message: PeerMessage },
    Ping { node: u64, from: u64 },
    Synced { node: u64, life: u64, turn: u64 },
    Applier { node: u64, life: u64 },
    Flush { node: u64, life: u64 },
    Tell { node: u64, life: u64, event: Box<NodeEvent> },
    Prepare { node: u64, life: u64, group: GroupId },
    Read { node: u64, life: u64, token: Token, group: GroupId, key: u8, how: How },
    Finish { node: u64, life: u64, token: Token, group: GroupId, value: u64, how: How },
}

/// By what right a reader reads.
#[derive(Clone, Copy)]
enum How {
    Lease(ReadTicket),
    Index(ReadTicket),
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    pub(crate) nodes: BTreeMap<u64, Node>,
    agenda: BTreeMap<(u64, u64), Action>,
    sequence: u64,
    /// Pairs of nodes that do not hear each other, in one direction each.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) history: History,
    next_token: Token,
    reading: BTreeMap<Token, u8>,
    pub(crate) counts: Counts,
    pub(crate) faults: Vec<(u64, GroupId, String)>,
    /// Removals that hosts have said to be synced, and whether the disk had them by then.
    pub(crate) removed: Vec<(u64, GroupId, bool)>,
    /// The leader of each term, as the nodes told.
    leaders: BTreeMap<(GroupId, u64), u64>,
    trace: DefaultHasher,
    /// Messages of a group are lost on the way to a node, if this says so.
    pub(crate) filter: Option<fn(&PeerMessage, u64) -> bool>,
    /// Messages that arrive are kept, with whom they were for.
    pub(crate) keeps_messages: bool,
    pub(crate) kept: Vec<(u64, PeerMessage)>,
    /// Some messages are forged: two may then lead in one term.
    pub(crate) is_hostile: bool,
    /// Nobody prepares the snapshots that are wanted.
    pub(crate) drops_wishes: bool,
}

impl World {
    pub(crate) fn new(nodes: u64, seed: u64, config: Config) -> Self {
        config.validate().expect("a valid configuration");
        let mut rng = Rng::new(seed);
        let nodes =
            (1..=nodes).map(|id| (id, Node::new(rng.range(0, 10_000) as i64 - 5_000))).collect();
        let mut world = Self {
            now: 0,
            config,
            rng,
            weather: Weather::default(),
            nodes,
            agenda: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            history: History::default(),
            next_token: 0,
            reading: BTreeMap::new(),
            counts: Counts::default(),
            faults: Vec::new(),
            removed: Vec::new(),
            leaders: BTreeMap::new(),
            trace: DefaultHasher::new(),
            filter: None,
            keeps_messages: false,
            kept: Vec::new(),
            is_hostile: false,
            drops_wishes: false,
        };
        for id in world.ids() {
            world.boot(id);
        }
        world
    }

    /// Three nodes (or so) and one group with a replica on each.
    pub(crate) fn with_group(nodes: u64, seed: u64, config: Config) -> Self {
        let mut world = Self::new(nodes, seed, config);
        world.create(GroupId(1), &world.ids());
        world
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node")
    }

    /// Makes a group with a replica on each of the nodes, ranked in this order.
    pub(crate) fn create(&mut self, group: GroupId, on: &[u64]) {
        let member =
            |node: &u64| Member { replica: ReplicaId(group.0 * 100 + node), node: NodeId(*node) };
        let members: Vec<Member> = on.iter().map(member).collect();
        for member in &members {
            let spec = GroupSpec { group, replica: member.replica, members: members.clone() };
            self.node(member.node.0).create(&spec);
            self.wake(member.node.0);
        }
    }

    // Time.

    fn at(&mut self, delay: u64, action: Action) {
        self.sequence += 1;
        self.agenda.insert((self.now + delay, self.sequence), action);
    }

    fn wake(&mut self, node: u64) {
        let entry = self.nodes.get_mut(&node).expect("a node");
        if entry.turn_due || !entry.is_up() {
            return;
        }
        entry.turn_due = true;
        let until = entry.paused_until.saturating_sub(self.now);
        let stall = self.weather.stall;
        let stalled = if self.rng.one_in(stall) { self.rng.range(0, 300 * MS) } else { 0 };
        self.at(until.max(stalled).max(MS / 100), Action::Turn { node });
    }

    pub(crate) fn tell(&mut self, node: u64, event: NodeEvent) {
        if self.nodes[&node].is_up() {
            self.node(node).mailbox.push_back(event);
            self.wake(node);
        }
    }

    /// Lets time go by.
    pub(crate) fn run(&mut self, ns: u64) {
        let until = self.now + ns;
        while let Some((&(time, _), _)) = self.agenda.first_key_value() {
            if time > until {
                break;
            }
            let ((time, _), action) = self.agenda.pop_first().expect("there is one");
            self.now = time;
            self.act(action);
        }
        self.now = until;
    }

    /// Lets time go by until something is so, or panics after a while.
    pub(crate) fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        for _ in 0..20_000 {
            if is_so(self) {
                return;
            }
            self.run(MS);
        }
        panic!("20 s went by without: {what}");
    }

    fn is_alive(&self, node: u64, life: u64) -> bool {
        self.nodes[&node].is_up() && self.nodes[&node].life == life
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Turn { node } => self.turn(node),
            Action::Tick { node, life } if self.is_alive(node, life) => {
                // A paused process makes up for no tick.
                if self.nodes[&node].paused_until <= self.now {
                    self.tell(node, Event::Tick);
                }
                let tick = u64::try_from(self.config.tick.as_nanos()).expect("short");
                self.at(tick, Action::Tick { node, life });
            }
            Action::Deliver { node, message } => self.deliver(node, message),
            Action::Ping { node, from } => self.tell(node, Event::Ping(NodeId(from))),
            Action::Synced { node, life, turn } if self.is_alive(node, life) => {
                self.node(node).disk.sync(turn);
                self.tell(node, Event::Persisted { turn });
            }
            Action::Applier { node, life } if self.is_alive(node, life) => self.apply(node, life),
            Action::Flush { node, life } if self.is_alive(node, life) => self.flush(node, life),
            Action::Tell { node, life, event } if self.is_alive(node, life) => {
                self.tell(node, *event);
            }
            Action::Prepare { node, life, group } if self.is_alive(node, life) => {
                let data = open(&self.nodes[&node].engines[&group]).data.clone();
                let (index, term) = data.applied;
                let header = encode(&data);
                self.tell(node, Event::SnapshotPrepared { group, index, term, header });
            }
            Action::Read { node, life, token, group, key, how } if self.is_alive(node, life) => {
                let value =
                    open(&self.nodes[&node].engines[&group]).data.registers.get(&key).copied();
                let value = value.unwrap_or(0);
                let delay = self.reader_delay();
                self.at(delay, Action::Finish { node, life, token, group, value, how });
            }
            Action::Finish { node, life, token, group, value, how }
                if self.is_alive(node, life) =>
            {
                self.finish_read(node, token, group, value, how);
            }
            _ => {}
        }
    }

    fn turn(&mut self, id: u64) {
        let now = self.now;
        let node = self.node(id);
        if node.paused_until > now {
            let left = node.paused_until - now;
            self.at(left, Action::Turn { node: id });
            return;
        }
        node.turn_due = false;
        let clock = node.clock(now);
        let events: Vec<NodeEvent> = node.mailbox.drain(..).collect();
        let Some(host) = node.host.as_mut() else { return };
        let effects = host.turn(clock, now / MS, events);
        self.carry_out(id, effects);
    }

    fn carry_out(&mut self, id: u64, effects: NodeEffects) {
        let life = self.nodes[&id].life;
        self.note(id, &effects);
        if !effects.log.is_empty() {
            self.node(id).disk.stage(effects.turn, effects.log);
            let delay = self.rng.range(self.weather.sync.0, self.weather.sync.1);
            let free_at = self.nodes[&id].disk_free_at.max(self.now) + delay;
            self.node(id).disk_free_at = free_at;
            self.at(free_at - self.now, Action::Synced { node: id, life, turn: effects.turn });
        }
        for (to, message) in effects.send {
            self.send(id, to.0, &message);
        }
        for to in effects.ping {
            self.counts.pings += 1;
            if !self.is_lost(id, to.0) {
                let delay = self.rng.range(self.weather.delay.0, self.weather.delay.1);
                self.at(delay, Action::Ping { node: to.0, from: id });
            }
        }
        let jobs = effects.install.into_iter().map(Job::Install);
        let jobs = jobs.chain(effects.apply.into_iter().map(Job::Apply));
        self.node(id).jobs.extend(jobs);
        self.start_applier(id, life);
        for (token, answer) in effects.answers {
            self.answer(id, token, answer);
        }
        for (group, _) in effects.snapshots_wanted {
            if self.drops_wishes {
                continue;
            }
            self.at(20 * MS, Action::Prepare { node: id, life, group });
        }
        for group in effects.removed {
            let is_synced = self.nodes[&id].disk.recover(group).is_none();
            self.removed.push((id, group, is_synced));
        }
        for (group, reason) in effects.faults {
            self.faults.push((id, group, reason));
        }
    }

    fn note(&mut self, id: u64, effects: &NodeEffects) {
        let counts = &mut self.counts;
        counts.elections += effects.elections;
        counts.leases += effects.leases;
        counts.read_indexes += effects.read_indexes;
        counts.uncertain += effects.uncertain;
        counts.throttled += effects.throttled;
        counts.throttled_messages += effects.throttled_messages;
        counts.expired += effects.expired;
        counts.promises_kept += effects.promises_kept;
        counts.truncations += effects.truncations;
        counts.snapshots += effects.snapshots_accepted;
        counts.snapshots_over += effects.snapshots_over.len() as u64;
        counts.transfers += effects.transfers;
        counts.refused += effects.refused_messages;
        counts.sleeps += effects.sleeps;
        counts.messages += effects.send.len() as u64;
        for change in effects.leader_changes.iter().filter(|change| change.here) {
            let before = self.leaders.insert((change.group, change.term), id);
            assert!(
                before.is_none_or(|before| before == id),
                "two leaders in one term: {change:?}"
            );
        }
        let trace = (self.now, id, effects.turn, &effects.send.len(), effects.answers.len());
        trace.hash(&mut self.trace);
        for (to, message) in &effects.send {
            (to.0, message.group.0, &message.payload[..]).hash(&mut self.trace);
        }
        for record in &effects.log {
            format!("{record:?}").hash(&mut self.trace);
        }
    }

    /// A number that is the same for the same course of events.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    // The network.

    pub(crate) fn is_lost(&mut self, from: u64, to: u64) -> bool {
        let lost = self.weather.lost;
        self.cut.contains(&(from, to)) || self.rng.one_in(lost)
    }

    fn send(&mut self, from: u64, to: u64, message: &PeerMessage) {
        let is_filtered = self.filter.is_some_and(|filter| filter(message, to));
        let is_snapshot = message.class == Class::Snapshot;
        let sent = (message.group, message.to);
        let arrives = !is_filtered && !self.is_lost(from, to) && self.nodes[&to].is_up();
        let slow = if is_snapshot { 20 } else { 1 };
        if arrives {
            let twice = self.weather.twice;
            for _ in 0..1 + u64::from(self.rng.one_in(twice)) {
                let delay = slow * self.rng.range(self.weather.delay.0, self.weather.delay.1);
                self.at(delay, Action::Deliver { node: to, message: message.clone() });
            }
        } else {
            // What the transport drops it reports, if it knows: this message, or that the way broke.
            match self.rng.range(0, 4) {
                0 => self.tell(from, Event::Unreachable(NodeId(to))),
                1 => self.tell(from, Event::Dropped { group: sent.0, to: sent.1 }),
                _ => {}
            }
        }
        if is_snapshot {
            // The transport says in every case how it ended.
            let event = Event::SnapshotSent { group: sent.0, to: sent.1, arrived: arrives };
            let life = self.nodes[&from].life;
            self.at(30 * MS, Action::Tell { node: from, life, event: Box::new(event) });
        }
    }

    fn deliver(&mut self, id: u64, message: PeerMessage) {
        if !self.nodes[&id].is_up() {
            return;
        }
        if self.keeps_messages {
            self.kept.push((id, message.clone()));
        }
        if message.class == Class::Snapshot {
            self.node(id).receive_snapshot(&message);
        }
        self.tell(id, Event::Message(message));
    }

    /// Nobody hears this node, and it hears nobody.
    pub(crate) fn isolate(&mut self, id: u64) {
        for other in self.ids() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    fn is_isolated(&self, id: u64) -> bool {
        let mut others = self.nodes.keys().filter(|other| **other != id).peekable();
        others.peek().is_some() && others.all(|other| self.cut.contains(&(id, *other)))
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    // The disk and the applier.

    fn start_applier(&mut self, id: u64, life: u64) {
        let node = self.node(id);
        if node.applier_busy || node.jobs.is_empty() {
            return;
        }
        node.applier_busy = true;
        let delay = self.rng.range(self.weather.apply.0, self.weather.apply.1);
        self.at(delay, Action::Applier { node: id, life });
    }

    fn apply(&mut self, id: u64, life: u64) {
        let event = self.node(id).do_job();
        self.node(id).applier_busy = false;
        if let Some(event) = event {
            self.tell(id, event);
        }
        self.start_applier(id, life);
    }

    fn flush(&mut self, id: u64, life: u64) {
        let engines: Vec<_> = self.nodes[&id]
            .engines
            .iter()
            .map(|(group, engine)| (*group, engine.clone()))
            .collect();
        for (group, engine) in engines {
            let index = open(&engine).flush();
            self.tell(id, Event::Durable { group, index });
        }
        let delay = self.rng.range(150 * MS, 250 * MS);
        self.at(delay, Action::Flush { node: id, life });
    }

    pub(crate) fn boot(&mut self, id: u64) {
        let config = self.config;
        let offset = self.rng.range(0, 50 * MS);
        let node = self.node(id);
        node.boot(config);
        let life = node.life;
        self.at(offset, Action::Tick { node: id, life });
        self.at(offset, Action::Flush { node: id, life });
        self.wake(id);
    }

    /// The machine loses power: what the log has not synced and the engine has not flushed survives in part.
    pub(crate) fn crash(&mut self, id: u64) {
        let mut rng = self.rng.clone();
        let node = self.node(id);
        node.host = None;
        node.mailbox.clear();
        node.jobs.clear();
        node.turn_due = false;
        node.applier_busy = false;
        node.paused_until = 0;
        node.disk_free_at = 0;
        let unsynced = node.disk.unsynced() as u64;
        node.disk.crash(rng.range(0, unsynced + 1) as usize);
        for engine in node.engines.values() {
            let unflushed = open(engine).unflushed() as u64;
            open(engine).crash(rng.range(0, unflushed + 1) as usize);
        }
        self.rng = rng;
        self.history.lose(id, self.now);
    }

    /// The process stands still, and then goes on as if nothing had happened.
    pub(crate) fn pause(&mut self, id: u64, ns: u64) {
        self.node(id).paused_until = self.now + ns;
    }
}
