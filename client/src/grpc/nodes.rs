//! The nodes that a client knows: their connections, and whether they could be reached of late.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stator_model::error::{Error, Result};
use stator_proto::metadata::MESSAGE_BYTES_MAX;
use stator_proto::v1::stator_client::StatorClient;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};

use super::Unreachable;

/// How much of an error's detail these connections take, in bytes: the largest item, with room to spare.
pub(super) const DETAIL_BYTES_MAX: usize = 1024 * 1024;
/// What that needs in headers: base64 makes a third more of it.
const HEADERS_BYTES_MAX: u32 = 2 * 1024 * 1024;
/// The longest time that a node is passed over after it could not be reached.
const AVOIDED_MAX: Duration = Duration::from_secs(30);
/// How many nodes are remembered. Routes name them, and a broken node may name any number.
const NODES_MAX: usize = 4096;

/// All nodes known, by endpoint.
#[derive(Debug)]
pub(super) struct Nodes {
    /// Those given at the start, which are asked when no route says better.
    seeds: Vec<Arc<Node>>,
    learnt: Mutex<BTreeMap<String, Arc<Node>>>,
    turn: AtomicUsize,
    channels_per_node: usize,
    connect_timeout: Duration,
}

impl Nodes {
    pub(super) fn new(
        endpoints: &[String],
        channels_per_node: usize,
        connect_timeout: Duration,
    ) -> Result<Self> {
        if endpoints.is_empty() {
            return Err(Error::validation("A client needs the endpoint of a node"));
        }
        let seeds = endpoints
            .iter()
            .map(|endpoint| Node::new(endpoint, channels_per_node, connect_timeout).map(Arc::new))
            .collect::<Result<_>>()?;
        Ok(Self {
            seeds,
            learnt: Mutex::default(),
            turn: AtomicUsize::new(0),
            channels_per_node,
            connect_timeout,
        })
    }

    /// All nodes to try, in order: the preferred ones, then the seeds in turn; those to be avoided come last.
    pub(super) fn candidates(&self, preferred: &[String]) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = preferred.iter().filter_map(|name| self.node(name)).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.seeds.len();
        let (before, after) = self.seeds.split_at(turn);
        for seed in after.iter().chain(before) {
            if !nodes.iter().any(|node| node.endpoint == seed.endpoint) {
                nodes.push(Arc::clone(seed));
            }
        }
        let now = Instant::now();
        nodes.sort_by_key(|node| node.is_avoided(now));
        nodes
    }

    /// The node at this endpoint; `None` if it is no endpoint.
    fn node(&self, endpoint: &str) -> Option<Arc<Node>> {
        if let Some(seed) = self.seeds.iter().find(|seed| seed.endpoint == endpoint) {
            return Some(Arc::clone(seed));
        }
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = learnt.get(endpoint) {
            return Some(Arc::clone(node));
        }
        let node = Node::new(endpoint, self.channels_per_node, self.connect_timeout).ok()?;
        let node = Arc::new(node);
        if learnt.len() >= NODES_MAX {
            learnt.clear();
        }
        learnt.insert(endpoint.to_owned(), Arc::clone(&node));
        Some(node)
    }
}

/// A node, with connections that are made when they are needed and made again when they broke.
#[derive(Debug)]
pub(super) struct Node {
    endpoint: String,
    address: Endpoint,
    channels: Vec<Mutex<Option<Channel>>>,
    turn: AtomicUsize,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    failures: u32,
    avoided_until: Option<Instant>,
}

impl Node {
    fn new(endpoint: &str, channels: usize, connect_timeout: Duration) -> Result<Self> {
        let address = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|error| Error::validation(format!("{endpoint:?} is no endpoint: {error}")))?;
        if address.uri().scheme_str() != Some("http")
            || address.uri().host().is_none_or(str::is_empty)
        {
            let text = format!("{endpoint:?} is no endpoint: http://HOST:PORT is one");
            return Err(Error::validation(text));
        }
        let address = address
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .http2_max_header_list_size(HEADERS_BYTES_MAX);
        Ok(Self {
            endpoint: endpoint.to_owned(),
            address,
            channels: (0..channels).map(|_| Mutex::new(None)).collect(),
            turn: AtomicUsize::new(0),
            health: Mutex::default(),
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A client on the next of the connections, ready to take a request.
    pub(super) async fn client(&self) -> Result<StatorClient<Channel>, Unreachable> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let slot = &self.channels[turn];
        // A channel serves as long as the runtime that it was made on. When it does not, a new one is made.
        for _ in 0..2 {
            let mut channel = self.channel(slot);
            match poll_fn(|cx| GrpcService::<Body>::poll_ready(&mut channel, cx)).await {
                Ok(()) => {
                    return Ok(StatorClient::new(channel)
                        .max_decoding_message_size(MESSAGE_BYTES_MAX)
                        .max_encoding_message_size(MESSAGE_BYTES_MAX));
                }
                Err(_) => *slot.lock().unwrap_or_else(PoisonError::into_inner) = None,
            }
        }
        Err(Unreachable("the connection is not ready".to_owned()))
    }

    fn channel(&self, slot: &Mutex<Option<Channel>>) -> Channel {
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert_with(|| self.address.connect_lazy()).clone()
    }

    /// Notes that the node answered.
    pub(super) fn works(&self) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Health::default();
    }

    /// Notes that the node could not be reached, or did not answer: it is avoided for a second, and for twice as long each
    /// further time.
    pub(super) fn fails(&self) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let avoided = Duration::from_secs(1 << health.failures.min(5)).min(AVOIDED_MAX);
        health.failures = health.failures.saturating_add(1);
        health.avoided_until = Some(Instant::now() + avoided);
    }

    fn is_avoided(&self, now: Instant) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.avoided_until.is_some_and(|until| now < until)
    }
}
