//! The nodes, the network between them, and the agenda that moves virtual time on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use stator_consensus::{
    Answer, Class, Config, Event, GroupId, GroupSpec, GroupStatus, Member, NodeId, PeerMessage,
    ReadTicket, Refusal, ReplicaId,
};

use crate::history::History;
use crate::node::{Job, Node, NodeEffects, NodeEvent, Token, encode};
use crate::toy::{Outcome, Request, open};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// A small generator (xorshift64*): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `low..high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.next().is_multiple_of(n)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.range(0, of.len() as u64) as usize]
    }
}

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

/// How the network and the disks behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: (u64, u64),
    pub(crate) sync: (u64, u64),
    pub(crate) apply: (u64, u64),
    /// One message in so many is lost, or comes twice; 0 is none.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// One turn in so many is put off for up to 300 ms.
    pub(crate) stall: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            delay: (MS / 5, MS),
            sync: (MS / 5, MS),
            apply: (MS / 20, MS / 5),
            lost: 0,
            twice: 0,
            stall: 0,
        }
    }
}

/// What effects counted, over all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) elections: u64,
    pub(crate) leases: u64,
    pub(crate) read_indexes: u64,
    pub(crate) uncertain: u64,
    pub(crate) throttled: u64,
    pub(crate) throttled_messages: u64,
    pub(crate) expired: u64,
    pub(crate) promises_kept: u64,
    pub(crate) truncations: u64,
    pub(crate) snapshots: u64,
    pub(crate) snapshots_over: u64,
    pub(crate) transfers: u64,
    pub(crate) refused: u64,
    pub(crate) sleeps: u64,
    pub(crate) messages: u64,
    pub(crate) pings: u64,
    pub(crate) lease_reads: u64,
    pub(crate) index_reads: u64,
}

impl Counts {
    /// What was counted, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("elections", self.elections),
            ("leases", self.leases),
            ("read_indexes", self.read_indexes),
            ("uncertain", self.uncertain),
            ("throttled", self.throttled),
            ("throttled_messages", self.throttled_messages),
            ("expired", self.expired),
            ("promises_kept", self.promises_kept),
            ("truncations", self.truncations),
            ("snapshots", self.snapshots),
            ("snapshots_over", self.snapshots_over),
            ("transfers", self.transfers),
            ("sleeps", self.sleeps),
            ("messages", self.messages),
            ("pings", self.pings),
            ("lease_reads", self.lease_reads),
            ("index_reads", self.index_reads),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.elections += other.elections;
        self.leases += other.leases;
        self.read_indexes += other.read_indexes;
        self.uncertain += other.uncertain;
        self.throttled += other.throttled;
        self.throttled_messages += other.throttled_messages;
        self.expired += other.expired;
        self.promises_kept += other.promises_kept;
        self.truncations += other.truncations;
        self.snapshots += other.snapshots;
        self.snapshots_over += other.snapshots_over;
        self.transfers += other.transfers;
        self.sleeps += other.sleeps;
        self.messages += other.messages;
        self.pings += other.pings;
        self.lease_reads += other.lease_reads;
        self.index_reads += other.index_reads;
    }
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
            self.send(id, to.0, message);
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

    fn send(&mut self, from: u64, to: u64, message: PeerMessage) {
        let is_filtered = self.filter.is_some_and(|filter| filter(&message, to));
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
        } else if self.rng.one_in(4) {
            self.tell(from, Event::Unreachable(NodeId(to)));
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

    // Callers.

    pub(crate) fn status(&self, id: u64, group: GroupId) -> Option<GroupStatus> {
        self.nodes[&id].host.as_ref()?.status(group)
    }

    /// The node that serves a group, if there is one.
    pub(crate) fn leader(&self, group: GroupId) -> Option<u64> {
        self.nodes.keys().copied().find(|id| {
            self.status(*id, group).is_some_and(|status| status.serves) && !self.is_isolated(*id)
        })
    }

    pub(crate) fn await_leader(&mut self, group: GroupId) -> u64 {
        self.run_until("a leader", |world| world.leader(group).is_some());
        self.leader(group).expect("just found")
    }

    pub(crate) fn submit(&mut self, id: u64, group: GroupId, request: Request) -> Token {
        self.submit_until(id, group, request, 5 * SECOND)
    }

    pub(crate) fn submit_until(
        &mut self,
        id: u64,
        group: GroupId,
        request: Request,
        patience: u64,
    ) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        self.history.invoke(token, id, group, &request, self.now);
        if self.nodes[&id].is_up() {
            let deadline_ns = self.nodes[&id].clock(self.now) + patience;
            self.tell(id, Event::Submit { group, request, deadline_ns, token });
        } else {
            self.history.refuse(token, Refusal::NoGroup, self.now);
        }
        token
    }

    /// A strong read: by the lease if the node has one, else by read index.
    pub(crate) fn read(&mut self, id: u64, group: GroupId, key: u8) -> Token {
        self.next_token += 1;
        let token = self.next_token;
        self.history.invoke_read(token, id, group, key, self.now);
        if !self.nodes[&id].is_up() {
            self.history.refuse(token, Refusal::NoGroup, self.now);
            return token;
        }
        let node = &self.nodes[&id];
        let (life, clock) = (node.life, node.clock(self.now));
        let ticket = node.views.get(&group).and_then(|view| view.begin(clock));
        if let Some(ticket) = ticket.filter(|_| node.paused_until <= self.now) {
            let how = How::Lease(ticket);
            let delay = self.reader_delay();
            self.at(delay, Action::Read { node: id, life, token, group, key, how });
        } else {
            self.reading.insert(token, key);
            let deadline_ns = clock + 5 * SECOND;
            self.tell(id, Event::Read { group, deadline_ns, token });
        }
        token
    }

    /// Readers are preempted now and then, between any two steps.
    fn reader_delay(&mut self) -> u64 {
        if self.rng.one_in(10) { self.rng.range(MS, 900 * MS) } else { self.rng.range(1, MS / 10) }
    }

    fn finish_read(&mut self, id: u64, token: Token, group: GroupId, value: u64, how: How) {
        let node = &self.nodes[&id];
        if node.paused_until > self.now {
            let (life, left) = (node.life, node.paused_until - self.now);
            self.at(left, Action::Finish { node: id, life, token, group, value, how });
            return;
        }
        let clock = node.clock(self.now);
        let view = &node.views[&group];
        match how {
            How::Lease(ticket) if view.holds(ticket, clock) => {
                self.counts.lease_reads += 1;
                self.history.observe(token, value, self.now);
            }
            How::Index(ticket) if view.holds_unleased(ticket) => {
                self.counts.index_reads += 1;
                self.history.observe(token, value, self.now);
            }
            _ => self.history.refuse(token, Refusal::NotLeader(None), self.now),
        }
    }

    fn answer(&mut self, id: u64, token: Token, answer: Answer<Outcome>) {
        match answer {
            Answer::Outcome(outcome) => self.history.answer(token, &outcome, self.now),
            Answer::Refused(refusal) => self.history.refuse(token, refusal, self.now),
            Answer::MayRead => {
                let key = self.reading.remove(&token).expect("a reader");
                let group = self.history.group(token);
                let life = self.nodes[&id].life;
                match self.nodes[&id].views[&group].begin_unleased() {
                    Some(ticket) => {
                        let how = How::Index(ticket);
                        let delay = self.reader_delay();
                        self.at(delay, Action::Read { node: id, life, token, group, key, how });
                    }
                    None => self.history.refuse(token, Refusal::NotLeader(None), self.now),
                }
            }
        }
    }

    // What must be so in the end.

    /// All replicas of a group are up to date and the same.
    pub(crate) fn is_converged(&self, group: GroupId) -> bool {
        let holders = self.nodes.iter().filter(|(_, node)| node.specs.contains_key(&group));
        let mut data = holders.clone().map(|(_, node)| open(&node.engines[&group]).data.clone());
        let Some(first) = data.next() else { return true };
        data.all(|other| other == first)
            && holders.clone().all(|(id, _)| {
                let status = self.status(*id, group);
                status.is_some_and(|status| status.applied == status.last_index)
            })
    }

    /// Logs agree where they overlap, nothing failed, and everybody was answered once.
    pub(crate) fn check(&self) {
        assert_eq!(self.faults, [], "no replica stops");
        let groups: BTreeSet<GroupId> =
            self.nodes.values().flat_map(|node| node.specs.keys().copied()).collect();
        for group in groups {
            let logs =
                self.nodes.iter().filter(|(_, node)| node.is_up()).filter_map(|(id, node)| {
                    Some((node.disk.terms(group), self.status(*id, group)?.committed))
                });
            let logs: Vec<_> = logs.collect();
            for (one, to) in &logs {
                for (other, other_to) in &logs {
                    for (index, term) in one.range(..=*to.min(other_to)) {
                        let theirs = other.get(index);
                        assert!(
                            theirs.is_none_or(|theirs| theirs == term),
                            "logs differ at {index}"
                        );
                    }
                }
            }
        }
        for node in self.nodes.values() {
            assert_eq!(node.skipped, 0, "entries are applied in the term they were made in");
        }
        self.history.check();
    }
}
