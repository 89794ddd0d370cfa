//! Everything that can happen to a host.

use std::sync::Arc;

use bytes::Bytes;
use stator_storage::machine::Evaluator;

use crate::group::Recovered;
use crate::lease::ReplicaView;
use crate::types::{GroupId, GroupSpec, NodeId, PeerMessage, ReplicaId};

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
        /// When it is too late to begin with it, by the clock of [`Host::turn`](super::Host::turn). Once it is proposed it is
        /// answered when its fate is known, however late: whoever waits no longer has to take it for uncertain.
        deadline_ns: u64,
        /// Whom to answer.
        token: T,
    },
    /// A caller wants to read strongly, and there is no lease.
    Read {
        /// The group to read.
        group: GroupId,
        /// When it is too late, by the clock of [`Host::turn`](super::Host::turn).
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
    /// A message of a group was dropped on its way out: there was no connection, or no room for it.
    Dropped {
        /// The group.
        group: GroupId,
        /// Whom it was for.
        to: ReplicaId,
    },
    /// The way to a node broke: whatever was under way there may be lost, of any group.
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
    /// A snapshot under way has come further.
    SnapshotGoesOn {
        /// The group.
        group: GroupId,
        /// Whom it is sent to.
        to: ReplicaId,
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
    /// The snapshot that a replica's log begins behind is lost, whether it has been installed or not: the engine does not hold it, and
    /// its files are gone, or damaged. What was handed to the applier is dropped.
    SnapshotLost {
        /// The group.
        group: GroupId,
    },
    /// Leadership is to move.
    HandOver {
        /// The group.
        group: GroupId,
        /// To whom; `None` chooses the replica furthest ahead.
        to: Option<ReplicaId>,
    },
    /// The node is about to stop: leadership of all groups is to move, and no replica here campaigns any more. It is done when
    /// [`Host::leads`](super::Host::leads) is zero; groups of one replica stay.
    Retire,
    /// A replica is to start here.
    Start(Box<StartGroup<E>>),
    /// A replica has failed outside, or is to end here.
    Stop {
        /// The group.
        group: GroupId,
        /// Why.
        reason: String,
    },
    /// A replica is removed from this node for good (R8). One that leads hands over first: see [`Event::HandOver`].
    Remove {
        /// The group.
        group: GroupId,
    },
}
