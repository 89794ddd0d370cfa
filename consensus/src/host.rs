//! The host: many replicas, one mailbox, one turn at a time.
//!
//! Everything that can happen to a host is an [`Event`], and everything it wants done is in the [`Effects`] of a turn. A shell drains
//! its mailbox, calls [`Host::turn`] once with all of it, and carries the effects out: one log write for all groups, messages,
//! jobs for the applier, answers. All groups' records of a turn share one write and one sync.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::Snapshot;
use stator_storage::log::{HardState, Mark, Record};
use stator_storage::machine::{Committed, Evaluator};

use crate::config::Config;
use crate::group::{Context, FIRST_MARK, Group, GroupStatus, LogReader, Recovered, Submission};
use crate::lease::ReplicaView;
use crate::sleep::{Peers, Rest};
use crate::types::{Class, GroupId, GroupSpec, NodeId, PeerMessage, Refusal, ReplicaId};

/// A replica to start.
pub struct StartGroup<E: Evaluator> {
    /// What it is.
    pub spec: GroupSpec,
    /// What recovery found, or [`Recovered::fresh`].
    pub recovered: Recovered,
    /// Whether the group was just made: the first-ranked replica campaigns at once, and nobody has promised anything yet.
    pub fresh: bool,
    /// The leader's half of the state machine.
    pub evaluator: E,
    /// What the replica shares with readers.
    pub view: Arc<ReplicaView>,
}

/// Everything that can happen to a host.
#[non_exhaustive]
pub enum Event<E: Evaluator, T> {
    /// A tick of the clock is over. Ticks that were missed are not made up.
    Tick,
    /// A peer's message arrived.
    Message(PeerMessage),
    /// A sign of life of a node.
    Ping(NodeId),
    /// A caller's request.
    Submit {
        /// The group it is for.
        group: GroupId,
        /// The request.
        request: E::Request,
        /// When it is too late, by the clock of [`Host::turn`].
        deadline_ns: u64,
        /// Whom to answer.
        token: T,
    },
    /// A caller wants to read strongly, and there is no lease.
    Read {
        /// The group to read.
        group: GroupId,
        /// When it is too late, by the clock of [`Host::turn`].
        deadline_ns: u64,
        /// Whom to answer.
        token: T,
    },
    /// The log has synced the records of this turn, and of all before it.
    Persisted {
        /// The turn.
        turn: u64,
    },
    /// The applier has made entries visible up to an index, or installed a snapshot that ends there.
    Applied {
        /// The group.
        group: GroupId,
        /// The index.
        index: u64,
    },
    /// The engine has flushed; this is what was applied before.
    Durable {
        /// The group.
        group: GroupId,
        /// The index.
        index: u64,
    },
    /// The log needs its space back.
    Pressure {
        /// The group that holds it.
        group: GroupId,
        /// The last entry to let go of.
        index: u64,
    },
    /// Messages to a node were dropped.
    Unreachable(NodeId),
    /// A snapshot that was wanted is ready: it begins at this index and term.
    SnapshotPrepared {
        /// The group.
        group: GroupId,
        /// The index up to which the snapshot holds what was applied.
        index: u64,
        /// Its term.
        term: u64,
        /// What the receiver's shell needs to know; opaque here.
        header: Bytes,
    },
    /// A snapshot has arrived, or has not.
    SnapshotSent {
        /// The group.
        group: GroupId,
        /// Whom it was sent to.
        to: ReplicaId,
        /// Whether it is complete there.
        arrived: bool,
    },
    /// Leadership is to move.
    HandOver {
        /// The group.
        group: GroupId,
        /// To whom; `None` chooses the replica furthest ahead.
        to: Option<ReplicaId>,
    },
    /// A replica is to start here.
    Start(Box<StartGroup<E>>),
    /// A replica has failed outside, or is to end here.
    Stop {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// A replica is removed from this node for good (R8).
    Remove {
        /// The group.
        group: GroupId,
    },
}

/// What a caller is answered.
#[derive(Debug)]
pub enum Answer<O> {
    /// The request was evaluated, and what it rests on is applied.
    Outcome(O),
    /// The caller may read now: a quorum has confirmed this leader since the caller came.
    MayRead,
    /// The group did not serve the request.
    Refused(Refusal),
}

/// Committed entries for the applier, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyJob {
    /// The group.
    pub group: GroupId,
    /// Consecutive entries.
    pub entries: Vec<Committed>,
}

/// A received snapshot for the applier to install in place of the replica's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallJob {
    /// The group.
    pub group: GroupId,
    /// The index that it ends at.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What the sender's shell gave with it.
    pub header: Bytes,
}

/// What a turn comes to.
pub struct Effects<E: Evaluator, T> {
    /// The turn's number; [`Event::Persisted`] names it once the log has synced `log`.
    pub turn: u64,
    /// One batch for the log.
    pub log: Vec<Record>,
    /// Messages, with the node that each goes to. They may leave at once.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// Nodes to give a sign of life.
    pub ping: Vec<NodeId>,
    /// Committed entries.
    pub apply: Vec<ApplyJob>,
    /// Snapshots to install, each before any apply job of its group that follows.
    pub install: Vec<InstallJob>,
    /// Answers.
    pub answers: Vec<(T, Answer<E::Outcome>)>,
    /// Groups whose follower needs a snapshot.
    pub snapshots_wanted: Vec<(GroupId, ReplicaId)>,
    /// Replicas that stopped on a fault, with the reason.
    pub faults: Vec<(GroupId, String)>,
    /// Elections won in this turn.
    pub elections: u64,
    /// Leases granted or renewed.
    pub leases: u64,
    /// Entries proposed.
    pub proposed: u64,
    /// Logs truncated.
    pub truncations: u64,
    /// Peers' messages that were refused.
    pub refused_messages: u64,
}

impl<E: Evaluator, T> Effects<E, T> {
    fn new(turn: u64) -> Self {
        Self {
            turn,
            log: Vec::new(),
            send: Vec::new(),
            ping: Vec::new(),
            apply: Vec::new(),
            install: Vec::new(),
            answers: Vec::new(),
            snapshots_wanted: Vec::new(),
            faults: Vec::new(),
            elections: 0,
            leases: 0,
            proposed: 0,
            truncations: 0,
            refused_messages: 0,
        }
    }

    pub(crate) fn answer(&mut self, token: T, answer: Answer<E::Outcome>) {
        self.answers.push((token, answer));
    }

    pub(crate) fn refuse(&mut self, token: T, refusal: Refusal) {
        self.answers.push((token, Answer::Refused(refusal)));
    }
}

/// Many replicas, driven together.
pub struct Host<E: Evaluator, T> {
    config: Config,
    reader: Arc<dyn LogReader>,
    groups: BTreeMap<GroupId, Group<E, T>>,
    awake: BTreeSet<GroupId>,
    peers: Peers,
    /// Groups with records in a turn that the log has not synced yet.
    unsynced: BTreeMap<u64, BTreeSet<GroupId>>,
    turn: u64,
    tick: u64,
}

impl<E: Evaluator, T> Host<E, T> {
    /// A host without replicas.
    #[must_use]
    pub fn new(config: Config, reader: Arc<dyn LogReader>) -> Self {
        Self {
            config,
            reader,
            groups: BTreeMap::new(),
            awake: BTreeSet::new(),
            peers: Peers::default(),
            unsynced: BTreeMap::new(),
            turn: 0,
            tick: 0,
        }
    }

    /// The state of all replicas, in order of their groups.
    pub fn statuses(&self) -> impl Iterator<Item = (GroupId, GroupStatus)> {
        self.groups.iter().map(|(id, group)| (*id, group.status()))
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
        let mut turn = Turn { now_ns, wall_ms, dirty: BTreeSet::new() };
        for event in events {
            self.handle(&mut turn, &mut effects, event);
        }
        for id in std::mem::take(&mut turn.dirty) {
            self.with_group(&turn, &mut effects, id, |group, cx| group.finish(cx));
        }
        let written: BTreeSet<GroupId> = effects.log.iter().map(Record::group).collect();
        if !written.is_empty() {
            self.unsynced.insert(self.turn, written);
        }
        effects
    }

    fn handle(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, event: Event<E, T>) {
        match event {
            Event::Tick => self.tick(turn, effects),
            Event::Message(message) => self.message(turn, effects, &message),
            Event::Ping(node) => self.peers.hear(node, self.tick),
            Event::Submit { group, request, deadline_ns, token } => {
                if self.groups.contains_key(&group) {
                    let submission = Submission { request, deadline_ns, token };
                    self.with_group(turn, effects, group, |group, cx| {
                        group.submit(cx, submission);
                        Ok(())
                    });
                    turn.dirty.insert(group);
                } else {
                    effects.refuse(token, Refusal::NoGroup);
                }
            }
            Event::Read { group, deadline_ns, token } => {
                if self.groups.contains_key(&group) {
                    self.with_group(turn, effects, group, |group, cx| {
                        group.read(cx, token, deadline_ns);
                        Ok(())
                    });
                    turn.dirty.insert(group);
                } else {
                    effects.refuse(token, Refusal::NoGroup);
                }
            }
            Event::Persisted { turn: synced } => self.persisted(turn, effects, synced),
            Event::Unreachable(node) => {
                for group in self.groups.values_mut() {
                    group.unreachable(node);
                }
            }
            Event::Start(start) => self.start(turn, effects, *start),
            Event::Stop { group, reason } => self.stop(effects, group, &reason),
            Event::Remove { group } => {
                self.stop(effects, group, "the replica was removed");
                effects.log.push(Record::Tombstone { group });
            }
            Event::Applied { group, index } => self.of_group(turn, effects, group, |group, _| {
                group.applied(index);
            }),
            Event::Durable { group, index } => self.of_group(turn, effects, group, |group, cx| {
                group.durable(index);
                group.truncate(cx, None);
            }),
            Event::Pressure { group, index } => self.of_group(turn, effects, group, |group, cx| {
                group.truncate(cx, Some(index));
            }),
            Event::SnapshotPrepared { group, index, term, header } => {
                self.of_group(turn, effects, group, |group, _| {
                    let mut snapshot = Snapshot::default();
                    snapshot.data = header;
                    let voters = group.spec().members.iter().map(|member| member.replica.0);
                    let voters: Vec<u64> = voters.collect();
                    let metadata = snapshot.mut_metadata();
                    metadata.index = index;
                    metadata.term = term;
                    metadata.mut_conf_state().set_voters(voters);
                    group.offer_snapshot(Some(snapshot));
                });
            }
            Event::SnapshotSent { group, to, arrived } => {
                self.of_group(turn, effects, group, |group, _| group.snapshot_sent(to, arrived));
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
        for member in &start.spec.members {
            if member.replica != start.spec.replica {
                self.peers.know(member.node, self.tick);
            }
        }
        if start.fresh {
            let (index, term) = FIRST_MARK;
            effects.log.push(Record::Reset { group: id, mark: Mark { index, term } });
            let state = HardState { term, vote: 0, commit: index };
            effects.log.push(Record::HardState { group: id, state });
        }
        let group = catch_unwind(AssertUnwindSafe(|| {
            let reader = self.reader.clone();
            let StartGroup { spec, recovered, fresh, evaluator, view } = start;
            Group::new(&self.config, spec, &recovered, evaluator, reader, turn.now_ns, fresh, view)
        }));
        match group.unwrap_or_else(|_| Err("the replica panicked when it started".to_owned())) {
            Ok(group) => {
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
            group.stop(effects, reason);
        }
    }

    fn persisted(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, synced: u64) {
        let later = self.unsynced.split_off(&(synced + 1));
        let groups: BTreeSet<GroupId> =
            std::mem::replace(&mut self.unsynced, later).into_values().flatten().collect();
        for id in groups {
            self.with_group(turn, effects, id, |group, cx| {
                group.persisted(cx, synced);
                Ok(())
            });
            turn.dirty.insert(id);
        }
    }

    fn tick(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>) {
        self.tick += 1;
        if self.tick.is_multiple_of(self.config.heartbeat_ticks as u64) {
            effects.ping.extend(self.peers.nodes());
        }
        for node in self.peers.fall_silent(self.tick, self.config.election_ticks as u64) {
            self.wake_led_by(node);
        }
        let sleep_ticks = self.config.sleep_ticks;
        for id in self.awake.clone() {
            self.with_group(turn, effects, id, |group, cx| {
                group.tick(cx);
                Ok(())
            });
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let quiet = group.is_quiet();
            if group.sleep().tick(quiet, sleep_ticks) {
                self.put_to_sleep(effects, id);
            } else {
                turn.dirty.insert(id);
            }
        }
    }

    /// A leader goes to sleep, and tells its followers to.
    fn put_to_sleep(&mut self, effects: &mut Effects<E, T>, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (term, index) = group.resting_place();
        let payload = Rest { term, index }.encode();
        let spec = group.spec();
        for member in spec.members.iter().filter(|member| member.replica != spec.replica) {
            let message = PeerMessage {
                group: id,
                from: spec.replica,
                to: member.replica,
                class: Class::Rest,
                payload: payload.clone(),
            };
            effects.send.push((member.node, message));
        }
        group.fall_asleep();
        self.awake.remove(&id);
    }

    fn wake_led_by(&mut self, node: NodeId) {
        for (id, group) in &mut self.groups {
            if group.sleep().asleep() && group.leader().is_none_or(|leader| leader == node) {
                group.sleep().wake();
                self.awake.insert(*id);
            }
        }
    }

    fn message(&mut self, turn: &mut Turn, effects: &mut Effects<E, T>, message: &PeerMessage) {
        let id = message.group;
        let Some(group) = self.groups.get_mut(&id) else { return };
        if let Some(node) = group.spec().node_of(message.from) {
            self.peers.hear(node, self.tick);
        }
        if message.class == Class::Rest {
            let follows = Rest::decode(&message.payload)
                .is_some_and(|rest| group.follows_to(rest.term, message.from, rest.index));
            if follows && message.to == group.spec().replica {
                group.fall_asleep();
                self.awake.remove(&id);
            }
            return;
        }
        self.with_group(turn, effects, id, |group, cx| group.step(cx, message));
        turn.dirty.insert(id);
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
        act: impl FnOnce(&mut Group<E, T>, &mut Context<'_, E, T>) -> Result<(), String>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut cx = Context {
            config: &self.config,
            now_ns: turn.now_ns,
            wall_ms: turn.wall_ms,
            tick: self.tick,
            turn: self.turn,
            effects,
        };
        let result = catch_unwind(AssertUnwindSafe(|| act(group, &mut cx)))
            .unwrap_or_else(|panic| Err(format!("the replica panicked: {}", panic_text(&*panic))));
        if let Err(reason) = result {
            tracing::error!(group = id.0, reason, "a replica stopped");
            // What the group has put into this turn's log write so far is a prefix of what it meant to: Raft allows any.
            self.stop(effects, id, &reason);
            effects.faults.push((id, reason));
        } else if !group.sleep().asleep() {
            self.awake.insert(id);
        }
    }
}

/// The time of a turn, and the groups that something happened to.
struct Turn {
    now_ns: u64,
    wall_ms: u64,
    dirty: BTreeSet<GroupId>,
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
