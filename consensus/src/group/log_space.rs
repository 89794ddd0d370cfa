//! Truncation, and the snapshots that make it possible (R9, R14, R18).
//!
//! A leader gives one follower a snapshot at a time:
//!
//! ```text
//!  raft-rs finds none ──▶ wanted ──▶ SnapshotPrepared ──▶ raft-rs takes it ──▶ MsgSnapshot ──▶ SnapshotSent
//!                           └── the log is kept from here on, within a budget and for a time ──────┘
//! ```
//!
//! That time begins anew with each [`SnapshotGoesOn`](crate::Event::SnapshotGoesOn): how long a transfer takes is a matter of its size.
//! Whatever does not end by [`SnapshotSent`](crate::Event::SnapshotSent) ends by its time, by the loss of leadership, or because
//! the follower caught up otherwise; the effects say so, and raft-rs is told, because a follower whose snapshot was lost and not
//! reported is wedged for good.

use raft::SnapshotStatus;
use raft::eraftpb::{Message, MessageType, Snapshot};
use stator_storage::log::{Mark, Record};
use stator_storage::machine::Evaluator;
use stator_storage::mutation::{Mutation, planted};

use super::{Context, Group, MANY_ENTRIES};
use crate::config::Config;
use crate::types::ReplicaId;

/// Ticks after which a follower that lacks its snapshot asks for another one once more: its question may have been lost.
const REQUEST_TICKS: u64 = 40;

/// A snapshot under way to a follower.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    to: ReplicaId,
    /// The log is kept behind this index.
    pinned: u64,
    until_tick: u64,
    /// Bytes added to the log since it was wanted.
    grown: usize,
}

impl Outgoing {
    pub(super) const fn grow(&mut self, bytes: usize) {
        self.grown = self.grown.saturating_add(bytes);
    }

    /// Where truncation has to stop, as long as that costs no more than its budget.
    fn pinned(&self, config: &Config) -> Option<u64> {
        (self.grown <= config.snapshot_log_bytes_max).then_some(self.pinned)
    }
}

impl<E: Evaluator, T> Group<E, T> {
    /// Asks the shell for a snapshot, if raft-rs could not find one.
    pub(super) fn want_snapshot(&mut self, cx: &mut Context<'_, E, T>) {
        let Some(to) = self.node.store().take_wanted() else { return };
        if self.leading.is_none() || self.outgoing.is_some() {
            return;
        }
        let to = ReplicaId(to);
        self.outgoing = Some(Outgoing {
            to,
            pinned: self.feed.applied(),
            until_tick: cx.tick + cx.config.snapshot_ticks,
            grown: 0,
        });
        cx.effects.snapshots_wanted.push((self.spec.group, to));
    }

    /// The snapshot that this replica's log begins behind cannot be installed, or was, and the engine has lost it. A leader without
    /// data hands over to one that has them.
    pub(crate) fn snapshot_lost(&mut self, cx: &Context<'_, E, T>) {
        self.sleep.wake();
        self.feed.lack();
        self.hand_over(cx, None);
    }

    /// Asks the leader for a snapshot in place of one that was lost. raft-rs does so only once the log has got an entry of the
    /// leader's term, and takes no more entries from then on; until then this is tried again.
    pub(super) fn request_snapshot(&mut self, cx: &Context<'_, E, T>) {
        if !self.feed.is_lacking() || self.leading.is_some() || self.node.raft.leader_id == 0 {
            return;
        }
        let raft = &mut self.node.raft;
        if raft.snap().is_some() || cx.tick < self.request_tick {
            return;
        }
        raft.pending_request_snapshot = raft::INVALID_INDEX;
        // It refuses if it is too early.
        let is_asked = self.node.request_snapshot().is_ok();
        self.request_tick = cx.tick + if is_asked { REQUEST_TICKS } else { 1 };
    }

    /// Wakes a leader that sleeps, for a replica that has heard of none and needs a snapshot. It may not campaign, which would do that
    /// for any other; so it asks for pre-votes, as if it did. They bind nobody, and those that come it does not count.
    pub(super) fn knock(&mut self, cx: &mut Context<'_, E, T>) {
        let raft = &self.node.raft;
        if !self.feed.is_lacking() || raft.leader_id != 0 || cx.tick < self.knock_tick {
            return;
        }
        self.knock_tick = cx.tick + REQUEST_TICKS;
        let mut question = Message { from: raft.id, term: raft.term + 1, ..Message::default() };
        question.set_msg_type(MessageType::MsgRequestPreVote);
        question.index = raft.raft_log.last_index();
        question.log_term = raft.raft_log.last_term();
        let others = self.spec.members.iter().filter(|member| member.replica != self.spec.replica);
        let questions = others.map(|other| Message { to: other.replica.0, ..question.clone() });
        self.send(cx, questions.collect());
    }

    /// A snapshot of this group has been prepared: it is offered to the follower that needed it.
    pub(crate) fn offer_snapshot(
        &mut self,
        cx: &mut Context<'_, E, T>,
        (index, term): (u64, u64),
        header: bytes::Bytes,
    ) {
        let is_ours =
            self.feed.applied() >= index && self.node.store().term_of(index) == Some(term);
        let Some(outgoing) = self.outgoing.as_mut().filter(|_| is_ours) else {
            self.outgoing = None;
            cx.effects.snapshots_over.push(self.spec.group);
            return;
        };
        outgoing.pinned = index;
        outgoing.until_tick = cx.tick + cx.config.snapshot_ticks;
        let to = outgoing.to.0;
        let mut snapshot = Snapshot { data: header, ..Snapshot::default() };
        let voters = self.spec.members.iter().map(|member| member.replica.0).collect::<Vec<_>>();
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = term;
        metadata.mut_conf_state().set_voters(voters);
        self.node.mut_store().offer(Some((to, snapshot)));
    }

    /// The sending of a snapshot has come further: it has its time once more.
    pub(crate) fn snapshot_goes_on(&mut self, cx: &Context<'_, E, T>, to: ReplicaId) {
        if let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| outgoing.to == to) {
            outgoing.until_tick = cx.tick + cx.config.snapshot_ticks;
        }
    }

    /// How the sending of a snapshot ended (R9).
    pub(crate) fn snapshot_sent(&mut self, to: ReplicaId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        if arrived || !planted(Mutation::SnapshotLossUnreported) {
            self.node.report_snapshot(to.0, status);
        }
        if self.outgoing.is_some_and(|outgoing| outgoing.to == to) {
            self.outgoing = None;
            self.node.mut_store().offer(None);
        }
    }

    /// Gives up the snapshot under way, if there is one.
    pub(super) fn end_snapshot(&mut self, cx: &mut Context<'_, E, T>) {
        if let Some(outgoing) = self.outgoing.take() {
            self.node.mut_store().offer(None);
            if !planted(Mutation::SnapshotLossUnreported) {
                self.node.report_snapshot(outgoing.to.0, SnapshotStatus::Failure);
            }
            cx.effects.snapshots_over.push(self.spec.group);
        }
    }

    /// A snapshot that nobody reports sent, or that its follower does not need any more, is given up.
    pub(super) fn tick_snapshot(&mut self, cx: &mut Context<'_, E, T>) {
        let Some(outgoing) = self.outgoing else { return };
        let progress = self.node.raft.prs().get(outgoing.to.0);
        let has_caught_up = progress.is_some_and(|progress| {
            progress.state != raft::ProgressState::Snapshot
                && progress.pending_request_snapshot == raft::INVALID_INDEX
                && progress.matched >= self.node.store().mark().0
                && progress.matched >= outgoing.pinned
        });
        if cx.tick >= outgoing.until_tick || has_caught_up {
            self.end_snapshot(cx);
        }
    }

    /// The engine holds everything up to this index durably.
    pub(crate) fn durable(&mut self, index: u64) {
        self.feed.flush(index);
    }

    /// On the leader, how many followers are far behind: sent a snapshot, not reached, or without very many entries.
    pub(super) fn followers_behind(&self) -> usize {
        let raft = &self.node.raft;
        let is_behind = |progress: &raft::Progress| {
            // One that was away and has missed nothing stays in probation until there is something to send.
            let slack =
                if progress.state == raft::ProgressState::Replicate { MANY_ENTRIES } else { 0 };
            progress.matched + slack < raft.raft_log.committed
        };
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id);
        let led = others.filter(|_| self.leading.is_some());
        led.filter(|(_, progress)| is_behind(progress)).count()
    }

    /// Lets go of what is durably applied and no follower needs. Under pressure followers do not count: one that falls behind
    /// gets a snapshot.
    pub(crate) fn truncate(&mut self, cx: &mut Context<'_, E, T>, pressed_to: Option<u64>) {
        let mark = self.node.store().mark().0;
        let mut to = self.feed.durable().min(self.node.raft.raft_log.persisted);
        if let Some(pinned) = self.outgoing.and_then(|outgoing| outgoing.pinned(cx.config)) {
            to = to.min(pinned);
        }
        if let Some(pressed_to) = pressed_to {
            to = to.min(pressed_to);
        } else {
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
        if to <= mark {
            return;
        }
        let (index, term) = self.node.mut_store().truncate(to);
        cx.effects.truncations += 1;
        let group = self.spec.group;
        cx.effects.log.push(Record::Truncate { group, mark: Mark { index, term } });
    }
}
