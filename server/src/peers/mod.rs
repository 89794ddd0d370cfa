//! The other nodes: where they are, and the ways to them.
//!
//! One stream of messages leads to each node ([`link`]), bounded: what has no room is dropped and reported (R9). Everything else is
//! a call: requests sent on, replicas made and removed, their states. Each says who it is from ([`introduction`]).

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
use stator_model::Error;
use stator_proto::peer::v1 as wire;
use tokio::sync::Notify;
use tokio::time::Instant;

#[cfg(feature = "grpc")]
pub(crate) use self::link::PEER_FORMAT;

use self::grpc::{Channel, Client, Credentials, connect};
use self::introduction::{Introduced, Introduction, OTHER_DIRECTORY, Stranger, same_founders};
use self::queue::{Pool, Pushed, Queue};
use self::refusing::Refusing;
use crate::metrics::Metrics;
use crate::node::room::Room;
use crate::shell::host::Outbound;
use crate::snapshots::send::{Order, Orders};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a call to a node brought no answer.
#[derive(Clone, Debug)]
pub(crate) enum CallFailure {
    /// The request was surely not sent.
    NotSent(String),
    /// It was sent, and then nothing came back.
    Lost(Failed),
}

impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) => f.write_str(why),
            Self::Lost(failed) => failed.fmt(f),
        }
    }
}

/// What came instead of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    /// What gRPC calls it, and the text.
    shown: String,
    /// The text alone.
    pub(crate) message: String,
    /// In a word, why the node does not take this one for what it says.
    refusal: Option<String>,
    /// Whether a node made it: else the way did.
    from_stator: bool,
    /// Whether the request surely never came to be looked at.
    never_served: bool,
    /// Whether the request is one that is never taken.
    pub(crate) is_invalid: bool,
    /// What it means for a write.
    pub(crate) error: Error,
}

impl Failed {
    /// Nothing came at all.
    fn silence() -> Self {
        let message = "no answer in time".to_owned();
        let shown = format!("DeadlineExceeded: {message}");
        Self {
            error: Error::uncertain(shown.clone()),
            shown,
            message,
            refusal: None,
            from_stator: false,
            never_served: false,
            is_invalid: false,
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The other nodes of the cluster.
pub(crate) struct Peers {
    own: Introduction,
    cluster_id: RwLock<Option<String>>,
    /// What goes with every call.
    credentials: RwLock<Credentials>,
    nodes: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// What waits for all of them.
    queues: Arc<Pool>,
    /// The data directories of the nodes, as the catalog knows them.
    expected: RwLock<BTreeMap<NodeId, u64>>,
    /// Those of founders that the catalog has not told of yet: as they said first, or last if nothing has begun here.
    believed: Mutex<BTreeMap<NodeId, u64>>,
    /// Whether this node may have counted a vote: from then on a founder that comes with another directory is another node (R8).
    is_settled: AtomicBool,
    /// The nodes that take this one for what it says, as long as they are connected.
    met: Mutex<BTreeSet<NodeId>>,
    /// The nodes that do not take this one for what it says, and why.
    refusals: Mutex<BTreeMap<NodeId, String>>,
    /// Whether some node knows by the catalog that this one's number is another directory's.
    disowned: AtomicBool,
    /// Rung when somebody comes whom nobody has told of: the catalog may know by now.
    pub(crate) strangers: Notify,
    /// Tells the hosts that messages to a node were dropped.
    unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
    /// The transfers of snapshots.
    snapshots: Orders,
    /// Whether this node has room for entries, which the others are told.
    room: Arc<Room>,
    /// The nodes that have no room for entries.
    pub(crate) full: Refusing,
    metrics: Arc<Metrics>,
    runtime: tokio::runtime::Handle,
}

/// One other node.
struct Peer {
    address: Mutex<String>,
    queue: Arc<Queue>,
    connection: tokio::sync::Mutex<Connection>,
}

/// The connection for calls to a node.
#[derive(Default)]
struct Connection {
    /// The address that it leads to, and the way.
    channel: Option<(String, Channel)>,
    /// When the last attempt to connect failed, and why.
    failed: Option<(Instant, String)>,
}

/// What of the node the ways to its peers need.
pub(crate) struct Around {
    /// Told that messages to a node were lost.
    pub(crate) unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
    pub(crate) snapshots: Orders,
    pub(crate) room: Arc<Room>,
    /// The bytes of entries that may wait for all nodes together.
    pub(crate) queue_bytes_max: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Peers {
    pub(crate) fn new(own: Introduction, cluster_id: Option<String>, around: Around) -> Arc<Self> {
        let Around { unreachable, snapshots, room, queue_bytes_max, metrics, runtime } = around;
        Arc::new(Self {
            queues: Pool::new(queue_bytes_max),
            credentials: RwLock::new(Credentials::new(&own, cluster_id.as_deref())),
            own,
            cluster_id: RwLock::new(cluster_id),
            met: Mutex::default(),
            refusals: Mutex::default(),
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

    /// A node does not take this one for what it says, or does so again.
    fn note_refusal(&self, node: NodeId, why: Option<&Failed>) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = why.and_then(|why| Some((why, why.refusal.as_deref()?)));
        match refused {
            Some((why, _)) => refusals.insert(node, why.message.clone()),
            None => refusals.remove(&node),
        };
        if refused.is_some_and(|(_, word)| word == OTHER_DIRECTORY) {
            self.disowned.store(true, Ordering::Release);
        }
    }

    /// A node takes this one for what it says.
    fn note_met(&self, node: NodeId) {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
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

    /// Whether some node knows by the catalog that this one's number is another directory's.
    pub(crate) fn is_disowned(&self) -> bool {
        self.disowned.load(Ordering::Acquire)
    }

    /// The nodes that do not take this one for what it says, and why.
    pub(crate) fn refusals(&self) -> Vec<(NodeId, String)> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().map(|(node, why)| (*node, why.clone())).collect()
    }

    /// A client of the peer door on a connection.
    pub(crate) fn client_on(&self, channel: Channel) -> Client {
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        Client::new(channel, credentials)
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
            connection: tokio::sync::Mutex::default(),
        });
        nodes.insert(node, peer.clone());
        let link = link::Link { node, peers: Arc::downgrade(self), queue: peer.queue.clone() };
        self.runtime.spawn(link.run());
    }

    /// The incarnation of a node's data directory, as the catalog knows it.
    pub(crate) fn expect(&self, node: NodeId, incarnation: u64) {
        self.expected.write().unwrap_or_else(PoisonError::into_inner).insert(node, incarnation);
    }

    /// Whether a node that introduces itself may be who it says.
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
        if node.0 == 0 || node == self.own.node {
            return Err(Stranger::NotAMember(node));
        }
        let expected = self.expected.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = expected.get(&node) {
            return if *known == who.incarnation {
                Ok(node)
            } else {
                Err(Stranger::OtherDirectory(node))
            };
        }
        drop(expected);
        // A founder is believed until the catalog says otherwise, but not a second one beside it once there are votes to count.
        if usize::try_from(node.0).is_ok_and(|number| number <= self.own.founders().count()) {
            let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
            let known = believed.entry(node).or_insert(who.incarnation);
            if !self.is_settled.load(Ordering::Acquire) {
                *known = who.incarnation;
            }
            return if *known == who.incarnation { Ok(node) } else { Err(Stranger::Twin(node)) };
        }
        Err(Stranger::NotAMember(node))
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

    /// A client of a node's peer door.
    ///
    /// # Errors
    /// Why there is no connection; nothing was sent.
    async fn client(&self, node: NodeId) -> Result<Client, CallFailure> {
        let not_sent = |why: String| CallFailure::NotSent(format!("node {node}: {why}"));
        let peer = self.peer(node).ok_or_else(|| not_sent("its address is not known".into()))?;
        let address = peer.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = Instant::now();
        let mut connection = peer.connection.lock().await;
        if let Some((known, channel)) = &connection.channel
            && *known == address
        {
            return Ok(self.client_on(channel.clone()));
        }
        // Those who waited here for an attempt that failed do not all make one of their own, one after the other.
        if let Some((at, why)) = &connection.failed
            && *at > asked
        {
            return Err(not_sent(why.clone()));
        }
        match connect(&address).await {
            Ok(fresh) => {
                *connection = Connection { channel: Some((address, fresh.clone())), failed: None };
                Ok(self.client_on(fresh))
            }
            Err(why) => {
                connection.failed = Some((Instant::now(), why.clone()));
                Err(not_sent(why))
            }
        }
    }

    /// The connection to a node has failed: the next call makes a new one.
    async fn disconnect(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.connection.lock().await.channel = None;
        }
    }

    /// Calls a node, and waits for its answer, for so long at most.
    ///
    /// # Errors
    /// Whether the request was sent at all.
    async fn ask<T, F>(
        &self,
        node: NodeId,
        timeout: Duration,
        ask: impl FnOnce(Client) -> F + Send,
    ) -> Result<T, CallFailure>
    where
        F: Future<Output = Result<T, Failed>> + Send,
    {
        let deadline = Instant::now() + timeout;
        let client = match tokio::time::timeout_at(deadline, self.client(node)).await {
            Ok(client) => client?,
            Err(_) => return Err(CallFailure::NotSent("no connection in time".into())),
        };
        match tokio::time::timeout_at(deadline, ask(client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failed)) if failed.refusal.is_some() => {
                self.note_refusal(node, Some(&failed));
                let why = format!("node {node} refuses this one: {}", failed.message);
                Err(CallFailure::NotSent(why))
            }
            Ok(Err(failed)) => {
                // An answer that a node made is no fault of the connection.
                if !failed.from_stator {
                    self.disconnect(node).await;
                }
                if failed.never_served {
                    return Err(CallFailure::NotSent(failed.message));
                }
                Err(CallFailure::Lost(failed))
            }
            Err(_) => {
                // Callers with little time say nothing of the connection.
                if timeout >= CONNECT_TIMEOUT {
                    self.disconnect(node).await;
                }
                Err(CallFailure::Lost(Failed::silence()))
            }
        }
    }

    /// Sends a request on.
    ///
    /// # Errors
    /// Whether it was sent at all.
    pub(crate) async fn forward(
        &self,
        node: NodeId,
        request: wire::ForwardRequest,
        timeout: Duration,
    ) -> Result<wire::ForwardResponse, CallFailure> {
        self.ask(node, timeout, |client| client.forward(request)).await
    }

    /// Has a node make replicas.
    ///
    /// # Errors
    /// Whether it was asked at all.
    pub(crate) async fn ensure_replicas(
        &self,
        node: NodeId,
        request: wire::EnsureReplicasRequest,
        timeout: Duration,
    ) -> Result<wire::EnsureReplicasResponse, CallFailure> {
        self.ask(node, timeout, |client| client.ensure_replicas(request)).await
    }

    /// Has a node remove replicas.
    ///
    /// # Errors
    /// Whether it was asked at all.
    pub(crate) async fn remove_replicas(
        &self,
        node: NodeId,
        request: wire::RemoveReplicasRequest,
        timeout: Duration,
    ) -> Result<wire::RemoveReplicasResponse, CallFailure> {
        self.ask(node, timeout, |client| client.remove_replicas(request)).await
    }

    /// The states of a node's replicas.
    ///
    /// # Errors
    /// Whether it was asked at all.
    pub(crate) async fn replica_status(
        &self,
        node: NodeId,
        request: wire::ReplicaStatusRequest,
        timeout: Duration,
    ) -> Result<wire::ReplicaStatusResponse, CallFailure> {
        self.ask(node, timeout, |client| client.replica_status(request)).await
    }
}

/// What a host may do with the peers.
impl Outbound for Peers {
    fn send(&self, node: NodeId, message: PeerMessage) {
        let pushed = self.peer(node).map_or(Pushed::Closed, |peer| peer.queue.push(message));
        if pushed == Pushed::Full {
            self.metrics.peer_dropped();
        }
        if pushed != Pushed::Waits {
            (self.unreachable)(node);
        }
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
