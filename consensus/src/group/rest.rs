//! When a replica sleeps, and what wakes it (R9).

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};
use stator_storage::machine::Evaluator;

use super::{Context, Group};
use crate::sleep::Rest;
use crate::types::{Class, PeerMessage, ReplicaId};

impl<E: Evaluator, T> Group<E, T> {
    pub(crate) const fn is_asleep(&self) -> bool {
        self.sleep.asleep()
    }

    pub(crate) const fn wake(&mut self) {
        self.sleep.wake();
    }

    /// A tick: whether it is time for this replica, a leader, to go to sleep.
    pub(crate) fn is_tired(&mut self, sleep_ticks: u64) -> bool {
        let is_quiet = self.is_quiet();
        self.sleep.tick(is_quiet, sleep_ticks)
    }

    /// Whether this leader has nothing under way and its followers hold its whole log.
    fn is_quiet(&self) -> bool {
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        self.leading.is_some_and(|leading| leading.ready)
            && self.transfer.is_none()
            && self.outgoing.is_none()
            && self.is_idle()
            && self.feed.applied() == last
            && raft.prs().iter().all(|(_, progress)| progress.matched == last)
    }

    /// A leader goes to sleep, and tells its followers to.
    pub(crate) fn go_to_rest(&mut self, cx: &mut Context<'_, E, T>) {
        for at in 0..self.spec.members.len() {
            self.send_to_rest(cx, self.spec.members[at].replica);
        }
        self.fall_asleep();
    }

    fn send_to_rest(&self, cx: &mut Context<'_, E, T>, to: ReplicaId) {
        let Some(node) = self.spec.node_of(to).filter(|_| to != self.spec.replica) else { return };
        let rest = Rest { term: self.node.raft.term, index: self.node.raft.raft_log.last_index() };
        let message = PeerMessage {
            group: self.spec.group,
            from: self.spec.replica,
            to,
            class: Class::Rest,
            payload: rest.encode(),
        };
        cx.effects.send.push((node, message));
    }

    /// A leader's word that the group may sleep. It counts if this replica follows that leader to the end of its log.
    pub(crate) fn hear_rest(&mut self, message: &PeerMessage) {
        let raft = &self.node.raft;
        let Some(rest) = Rest::decode(&message.payload) else { return };
        let follows = self.is_idle()
            && message.to == self.spec.replica
            && raft.term == rest.term
            && raft.leader_id == message.from.0
            && raft.state == StateRole::Follower
            && raft.raft_log.last_index() == rest.index
            && raft.raft_log.committed == rest.index;
        if follows {
            self.fall_asleep();
        }
    }

    /// Stops ticking. A sleeping leader holds no lease: its first read asks a quorum. And it keeps no entries in memory.
    fn fall_asleep(&mut self) {
        self.sleep.rest();
        if !self.is_alone() {
            self.lease.give_up();
        }
        // Only the lease's own question can be left here.
        drop(self.reads.abandon());
        self.renewals = 0;
        self.forget_down_to(0);
    }

    /// Any message wakes, but for echoes of the time before.
    pub(super) fn wake_for(&mut self, cx: &mut Context<'_, E, T>, message: &Message) {
        if !self.sleep.asleep() {
            return;
        }
        if !self.is_echo(message) {
            cx.effects.wakes += 1;
            self.sleep.wake();
        } else if self.leading.is_some() {
            // The follower is awake: the word to rest was lost, or overtaken.
            self.send_to_rest(cx, ReplicaId(message.from));
        }
    }

    /// Messages that were on their way when the group went to sleep, and that tell a sleeping replica nothing new. Waking for
    /// them would keep a group from ever resting.
    fn is_echo(&self, message: &Message) -> bool {
        let raft = &self.node.raft;
        if message.term != raft.term || !message.context.is_empty() {
            return false;
        }
        match message.get_msg_type() {
            MessageType::MsgHeartbeat => {
                message.from == raft.leader_id && message.commit <= raft.raft_log.committed
            }
            MessageType::MsgHeartbeatResponse => self.leading.is_some(),
            MessageType::MsgAppendResponse => {
                self.leading.is_some()
                    && !message.reject
                    && message.index == raft.raft_log.last_index()
            }
            _ => false,
        }
    }
}
