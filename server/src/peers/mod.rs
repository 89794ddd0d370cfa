//! The other nodes: where they are, and the ways to them.
//!
//! One stream of messages leads to each node ([`link`]), bounded: what has no room is dropped and reported (R9). Everything else is
//! a call: requests sent on, replicas made and removed, their states.

mod link;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use stator_consensus::{GroupId, NodeId, PeerMessage, ReplicaId};
use stator_proto::metadata::MESSAGE_BYTES_MAX;
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::peer_client::PeerClient;
use stator_proto::status::Effect;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use self::queue::Queue;
use crate::shell::host::Outbound;
use crate::snapshots::send::{Order, Orders};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest message between nodes: a forwarded request, or a batch of entries.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (4 << 20);

/// What this node tells others of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
}

/// A client of a node's peer door.
pub(crate) type Client = PeerClient<Channel>;

/// Why a call to a node brought no answer.
#[derive(Clone, Debug)]
pub(crate) enum CallFailure {
    /// The request was surely not sent.
    NotSent(String),
    /// It was sent, and then nothing came back.
    Lost(tonic::Status),
}

impl std::fmt::Display for CallFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(why) => f.write_str(why),
            Self::Lost(status) => write!(f, "{:?}: {}", status.code(), status.message()),
        }
    }
}

/// The other nodes of the cluster.
pub(crate) struct Peers {
    own: Introduction,
    cluster_id: RwLock<Option<String>>,
    nodes: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// The data directories of the nodes, as the catalog knows them, or as they said first.
    expected: RwLock<BTreeMap<NodeId, u64>>,
    /// Tells the hosts that messages to a node were dropped.
    unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
    /// The transfers of snapshots.
    snapshots: Orders,
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

impl Peers {
    pub(crate) fn new(
        own: Introduction,
        cluster_id: Option<String>,
        unreachable: Box<dyn Fn(NodeId) + Send + Sync>,
        snapshots: Orders,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            own,
            cluster_id: RwLock::new(cluster_id),
            nodes: RwLock::default(),
            expected: RwLock::default(),
            unreachable,
            snapshots,
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
        *self.cluster_id.write().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
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
            queue: Arc::new(Queue::default()),
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

    /// Whether a node that introduces itself may be who it says. The error says why not.
    pub(crate) fn admit(&self, hello: &wire::Hello) -> Result<NodeId, String> {
        let node = NodeId(hello.node_id);
        if hello.format_version < link::PEER_FORMAT {
            return Err(format!("format version {} is not spoken any more", hello.format_version));
        }
        if let Some(own) = self.cluster_id()
            && !hello.cluster_id.is_empty()
            && hello.cluster_id != own
        {
            return Err(format!(
                "node {node} is of cluster {}, and this one is of {own}",
                hello.cluster_id
            ));
        }
        if node.0 == 0 || node == self.own.node {
            return Err(format!("node {node} is none of the others"));
        }
        // Whoever comes first under an id that nobody has told of is believed, until the catalog says otherwise; not a second one
        // beside it: founders with different lists may both take themselves for the same node.
        let mut expected = self.expected.write().unwrap_or_else(PoisonError::into_inner);
        if *expected.entry(node).or_insert(hello.incarnation) != hello.incarnation {
            return Err(format!(
                "node {node} has another data directory than the cluster knows it by"
            ));
        }
        Ok(node)
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
    pub(crate) async fn client(&self, node: NodeId) -> Result<PeerClient<Channel>, CallFailure> {
        let not_sent = |why: String| CallFailure::NotSent(format!("node {node}: {why}"));
        let peer = self.peer(node).ok_or_else(|| not_sent("its address is not known".into()))?;
        let address = peer.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = Instant::now();
        let mut connection = peer.connection.lock().await;
        if let Some((known, channel)) = &connection.channel
            && *known == address
        {
            return Ok(client_on(channel.clone()));
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
                Ok(client_on(fresh))
            }
            Err(why) => {
                connection.failed = Some((Instant::now(), why.clone()));
                Err(not_sent(why))
            }
        }
    }

    /// The connection to a node has failed: the next call makes a new one.
    pub(crate) async fn disconnect(&self, node: NodeId) {
        if let Some(peer) = self.peer(node) {
            peer.connection.lock().await.channel = None;
        }
    }

    /// Calls a node, and waits for its answer, for so long at most.
    ///
    /// # Errors
    /// Whether the request was sent at all.
    pub(crate) async fn ask<T, F>(
        &self,
        node: NodeId,
        timeout: Duration,
        ask: impl FnOnce(Client) -> F + Send,
    ) -> Result<T, CallFailure>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>> + Send,
    {
        let deadline = Instant::now() + timeout;
        let client = match tokio::time::timeout_at(deadline, self.client(node)).await {
            Ok(client) => client?,
            Err(_) => return Err(CallFailure::NotSent("no connection in time".into())),
        };
        match tokio::time::timeout_at(deadline, ask(client)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                // An answer that a node made is no fault of the connection.
                if !stator_proto::status::from_status(&status, Effect::Read).from_stator {
                    self.disconnect(node).await;
                }
                if never_sent(&status) {
                    return Err(CallFailure::NotSent(status.message().to_owned()));
                }
                Err(CallFailure::Lost(status))
            }
            Err(_) => {
                // Callers with little time say nothing of the connection.
                if timeout >= CONNECT_TIMEOUT {
                    self.disconnect(node).await;
                }
                Err(CallFailure::Lost(tonic::Status::deadline_exceeded("no answer in time")))
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
        let ask = |mut client: Client| async move { client.forward(request).await };
        self.ask(node, timeout, ask).await
    }
}

/// Connects to an address.
pub(crate) async fn connect(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("{address} is no address: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    endpoint.connect().await.map_err(|error| format!("no connection to {address}: {error}"))
}

/// Whether a call failed before it left: a channel whose connection ended makes a new one by itself, and when it cannot,
/// nothing was sent.
fn never_sent(status: &tonic::Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// A client of the peer door on a connection.
pub(crate) fn client_on(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX)
}

/// What a host may do with the peers.
impl Outbound for Peers {
    fn send(&self, node: NodeId, message: PeerMessage) {
        let taken = self.peer(node).is_some_and(|peer| peer.queue.push(message));
        if !taken {
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
mod tests {
    use super::*;

    fn peers() -> Arc<Peers> {
        let own = Introduction { node: NodeId(1), incarnation: 11 };
        let runtime = tokio::runtime::Handle::current();
        let (orders, _) = tokio::sync::mpsc::unbounded_channel();
        Peers::new(own, None, Box::new(|_| {}), orders, runtime)
    }

    fn hello(node_id: u64, incarnation: u64, cluster_id: &str) -> wire::Hello {
        let format_version = link::PEER_FORMAT;
        wire::Hello { format_version, cluster_id: cluster_id.to_owned(), node_id, incarnation }
    }

    #[tokio::test]
    async fn one_directory_speaks_for_a_node() {
        let peers = peers();
        assert_eq!(peers.admit(&hello(2, 22, "")), Ok(NodeId(2)));
        assert!(peers.admit(&hello(2, 23, "")).is_err(), "another directory under the same id");
        peers.expect(NodeId(2), 23);
        assert_eq!(peers.admit(&hello(2, 23, "")), Ok(NodeId(2)), "the catalog knows better");
        assert!(peers.admit(&hello(2, 22, "")).is_err());
        assert!(peers.admit(&hello(1, 11, "")).is_err(), "this node itself");
        assert!(peers.admit(&hello(0, 1, "")).is_err());
        peers.set_cluster_id("ours");
        assert!(peers.admit(&hello(3, 33, "theirs")).is_err());
        assert_eq!(peers.admit(&hello(3, 33, "")), Ok(NodeId(3)), "it has not heard of one yet");
    }

    #[tokio::test]
    async fn who_waited_for_an_attempt_in_vain_makes_none_of_their_own() {
        let peers = peers();
        // Nobody answers there: RFC 5737.
        peers.know(NodeId(2), "192.0.2.1:1");
        let begun = Instant::now();
        let calls = (0..8).map(|_| peers.client(NodeId(2)));
        let failed = futures::future::join_all(calls).await;
        assert!(failed.iter().all(Result::is_err));
        assert!(begun.elapsed() < 3 * CONNECT_TIMEOUT, "took {:?}", begun.elapsed());
    }
}
