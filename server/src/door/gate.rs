//! What every call meets before a byte of its body is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use crate::node::Inner;
use crate::peers::introduction::{Introduced, Stranger};

/// Who looks at calls.
pub(super) trait Keeper: Clone + Send + Sync + 'static {
    /// Lets a call pass.
    ///
    /// # Errors
    /// What it is answered in place of the service.
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status>;
}

/// A service behind a gate.
#[derive(Clone)]
pub(super) struct Gate<S, K> {
    service: S,
    keeper: K,
}

impl<S, K> Gate<S, K> {
    pub(super) const fn new(service: S, keeper: K) -> Self {
        Self { service, keeper }
    }
}

impl<S: NamedService, K> NamedService for Gate<S, K> {
    const NAME: &'static str = S::NAME;
}

impl<S, K: Keeper> Service<Request<Body>> for Gate<S, K>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<Body>, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        match self.keeper.admit(call) {
            Ok(call) => Either::Right(self.service.call(call)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

/// Lets nodes of this cluster pass, and those that want to be.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) node: Arc<Inner>,
}

/// The call of a node that is no member yet.
const JOIN: &str = "/stator.peer.v1.Peer/Join";

impl Keeper for Members {
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status> {
        if call.uri().path() != JOIN {
            let who = Introduced::of_call(call.headers())?;
            admit(&self.node, &who)?;
        }
        Ok(call)
    }
}

/// Whether a node that introduces itself is one of the cluster's. One that has just joined is looked up in the catalog's replica, if
/// there is one here; if not, the node soon asks who there is.
///
/// # Errors
/// Why it is not.
pub(super) fn admit(node: &Inner, who: &Introduced<'_>) -> Result<(), Stranger> {
    let Some(peers) = &node.peers else { return Err(Stranger::NotAMember(who.node)) };
    let Err(stranger) = peers.admit(who) else { return Ok(()) };
    if stranger != Stranger::NotAMember(who.node) || who.node == node.id() {
        return Err(stranger);
    }
    let Some(record) = node.node_record_here(who.node) else {
        peers.strangers.notify_one();
        return Err(stranger);
    };
    peers.know(record.id, &record.address);
    peers.expect(record.id, record.incarnation);
    peers.admit(who).map(|_| ())
}
