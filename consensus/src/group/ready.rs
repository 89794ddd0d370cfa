//! Raft's readies, the log, and the applier (R6, R11).
//!
//! ```text
//!  ready ──▶ entries, hard state ──▶ the turn's log write ──▶ persisted(turn) ──▶ messages behind it, snapshots to install
//!        ├─▶ a leader's messages, at once
//!        └─▶ how far entries are committed ──▶ jobs for the applier, as many as it has room for
//! ```

use raft::eraftpb::{Entry, HardState, Message, Snapshot};
use stator_storage::log::{self, Mark, Record};
use stator_storage::machine::Evaluator;
use stator_storage::mutation::{Mutation, planted};

use super::{Context, Fault, Group};
use crate::host::{ApplyJob, InstallJob};
use crate::outbox::Held;
use crate::store::to_log;

/// What leaves a replica once the log has synced a ready.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    messages: Vec<Message>,
    /// The applier takes a snapshot only once the log says so: else a crash could leave its data beside a log that knows
    /// nothing of it.
    install: Option<InstallJob>,
}

impl<E: Evaluator, T> Group<E, T> {
    /// The log has synced everything up to this turn.
    pub(crate) fn persisted(&mut self, cx: &mut Context<'_, E, T>, turn: u64) {
        while let Some(held) = self.outbox.release(turn) {
            self.node.on_persist_ready(held.number);
            cx.effects.install.extend(held.leaves.install);
            self.send(cx, held.leaves.messages);
        }
    }

    /// The applier has made entries visible up to this index.
    pub(crate) fn applied(&mut self, index: u64) {
        let log = &self.node.raft.raft_log;
        // Word of a former life of this replica may name what this one has not got to: raft-rs panics on that.
        if index > log.committed.min(log.persisted) || !self.feed.apply(index) {
            return;
        }
        self.node.advance_apply_to(index);
        self.lease.view().set_applied(index);
        self.evaluator.applied(index);
    }

    pub(super) fn handle_readies(&mut self, cx: &mut Context<'_, E, T>) {
        while self.node.has_ready() {
            self.handle_ready(cx);
        }
    }

    fn handle_ready(&mut self, cx: &mut Context<'_, E, T>) {
        self.node.mut_store().set_listing(true);
        let mut ready = self.node.ready();
        self.node.mut_store().set_listing(false);
        for state in ready.take_read_states() {
            self.confirm(&state.request_ctx, state.index);
        }
        if let Some(last) = ready.committed_entries().last() {
            let known = self.feed.committed();
            let news = ready.committed_entries().iter().filter(|entry| entry.index > known);
            self.feed.commit(last.index, news.map(|entry| entry.data.len()).sum());
        }
        let at_once = ready.take_messages();
        let mut leaves = Leaves { messages: ready.take_persisted_messages(), install: None };
        let mut is_written = false;
        if !ready.snapshot().is_empty() {
            leaves.install = Some(self.accept_snapshot(cx, ready.snapshot()));
            if planted(Mutation::InstallBeforeReset) {
                cx.effects.install.extend(leaves.install.take());
            }
            is_written = true;
        }
        let entries = ready.take_entries();
        let last_index = entries.last().map(|entry| entry.index);
        is_written |= last_index.is_some();
        self.append(cx, entries);
        let mut votes = false;
        if let Some(state) = ready.hs() {
            let before = self.node.store().hard_state();
            votes = state.term != before.term || state.vote != before.vote;
            is_written |= votes;
            self.note_hard_state(cx, state.clone(), is_written);
        }
        let number = ready.number();
        self.node.advance_append_async(ready);
        let leaves_early = planted(Mutation::AckBeforeSync) && !votes
            || planted(Mutation::VoteBeforeSync) && votes;
        if leaves_early {
            self.send(cx, std::mem::take(&mut leaves.messages));
        }

        // On a leader too: what is said in a term that is not yet on disk could be denied after a crash.
        if votes || self.outbox.holds_vote() {
            leaves.messages.splice(0..0, at_once);
        } else {
            self.send(cx, at_once);
        }
        let before = self.outbox.last_turn().filter(|_| !planted(Mutation::ReadyOvertakes));
        match if is_written { Some(cx.turn) } else { before } {
            Some(turn) => self.outbox.hold(Held { number, turn, last_index, votes, leaves }),
            None => {
                self.node.on_persist_ready(number);
                self.send(cx, leaves.messages);
            }
        }
    }

    fn append(&mut self, cx: &mut Context<'_, E, T>, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        if first.index <= self.node.store().last() {
            self.outbox.overwrite(first.index, cx.turn);
        }
        let group = self.spec.group;
        let records = entries.iter().map(|entry| Record::Entry { group, entry: to_log(entry) });
        cx.effects.log.extend(records);
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.grow(entries.iter().map(|entry| entry.data.len()).sum());
        }
        self.node.mut_store().append(entries);
    }

    /// A commit alone is not worth a write: recovery takes it from what is applied (R12).
    fn note_hard_state(&mut self, cx: &mut Context<'_, E, T>, state: HardState, write: bool) {
        if write {
            let HardState { term, vote, commit, .. } = state;
            let state = log::HardState { term, vote, commit };
            cx.effects.log.push(Record::HardState { group: self.spec.group, state });
        }
        self.node.mut_store().set_hard_state(state);
    }

    /// A snapshot takes the place of the log, by a record in the log itself, and of the data, by a job for the applier (R18).
    fn accept_snapshot(&mut self, cx: &mut Context<'_, E, T>, snapshot: &Snapshot) -> InstallJob {
        let group = self.spec.group;
        let metadata = snapshot.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        self.lease.view().expect_snapshot(index);
        self.node.mut_store().reset(index, term);
        self.feed.reset(index);
        cx.effects.log.push(Record::Reset { group, mark: Mark { index, term } });
        cx.effects.snapshots_accepted += 1;
        InstallJob { group, index, term, header: snapshot.data.clone() }
    }

    /// Hands committed entries to the applier, as many as its backlog has room for (R11).
    pub(super) fn feed_applier(&mut self, cx: &mut Context<'_, E, T>) -> Result<(), Fault> {
        let bytes_max = match planted(Mutation::BacklogUnbounded) {
            true => usize::MAX,
            false => cx.config.apply_backlog_bytes_max,
        };
        while self.feed.wants(bytes_max) {
            let (low, high) = (self.feed.handed() + 1, self.feed.committed() + 1);
            let (entries, bytes) = self
                .node
                .store()
                .committed(low, high, cx.config.apply_bytes_max)
                .map_err(|error| format!("committed entries cannot be read back: {error}"))?;
            let Some(last) = entries.last() else { break };
            self.feed.hand(last.index, bytes);
            cx.effects.apply.push(ApplyJob { group: self.spec.group, entries });
        }
        Ok(())
    }

    /// Forgets what is both synced and handed out, beyond what a follower a little behind may ask for.
    pub(super) fn shrink_cache(&mut self, cx: &Context<'_, E, T>) {
        let bytes = self.node.store().cache_bytes();
        let is_pressed = cx.others.cache.saturating_add(bytes) > cx.config.host_cache_bytes_max;
        let bytes_max = if is_pressed { 0 } else { cx.config.cache_bytes_max };
        self.forget_down_to(bytes_max);
    }

    pub(super) fn forget_down_to(&mut self, bytes_max: usize) {
        let free = self.node.raft.raft_log.persisted.min(self.feed.handed());
        self.node.mut_store().shrink_cache(bytes_max, free);
    }
}
