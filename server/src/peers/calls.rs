//! Calls to other nodes: requests sent on, replicas made and removed, their states.
//!
//! A failure says whether the request may have been served, for on that its caller's answer rests: what was surely not sent can be
//! tried elsewhere, and what was may have been done.

use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use stator_consensus::NodeId;
use stator_model::Error;
use stator_proto::peer::v1 as wire;
use tokio::time::Instant;

use super::grpc::{Channel, Client, connect};
use super::{CONNECT_TIMEOUT, Peers};

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
    pub(super) shown: String,
    /// The text alone.
    pub(crate) message: String,
    /// In a word, why the node does not take this one for what it says.
    pub(super) refusal: Option<String>,
    /// Whether a node made it: else the way did.
    pub(super) from_stator: bool,
    /// Whether the request surely never came to be looked at.
    pub(super) never_served: bool,
    /// Whether the request is one that is never taken.
    pub(crate) is_invalid: bool,
    /// What it means for a write.
    pub(crate) error: Error,
}

impl Failed {
    /// Nothing came at all.
    pub(super) fn silence() -> Self {
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

/// The connection for calls to a node, from the attempt to make it on. It comes about or not whoever still waits for it.
pub(super) type Way = Shared<BoxFuture<'static, Result<Channel, String>>>;

/// The connection for calls to a node, with the address that it leads to.
pub(super) type Connection = Option<(String, Way)>;

impl Peers {
    /// The way to a node. All who want one meanwhile share an attempt, and how it ends; the first who comes after one that failed
    /// begins another.
    ///
    /// # Errors
    /// Nobody has told where the node is.
    pub(super) fn way(&self, node: NodeId) -> Result<Way, CallFailure> {
        let Some(peer) = self.peer(node) else {
            return Err(CallFailure::NotSent(format!("node {node}: its address is not known")));
        };
        let address = peer.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connection = peer.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let known = connection.as_ref().filter(|(leads_to, _)| *leads_to == address);
        if let Some((_, way)) = known.filter(|(_, way)| !matches!(way.peek(), Some(Err(_)))) {
            return Ok(way.clone());
        }
        let at = address.clone();
        let way = async move { connect(&at).await }.boxed().shared();
        // Beside the callers, for one with little time must not take the attempt from the others with it.
        self.runtime.spawn(way.clone());
        *connection = Some((address, way.clone()));
        Ok(way)
    }

    /// This connection to a node has failed: the next call makes a new one, if nobody has yet.
    pub(super) fn disconnect(&self, node: NodeId, failed: &Way) {
        let Some(peer) = self.peer(node) else { return };
        let mut connection = peer.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.as_ref().is_some_and(|(_, way)| way.ptr_eq(failed)) {
            *connection = None;
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
        let way = self.way(node)?;
        let channel = match tokio::time::timeout_at(deadline, way.clone()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(why)) => return Err(CallFailure::NotSent(format!("node {node}: {why}"))),
            Err(_) => return Err(CallFailure::NotSent("no connection in time".into())),
        };
        let client = self.client_on(node, channel);
        match tokio::time::timeout_at(deadline, ask(client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failed)) if failed.refusal.is_some() => {
                // Nothing of the request was looked at. The connection may lead to another node than the address does by now.
                self.disconnect(node, &way);
                Err(CallFailure::NotSent(self.note_failed(node, &failed)))
            }
            Ok(Err(failed)) => {
                // An answer that a node made is no fault of the connection.
                if !failed.from_stator {
                    self.disconnect(node, &way);
                }
                if failed.never_served {
                    return Err(CallFailure::NotSent(failed.message));
                }
                Err(CallFailure::Lost(failed))
            }
            Err(_) => {
                // Callers with little time say nothing of the connection.
                if timeout >= CONNECT_TIMEOUT {
                    self.disconnect(node, &way);
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
