//! What is said to other nodes, and how: everything here that knows gRPC.

use std::time::Duration;

use stator_consensus::NodeId;
use stator_proto::metadata::{
    MESSAGE_BYTES_MAX, PEER_CLUSTER, PEER_FOUNDERS, PEER_INCARNATION, PEER_NODE, PEER_REFUSED,
    PEER_TO, PEER_TO_INCARNATION,
};
use stator_proto::operation::Effect;
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::peer_client::PeerClient;
use stator_proto::status::{from_status, never_served};
use stator_proto::v1;
use stator_proto::v1::stator_client::StatorClient;
use tokio_stream::Stream;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status, Streaming};

use super::introduction::{Introduced, Introduction, Stranger};
use super::{CONNECT_TIMEOUT, Failed};

/// The largest message between nodes: a forwarded request, or a batch of entries.
pub(crate) const PEER_MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (4 << 20);

/// A connection to a node.
pub(crate) type Channel = tonic::transport::Channel;

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

/// Asks for a place in the cluster, as a node that is no member yet: it is all that such a one may do.
pub(crate) async fn join(
    channel: Channel,
    request: wire::JoinRequest,
) -> Result<wire::JoinResponse, Failed> {
    told(PeerClient::new(channel).join(request).await)
}

/// Asks how the cluster is doing, as clients do.
pub(crate) async fn describe_cluster(
    channel: Channel,
) -> Result<v1::DescribeClusterResponse, Failed> {
    let client = StatorClient::new(channel);
    let mut client = client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
    told(client.describe_cluster(v1::DescribeClusterRequest {}).await)
}

/// A client of a node's peer door, which says who it is and whom it means.
pub(crate) struct Client(PeerClient<InterceptedService<Channel, Credentials>>);

impl Client {
    pub(super) fn new(channel: Channel, credentials: Credentials) -> Self {
        let client = PeerClient::with_interceptor(channel, credentials);
        let client = client.max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
        Self(client.max_encoding_message_size(PEER_MESSAGE_BYTES_MAX))
    }

    pub(super) async fn forward(
        mut self,
        request: wire::ForwardRequest,
    ) -> Result<wire::ForwardResponse, Failed> {
        told(self.0.forward(request).await)
    }

    pub(super) async fn ensure_replicas(
        mut self,
        request: wire::EnsureReplicasRequest,
    ) -> Result<wire::EnsureReplicasResponse, Failed> {
        told(self.0.ensure_replicas(request).await)
    }

    pub(super) async fn remove_replicas(
        mut self,
        request: wire::RemoveReplicasRequest,
    ) -> Result<wire::RemoveReplicasResponse, Failed> {
        told(self.0.remove_replicas(request).await)
    }

    pub(super) async fn replica_status(
        mut self,
        request: wire::ReplicaStatusRequest,
    ) -> Result<wire::ReplicaStatusResponse, Failed> {
        told(self.0.replica_status(request).await)
    }

    /// Sends a snapshot, or as much of it as there is.
    pub(crate) async fn send_snapshot(
        mut self,
        frames: impl Stream<Item = wire::SnapshotFrame> + Send + 'static,
    ) -> Result<wire::SnapshotReceipt, Failed> {
        told(self.0.send_snapshot(frames).await)
    }

    /// Begins a stream of messages.
    pub(super) async fn messages(
        mut self,
        frames: impl Stream<Item = wire::PeerFrame> + Send + 'static,
    ) -> Result<Incoming, Failed> {
        let answer = self.0.messages(frames).await?;
        let from = signature(answer.metadata().as_ref());
        Ok(Incoming { from, frames: answer.into_inner() })
    }
}

/// What comes back on a stream of messages.
pub(super) struct Incoming {
    /// Who has taken it, with the incarnation of its data directory; a node of an older version does not say.
    pub(super) from: Option<(NodeId, u64)>,
    frames: Streaming<wire::PeerFrame>,
}

impl Incoming {
    /// Waits for another frame. Answers whether one came.
    pub(super) async fn next(&mut self) -> bool {
        matches!(self.frames.message().await, Ok(Some(_)))
    }
}

/// Says with an answer which node it is from, and which data directory.
pub(crate) fn sign<T>(answer: &mut Response<T>, own: &Introduction) {
    answer.metadata_mut().insert(PEER_NODE, own.node.0.into());
    if let Ok(value) = format!("{:x}", own.incarnation).parse() {
        answer.metadata_mut().insert(PEER_INCARNATION, value);
    }
}

/// The node, and the data directory, that a call or an answer says it is from.
fn signature(headers: &HeaderMap) -> Option<(NodeId, u64)> {
    Some((NodeId(number(headers, PEER_NODE, 10)?), number(headers, PEER_INCARNATION, 16)?))
}

fn number(headers: &HeaderMap, name: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(headers.get(name)?.to_str().ok()?, radix).ok()
}

fn told<T>(answer: Result<Response<T>, Status>) -> Result<T, Failed> {
    answer.map(Response::into_inner).map_err(Failed::from)
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        let word = status.metadata().get(PEER_REFUSED);
        let received = from_status(&status, Effect::Write);
        Self {
            shown: format!("{:?}: {}", status.code(), status.message()),
            message: status.message().to_owned(),
            refusal: word.map(|word| word.to_str().unwrap_or_default().to_owned()),
            from_stator: received.from_stator,
            never_served: never_served(&status),
            is_invalid: status.code() == Code::InvalidArgument,
            error: received.error,
        }
    }
}

impl<'a> Introduced<'a> {
    /// What the headers of a call say.
    pub(crate) fn of_call(headers: &'a HeaderMap) -> Result<Self, Stranger> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let (node, incarnation) = signature(headers).ok_or(Stranger::Nameless)?;
        Ok(Self {
            cluster_id: text(PEER_CLUSTER).unwrap_or_default(),
            node,
            incarnation,
            founders: text(PEER_FOUNDERS).unwrap_or_default(),
            to: number(headers, PEER_TO, 10)
                .map(|to| (NodeId(to), number(headers, PEER_TO_INCARNATION, 16))),
        })
    }
}

impl From<Stranger> for Status {
    fn from(stranger: Stranger) -> Self {
        let code = match stranger {
            Stranger::Nameless => Code::Unauthenticated,
            Stranger::NotAMember(_) => Code::PermissionDenied,
            _ => Code::FailedPrecondition,
        };
        let mut status = Self::new(code, stranger.to_string());
        status.metadata_mut().insert(PEER_REFUSED, MetadataValue::from_static(stranger.name()));
        status
    }
}

/// Puts into each call who it is from, and whom it is for.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    cluster_id: Option<MetadataValue<Ascii>>,
    node: MetadataValue<Ascii>,
    incarnation: Option<MetadataValue<Ascii>>,
    founders: Option<MetadataValue<Ascii>>,
    to: Option<MetadataValue<Ascii>>,
    to_incarnation: Option<MetadataValue<Ascii>>,
}

impl Credentials {
    pub(crate) fn new(own: &Introduction, cluster_id: Option<&str>) -> Self {
        Self {
            cluster_id: cluster_id.and_then(|id| id.parse().ok()),
            node: own.node.0.into(),
            incarnation: format!("{:x}", own.incarnation).parse().ok(),
            founders: own.founders_text().parse().ok(),
            to: None,
            to_incarnation: None,
        }
    }

    /// Those of calls to a node, whose data directory is known or not.
    pub(super) fn to(self, node: NodeId, incarnation: Option<u64>) -> Self {
        let to_incarnation = incarnation.and_then(|known| format!("{known:x}").parse().ok());
        Self { to: Some(node.0.into()), to_incarnation, ..self }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(PEER_NODE, self.node.clone());
        let others = [
            (PEER_CLUSTER, &self.cluster_id),
            (PEER_INCARNATION, &self.incarnation),
            (PEER_FOUNDERS, &self.founders),
            (PEER_TO, &self.to),
            (PEER_TO_INCARNATION, &self.to_incarnation),
        ];
        for (name, value) in others {
            if let Some(value) = value {
                metadata.insert(name, value.clone());
            }
        }
        Ok(request)
    }
}
