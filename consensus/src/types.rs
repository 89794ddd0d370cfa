//! Ids, group descriptions, and what callers are told when a group cannot serve them.

use std::fmt;

use bytes::Bytes;

pub use stator_storage::machine::GroupId;

/// A node of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A replica: a Raft id, given by the catalog and never used again within its group (R8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A replica and the node it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The replica.
    pub replica: ReplicaId,
    /// Its node.
    pub node: NodeId,
}

/// A replica group as one of its nodes knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// The group.
    pub group: GroupId,
    /// The replica of it that this node holds.
    pub replica: ReplicaId,
    /// All its replicas, this one among them, in the order of their ranks: the first campaigns at once when the group is
    /// fresh, and the later ones wait longer before they campaign.
    pub members: Vec<Member>,
}

impl GroupSpec {
    /// The node that a replica of this group is on.
    #[must_use]
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        self.members.iter().find(|member| member.replica == replica).map(|member| member.node)
    }

    /// This replica's place in the order of ranks, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.members.iter().position(|member| member.replica == self.replica).unwrap_or(0)
    }
}

/// How urgent a message is: each class has its own place in a peer's queue (R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Heartbeats, votes and their answers: few, small, and what keeps leaders.
    Control,
    /// Entries and their acknowledgements.
    Entries,
    /// A leader's word that the group may sleep.
    Rest,
    /// A snapshot: its message travels with the snapshot's chunks.
    Snapshot,
}

/// A message from one replica to another, opaque to whoever carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// The group.
    pub group: GroupId,
    /// The sender.
    pub from: ReplicaId,
    /// The receiver.
    pub to: ReplicaId,
    /// Its class.
    pub class: Class,
    /// The message.
    pub payload: Bytes,
}

/// Why a group did not serve a request. Each says by its nature whether the request may have been applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// This replica does not lead; surely not applied. Names the leader's node if it is known.
    NotLeader(Option<NodeId>),
    /// There is no such group on this node; surely not applied.
    NoGroup,
    /// Too much is in flight; surely not applied.
    Throttled,
    /// The time given was over while the request waited; surely not applied.
    Expired,
    /// The request was proposed, and then this replica lost sight of it: it may be applied, now or later.
    Uncertain,
    /// The replica stopped on a fault of its own before it took the request; surely not applied.
    Stopped(String),
}
