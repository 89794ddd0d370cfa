//! The host: many replicas, one mailbox, one turn at a time.
//!
//! Everything that can happen to a host is an [`Event`], and everything it wants done is in the [`Effects`] of a turn. A shell drains
//! its mailbox, calls [`Host::turn`] once with all of it, and carries the effects out: one log write for all groups, messages,
//! jobs for the applier, answers. All groups' records of a turn share one write and one sync.
//!
//! A turn costs what the groups cost to which something happened, and a tick what those cost that are awake; only a node that
//! falls silent, or the way to which breaks, makes the host look at all its groups.
//!
//! A group's part of a turn runs under `catch_unwind`: a fault or a panic stops that replica, answers all who wait for it, and
//! leaves the others alone. What it has put into the turn's log write by then is a prefix of what it meant to, which is what a
//! crash would have left.

mod effects;
mod event;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use stator_storage::log::{HardState, Mark, Record};
use stator_storage::machine::Evaluator;

pub use self::effects::{Answer, ApplyJob, Effects, InstallJob, LeaderChange};
pub use self::event::{Event, StartGroup};
use crate::config::Config;
use crate::group::{Context, FIRST_MARK, Fault, Footprint, Group, GroupStatus, LogReader};
use crate::sleep::Peers;
use crate::types::{Class, GroupId, NodeId, PeerMessage, Refusal};

/// Many replicas, driven together.
pub struct Host<E: Evaluator, T> {
    config: Config,
    reader: Arc<dyn LogReader>,
    claim: fn(&T) -> bool,
    groups: BTreeMap<GroupId, Group<E, T>>,
    awake: BTreeSet<GroupId>,
    /// Groups removed for good since this host began, with the turn that says so, until the log has synced that.
    removed: BTreeMap<GroupId, Option<u64>>,
    peers: Peers,
    /// The groups with records in a turn that the log has not synced yet.
    unsynced: VecDeque<(u64, Vec<GroupId>)>,
    /// What all groups together hold.
    footprint: Footprint,
    /// Whose entries are taken from their leaders.
    takes_entries: fn(GroupId) -> bool,
    retiring: bool,
    turn: u64,
    tick: u64,
}

/// The time of a turn, and the groups that something happened to.
struct Turn {
    number: u64,
    now_ns: u64,
    wall_ms: u64,
    tick: u64,
    retiring: bool,
    dirty: BTreeSet<GroupId>,
}

impl Turn {
    fn context<'a, E: Evaluator, T>(
        &self,
        config: &'a Config,
        claim: fn(&T) -> bool,
        others: Footprint,
        effects: &'a mut Effects<E, T>,
    ) -> Context<'a, E, T> {
        Context {
            config,
            claim,
            now_ns: self.now_ns,
            wall_ms: self.wall_ms,
            tick: self.tick,
            turn: self.number,
            retiring: self.retiring,
            others,
            effects,
        }
    }
}

impl<E: Evaluator, T> Host<E, T> {
    /// A host without replicas.
    #[must_use]
    pub fn new(config: Config, reader: Arc<dyn LogReader>) -> Self {
        Self {
            config,
            reader,
            claim: |_| true,
            groups: BTreeMap::new(),
            awake: BTreeSet::new(),
            removed: BTreeMap::new(),
            peers: Peers::default(),
            unsynced: VecDeque::new(),
            footprint: Footprint::default(),
            takes_entries: |_| true,
            retiring: false,
            turn: 0,
            tick: 0,
        }
    }

    /// A host that asks `claim` before it begins with a request whether its caller still waits. From then on the request may be done;
    /// one whose caller has gone before that never is, and the caller knows it.
    #[must_use]
    pub fn claiming(self, claim: fn(&T) -> bool) -> Self {
        Self { claim, ..self }
    }

    /// The state of all replicas, in order of their groups.
    pub fn statuses(&self) -> impl Iterator<Item = (GroupId, GroupStatus)> {
        self.groups.iter().map(|(id, group)| (*id, group.status()))
    }

    /// The state of a replica.
    #[must_use]
    pub fn status(&self, group: GroupId) -> Option<GroupStatus> {
        self.groups.get(&group).map(Group::status)
    }

    /// How many groups are led here that another replica could lead: what is left to do after [`Event::Retire`].
    #[must_use]
    pub fn leads(&self) -> usize {
        self.groups.values().filter(|group| group.is_leading() && !group.is_alone()).count()
    }

    /// Says of which groups entries are taken from leaders elsewhere: a node without room for them lets them be sent again later,
    /// and stays a follower in all else.
    pub fn set_takes_entries(&mut self, takes_entries: fn(GroupId) -> bool) {
        self.takes_entries = takes_entries;
    }

    /// Whether nobody waits for an answer, nothing waits for the log, and everything committed is applied.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.unsynced.is_empty() && self.groups.values().all(Group::is_idle)
    }

    /// Bytes of requests that wait and of entries proposed and not yet applied, over all groups.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> usize {
        self.footprint.in_flight
    }

    /// One turn: everything that happened, at the monotonic time `now_ns`, taken after the mailbox was drained (R4), and the
    /// wall clock `wall_ms`, for stamps.
    pub fn turn(
        &mut self,
        now_ns: u64,
        wall_ms: u64,
        events: impl IntoIterator<Item = Event<E, T>>,
    ) -> Effects<E, T> {
        self.turn += 1;
        let mut effects = Effects::new(self.turn);
        let mut turn = Turn {
            number: self.turn,
            now_ns,
            wall_ms,
            tick: self.tick,
            retiring: self.retiring,
            dirty: BTreeSet::new(),
        };
        for event in events {
            self.handle(&mut turn, &mut effects, event);
        }
        for id in std::mem::take(&mut turn.dirty) {
            self.with_group(&turn, &mut effects, id, |group, cx| group.finish(cx));
        }
        if !effects.log.is_empty() {
            let mut written: Vec<GroupId> = effects.log.iter().map(Record::group).collect();
            written.sort_unstable();
            written.dedup();
            self.unsynced.push_back((self.turn, written));
        }
        effects
    }

    fn handle(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, event: Event<E, T>) {
        match event {
            Event::Tick => self.tick(turn, effects),
            Event::Message(message) => self.message(turn, effects, &message),
            Event::Ping(node) => self.peers.hear(node, self.tick),
            Event::Submit { group, token, .. } | Event::Read { group, token, .. }
                if !self.groups.contains_key(&group) =>
            {
                effects.refuse(token, Refusal::NoGroup);
            }
            Event::Submit { group, request, deadline_ns, token } => {
                self.of_group(turn, effects, group, |group, cx| {
                    group.submit(cx, request, deadline_ns, token);
                });
            }
            Event::Read { group, deadline_ns, token } => {
                self.of_group(turn, effects, group, |group, cx| group.read(cx, token, deadline_ns));
            }
            Event::Persisted { turn: synced } => self.persisted(turn, effects, synced),
            // A node that is down gets messages of many groups, and each is dropped: none of them may cost a look at all groups.
            Event::Dropped { group, to } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.unreachable(to);
                }
            }
            Event::Unreachable(node) => {
                self.groups.values_mut().for_each(|group| group.node_unreachable(node));
            }
            Event::Start(start) => self.start(turn, effects, *start),
            Event::Stop { group, reason } => self.stop(effects, group, &reason),
            Event::Remove { group } => self.remove(effects, group),
            Event::Retire => {
                self.retiring = true;
                turn.retiring = true;
                for id in self.groups.keys().copied().collect::<Vec<_>>() {
                    self.of_group(turn, effects, id, |group, cx| group.hand_over(cx, None));
                }
            }
            Event::Applied { group, index } => {
                self.of_group(turn, effects, group, |group, _| group.applied(index));
            }
            Event::Durable { group, index } => self.of_group(turn, effects, group, |group, cx| {
                group.durable(index);
                group.truncate(cx, None);
            }),
            Event::Pressure { group, index } => self.of_group(turn, effects, group, |group, cx| {
                group.truncate(cx, Some(index));
            }),
            Event::SnapshotPrepared { group, index, term, header } => {
                self.of_group(turn, effects, group, |group, cx| {
                    group.offer_snapshot(cx, (index, term), header);
                });
            }
            Event::SnapshotGoesOn { group, to } => {
                self.of_group(turn, effects, group, |group, cx| group.snapshot_goes_on(cx, to));
            }
            Event::SnapshotSent { group, to, arrived } => {
                self.of_group(turn, effects, group, |group, _| group.snapshot_sent(to, arrived));
            }
            Event::SnapshotLost { group } => {
                self.of_group(turn, effects, group, |group, cx| group.snapshot_lost(cx));
            }
            Event::HandOver { group, to } => {
                self.of_group(turn, effects, group, |group, cx| group.hand_over(cx, to));
            }
        }
    }

    fn start(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, start: StartGroup<E>) {
        let id = start.spec.group;
        if self.groups.contains_key(&id) {
            return;
        }
        if self.removed.contains_key(&id) {
            effects.faults.push((id, "the replica was removed from this node for good".to_owned()));
            return;
        }
        let reader = self.reader.clone();
        let cx = turn.context(&self.config, self.claim, self.footprint, effects);
        // Also a replica that the node was late to make, of a group that lives already: the log has to hear where it begins.
        let is_new = start.fresh || start.recovered.is_new();
        let group = catch_unwind(AssertUnwindSafe(|| {
            let StartGroup { spec, recovered, fresh, evaluator, view } = start;
            Group::new(&cx, spec, &recovered, fresh, evaluator, (reader, view))
        }));
        match group.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(group) => {
                for node in peers_of(&group) {
                    self.peers.join(node, self.tick);
                }
                if is_new {
                    let (index, term) = FIRST_MARK;
                    effects.log.push(Record::Reset { group: id, mark: Mark { index, term } });
                    let state = HardState { term, vote: 0, commit: index };
                    effects.log.push(Record::HardState { group: id, state });
                }
                self.groups.insert(id, group);
                self.awake.insert(id);
                turn.dirty.insert(id);
            }
            Err(reason) => effects.faults.push((id, reason)),
        }
    }

    fn stop(&mut self, effects: &mut Effects<E, T>, id: GroupId, reason: &str) {
        self.awake.remove(&id);
        if let Some(mut group) = self.groups.remove(&id) {
            for node in peers_of(&group) {
                self.peers.leave(node);
            }
            self.footprint = self.footprint.without(group.footprint());
            group.stop(effects, reason);
        }
    }

    fn remove(&mut self, effects: &mut Effects<E, T>, id: GroupId) {
        self.stop(effects, id, "the replica was removed from this node");
        match self.removed.get(&id) {
            None => {
                self.removed.insert(id, Some(self.turn));
                effects.log.push(Record::Tombstone { group: id });
            }
            // Whoever asks again may have missed the word of it.
            Some(None) => effects.removed.push(id),
            Some(Some(_)) => {}
        }
    }

    fn persisted(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, synced: u64) {
        while self.unsynced.front().is_some_and(|(written, _)| *written <= synced) {
            let Some((written, groups)) = self.unsynced.pop_front() else { break };
            for id in groups {
                self.of_group(turn, effects, id, |group, cx| group.persisted(cx, synced));
                self.note_removed(effects, id, written);
            }
        }
    }

    /// The log has synced records of this group in a turn: if that was its tombstone, it is gone for good.
    fn note_removed(&mut self, effects: &mut Effects<E, T>, id: GroupId, written: u64) {
        if let Some(turn) = self.removed.get_mut(&id).filter(|turn| **turn == Some(written)) {
            *turn = None;
            effects.removed.push(id);
        }
    }

    fn tick(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>) {
        self.tick += 1;
        turn.tick = self.tick;
        if self.tick.is_multiple_of(self.config.heartbeat_ticks as u64) {
            effects.ping.extend(self.peers.nodes());
        }
        for node in self.peers.fall_silent(self.tick, self.config.election_ticks as u64) {
            self.wake_led_by(effects, node);
        }
        let sleep_ticks = self.config.sleep_ticks;
        for id in self.awake.clone() {
            self.of_group(turn, effects, id, |group, cx| {
                group.tick(cx);
                if group.is_tired(sleep_ticks) {
                    cx.effects.sleeps += 1;
                    group.go_to_rest(cx);
                }
            });
        }
    }

    fn wake_led_by(&mut self, effects: &mut Effects<E, T>, node: NodeId) {
        for (id, group) in &mut self.groups {
            if group.is_asleep() && group.leader().is_none_or(|leader| leader == node) {
                group.wake();
                effects.wakes += 1;
                self.awake.insert(*id);
            }
        }
    }

    fn message(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, message: &PeerMessage) {
        let id = message.group;
        let Some(group) = self.groups.get(&id) else { return };
        if let Some(node) = group.spec().node_of(message.from) {
            self.peers.hear(node, self.tick);
        }
        turn.dirty.insert(id);
        let takes_entries = (self.takes_entries)(id);
        self.with_group(turn, effects, id, |group, cx| {
            if message.class == Class::Rest {
                group.hear_rest(message);
                Ok(())
            } else {
                group.step(cx, message, takes_entries)
            }
        });
    }

    fn of_group(
        &mut self,
        turn: &mut Turn,
        effects: &mut Effects<E, T>,
        id: GroupId,
        act: impl FnOnce(&mut Group<E, T>, &mut Context<'_, E, T>),
    ) {
        self.with_group(turn, effects, id, |group, cx| {
            act(group, cx);
            Ok(())
        });
        turn.dirty.insert(id);
    }

    /// Runs a group's part of a turn. A fault or a panic stops that replica, loudly, and no other.
    fn with_group(
        &mut self,
        turn: &Turn,
        effects: &mut Effects<E, T>,
        id: GroupId,
        act: impl FnOnce(&mut Group<E, T>, &mut Context<'_, E, T>) -> Result<(), Fault>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let others = self.footprint.without(group.footprint());
        let mut cx = turn.context(&self.config, self.claim, others, effects);
        let result = catch_unwind(AssertUnwindSafe(|| act(group, &mut cx)))
            .unwrap_or_else(|panic| Err(panic_text(&*panic)));
        self.footprint = others.with(group.footprint());
        if let Err(reason) = result {
            tracing::error!(group = id.0, reason, "a replica stopped");
            self.stop(effects, id, &reason);
            effects.faults.push((id, reason));
        } else if group.is_asleep() {
            self.awake.remove(&id);
        } else {
            self.awake.insert(id);
        }
    }
}

impl Footprint {
    fn with(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight + other.in_flight,
            cache: self.cache + other.cache,
            backlog: self.backlog + other.backlog,
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight - other.in_flight,
            cache: self.cache - other.cache,
            backlog: self.backlog - other.backlog,
        }
    }
}

fn peers_of<E: Evaluator, T>(group: &Group<E, T>) -> Vec<NodeId> {
    let spec = group.spec();
    let others = spec.members.iter().filter(|member| member.replica != spec.replica);
    others.map(|member| member.node).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the replica panicked: {}", text.unwrap_or("without a message"))
}
