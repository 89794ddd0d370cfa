//! The other nodes: where they are, and the ways to them.
//!
//! One stream of messages leads to each node ([`link`]), bounded: what has no room is dropped and reported (R9). Everything else is
//! a call ([`calls`]). Each says who it is from and whom it is for ([`introduction`]).

mod calls;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
#[cfg(not(feature = "grpc"))]
#[path = "no_grpc.rs"]
pub(crate) mod grpc;
pub(crate) mod introduction;
mod link;
mod queue;
mod refusing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use stator_consensus::{GroupId, NodeId, PeerMessage, ReplicaId};
use tokio::sync::Notify;

pub(crate) use self::calls::{CallFailure, Failed};
#[cfg(feature = "grpc")]
pub(crate) use self::link::PEER_FORMAT;

use self::calls::Connection;
use self::grpc::{Channel, Client, Credentials};
use self::introduction::{
    Introduced, Introduction, OTHER_DIRECTORY, OTHER_NODE, Stranger, same_founders,
};
use self::queue::{Pool, Pushed, Queue};
use self::refusing::Refusing;
use crate::metrics::Metrics;
use crate::node::room::Room;
use crate::shell::host::Outbound;
use crate::shell::{Fatal, fatal_on_panic};
use crate::snapshots::send::{Order, Orders};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The other nodes of the cluster.
pub(crate) struct Peers {
    own: Introduction,
    cluster_id: RwLock<Option<String>>,
    /// What goes with every call.
    credentials: RwLock<Credentials>,
    nodes: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// What waits for all of them.
    queues: Arc<Pool>,
    /// The data directories of the nodes, as the catalog or this node's own file knows them.
    expected: RwLock<BTreeMap<NodeId, u64>>,
    /// Those of founders that neither has told of yet: as they said first, or last if nothing has begun here.
    believed: Mutex<BTreeMap<NodeId, u64>>,
    /// Whether this node may have counted a vote: from then on a founder that comes with another directory is another node (R8).
    is_settled: AtomicBool,
    /// The nodes that take this one for what it says, as long as they are connected.
    met: Mutex<BTreeSet<NodeId>>,
    /// The nodes that do not take this one for what it says, or at whose addresses another one answers: in words, as it was last.
    amiss: Mutex<BTreeMap<NodeId, String>>,
    /// Whether some node knows this one's number to be another directory's: by the catalog, or by its own file.
    disowned: AtomicBool,
    /// Rung when somebody comes whom nobody has told of: the catalog may know by now.
    pub(crate) strangers: Notify,
    /// Tells the hosts that the way to a node broke.
    unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
    /// The transfers of snapshots.
    snapshots: Orders,
    /// Whether this node has room for entries, which the others are told.
    room: Arc<Room>,
    /// The nodes that have no room for entries.
    pub(crate) full: Refusing,
    metrics: Arc<Metrics>,
    runtime: tokio::runtime::Handle,
    fatal: Fatal,
}

/// One other node.
struct Peer {
    address: Mutex<String>,
    queue: Arc<Queue>,
    connection: Mutex<Connection>,
}

/// What of the node the ways to its peers need.
pub(crate) struct Around {
    /// Told that the way to a node broke: what was on it may be lost.
    pub(crate) unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
    pub(crate) snapshots: Orders,
    pub(crate) room: Arc<Room>,
    /// The bytes of entries that may wait for all nodes together.
    pub(crate) queue_bytes_max: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Told what the node cannot go on after.
    pub(crate) fatal: Fatal,
}

impl Peers {
    pub(crate) fn new(own: Introduction, cluster_id: Option<String>, around: Around) -> Arc<Self> {
        let Around { unreachable, snapshots, room, queue_bytes_max, metrics, runtime, fatal } =
            around;
        Arc::new(Self {
            queues: Pool::new(queue_bytes_max),
            credentials: RwLock::new(Credentials::new(&own, cluster_id.as_deref())),
            own,
            cluster_id: RwLock::new(cluster_id),
            met: Mutex::default(),
            amiss: Mutex::default(),
            disowned: AtomicBool::new(false),
            strangers: Notify::new(),
            nodes: RwLock::default(),
            expected: RwLock::default(),
            believed: Mutex::default(),
            is_settled: AtomicBool::new(false),
            unreachable,
            snapshots,
            room,
            full: Refusing::default(),
            metrics,
            runtime,
            fatal,
        })
    }

    pub(crate) fn introduction(&self) -> &Introduction {
        &self.own
    }

    /// The cluster's id, once it is known.
    pub(crate) fn cluster_id(&self) -> Option<String> {
        self.cluster_id.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_cluster_id(&self, id: &str) {
        let credentials = Credentials::new(&self.own, Some(id));
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
        *self.cluster_id.write().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
    }

    /// A node does not take this one for what it says, or is not the one that was meant; or nobody was there to say. Answers which.
    fn note_failed(&self, node: NodeId, failed: &Failed) -> String {
        let why = &failed.message;
        let amiss = failed.refusal.as_deref().map(|word| match word {
            OTHER_NODE => format!("the address of node {node} leads elsewhere: {why}"),
            _ => format!("node {node} refuses this one: {why}"),
        });
        if failed.refusal.as_deref() == Some(OTHER_DIRECTORY) {
            self.disowned.store(true, Ordering::Release);
        }
        self.note_amiss(node, amiss.clone());
        amiss.unwrap_or_else(|| why.clone())
    }

    /// What is amiss at a node's address by now, if anything is known to be.
    fn note_amiss(&self, node: NodeId, why: Option<String>) {
        let mut amiss = self.amiss.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = why else {
            amiss.remove(&node);
            return;
        };
        if amiss.get(&node) != Some(&why) {
            tracing::warn!("{why}");
            amiss.insert(node, why);
        }
    }

    /// Whoever is at a node's address takes this node for what it says, and says who it is itself. Answers whether what is for the
    /// node may go there. Only the node itself is met by that: an address may lead to another one, and what was believed of that
    /// one would be this node's for good. A sound node that is not meant has refused already; but one of an older version does not
    /// look whom a stream is for, and to a founder of whose directory nobody has told yet none could be named.
    fn note_taken(&self, node: NodeId, address: &str, from: Option<(NodeId, u64)>) -> bool {
        let whom = match from {
            Some((other, _)) if other != node => format!("node {other}"),
            Some((_, incarnation)) if !self.is_of(node, incarnation) => {
                "another data directory than it is known by".to_owned()
            }
            Some(_) => {
                self.note_amiss(node, None);
                self.met.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
                return true;
            }
            None => "a node of an older version, which does not say who it is".to_owned(),
        };
        let why = format!("the address {address} of node {node} leads to {whom}");
        self.note_amiss(node, Some(why));
        from.is_none()
    }

    /// Whether a data directory is a node's, as far as this one knows, and believed to be if nobody has told.
    fn is_of(&self, node: NodeId, incarnation: u64) -> bool {
        match self.expected(node) {
            Some(known) => known == incarnation,
            None => self.believe(node, incarnation),
        }
    }

    /// A node is gone: whether it takes this one in is to be seen again.
    fn note_left(&self, node: NodeId) {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// Whether a node is connected, and takes this one for what it says.
    pub(crate) fn has_met(&self, node: NodeId) -> bool {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// From now on founders are who they were last.
    pub(crate) fn settle(&self) {
        // Under the lock, so that nobody is believed anew who was looked at before.
        let _believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_settled.store(true, Ordering::Release);
    }

    /// Whether some node knows this one's number to be another directory's: by the catalog, or by its own file.
    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::Acquire)
    }

    /// Which nodes do not take this one for what it says, or are not at their addresses, in words.
    pub(crate) fn amiss(&self) -> Vec<String> {
        let amiss = self.amiss.lock().unwrap_or_else(PoisonError::into_inner);
        amiss.values().cloned().collect()
    }

    /// A client of a node's peer door on a connection, which may lead to another one: that one serves nothing of it.
    pub(crate) fn client_on(&self, node: NodeId, channel: Channel) -> Client {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        Client::new(channel, credentials.to(node, self.expected(node)))
    }

    /// A node is at this address: from now on messages go there.
    pub(crate) fn know(self: &Arc<Self>, node: NodeId, address: &str) {
        if node == self.own.node {
            return;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = nodes.get(&node) {
            address.clone_into(&mut peer.address.lock().unwrap_or_else(PoisonError::into_inner));
            return;
        }
        let peer = Arc::new(Peer {
            address: Mutex::new(address.to_owned()),
            queue: Arc::new(Queue::new(&self.queues)),
            connection: Mutex::default(),
        });
        nodes.insert(node, peer.clone());
        let link = link::Link { node, peers: Arc::downgrade(self), queue: peer.queue.clone() };
        let link = fatal_on_panic(self.fatal.clone(), "the stream to a node", link.run());
        self.runtime.spawn(link);
    }

    /// The incarnation of a node's data directory, as the catalog knows it, or this node's own file.
    pub(crate) fn expect(&self, node: NodeId, incarnation: u64) {
        self.expected.write().unwrap_or_else(PoisonError::into_inner).insert(node, incarnation);
    }

    /// That, if either has told.
    fn expected(&self, node: NodeId) -> Option<u64> {
        self.expected.read().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Whether a node that introduces itself may be who it says, and means this one.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&self, who: &Introduced<'_>) -> Result<NodeId, Stranger> {
        let node = who.node;
        let theirs = who.cluster_id;
        match self.cluster_id().filter(|_| !theirs.is_empty()) {
            Some(ours) if ours == theirs => {}
            Some(ours) => return Err(Stranger::OtherCluster { theirs: theirs.to_owned(), ours }),
            // One of the two is a founder that has not heard of the cluster's id yet.
            None if same_founders(self.own.founders_text(), who.founders) => {}
            None => {
                return Err(Stranger::OtherFounders {
                    theirs: who.founders.to_owned(),
                    ours: self.own.founders_text().to_owned(),
                });
            }
        }
        if let Some((meant, directory)) = who.to
            && (meant != self.own.node || directory.is_some_and(|it| it != self.own.incarnation))
        {
            return Err(Stranger::OtherNode { meant, own: self.own.node });
        }
        if node.0 == 0 || node == self.own.node {
            return Err(Stranger::NotAMember(node));
        }
        let is_founder =
            usize::try_from(node.0).is_ok_and(|number| number <= self.own.founders().count());
        match self.expected(node) {
            Some(known) if known == who.incarnation => Ok(node),
            Some(_) => Err(Stranger::OtherDirectory(node)),
            None if !is_founder => Err(Stranger::NotAMember(node)),
            None if self.believe(node, who.incarnation) => Ok(node),
            None => Err(Stranger::Twin(node)),
        }
    }

    /// A founder is believed until the catalog says otherwise, but not a second one beside it once there are votes to count.
    fn believe(&self, node: NodeId, incarnation: u64) -> bool {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = believed.entry(node).or_insert(incarnation);
        if !self.is_settled.load(Ordering::Acquire) {
            *known = incarnation;
        }
        *known == incarnation
    }

    /// The incarnation of a node's data directory, as far as this one knows it.
    pub(crate) fn incarnation(&self, node: NodeId) -> Option<u64> {
        let believed =
            || self.believed.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied();
        self.expected(node).or_else(believed)
    }

    /// Where a node is, if that is known.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        let peer = self.peer(node)?;
        Some(peer.address.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// All other nodes that are known.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }
}

/// What a host may do with the peers.
impl Outbound for Peers {
    fn send(&self, node: NodeId, message: PeerMessage) -> bool {
        let pushed = self.peer(node).map_or(Pushed::Closed, |peer| peer.queue.push(message));
        if pushed == Pushed::Full {
            self.metrics.peer_dropped();
        }
        pushed == Pushed::Waits
    }

    fn ping(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.queue.ping();
        }
    }

    // Nobody takes orders any more once the node is stopping.

    fn send_snapshot(&self, node: NodeId, message: PeerMessage) {
        let _ = self.snapshots.send(Order::Announced { node, message });
    }

    fn snapshot_wanted(&self, group: GroupId, to: ReplicaId) {
        let _ = self.snapshots.send(Order::Wanted { group, to });
    }

    fn snapshot_over(&self, group: GroupId) {
        let _ = self.snapshots.send(Order::Over { group });
    }
}

#[cfg(test)]
mod tests;
