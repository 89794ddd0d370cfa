//! What every call meets before a byte of its body is read.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{Either, Map, Ready, ready};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use super::answers;
use super::budget::{Budget, Whole, counted, refusal};
use super::lobby::Guest;
use crate::node::Inner;
use crate::peers::introduction::{Introduced, Stranger};
use crate::serve::throttled;

/// Who looks at calls. Everything that comes passes one, before anything of it is decoded: this is the place for whatever is going to
/// check clients' credentials, and the certificates that `[tls]`, which is refused so far, is going to bring.
pub(super) trait Keeper: Clone + Send + Sync + 'static {
    /// Lets a call pass.
    ///
    /// # Errors
    /// What it is answered in place of the service.
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status>;
}

/// What came of a call.
type Answered = Result<Response<Body>, Infallible>;

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
    type Future = Either<Ready<Answered>, Map<S::Future, fn(Answered) -> Answered>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        match self.keeper.admit(call) {
            Ok(call) => {
                let answered = self.service.call(call);
                Either::Right(answered.map(|answered| answered.map(answers::counted)))
            }
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

/// Lets clients pass, as many as there may be, and each with so many bytes.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) node: Arc<Inner>,
}

impl Keeper for Clients {
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status> {
        let guest = guest(&call)?;
        if !guest.is_client() {
            self.node.metrics.throttled();
            return Err(refusal(&throttled()));
        }
        Ok(counted(call, guest.budget.clone()))
    }
}

/// Lets nodes of this cluster pass, and those that want to be.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) node: Arc<Inner>,
    /// What all nodes together may have being read: apart from the clients, so that these do not keep them from each other.
    pub(super) whole: Arc<Whole>,
}

/// The call of a node that is no member yet.
const JOIN: &str = "/stator.peer.v1.Peer/Join";
/// The calls that are streams. What comes on them is bounded by what takes it.
const STREAMS: [&str; 2] = ["/stator.peer.v1.Peer/Messages", "/stator.peer.v1.Peer/SendSnapshot"];

impl Keeper for Members {
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status> {
        let guest = guest(&call)?;
        let path = call.uri().path();
        let has_room = if path == JOIN {
            guest.is_client()
        } else {
            let who = Introduced::of_call(call.headers())?;
            admit(&self.node, &who)?;
            guest.is_peer()
        };
        if !has_room {
            self.node.metrics.throttled();
            return Err(refusal(&throttled()));
        }
        if STREAMS.contains(&path) {
            return Ok(call);
        }
        let budget = Arc::new(Budget::of_connection(&self.whole));
        Ok(counted(call, budget))
    }
}

/// The connection that a call came by.
fn guest(call: &Request<Body>) -> Result<Arc<Guest>, Status> {
    let guest = call.extensions().get::<Arc<Guest>>();
    guest.cloned().ok_or_else(|| Status::internal("the call came by no connection"))
}

/// Whether a node that introduces itself is one of the cluster's, and means this one. One that has just joined is looked up in the
/// catalog's replica, if there is one here; if not, the node soon asks who there is.
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
