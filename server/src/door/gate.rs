//! What every call meets before a byte of its body is read.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{Either, Ready, ready};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;

use super::answers::{self, Outgoing};
use super::budget::{Budget, Whole, counted, refusal};
use super::lobby::Guest;
use crate::node::Inner;
use crate::peers::introduction::{Introduced, Stranger};
use crate::serve::throttled;

/// Who looks at calls. Everything that comes passes one, before anything of it is decoded: this is the place for whatever is going to
/// check clients' credentials, and the certificates that `[tls]`, which is refused so far, is going to bring.
pub(super) trait Keeper: Clone + Send + Sync + 'static {
    /// Lets a call pass. What it leaves there of [`Outgoing`] is the answer's.
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
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answered>, Answering<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, call: Request<Body>) -> Self::Future {
        match self.keeper.admit(call) {
            Ok(mut call) => {
                let outgoing = call.extensions_mut().remove();
                Either::Right(Answering { answered: self.service.call(call), outgoing })
            }
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

/// A call that has passed.
pub(super) struct Answering<F> {
    answered: F,
    /// What the answer is to hold until it is gone, if the keeper said so.
    outgoing: Option<Arc<Outgoing>>,
}

impl<F: Future<Output = Answered> + Unpin> Future for Answering<F> {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let answered = Pin::new(&mut self.answered).poll(cx);
        answered.map_ok(|mut response| {
            if let Some(outgoing) = self.outgoing.take() {
                response.extensions_mut().insert(outgoing);
            }
            answers::counted(response)
        })
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

/// The streams of a service that gRPC has for everybody. What they answer is not counted, being little: they are.
#[derive(Clone)]
pub(super) struct Streams {
    clients: Clients,
    /// The call that is answered by one.
    path: &'static str,
    /// The leave for them, of all connections together.
    leaves: Arc<Semaphore>,
    /// How long one may last.
    time_max: Option<Duration>,
}

/// Streams of reflection at once, of all connections: it is people who ask, with tools, and each stream may leave some tens of
/// kilobytes to be read.
const REFLECTIONS_MAX: usize = 16;
/// How long a stream of reflection may last. What is asked has to come in ten seconds, as of any call; with that the stream ends, and
/// a client that has not read so far in five more is not going to.
const REFLECTION_TIME: Duration = Duration::from_secs(15);

impl Streams {
    /// Those of reflection: few, and short.
    pub(super) fn of_reflection(clients: Clients) -> Self {
        Self {
            clients,
            path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            leaves: Arc::new(Semaphore::new(REFLECTIONS_MAX)),
            time_max: Some(REFLECTION_TIME),
        }
    }

    /// Those that watch the node's health. They last for as long as the client likes, who may choose the nodes that it calls by them:
    /// there may be one for each connection.
    pub(super) fn of_health(clients: Clients) -> Self {
        let leaves = Arc::new(Semaphore::new(clients.node.config.max_connections));
        Self { clients, path: "/grpc.health.v1.Health/Watch", leaves, time_max: None }
    }
}

impl Keeper for Streams {
    fn admit(&self, call: Request<Body>) -> Result<Request<Body>, Status> {
        let mut call = self.clients.admit(call)?;
        if call.uri().path() != self.path {
            return Ok(call);
        }
        let guest = guest(&call)?;
        let leave = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok();
        // A connection's own first: those that it may not have are not missing to others.
        let leaves = leave(&guest.standard_streams).zip(leave(&self.leaves));
        let Some((own, of_all)) = leaves else {
            self.clients.node.metrics.throttled();
            let what = "as many of these streams are open as there may be: end some, or try later";
            return Err(Status::resource_exhausted(what));
        };
        let mut outgoing = Outgoing::stream(vec![own, of_all], None);
        if let Some(time) = self.time_max {
            outgoing.cut_off_after(time, &guest);
        }
        call.extensions_mut().insert(Arc::new(outgoing));
        Ok(call)
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
