//! One replica of a group: a `RawNode` and what surrounds it.
//!
//! A turn of the host hands a group its events one by one (`step`, `submit`, ...) and then lets it finish
//! (`finish`): note who leads, evaluate what came in, ask the quorum, handle Raft's readies, feed the applier. In that
//! order, because a request is judged by what the turn's messages changed, and because the time that judges a lease is taken
//! after the mailbox was drained (R4).
//!
//! - `start`: what a replica starts from. `leading`: leadership, evaluation, proposals. `answers`: who waits for what.
//! - `ready`: Raft's readies, the log, the applier. `log_space`: truncation, and snapshots for followers.
//! - `transfer`: leadership handed over. `rest`: sleep.
//!
//! # Invariants
//! - Every token is answered exactly once, also when the replica stops on a fault in the middle of anything: tokens live in the
//!   group's fields, never only in a local variable while foreign code (evaluator, raft-rs) runs.
//! - A replica campaigns only if `may_campaign` says so, by whatever way it comes to campaign.

mod answers;
mod leading;
mod log_space;
mod ready;
mod rest;
mod start;
mod transfer;

use std::sync::Arc;

use raft::eraftpb::{Message, MessageType};
use raft::{RawNode, StateRole};
use stator_storage::machine::Evaluator;
use stator_storage::mutation::{Mutation, planted};

use self::answers::Waiter;
use self::leading::Leading;
use self::log_space::Outgoing;
use self::ready::Leaves;
pub use self::start::{FIRST_MARK, Recovered};
use self::transfer::Transfer;
use crate::admission;
use crate::config::Config;
use crate::feed::Feed;
use crate::host::Effects;
use crate::lease::{Lease, ReplicaView};
use crate::outbox::{Held, Outbox};
use crate::pending::Pending;
use crate::promise::Promise;
use crate::reads::Reads;
use crate::sleep::Sleep;
pub use crate::store::LogReader;
use crate::store::Store;
use crate::types::{GroupSpec, Member, NodeId, PeerMessage, ReplicaId};
use crate::waiting::Waiting;

/// The time and place of a turn.
pub(crate) struct Context<'a, E: Evaluator, T> {
    pub(crate) config: &'a Config,
    /// Whether a caller still waits, asked once.
    pub(crate) claim: fn(&T) -> bool,
    pub(crate) now_ns: u64,
    pub(crate) wall_ms: u64,
    pub(crate) tick: u64,
    pub(crate) turn: u64,
    /// Leadership is being handed over everywhere: nobody campaigns here.
    pub(crate) retiring: bool,
    /// What the other groups of the host hold.
    pub(crate) others: Footprint,
    pub(crate) effects: &'a mut Effects<E, T>,
}

/// The memory that a group holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Requests that wait, and entries proposed and not yet applied.
    pub(crate) in_flight: usize,
    /// Entries kept besides the log.
    pub(crate) cache: usize,
    /// Entries of leaders elsewhere, committed and not yet applied.
    pub(crate) backlog: usize,
}

/// One replica.
pub(crate) struct Group<E: Evaluator, T> {
    spec: GroupSpec,
    node: RawNode<Store>,
    evaluator: E,
    leading: Option<Leading>,
    /// The term and leader as they were last told in the effects.
    announced: (u64, Option<NodeId>),
    lease: Lease,
    promise: Promise,
    reads: Reads<Waiter<E::Outcome, T>>,
    /// How many of those who wait in `reads` are the lease itself.
    renewals: usize,
    pending: Pending<(T, E::Outcome)>,
    waiting: Waiting<E::Request, T>,
    /// Whose request is being evaluated, and whose outcomes rest on the entry being filled.
    evaluating: Option<T>,
    drafted: Vec<(T, E::Outcome)>,
    outbox: Outbox<Leaves>,
    feed: Feed,
    transfer: Option<Transfer>,
    /// Who was to succeed this leader last, and did not.
    vain_heir: Option<ReplicaId>,
    outgoing: Option<Outgoing>,
    /// When to ask next for a snapshot in place of one that was lost.
    request_tick: u64,
    /// When to ask next who leads, while it needs a snapshot and has heard of no leader.
    knock_tick: u64,
    /// Campaigns as soon as it may, without waiting for an election timeout.
    eager: bool,
    sleep: Sleep,
}

/// What stops one replica, in words.
pub(crate) type Fault = String;

impl<E: Evaluator, T> Group<E, T> {
    /// Starts a replica.
    ///
    /// # Errors
    /// What was recovered contradicts itself: the replica must not start.
    pub(crate) fn new(
        cx: &Context<'_, E, T>,
        spec: GroupSpec,
        recovered: &Recovered,
        fresh: bool,
        evaluator: E,
        (reader, view): (Arc<dyn LogReader>, Arc<ReplicaView>),
    ) -> Result<Self, Fault> {
        let (node, committed) = start::raft_node(cx.config, &spec, recovered, reader)?;
        let is_alone = spec.members.len() == 1;
        let timeout_ns = nanos(cx.config.election_timeout());
        let promise = if fresh || is_alone || planted(Mutation::PromiseLostByRestart) {
            Promise::none(timeout_ns)
        } else {
            Promise::new(cx.now_ns, timeout_ns)
        };
        view.set_applied(recovered.applied.0);
        view.set_leader(None);
        let mut outbox = Outbox::new();
        if fresh {
            // Nothing leaves before the records that make the group are synced: a replica that a crash made fresh once more
            // would have said something it does not remember.
            outbox.hold(Held {
                number: 0,
                turn: cx.turn,
                last_index: None,
                votes: true,
                leaves: Leaves::default(),
            });
        }
        Ok(Self {
            eager: is_alone || (fresh && spec.rank() == 0),
            announced: (node.raft.term, None),
            node,
            evaluator,
            leading: None,
            lease: Lease::new(view, nanos(cx.config.lease_length()), cx.config.leases),
            promise,
            reads: Reads::new(cx.config.read_retry_ticks, Waiter::bytes),
            renewals: 0,
            pending: Pending::new(),
            waiting: Waiting::new(),
            evaluating: None,
            drafted: Vec::new(),
            outbox,
            feed: if recovered.is_lacking() {
                Feed::lacking(recovered.applied.0, recovered.mark.0, committed)
            } else {
                Feed::new(recovered.applied.0, committed)
            },
            transfer: None,
            vain_heir: None,
            outgoing: None,
            request_tick: 0,
            knock_tick: 0,
            sleep: Sleep::default(),
            spec,
        })
    }

    /// The replica's description.
    pub(crate) const fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// The node of the leader, if one is known.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.spec.node_of(ReplicaId(self.node.raft.leader_id))
    }

    /// Whether the group has no other replica.
    pub(crate) fn is_alone(&self) -> bool {
        self.spec.members.len() == 1
    }

    pub(crate) const fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    pub(crate) fn footprint(&self) -> Footprint {
        Footprint {
            in_flight: self.pending.bytes() + self.waiting.bytes() + self.reads.bytes(),
            cache: self.node.store().cache_bytes(),
            // A leader's own are in flight.
            backlog: if self.leading.is_some() { 0 } else { self.feed.backlog() },
        }
    }

    /// The replica's state, for those who watch.
    pub(crate) fn status(&self) -> GroupStatus {
        let raft = &self.node.raft;
        GroupStatus {
            replica: self.spec.replica,
            term: raft.term,
            leader: self.leader(),
            leads: self.leading.is_some(),
            serves: self.leading.is_some_and(|leading| leading.ready) && self.transfer.is_none(),
            first_index: self.node.store().mark().0 + 1,
            last_index: raft.raft_log.last_index(),
            committed: raft.raft_log.committed,
            applied: self.feed.applied(),
            asleep: self.sleep.asleep(),
            behind: self.followers_behind(),
        }
    }

    /// A peer's message, checked and then given to Raft.
    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_, E, T>,
        peer: &PeerMessage,
        takes_entries: bool,
    ) -> Result<(), Fault> {
        let message = match admission::admit(peer, &self.spec, &self.node.raft) {
            Ok(message) => message,
            Err(reason) => {
                cx.effects.refused_messages += 1;
                let (group, from) = (peer.group.0, peer.from.0);
                tracing::warn!(group, from, reason, "dropped a peer's message");
                return Ok(());
            }
        };
        self.wake_for(cx, &message);
        let is_bound = self.promise.binds(cx.now_ns) && !planted(Mutation::NoPromise);
        if admission::solicits_vote(&message) && is_bound {
            cx.effects.promises_kept += 1;
            return Ok(());
        }
        match message.get_msg_type() {
            // A follower that applies too slowly takes no more entries until it has caught up: what it has not applied is held
            // in memory, and a campaign loads all of it (R11, R12). Nor does one whose node has no room for them, on disk or in
            // memory. Heartbeats go on, so that the leader does not take it for dead; it sends them again. Only what is committed
            // counts, for that goes away by being applied; what is not might wait for the very entries that are refused.
            MessageType::MsgAppend
                if !message.entries.is_empty() && (!takes_entries || self.is_flooded(cx)) =>
            {
                cx.effects.throttled_messages += 1;
                return Ok(());
            }
            MessageType::MsgTimeoutNow if !self.may_succeed(cx, &message) => return Ok(()),
            _ => {}
        }
        if admission::is_leaders(&message)
            && message.term >= self.node.raft.term
            && !self.is_alone()
        {
            self.promise.renew(cx.now_ns);
        }
        let message =
            if planted(Mutation::MatchesAnything) { self.matched(message) } else { message };
        match self.node.step(message) {
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(format!("Raft refused a message: {error}")),
        }
    }

    /// Whether too much is left to apply, here or in all groups of the host.
    fn is_flooded(&self, cx: &Context<'_, E, T>) -> bool {
        let of_all = cx.others.backlog.saturating_add(self.footprint().backlog);
        self.feed.bytes() > cx.config.apply_backlog_bytes_max
            || of_all > cx.config.host_apply_backlog_bytes_max
    }

    /// A planted bug: a leader's entries, as if they stood behind what this replica has.
    fn matched(&self, mut message: Message) -> Message {
        if message.get_msg_type() == MessageType::MsgAppend
            && message.index <= self.node.raft.raft_log.last_index()
            && let Ok(term) = self.node.raft.raft_log.term(message.index)
        {
            message.log_term = term;
        }
        message
    }

    /// A tick of the clock.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_, E, T>) {
        self.expire(cx);
        self.tick_transfer(cx);
        self.tick_snapshot(cx);
        let raft = &self.node.raft;
        let would_campaign = raft.state != StateRole::Leader
            && raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        if !would_campaign || self.may_campaign(cx) {
            self.node.tick();
        } else {
            self.knock(cx);
        }
    }

    /// Whether this replica may ask for votes now. A promise forbids it (R2), a vote for oneself alone must not meet a write in
    /// flight (R6), and a leader needs its data (R12, R18).
    fn may_campaign(&self, cx: &Context<'_, E, T>) -> bool {
        let log = &self.node.raft.raft_log;
        let may_vote = if self.is_alone() {
            self.outbox.is_empty() && log.persisted == log.last_index()
        } else {
            let is_bound = self.promise.binds(cx.now_ns) && !planted(Mutation::NoPromise);
            !is_bound && !cx.retiring
        };
        may_vote && self.has_caught_up(cx.config)
    }

    /// Whether a leader's order to campaign at once counts. The promise does not bind here, for the leader itself has released
    /// it; but it has to be this term's leader, not one of long ago (R3), and a leader needs its data.
    fn may_succeed(&self, cx: &Context<'_, E, T>, order: &Message) -> bool {
        let raft = &self.node.raft;
        (order.term, order.from) == (raft.term, raft.leader_id)
            && !cx.retiring
            && self.has_caught_up(cx.config)
    }

    /// Whether the replica has data at all, holds the snapshot it was sent, and has little left to apply: raft-rs loads all that
    /// is committed and not applied when it campaigns, and panics if some of it is not there.
    fn has_caught_up(&self, config: &Config) -> bool {
        self.node.raft.raft_log.last_index() > 0
            && !self.feed.is_lacking()
            && self.feed.applied() >= self.node.raft.raft_log.first_index() - 1
            && self.feed.is_near(config.apply_backlog_bytes_max)
    }

    /// Campaigns without waiting for an election timeout, if it is due to.
    fn campaign_eagerly(&mut self, cx: &Context<'_, E, T>) -> Result<bool, Fault> {
        self.eager &= self.node.raft.leader_id == 0;
        if !self.eager || !self.may_campaign(cx) {
            return Ok(false);
        }
        self.eager = false;
        self.node.campaign().map_err(|error| error.to_string())?;
        Ok(true)
    }

    /// A replica could not be reached: its leader asks what it has before it sends it more (R9).
    pub(crate) fn unreachable(&mut self, replica: ReplicaId) {
        if self.leading.is_some() && replica != self.spec.replica {
            self.node.report_unreachable(replica.0);
        }
    }

    /// A node could not be reached.
    pub(crate) fn node_unreachable(&mut self, node: NodeId) {
        for at in 0..self.spec.members.len() {
            let Member { replica, node: its_node } = self.spec.members[at];
            if its_node == node {
                self.unreachable(replica);
            }
        }
    }

    /// Ends the group's part of a turn.
    ///
    /// # Errors
    /// A fault that stops this replica.
    pub(crate) fn finish(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        if !planted(Mutation::NoAuthority) {
            self.note_leadership(cx)?;
        }
        self.begin_transfer(cx);
        self.evaluate_waiting(cx)?;
        if planted(Mutation::NoAuthority) {
            self.note_leadership(cx)?;
        }
        self.ask(cx);
        self.request_snapshot(cx);
        self.handle_readies(cx);
        self.feed_applier(cx)?;
        if self.campaign_eagerly(cx)? {
            self.handle_readies(cx);
        }
        self.answer_applied(cx);
        self.want_snapshot(cx);
        self.shrink_cache(cx);
        Ok(())
    }

    fn send(&self, cx: &mut Context<'_, E, T>, messages: Vec<Message>) {
        for message in messages {
            let to = self.spec.node_of(ReplicaId(message.to));
            if let (Some(node), Some(message)) = (to, admission::dispatch(&self.spec, &message)) {
                cx.effects.send.push((node, message));
            }
        }
    }

    /// Whether nobody waits for an answer here, nothing waits for the log, and everything committed is applied.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.waiting.is_empty()
            && self.reads.len() == self.renewals
            && self.outbox.is_empty()
            && !self.feed.is_lacking()
            && self.feed.applied() == self.node.raft.raft_log.committed
    }
}

/// A replica that lacks so many entries is behind; fewer are under way while there are writes.
const MANY_ENTRIES: u64 = 100;

/// A replica's state, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The replica.
    pub replica: ReplicaId,
    /// Raft's term.
    pub term: u64,
    /// The leader's node, if it is known.
    pub leader: Option<NodeId>,
    /// Whether this replica leads.
    pub leads: bool,
    /// Whether it leads and evaluates requests.
    pub serves: bool,
    /// The first entry in its log.
    pub first_index: u64,
    /// The last entry in its log.
    pub last_index: u64,
    /// The last entry known committed.
    pub committed: u64,
    /// The last entry applied.
    pub applied: u64,
    /// Whether the group sleeps.
    pub asleep: bool,
    /// On the leader: the followers that get a snapshot, are not reached, or lack more than a hundred entries.
    pub behind: usize,
}

impl GroupStatus {
    /// Whether it has a hundred entries or more to apply that it knows committed, or a snapshot that stands for so many.
    #[must_use]
    pub const fn is_unapplied(&self) -> bool {
        self.applied + MANY_ENTRIES <= self.committed
    }
}

pub(crate) fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
