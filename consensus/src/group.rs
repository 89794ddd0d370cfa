//! One replica of a group: a `RawNode` and what surrounds it.
//!
//! A turn of the host hands a group its events one by one ([`Group::step`], [`Group::submit`], ...) and then lets it finish
//! ([`Group::finish`]): note who leads, evaluate what came in, ask the quorum, handle Raft's readies, feed the applier. In that
//! order, because a request is judged by what the turn's messages changed, and because the time that judges a lease is taken
//! after the mailbox was drained (R4).

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{Entry, HardState, Message, MessageType, Snapshot};
use raft::{RawNode, SnapshotStatus, StateRole};
use stator_storage::log::{Mark, Record};
use stator_storage::machine::{Committed, Draft, Evaluator};

use crate::admission::{self, Standing};
use crate::config::Config;
use crate::host::{Answer, ApplyJob, Effects, InstallJob};
use crate::lease::{Lease, ReplicaView};
use crate::outbox::Outbox;
use crate::pending::Pending;
use crate::promise::Promise;
use crate::reads::Reads;
use crate::sleep::Sleep;
pub use crate::store::LogReader;
use crate::store::{Store, to_log};
use crate::types::{GroupSpec, NodeId, PeerMessage, Refusal, ReplicaId};

/// The index and term of the made-up first snapshot that every log begins behind, so that an empty replica can only start from a
/// snapshot (R14).
pub const FIRST_MARK: (u64, u64) = (10, 5);

/// What a replica starts from, as recovery found it.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Raft's hard state: term, vote, commit.
    pub term: u64,
    /// The replica voted for in that term; 0 is none.
    pub vote: u64,
    /// The commit as logged.
    pub commit: u64,
    /// Index and term of the truncation mark.
    pub mark: (u64, u64),
    /// The terms of the entries after the mark.
    pub terms: Vec<u64>,
    /// What the engine holds: index and term of the last entry applied (R12).
    pub applied: (u64, u64),
}

impl Recovered {
    /// A replica of a group that was just made.
    #[must_use]
    pub fn fresh() -> Self {
        let (index, term) = FIRST_MARK;
        Self { term, commit: index, mark: FIRST_MARK, applied: FIRST_MARK, ..Self::default() }
    }
}

/// A request that waits to be evaluated.
#[derive(Debug)]
pub(crate) struct Submission<R, T> {
    pub(crate) request: R,
    pub(crate) deadline_ns: u64,
    pub(crate) token: T,
}

/// Somebody who waits for a confirmed read index, or only for an index to be applied.
enum Waiter<O, T> {
    /// A reader: it reads by itself once it may.
    Reader { token: T, deadline_ns: u64 },
    /// An outcome that changed nothing, with the index that it rests on (R4).
    Outcome { token: T, outcome: O, rests_on: u64 },
    /// The lease itself.
    Renewal { term: u64, asked_ns: u64 },
}

impl<O, T> Waiter<O, T> {
    fn rests_on(&self) -> u64 {
        if let Self::Outcome { rests_on, .. } = self { *rests_on } else { 0 }
    }
}

/// This replica leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leading {
    term: u64,
    /// Whether it has applied its term's first entry: before that it evaluates nothing.
    ready: bool,
}

/// A leadership transfer that this leader has been asked for.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    to: ReplicaId,
    /// Whether raft-rs has been told; before, what is in flight is let out.
    begun: bool,
    until_tick: u64,
}

/// The time and place of a turn.
pub(crate) struct Context<'a, E: Evaluator, T> {
    pub(crate) config: &'a Config,
    pub(crate) now_ns: u64,
    pub(crate) wall_ms: u64,
    pub(crate) tick: u64,
    pub(crate) turn: u64,
    pub(crate) effects: &'a mut Effects<E, T>,
}

/// One replica.
pub struct Group<E: Evaluator, T> {
    spec: GroupSpec,
    node: RawNode<Store>,
    evaluator: E,
    leading: Option<Leading>,
    lease: Lease,
    promise: Promise,
    reads: Reads<Waiter<E::Outcome, T>>,
    pending: Pending<(T, E::Outcome)>,
    outbox: Outbox<Message>,
    waiting: VecDeque<Submission<E::Request, T>>,
    transfer: Option<Transfer>,
    /// The last entry known committed.
    committed: u64,
    /// The last entry handed to the applier.
    handed: u64,
    /// What was handed and is not yet applied: the last index and the bytes of each job.
    backlog: VecDeque<(u64, usize)>,
    /// The last entry applied.
    applied: u64,
    /// The last entry persisted.
    persisted: u64,
    /// Up to where the engine holds the data durably.
    durable: u64,
    /// The log is kept from here on for a snapshot under way (R18).
    pinned: Option<u64>,
    sleep: Sleep,
}

/// A fault that stops one replica.
pub(crate) type Fault = String;

impl<E: Evaluator, T> Group<E, T> {
    /// Starts a replica.
    ///
    /// # Errors
    /// What was recovered contradicts itself: the replica must not start.
    pub(crate) fn new(
        config: &Config,
        spec: GroupSpec,
        recovered: &Recovered,
        evaluator: E,
        reader: Arc<dyn LogReader>,
        now_ns: u64,
        fresh: bool,
        view: Arc<ReplicaView>,
    ) -> Result<Self, Fault> {
        let voters: Vec<u64> = spec.members.iter().map(|member| member.replica.0).collect();
        let mut store = Store::new(spec.group, reader, recovered.mark, &voters);
        for term in &recovered.terms {
            store.recover(*term);
        }
        let last = store.last();
        let applied = recovered.applied.0;
        if store.term_of(applied) != Some(recovered.applied.1) {
            return Err(format!(
                "the engine holds entry {applied} of term {}, which the log ({}..={last}) does not have",
                recovered.applied.1, recovered.mark.0
            ));
        }
        let mut hard_state = HardState::default();
        hard_state.term = recovered.term.max(store.term_of(last).unwrap_or(0));
        hard_state.vote = if recovered.term == hard_state.term { recovered.vote } else { 0 };
        // Both are ordinary after a crash, and raft-rs panics on either: an applied index past the logged commit, which is not
        // synced on its own, and a commit past the last entry that survived (R12).
        hard_state.commit = recovered.commit.max(applied).min(last);
        let committed = hard_state.commit;
        store.set_hard_state(hard_state);

        let rank = spec.rank();
        let election = config.election_ticks + 2 * rank;
        let raft_config = raft::Config {
            id: spec.replica.0,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            // With an interval of one the draw is constant: ranks decide, and the simulator replays.
            min_election_tick: election,
            max_election_tick: election + 1,
            applied,
            max_size_per_msg: config.message_bytes_max,
            max_inflight_msgs: config.messages_in_flight_max,
            check_quorum: true,
            pre_vote: true,
            // The host reserves room before it evaluates (R7); raft-rs' own bound is only the backstop behind that.
            max_uncommitted_size: (config.in_flight_bytes_max + 2 * config.entry_bytes_max) as u64,
            max_committed_size_per_ready: config.apply_bytes_max,
            ..raft::Config::default()
        };
        let logger = crate::logger::logger(spec.group, spec.replica);
        let node = RawNode::new(&raft_config, store, &logger).map_err(|error| error.to_string())?;
        let timeout_ns = nanos(config.election_timeout());
        let promise = if fresh || voters.len() == 1 {
            Promise::none(timeout_ns)
        } else {
            Promise::new(now_ns, timeout_ns)
        };
        view.set_applied(applied);
        let lease = Lease::new(view, nanos(config.lease_length()), config.leases);
        let mut group = Self {
            node,
            evaluator,
            leading: None,
            lease,
            promise,
            reads: Reads::new(config.read_retry_ticks),
            pending: Pending::new(),
            outbox: Outbox::new(),
            waiting: VecDeque::new(),
            transfer: None,
            committed,
            handed: applied,
            backlog: VecDeque::new(),
            applied,
            persisted: last,
            durable: applied,
            pinned: None,
            sleep: Sleep::default(),
            spec,
        };
        if voters.len() == 1 || (fresh && rank == 0) {
            group.node.campaign().map_err(|error| error.to_string())?;
        }
        Ok(group)
    }

    /// The replica's description.
    #[must_use]
    pub const fn spec(&self) -> &GroupSpec {
        &self.spec
    }

    /// The node of the leader, if one is known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.spec.node_of(ReplicaId(self.node.raft.leader_id))
    }

    /// The replica's state, for those who watch.
    #[must_use]
    pub fn status(&self) -> GroupStatus {
        let raft = &self.node.raft;
        GroupStatus {
            term: raft.term,
            leader: self.leader(),
            leads: self.leading.is_some(),
            serves: self.leading.is_some_and(|leading| leading.ready),
            first_index: self.node.store().mark().0 + 1,
            last_index: raft.raft_log.last_index(),
            committed: raft.raft_log.committed,
            applied: self.applied,
            asleep: self.sleep.asleep(),
        }
    }

    fn is_alone(&self) -> bool {
        self.spec.members.len() == 1
    }

    pub(crate) fn sleep(&mut self) -> &mut Sleep {
        &mut self.sleep
    }

    /// Stops ticking. A sleeping leader holds no lease: its first read asks a quorum.
    pub(crate) fn fall_asleep(&mut self) {
        self.sleep.rest();
        if !self.is_alone() {
            self.lease.give_up();
        }
    }

    /// A peer's message, checked and then given to Raft.
    pub(crate) fn step(
        &mut self,
        cx: &mut Context<'_, E, T>,
        peer: &PeerMessage,
    ) -> Result<(), Fault> {
        let raft = &self.node.raft;
        let standing = Standing {
            spec: &self.spec,
            store: self.node.store(),
            last_index: raft.raft_log.last_index(),
            committed: raft.raft_log.committed,
            term: raft.term,
            leader: raft.leader_id,
        };
        let message = match admission::admit(peer, &standing) {
            Ok(message) => message,
            Err(reason) => {
                cx.effects.refused_messages += 1;
                tracing::warn!(
                    group = peer.group.0,
                    from = peer.from.0,
                    reason,
                    "dropped a peer's message"
                );
                return Ok(());
            }
        };
        self.sleep.wake();
        if admission::solicits_vote(&message) && self.promise.binds(cx.now_ns) {
            return Ok(());
        }
        if admission::is_leaders(&message)
            && message.term >= self.node.raft.term
            && !self.is_alone()
        {
            self.promise.renew(cx.now_ns);
        }
        // A follower that applies too slowly takes no more entries until it has caught up: what it has not applied is held in
        // memory, and a campaign loads all of it (R11, R12). Heartbeats go on, so that the leader does not take it for dead.
        if message.get_msg_type() == MessageType::MsgAppend
            && !message.entries.is_empty()
            && self.backlog_bytes() > cx.config.apply_backlog_bytes_max
        {
            return Ok(());
        }
        match self.node.step(message) {
            Ok(()) | Err(raft::Error::StepPeerNotFound | raft::Error::ProposalDropped) => Ok(()),
            Err(error) => Err(format!("Raft refused a message: {error}")),
        }
    }

    fn backlog_bytes(&self) -> usize {
        self.backlog.iter().map(|(_, bytes)| bytes).sum()
    }

    /// A tick of the clock.
    pub(crate) fn tick(&mut self, cx: &mut Context<'_, E, T>) {
        let raft = &self.node.raft;
        let would_campaign = raft.state != StateRole::Leader
            && raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        // A promise forbids campaigning (R2), and a replica that votes alone may not campaign with a write in flight (R6).
        let may_campaign =
            !self.promise.binds(cx.now_ns) && !(self.is_alone() && !self.outbox.is_empty());
        if would_campaign && !may_campaign {
            return;
        }
        self.node.tick();
        if let Some(transfer) = self.transfer {
            let over = cx.tick >= transfer.until_tick
                || (transfer.begun && self.node.raft.lead_transferee.is_none());
            if over {
                self.transfer = None;
            }
        }
    }

    /// A caller's request.
    pub(crate) fn submit(
        &mut self,
        cx: &mut Context<'_, E, T>,
        submission: Submission<E::Request, T>,
    ) {
        self.sleep.wake();
        if self.waiting.len() >= cx.config.waiting_max {
            cx.effects.refuse(submission.token, Refusal::Throttled);
        } else {
            self.waiting.push_back(submission);
        }
    }

    /// A caller wants to read, and has no lease to do so under.
    pub(crate) fn read(&mut self, cx: &mut Context<'_, E, T>, token: T, deadline_ns: u64) {
        self.sleep.wake();
        if self.reads.waiting() >= cx.config.waiting_max {
            cx.effects.refuse(token, Refusal::Throttled);
        } else {
            self.reads.wait(Waiter::Reader { token, deadline_ns });
        }
    }

    /// The log has synced everything up to this turn.
    pub(crate) fn persisted(&mut self, cx: &mut Context<'_, E, T>, turn: u64) {
        while let Some(held) = self.outbox.release(turn) {
            self.node.on_persist_ready(held.number);
            if let Some(index) = held.last_index {
                self.persisted = index;
            }
            self.send(cx, held.messages);
        }
    }

    /// The applier has made entries visible up to this index.
    pub(crate) fn applied(&mut self, index: u64) {
        if index <= self.applied {
            return;
        }
        self.applied = index;
        while self.backlog.front().is_some_and(|(last, _)| *last <= index) {
            self.backlog.pop_front();
        }
        self.node.advance_apply_to(index);
        self.lease.view().set_applied(index);
        self.evaluator.applied(index);
    }

    /// The engine holds everything up to this index durably.
    pub(crate) fn durable(&mut self, index: u64) {
        self.durable = self.durable.max(index);
    }

    /// A peer could not be reached.
    pub(crate) fn unreachable(&mut self, node: NodeId) {
        for member in &self.spec.members {
            if member.node == node && member.replica != self.spec.replica {
                self.node.report_unreachable(member.replica.0);
            }
        }
    }

    /// A snapshot of this group has been prepared: it may be offered.
    pub(crate) fn offer_snapshot(&mut self, snapshot: Option<Snapshot>) {
        self.pinned = snapshot.as_ref().map(|snapshot| snapshot.get_metadata().index);
        self.node.mut_store().offer(snapshot);
    }

    /// How the sending of a snapshot ended (R9).
    pub(crate) fn snapshot_sent(&mut self, to: ReplicaId, arrived: bool) {
        self.offer_snapshot(None);
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to.0, status);
    }

    /// Hands leadership to another replica, the one furthest ahead if none is named.
    pub(crate) fn hand_over(&mut self, cx: &Context<'_, E, T>, to: Option<ReplicaId>) {
        if self.leading.is_none() || self.transfer.is_some() {
            return;
        }
        self.sleep.wake();
        let own = self.spec.replica;
        let best = || {
            let progress = self.node.raft.prs();
            let others = self.spec.members.iter().filter(|member| member.replica != own);
            let others = others.filter(|member| {
                progress.get(member.replica.0).is_some_and(|progress| progress.recent_active)
            });
            others.max_by_key(|member| {
                progress.get(member.replica.0).map(|progress| progress.matched)
            })
        };
        let to = to.or_else(|| best().map(|member| member.replica));
        if let Some(to) = to.filter(|to| *to != own) {
            let until_tick = cx.tick + 2 * cx.config.election_ticks as u64;
            self.transfer = Some(Transfer { to, begun: false, until_tick });
        }
    }

    /// Ends the group's part of a turn.
    ///
    /// # Errors
    /// A fault that stops this replica.
    pub(crate) fn finish(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        self.note_leadership(cx)?;
        self.begin_transfer();
        self.evaluate_waiting(cx)?;
        self.ask(cx);
        self.handle_readies(cx)?;
        self.feed_applier(cx)?;
        self.answer_applied(cx);
        self.want_snapshot(cx);
        let persisted = self.persisted;
        self.node.mut_store().shrink_cache(cx.config.cache_bytes_max, persisted);
        Ok(())
    }

    /// Everything that waits is answered: this replica stops. What was proposed may yet be applied elsewhere.
    pub(crate) fn stop(&mut self, effects: &mut Effects<E, T>, reason: &str) {
        self.abandon(effects, &Refusal::Stopped(reason.to_owned()));
    }

    fn abandon(&mut self, effects: &mut Effects<E, T>, refusal: &Refusal) {
        self.leading = None;
        self.lease.view().set_serves(false);
        self.transfer = None;
        self.lease.give_up();
        self.evaluator.stop_leading();
        for (token, _) in self.pending.abandon() {
            effects.refuse(token, Refusal::Uncertain);
        }
        for waiter in self.reads.abandon() {
            if let Waiter::Reader { token, .. } | Waiter::Outcome { token, .. } = waiter {
                effects.refuse(token, refusal.clone());
            }
        }
        for submission in self.waiting.drain(..) {
            effects.refuse(submission.token, refusal.clone());
        }
    }

    /// Takes up or lays down leadership as Raft's own state says, never by its soft state, which can hide a change of term (R6).
    fn note_leadership(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        let raft = &self.node.raft;
        let leads = (raft.state == StateRole::Leader).then_some(raft.term);
        self.lease.view().set_leader(self.leader());
        if self.leading.map(|leading| leading.term) != leads {
            if self.leading.is_some() {
                let leader = self.leader();
                self.abandon(cx.effects, &Refusal::NotLeader(leader));
            }
            if let Some(term) = leads {
                self.lease.lead(term);
                self.leading = Some(Leading { term, ready: false });
                cx.effects.elections += 1;
            }
        }
        if let Some(leading) = &mut self.leading
            && !leading.ready
            && self.node.raft.apply_to_current_term()
        {
            leading.ready = true;
            self.lease.view().set_serves(true);
            self.evaluator.begin_leading(leading.term).map_err(|error| error.to_string())?;
            if self.spec.members.len() == 1 {
                self.lease.grant_for_good(leading.term);
            }
        }
        Ok(())
    }

    /// Tells raft-rs of a transfer once what was in flight is out. The lease is given up before, for good (R3).
    fn begin_transfer(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        self.lease.bar();
        if !transfer.begun && self.pending.is_empty() {
            transfer.begun = true;
            self.node.transfer_leader(transfer.to.0);
        }
    }

    fn evaluate_waiting(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        let Some(leading) = self.leading else {
            let raft = &self.node.raft;
            // While nobody is known to lead, and this replica may be about to, requests wait; their deadline bounds that.
            if raft.leader_id != 0 || raft.state == StateRole::Follower {
                let leader = self.leader();
                self.refuse_waiting(cx, &Refusal::NotLeader(leader));
            }
            self.expire_waiting(cx);
            return Ok(());
        };
        if let Some(transfer) = self.transfer {
            let heir = self.spec.node_of(transfer.to);
            self.refuse_waiting(cx, &Refusal::NotLeader(heir));
            return Ok(());
        }
        if !leading.ready {
            self.expire_waiting(cx);
            return Ok(());
        }
        while !self.waiting.is_empty() {
            self.evaluate_entry(cx, leading.term)?;
        }
        Ok(())
    }

    fn refuse_waiting(&mut self, cx: &mut Context<'_, E, T>, refusal: &Refusal) {
        for submission in self.waiting.drain(..) {
            cx.effects.refuse(submission.token, refusal.clone());
        }
    }

    fn refuse_readers(&mut self, cx: &mut Context<'_, E, T>, refusal: &Refusal) {
        for waiter in self.reads.abandon() {
            if let Waiter::Reader { token, .. } | Waiter::Outcome { token, .. } = waiter {
                cx.effects.refuse(token, refusal.clone());
            }
        }
    }

    fn expire_waiting(&mut self, cx: &mut Context<'_, E, T>) {
        let now_ns = cx.now_ns;
        let mut kept = VecDeque::with_capacity(self.waiting.len());
        for submission in self.waiting.drain(..) {
            if submission.deadline_ns <= now_ns {
                cx.effects.refuse(submission.token, Refusal::Expired);
            } else {
                kept.push_back(submission);
            }
        }
        self.waiting = kept;
    }

    /// Evaluates waiting requests into one entry, until it is full or there are no more, and proposes it.
    fn evaluate_entry(&mut self, cx: &mut Context<'_, E, T>, term: u64) -> Result<(), Fault> {
        let index = self.node.raft.raft_log.last_index() + 1;
        let mut draft = Draft::new(index, term, cx.wall_ms);
        let mut reserved = 0usize;
        let mut with_entry = Vec::new();
        while let Some(next) = self.waiting.front() {
            let weight = self.evaluator.weight(&next.request);
            if reserved > 0 && reserved + weight > cx.config.entry_bytes_max {
                break;
            }
            let Some(submission) = self.waiting.pop_front() else { break };
            if submission.deadline_ns <= cx.now_ns {
                cx.effects.refuse(submission.token, Refusal::Expired);
                continue;
            }
            if self.pending.bytes() + reserved + weight > cx.config.in_flight_bytes_max {
                cx.effects.refuse(submission.token, Refusal::Throttled);
                continue;
            }
            reserved += weight;
            let evaluated = self
                .evaluator
                .evaluate(submission.request, &mut draft)
                .map_err(|error| error.to_string())?;
            if evaluated.rests_on == index {
                with_entry.push((submission.token, evaluated.outcome));
            } else {
                self.answer_unchanged(cx, submission.token, evaluated.outcome, evaluated.rests_on);
            }
        }
        if !draft.is_empty() {
            self.propose(cx, draft, with_entry);
        }
        Ok(())
    }

    /// An outcome that changed nothing is a consistent read (R4).
    fn answer_unchanged(
        &mut self,
        cx: &Context<'_, E, T>,
        token: T,
        outcome: E::Outcome,
        rests_on: u64,
    ) {
        let waiter = Waiter::Outcome { token, outcome, rests_on };
        if self.lease.holds(cx.now_ns) {
            self.reads.admit(rests_on, waiter);
        } else {
            self.reads.wait(waiter);
        }
    }

    fn propose(&mut self, cx: &mut Context<'_, E, T>, draft: Draft, waiters: Vec<(T, E::Outcome)>) {
        let (index, term) = (draft.index, draft.term);
        let data = self.evaluator.seal(draft);
        let bytes = data.len();
        let raft = &self.node.raft;
        let entitled =
            raft.state == StateRole::Leader && raft.term == term && raft.lead_transferee.is_none();
        let accepted = entitled && {
            let mut entry = Entry::default();
            entry.data = data;
            let mut message = Message::default();
            message.set_msg_type(MessageType::MsgPropose);
            message.from = self.spec.replica.0;
            message.entries = vec![entry].into();
            self.node.step(message).is_ok() && self.node.raft.raft_log.last_index() == index
        };
        if accepted {
            cx.effects.proposed += 1;
            self.pending.add(index, bytes, waiters);
        } else {
            // Certainly not done: nothing of it is in anybody's log (R7).
            self.evaluator.refused(index);
            for (token, _) in waiters {
                cx.effects.refuse(token, Refusal::Throttled);
            }
        }
    }

    /// Asks the quorum, if somebody waits for that or the lease runs low.
    fn ask(&mut self, cx: &mut Context<'_, E, T>) {
        let Some(leading) = self.leading else {
            if self.reads.has_waiters() {
                let leader = self.leader();
                self.refuse_readers(cx, &Refusal::NotLeader(leader));
            }
            return;
        };
        // raft-rs drops the question of a leader that has committed nothing in its term yet.
        if !self.node.raft.commit_to_current_term() {
            return;
        }
        let renew = !self.sleep.asleep() && self.lease.wants_renewal(cx.now_ns) && !self.is_alone();
        if !(self.reads.has_waiters() || self.reads.is_asking() || renew) {
            return;
        }
        if renew && !self.reads.is_asking() {
            self.reads.wait(Waiter::Renewal { term: leading.term, asked_ns: cx.now_ns });
        }
        if let Some(question) = self.reads.ask(leading.term, cx.now_ns, cx.tick) {
            self.node.read_index(question.context());
        }
    }

    fn handle_readies(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            for state in ready.take_read_states() {
                self.reads.confirm(&state.request_ctx, state.index, Waiter::rests_on);
            }
            let number = ready.number();
            let at_once = ready.take_messages();
            let mut behind = ready.take_persisted_messages();
            let entries = ready.take_entries();
            let committed = ready.committed_entries().last().map(|entry| entry.index);
            let hard_state = ready.hs().cloned();
            let snapshot = (!ready.snapshot().is_empty()).then(|| ready.snapshot().clone());
            drop(ready.take_committed_entries());

            let mut must_sync = !entries.is_empty();
            if let Some(snapshot) = snapshot {
                self.accept_snapshot(cx, &snapshot)?;
                must_sync = true;
            }
            self.node.mut_store().append(&entries);
            let group = self.spec.group;
            cx.effects
                .log
                .extend(entries.iter().map(|entry| Record::Entry { group, entry: to_log(entry) }));
            let mut elected = false;
            if let Some(state) = hard_state {
                let before = self.node.store().hard_state();
                elected = state.term != before.term || state.vote != before.vote;
                must_sync |= elected;
                // A commit alone is not worth a sync: recovery takes it from what is applied (R12).
                if must_sync {
                    let state = stator_storage::log::HardState {
                        term: state.term,
                        vote: state.vote,
                        commit: state.commit,
                    };
                    cx.effects.log.push(Record::HardState { group, state });
                }
                self.node.mut_store().set_hard_state(state);
            }
            if let Some(index) = committed {
                self.committed = index;
            }
            self.node.advance_append_async(ready);

            // On a leader too: what was sent in a term that is not yet on disk could be denied after a crash.
            if elected {
                behind.splice(0..0, at_once);
            } else {
                self.send(cx, at_once);
            }
            let last_index = entries.last().map(|entry| entry.index);
            let turn = if must_sync { Some(cx.turn) } else { self.outbox.last_turn() };
            match turn {
                Some(turn) => self.outbox.hold(number, turn, last_index, behind),
                None => {
                    self.node.on_persist_ready(number);
                    self.send(cx, behind);
                }
            }
        }
        Ok(())
    }

    /// A snapshot takes the place of the log, by a record in the log itself, and of the data, by a job for the applier (R18).
    fn accept_snapshot(
        &mut self,
        cx: &mut Context<'_, E, T>,
        snapshot: &Snapshot,
    ) -> Result<(), Fault> {
        let metadata = snapshot.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        self.lease.view().replace_data(index);
        self.node.mut_store().reset(index, term, metadata.get_conf_state().clone());
        cx.effects.log.push(Record::Reset { group: self.spec.group, mark: Mark { index, term } });
        cx.effects.install.push(InstallJob {
            group: self.spec.group,
            index,
            term,
            header: snapshot.data.clone(),
        });
        self.committed = index;
        self.handed = index;
        self.backlog.clear();
        self.persisted = index;
        Ok(())
    }

    /// Hands committed entries to the applier, as many as its backlog has room for (R11).
    fn feed_applier(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        while self.handed < self.committed {
            if self.backlog_bytes() > cx.config.apply_backlog_bytes_max {
                break;
            }
            let entries = self
                .node
                .store()
                .read(self.handed + 1, self.committed + 1, cx.config.apply_bytes_max)
                .map_err(|error| format!("committed entries cannot be read back: {error}"))?;
            let Some(last) = entries.last().map(|entry| entry.index) else { break };
            self.handed = last;
            let bytes = entries.iter().map(|entry| entry.data.len()).sum();
            self.backlog.push_back((last, bytes));
            let entries = entries
                .into_iter()
                .map(|entry| Committed { index: entry.index, term: entry.term, data: entry.data })
                .collect();
            cx.effects.apply.push(ApplyJob { group: self.spec.group, entries });
        }
        Ok(())
    }

    /// Answers those whose entries are applied, and those whose reads are confirmed and applied.
    fn answer_applied(&mut self, cx: &mut Context<'_, E, T>) {
        for (token, outcome) in self.pending.applied(self.applied) {
            cx.effects.answer(token, Answer::Outcome(outcome));
        }
        for waiter in self.reads.ready(self.applied) {
            match waiter {
                Waiter::Reader { token, deadline_ns } if deadline_ns <= cx.now_ns => {
                    cx.effects.refuse(token, Refusal::Expired);
                }
                Waiter::Reader { token, .. } => cx.effects.answer(token, Answer::MayRead),
                Waiter::Outcome { token, outcome, .. } => {
                    cx.effects.answer(token, Answer::Outcome(outcome));
                }
                Waiter::Renewal { term, asked_ns } => {
                    // It renews only if this replica has led that term without a break: a break abandons the waiters.
                    self.lease.grant(term, asked_ns);
                    cx.effects.leases += 1;
                }
            }
        }
    }

    fn want_snapshot(&mut self, cx: &mut Context<'_, E, T>) {
        if let Some(to) = self.node.store().take_wanted()
            && self.pinned.is_none()
            && self.leading.is_some()
        {
            cx.effects.snapshots_wanted.push((self.spec.group, ReplicaId(to)));
        }
    }

    /// Lets go of what is durably applied and no follower needs. Under pressure followers do not count: one that falls behind
    /// gets a snapshot.
    pub(crate) fn truncate(&mut self, cx: &mut Context<'_, E, T>, pressed_to: Option<u64>) {
        let store = self.node.store();
        let mark = store.mark().0;
        let mut to = self.durable.min(self.applied).min(self.persisted);
        if let Some(pinned) = self.pinned {
            to = to.min(pinned);
        }
        match pressed_to {
            Some(pressed_to) => to = to.min(pressed_to),
            None => {
                if self.leading.is_some() {
                    for (_, progress) in self.node.raft.prs().iter() {
                        to = to.min(progress.matched);
                    }
                }
                if to < mark + cx.config.truncate_entries {
                    return;
                }
                // A tail is kept: this replica may lead next, with a follower a little behind.
                to -= cx.config.truncate_entries / 2;
            }
        }
        if to <= mark {
            return;
        }
        let (index, term) = self.node.mut_store().truncate(to);
        cx.effects.truncations += 1;
        cx.effects
            .log
            .push(Record::Truncate { group: self.spec.group, mark: Mark { index, term } });
    }

    fn send(&self, cx: &mut Context<'_, E, T>, messages: Vec<Message>) {
        for message in messages {
            let to = self.spec.node_of(ReplicaId(message.to));
            if let (Some(node), Some(message)) = (to, admission::dispatch(&self.spec, &message)) {
                cx.effects.send.push((node, message));
            }
        }
    }

    /// Whether nothing is under way here: the group may go to sleep.
    pub(crate) fn is_quiet(&self) -> bool {
        let raft = &self.node.raft;
        self.leading.is_some_and(|leading| leading.ready)
            && self.transfer.is_none()
            && self.pending.is_empty()
            && self.waiting.is_empty()
            && self.outbox.is_empty()
            && self.reads.waiting() == 0
            && self.applied == raft.raft_log.last_index()
            && raft.prs().iter().all(|(_, progress)| progress.matched == raft.raft_log.last_index())
    }

    /// Whether this replica follows the leader of that term to the end of its log.
    pub(crate) fn follows_to(&self, term: u64, from: ReplicaId, index: u64) -> bool {
        let raft = &self.node.raft;
        raft.term == term
            && raft.leader_id == from.0
            && raft.state == StateRole::Follower
            && raft.raft_log.last_index() == index
            && raft.raft_log.committed == index
    }

    /// The term and last index that a leader going to sleep names to its followers.
    pub(crate) fn resting_place(&self) -> (u64, u64) {
        (self.node.raft.term, self.node.raft.raft_log.last_index())
    }
}

/// A replica's state, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
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
}

pub(crate) fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
