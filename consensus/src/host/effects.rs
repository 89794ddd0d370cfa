//! What a turn of a host comes to.

use bytes::Bytes;
use stator_storage::log::Record;
use stator_storage::machine::{Committed, Evaluator};

use crate::types::{GroupId, NodeId, PeerMessage, Refusal, ReplicaId};

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

/// A received snapshot for the applier to install in place of the replica's data. The log has been reset to it: after a crash it
/// is installed again.
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

/// A group has another leader, or its leader another term, or none is known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    /// The group.
    pub group: GroupId,
    /// The term.
    pub term: u64,
    /// The leader's node, if one is known.
    pub leader: Option<NodeId>,
    /// Whether it is the replica here.
    pub here: bool,
}

/// What a turn comes to.
pub struct Effects<E: Evaluator, T> {
    /// The turn's number; [`Event::Persisted`](super::Event::Persisted) names it once the log has synced `log`.
    pub turn: u64,
    /// One batch for the log.
    pub log: Vec<Record>,
    /// Messages, with the node that each goes to. They may leave at once.
    pub send: Vec<(NodeId, PeerMessage)>,
    /// Nodes to give a sign of life.
    pub ping: Vec<NodeId>,
    /// Committed entries.
    pub apply: Vec<ApplyJob>,
    /// Snapshots to install, behind the apply jobs of earlier turns and before those of this one.
    pub install: Vec<InstallJob>,
    /// Answers.
    pub answers: Vec<(T, Answer<E::Outcome>)>,
    /// Groups whose follower needs a snapshot: one at a time for each group, until it is reported sent or is over.
    pub snapshots_wanted: Vec<(GroupId, ReplicaId)>,
    /// Groups whose snapshot under way is given up here: what was prepared for it may be thrown away.
    pub snapshots_over: Vec<GroupId>,
    /// Replicas that stopped on a fault, with the reason.
    pub faults: Vec<(GroupId, String)>,
    /// Groups whose removal the log has synced: a crash does not bring them back, and their data may be deleted (R8). Before that
    /// it must not be, for a log that knows a replica which the engine has lost cannot be told from lost data.
    pub removed: Vec<GroupId>,
    /// Groups whose leader is another than before.
    pub leader_changes: Vec<LeaderChange>,
    /// Elections won in this turn.
    pub elections: u64,
    /// Leases granted or renewed.
    pub leases: u64,
    /// Entries proposed.
    pub proposed: u64,
    /// Logs truncated.
    pub truncations: u64,
    /// Peers' messages that were refused, because no correct replica sends them.
    pub refused_messages: u64,
    /// Peers' messages with entries that were dropped, because the applier is behind.
    pub throttled_messages: u64,
    /// Requests for votes that were dropped, because this replica had promised so to a leader.
    pub promises_kept: u64,
    /// Questions to a quorum, repeated ones included.
    pub read_indexes: u64,
    /// Requests answered "uncertain".
    pub uncertain: u64,
    /// Requests and reads answered "throttled".
    pub throttled: u64,
    /// Requests and reads answered "expired".
    pub expired: u64,
    /// Leadership transfers begun.
    pub transfers: u64,
    /// Snapshots accepted from a leader.
    pub snapshots_accepted: u64,
    /// Groups that went to sleep here.
    pub sleeps: u64,
    /// Sleeping groups that a message or a node's silence woke.
    pub wakes: u64,
}

impl<E: Evaluator, T> Effects<E, T> {
    pub(super) fn new(turn: u64) -> Self {
        Self {
            turn,
            log: Vec::new(),
            send: Vec::new(),
            ping: Vec::new(),
            apply: Vec::new(),
            install: Vec::new(),
            answers: Vec::new(),
            snapshots_wanted: Vec::new(),
            snapshots_over: Vec::new(),
            faults: Vec::new(),
            removed: Vec::new(),
            leader_changes: Vec::new(),
            elections: 0,
            leases: 0,
            proposed: 0,
            truncations: 0,
            refused_messages: 0,
            throttled_messages: 0,
            promises_kept: 0,
            read_indexes: 0,
            uncertain: 0,
            throttled: 0,
            expired: 0,
            transfers: 0,
            snapshots_accepted: 0,
            sleeps: 0,
            wakes: 0,
        }
    }

    pub(crate) fn answer(&mut self, token: T, answer: Answer<E::Outcome>) {
        self.answers.push((token, answer));
    }

    pub(crate) fn refuse(&mut self, token: T, refusal: Refusal) {
        match &refusal {
            Refusal::Uncertain => self.uncertain += 1,
            Refusal::Throttled => self.throttled += 1,
            Refusal::Expired => self.expired += 1,
            _ => {}
        }
        self.answers.push((token, Answer::Refused(refusal)));
    }
}
