//! A program built without gRPC: there is no way to another node, and nothing to say to one. Of what stands for the way, and for
//! a client on it, there is never a value.

use stator_consensus::NodeId;
use stator_proto::peer::v1 as wire;
use stator_proto::v1;
use tokio_stream::Stream;

use super::Failed;
use super::introduction::Introduction;

#[derive(Clone)]
pub(crate) enum Channel {}

pub(crate) async fn connect(address: &str) -> Result<Channel, String> {
    Err(format!("no connection to {address}: this build has none (its feature is `grpc`)"))
}

pub(crate) async fn join(
    channel: Channel,
    _: wire::JoinRequest,
) -> Result<wire::JoinResponse, Failed> {
    match channel {}
}

pub(crate) async fn describe_cluster(
    channel: Channel,
) -> Result<v1::DescribeClusterResponse, Failed> {
    match channel {}
}

#[derive(Clone)]
pub(crate) struct Credentials;

impl Credentials {
    pub(crate) const fn new(_: &Introduction, _: Option<&str>) -> Self {
        Self
    }

    pub(super) const fn to(self, _: NodeId, _: Option<u64>) -> Self {
        self
    }
}

pub(crate) struct Client(Channel);

impl Client {
    pub(super) fn new(channel: Channel, _: Credentials) -> Self {
        Self(channel)
    }

    pub(super) async fn forward(
        self,
        _: wire::ForwardRequest,
    ) -> Result<wire::ForwardResponse, Failed> {
        match self.0 {}
    }

    pub(super) async fn ensure_replicas(
        self,
        _: wire::EnsureReplicasRequest,
    ) -> Result<wire::EnsureReplicasResponse, Failed> {
        match self.0 {}
    }

    pub(super) async fn remove_replicas(
        self,
        _: wire::RemoveReplicasRequest,
    ) -> Result<wire::RemoveReplicasResponse, Failed> {
        match self.0 {}
    }

    pub(super) async fn replica_status(
        self,
        _: wire::ReplicaStatusRequest,
    ) -> Result<wire::ReplicaStatusResponse, Failed> {
        match self.0 {}
    }

    pub(crate) async fn send_snapshot(
        self,
        _: impl Stream<Item = wire::SnapshotFrame> + Send + 'static,
    ) -> Result<wire::SnapshotReceipt, Failed> {
        match self.0 {}
    }

    pub(super) async fn messages(
        self,
        _: impl Stream<Item = wire::PeerFrame> + Send + 'static,
    ) -> Result<Incoming, Failed> {
        match self.0 {}
    }
}

pub(super) struct Incoming {
    pub(super) from: Option<(NodeId, u64)>,
    never: Channel,
}

impl Incoming {
    pub(super) async fn next(&mut self) -> bool {
        match self.never {}
    }
}
