//! The gRPC door for the other nodes. What comes in is checked: peers are other processes, perhaps broken.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stator_consensus::{Class, Event, GroupId, NodeId, PeerMessage, ReplicaId};
use stator_model::error::Retry;
use stator_model::{Error, ErrorKind, Request, Result};
use stator_proto::error::to_detail;
use stator_proto::operation::{Effect, decode_request, encode_answer};
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::peer_server::Peer;
use stator_storage::partition::Member;
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::client::{hold, response};
use crate::catalog::look::REPLICAS_AT_ONCE;
use crate::catalog::records::CATALOG_GROUP;
use crate::metrics::{Outcome, RequestKind};
use crate::node::Inner;
use crate::node::room::Full;
use crate::peers::PEER_FORMAT;
use crate::peers::grpc::sign;
use crate::peers::introduction::{Introduced, Stranger};
use crate::serve::{CallContext, Target};
use crate::wire::from_replica_spec;

/// How long a node may take to make or remove some replicas, or to take in another node.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the first frame of a stream of messages may take to come. It is sent with the call.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before a host that has too much to do is looked at again.
const FLOODED_PAUSE: Duration = Duration::from_millis(1);

/// The door.
pub(crate) struct PeerDoor {
    node: Arc<Inner>,
}

impl PeerDoor {
    pub(crate) const fn new(node: Arc<Inner>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl Peer for PeerDoor {
    type MessagesStream = Pin<Box<dyn Stream<Item = Result<wire::PeerFrame, Status>> + Send>>;

    async fn messages(
        &self,
        request: tonic::Request<Streaming<wire::PeerFrame>>,
    ) -> Result<Response<Self::MessagesStream>, Status> {
        let mut frames = request.into_inner();
        let Some(peers) = &self.node.peers else {
            return Err(Status::failed_precondition("this node has no peers"));
        };
        let first = tokio::time::timeout(HELLO_TIMEOUT, frames.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came in time"))??;
        let first = first.and_then(|frame| frame.frame);
        let Some(wire::peer_frame::Frame::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first frame is no hello"));
        };
        if hello.format_version < PEER_FORMAT {
            return Err(Stranger::OldFormat(hello.format_version).into());
        }
        let from = peers.admit(&Introduced::of_hello(&hello))?;
        let (incarnation, own) = (hello.incarnation, peers.introduction());
        let (end, ended) = tokio::sync::mpsc::channel(1);
        let (node, peers) = (self.node.clone(), peers.clone());
        tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    frame = frames.message() => frame,
                    () = node.stopping() => break,
                };
                let Ok(Some(frame)) = frame else { break };
                // By now another directory may be known to be the node's: what this one sends is not the node's word any more (R8).
                if node.has_failed() || peers.incarnation(from) != Some(incarnation) {
                    break;
                }
                let Some(wire::peer_frame::Frame::Batch(batch)) = frame.frame else { break };
                node.heard.heard(from, node.clock.monotonic_ns());
                peers.full.note(from, full(&batch));
                node.replicas.tell_hosts(|| Event::Ping(from));
                for message in batch.messages {
                    take(&node, from, message);
                }
                // Hosts that cannot keep up are not given more: what waits then waits with its sender, who has bounds for it.
                while node.replicas.is_flooded() && !node.is_stopping() {
                    tokio::time::sleep(FLOODED_PAUSE).await;
                }
            }
            peers.full.note(from, None);
            // Dropped here, which ends the other direction, and with it the stream.
            drop(end);
        });
        let nothing = tokio_stream::wrappers::ReceiverStream::new(ended);
        let mut answer: Response<Self::MessagesStream> = Response::new(Box::pin(nothing));
        sign(&mut answer, own);
        Ok(answer)
    }

    async fn forward(
        &self,
        request: tonic::Request<wire::ForwardRequest>,
    ) -> Result<Response<wire::ForwardResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let operation = message.operation();
        let request_id = self.node.request_ids.given_or_made(Some(&message.request_id));
        let timeout = Duration::from_millis(message.deadline_ms.into());
        let cx = self.node.context(request_id, Some(timeout));
        let cx = cx.with_a_page(message.page_bytes_max);
        let (room, left) = (cx.page_room(), cx.clone());
        let mut result = Box::pin(self.serve_forwarded(message, cx)).await;
        let scanned_bytes = room.saturating_sub(left.page_room());
        let mut held = None;
        if let wire::forward_response::Result::Answer(answer) = &result {
            // A node that does not read its answers is as a client that does not.
            match hold(&self.node, extensions.get(), Effect::of_operation(operation), answer.len())
            {
                Ok(counted) => held = counted,
                Err(error) => {
                    result = wire::forward_response::Result::Error(to_detail(&error, None));
                }
            }
        }
        let answer = wire::ForwardResponse { result: Some(result), scanned_bytes };
        Ok(response(answer, held))
    }

    async fn ensure_replicas(
        &self,
        request: tonic::Request<wire::EnsureReplicasRequest>,
    ) -> Result<Response<wire::EnsureReplicasResponse>, Status> {
        if self.node.has_failed() {
            return Err(Status::unavailable("this node has failed"));
        }
        let wanted = request.into_inner().specs;
        few_enough(wanted.len())?;
        let mut specs = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let (table, partition) = from_replica_spec(wanted).map_err(Status::invalid_argument)?;
            if partition.group == CATALOG_GROUP || partition.group.0 >> 32 != u64::from(table.id) {
                return Err(Status::invalid_argument("the group is not one of the table's"));
            }
            let spec = self.node.replica_spec(&table, &partition);
            specs.push(spec.map_err(Status::failed_precondition)?);
        }
        let made = self.node.begin_replicas(specs, true);
        let made = tokio::time::timeout(REPLICA_TIMEOUT, made).await;
        made.map_err(|_| Status::deadline_exceeded("the replicas were not made in time"))?
            .map_err(Status::failed_precondition)?;
        Ok(Response::new(wire::EnsureReplicasResponse {}))
    }

    async fn remove_replicas(
        &self,
        request: tonic::Request<wire::RemoveReplicasRequest>,
    ) -> Result<Response<wire::RemoveReplicasResponse>, Status> {
        let named = request.into_inner().replicas;
        few_enough(named.len())?;
        for name in &named {
            let group = GroupId(name.group);
            if group == CATALOG_GROUP {
                return Err(Status::invalid_argument("the catalog is not removed"));
            }
            if self.node.spec_of(group).is_some_and(|spec| spec.replica != name.replica_id) {
                return Err(Status::failed_precondition("another replica of the group is here"));
            }
        }
        let groups = named.iter().map(|name| GroupId(name.group)).collect();
        let removed = self.node.remove_replicas(groups);
        let removed = tokio::time::timeout(REPLICA_TIMEOUT, removed).await;
        removed
            .map_err(|_| Status::deadline_exceeded("the replicas were not removed in time"))?
            .map_err(Status::failed_precondition)?;
        Ok(Response::new(wire::RemoveReplicasResponse {}))
    }

    async fn join(
        &self,
        request: tonic::Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let cx = self.node.own_context(REPLICA_TIMEOUT);
        let joined = self.node.take_in(request.into_inner(), &cx).await;
        joined.map(Response::new).map_err(|error| {
            stator_proto::status::to_status(
                &error,
                None,
                stator_proto::status::DETAIL_BYTES_DEFAULT,
            )
        })
    }

    async fn replica_status(
        &self,
        request: tonic::Request<wire::ReplicaStatusRequest>,
    ) -> Result<Response<wire::ReplicaStatusResponse>, Status> {
        if self.node.is_stopping() {
            return Err(Status::unavailable("this node is stopping"));
        }
        let wanted = request.into_inner().groups;
        let groups = self.node.own_statuses(&wanted).await;
        Ok(Response::new(wire::ReplicaStatusResponse { node_id: self.node.id().0, groups }))
    }

    async fn send_snapshot(
        &self,
        request: tonic::Request<Streaming<wire::SnapshotFrame>>,
    ) -> Result<Response<wire::SnapshotReceipt>, Status> {
        crate::snapshots::receive::receive(&self.node, request.into_inner())
            .await
            .map(Response::new)
    }
}

impl PeerDoor {
    async fn serve_forwarded(
        &self,
        message: wire::ForwardRequest,
        mut cx: CallContext,
    ) -> wire::forward_response::Result {
        use wire::forward_response::Result as Answered;
        let Some(target) = message.target else {
            return Answered::NotHere(wire::NotHere { leader_node_id: None, stale_route: true });
        };
        let group = GroupId(target.group);
        let Some(replica) = self.node.replicas.get(group) else {
            return Answered::NotHere(wire::NotHere { leader_node_id: None, stale_route: true });
        };
        if replica.spec.generation != target.generation {
            return Answered::NotHere(wire::NotHere { leader_node_id: None, stale_route: true });
        }
        cx.target = Some(Target { group });
        let answer = async {
            let request = decode_request(message.operation(), message.request.clone())?;
            if !is_of_items(&request) {
                let what = format!("{} is not sent on", request.operation());
                return Err(Error::new(ErrorKind::UnknownOperation, what));
            }
            let _leave = self.node.admit(&request, message.request.len())?;
            let (kind, begun) = (RequestKind::of(&request), Instant::now());
            let slow = self.node.slow_log.begin(&request);
            let answer = self.node.call(request, &cx).await;
            // It is counted where it came in; but where its time went is to be found by its name on either node.
            let (outcome, took) = (Outcome::of(&answer), begun.elapsed());
            self.node.slow_log.ended(&cx.request_id, kind, slow.as_ref(), outcome, took);
            encode_answer(answer?)
        };
        match answer.await {
            Ok(answer) => Answered::Answer(answer),
            Err(error)
                if error.kind() == ErrorKind::Unavailable && error.retry() == Retry::Elsewhere =>
            {
                let leader = replica.view.leader().filter(|leader| *leader != self.node.id());
                Answered::NotHere(wire::NotHere {
                    leader_node_id: leader.map(|leader| leader.0),
                    stale_route: false,
                })
            }
            Err(error) => Answered::Error(to_detail(&error, None)),
        }
    }
}

/// One call makes or removes no more replicas than that.
fn few_enough(count: usize) -> Result<(), Status> {
    if count <= REPLICAS_AT_ONCE {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("at most {REPLICAS_AT_ONCE} replicas in a call")))
}

/// Whether a request is for items of a partition. The others are served by any node, and sent on as the reads and writes of the
/// catalog that they are made of.
const fn is_of_items(request: &Request) -> bool {
    matches!(
        request,
        Request::PutItem(_)
            | Request::GetItem(_)
            | Request::UpdateItem(_)
            | Request::DeleteItem(_)
            | Request::Query(_)
            | Request::Scan(_)
            | Request::BatchGetItem(_)
            | Request::BatchWriteItem(_)
    )
}

/// Gives a message to the host of its group, if the node that it comes from holds the replica that it is said to be from.
fn take(node: &Inner, from: NodeId, message: wire::GroupMessage) {
    let Some(message) = peer_message(message) else { return };
    let Some(replica) = node.replicas.get(message.group) else { return };
    let is_theirs = |member: &Member| (member.replica, member.node) == (message.from.0, from.0);
    if replica.spec.members.iter().any(is_theirs) {
        replica.host.push(Event::Message(message));
    } else {
        tracing::warn!(
            group = message.group.0,
            node = from.0,
            replica = message.from.0,
            "dropped a message of a replica that is not that node's"
        );
    }
}

/// What the sender of a batch says that it has no room on.
const fn full(batch: &wire::MessageBatch) -> Option<Full> {
    match (batch.log_full, batch.refuses_entries) {
        (true, _) => Some(Full::Log),
        (false, true) => Some(Full::Disk),
        (false, false) => None,
    }
}

/// A message as the hosts know it; `None` for a class that does not come this way.
fn peer_message(message: wire::GroupMessage) -> Option<PeerMessage> {
    let class = match message.message_class() {
        wire::MessageClass::Control => Class::Control,
        wire::MessageClass::Entries => Class::Entries,
        wire::MessageClass::Rest => Class::Rest,
        wire::MessageClass::Unspecified => return None,
    };
    Some(PeerMessage {
        group: GroupId(message.group),
        from: ReplicaId(message.from_replica),
        to: ReplicaId(message.to_replica),
        class,
        payload: message.message,
    })
}
