//! Leadership handed over on purpose (R3).
//!
//! The leader takes no more requests (it names its heir instead), lets out what is in flight, and only then tells raft-rs. Before
//! that it gives up its lease for the rest of its term, because a late order to campaign passes every promise. If nothing comes
//! of it in time, it serves again, by read index.
//!
//! The heir is the one furthest ahead of those that are known to be there and to hold their data. A leader cannot know all of that (a
//! replica whose engine is made anew may not have asked for its snapshot yet, and refuses the order): so the one of which nothing came
//! is the last to be tried again.
//!
//! What is committed and still not applied after an election timeout is not waited for, for its engine may have no room: it is
//! answered as uncertain when the leadership is gone.

use raft::{INVALID_INDEX, ProgressState};
use stator_storage::machine::Evaluator;
use stator_storage::mutation::{Mutation, planted};

use super::{Context, Group};
use crate::types::ReplicaId;

/// A leadership transfer that this leader has been asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) to: ReplicaId,
    /// Whether raft-rs has been told; before, what is in flight is let out.
    begun: bool,
    /// Until when everything in flight has to be applied; from then on it only has to be committed.
    patient_until_tick: u64,
    until_tick: u64,
}

impl<E: Evaluator, T> Group<E, T> {
    /// Hands leadership to another replica, the one furthest ahead if none is named. Nothing happens if that one is not known to
    /// be there, or has to be sent a snapshot first, because its log lacks entries or it has lost what was applied.
    pub(crate) fn hand_over(&mut self, cx: &Context<'_, E, T>, to: Option<ReplicaId>) {
        if self.leading.is_none() || self.transfer.is_some() {
            return;
        }
        self.sleep.wake();
        let heirs = self.spec.members.iter().filter(|member| {
            member.replica != self.spec.replica && to.is_none_or(|to| to == member.replica)
        });
        let able = heirs.filter_map(|member| {
            let progress = self.node.raft.prs().get(member.replica.0)?;
            let is_whole = progress.state != ProgressState::Snapshot
                && progress.pending_request_snapshot == INVALID_INDEX;
            let is_able = progress.recent_active && is_whole;
            let is_hopeful = self.vain_heir != Some(member.replica);
            is_able.then_some((is_hopeful, progress.matched, member.replica))
        });
        if let Some((_, _, to)) = able.max() {
            let election_ticks = cx.config.election_ticks as u64;
            let patient_until_tick = cx.tick + election_ticks;
            let until_tick = patient_until_tick + election_ticks;
            self.transfer = Some(Transfer { to, begun: false, patient_until_tick, until_tick });
        }
    }

    /// Tells raft-rs of a transfer once what was in flight is out. The lease is given up before, for good.
    pub(super) fn begin_transfer(&mut self, cx: &mut Context<'_, E, T>) {
        let committed = self.node.raft.raft_log.committed;
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| !transfer.begun) else {
            return;
        };
        let is_patient = cx.tick < transfer.patient_until_tick;
        if self.pending.last_index().is_none_or(|last| !is_patient && last <= committed) {
            transfer.begun = true;
            if !planted(Mutation::LeaseOverTransfer) {
                self.lease.bar();
            }
            self.node.transfer_leader(transfer.to.0);
            cx.effects.transfers += 1;
        }
    }

    /// Gives up a transfer of which nothing came, and begins one on a host that retires, or if the leader has lost its data.
    pub(super) fn tick_transfer(&mut self, cx: &Context<'_, E, T>) {
        if let Some(transfer) = self.transfer {
            let is_refused = transfer.begun && self.node.raft.lead_transferee.is_none();
            if cx.tick >= transfer.until_tick || is_refused {
                self.node.raft.abort_leader_transfer();
                self.transfer = None;
                // One that was never told is not to blame.
                if transfer.begun {
                    self.vain_heir = Some(transfer.to);
                }
                if planted(Mutation::LeaseAfterTransfer) {
                    self.lease.lead(self.node.raft.term);
                }
            }
        } else if (cx.retiring || self.feed.is_lacking()) && !self.is_alone() {
            self.hand_over(cx, None);
        }
    }
}
