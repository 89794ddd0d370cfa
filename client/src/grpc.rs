//! The transport over gRPC: straight to the node that leads an item's partition, and by any other node if need be.
//!
//! Any node takes any request, so a route is only ever a shortcut. The first answer of a table makes the transport ask
//! for its routes, beside the traffic; until they are there, and whenever they prove wrong, requests go to whichever node
//! is next. What corrects them: an answer that says that it was forwarded, an error with a newer route, a table that is
//! gone.
//!
//! # Which node gets a request
//! First the leader of the item's partition (any replica, for an eventually consistent read), then its other replicas,
//! then all other nodes, a different one each time. Nodes that could not be reached a moment ago come last. The next one
//! is asked only if a request **surely** did not get to the one before: no connection was made. All else is the caller's
//! to decide, from the error: see [`crate::retry`].

mod nodes;
mod routes;
mod send;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use stator_model::error::{Applied, Error, ErrorKind, Result, Retry};
use stator_model::{Answer, Request};
use stator_proto::operation::Effect;
use stator_proto::status::{Received, from_status, never_served};
use stator_proto::v1;
use tokio::time::{Instant, timeout_at};

use self::nodes::{Node, Nodes};
use self::routes::{Preference, RouteCache};
use self::send::{Sent, send};
use crate::client::Client;
use crate::endpoints::whole;
use crate::error::UNREACHED;
use crate::transport::{CallOptions, Transport};

/// The transport over gRPC; see the module's documentation. Clones share connections and routes.
#[derive(Clone, Debug)]
pub struct GrpcTransport {
    shared: Arc<Shared>,
}

impl Client {
    /// A client of the nodes at these endpoints, such as `http://127.0.0.1:7400` or `["10.0.0.1:7400", "10.0.0.2:7400"]`,
    /// and of the others of their cluster. It connects when it is used first. Where one is given, that one must be up for
    /// the client to begin; see [`GrpcTransport::builder`] for more settings.
    ///
    /// # Errors
    /// `ValidationException` if there is none, or one is no endpoint.
    pub fn connect(endpoints: impl crate::IntoEndpoints) -> crate::Result<Self> {
        let endpoints = endpoints.into_endpoints();
        Ok(Self::new(GrpcTransport::builder().endpoints(endpoints).build()?))
    }
}

#[derive(Debug)]
struct Shared {
    nodes: Nodes,
    routes: RouteCache,
    direct: bool,
}

impl GrpcTransport {
    /// Begins a transport; it needs one endpoint at least.
    pub fn builder() -> GrpcTransportBuilder {
        GrpcTransportBuilder {
            endpoints: Vec::new(),
            channels_per_node: 1,
            connect_timeout: Duration::from_secs(1),
            direct: true,
        }
    }

    /// Asks for a table's routes now, rather than beside its first request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table, `UnavailableException` if no node answers.
    pub async fn load_routes(&self, table_name: &str) -> Result<()> {
        self.shared.load_routes(table_name).await
    }

    /// How the cluster is doing, as one of its nodes sees it.
    ///
    /// # Errors
    /// `UnavailableException` if no node answers.
    pub async fn describe_cluster(&self) -> Result<v1::DescribeClusterResponse> {
        let ask = |node: Arc<Node>| async move {
            let mut client = node.client().await?;
            Ok(client.describe_cluster(v1::DescribeClusterRequest {}).await)
        };
        self.shared.ask_any(Duration::from_secs(3), ask).await
    }
}

impl Transport for GrpcTransport {
    fn call(&self, request: Request, options: CallOptions) -> BoxFuture<'_, Result<Answer>> {
        let shared = Arc::clone(&self.shared);
        async move { shared.call(request, options).await }.boxed()
    }
}

/// That a node could not be reached: the request surely did not get there.
struct Unreachable(String);

impl Shared {
    async fn call(self: Arc<Self>, request: Request, options: CallOptions) -> Result<Answer> {
        let effect = Effect::of(&request);
        let preference = self.routes.preference(&request);
        let deadline = Instant::from_std(options.deadline);
        let mut reasons = Vec::new();
        for node in self.nodes.candidates(preference.endpoints()) {
            if deadline <= Instant::now() {
                return Err(late(&reasons));
            }
            let sending = send(&node, request.clone(), &options);
            match timeout_at(deadline, sending).await {
                Ok(Ok(sent)) => return self.received(sent, &preference, &node, effect),
                Ok(Err(Unreachable(reason))) => {
                    node.fails();
                    reasons.push(format!("{}: {reason}", node.endpoint()));
                }
                Err(_) => {
                    node.fails();
                    return Err(no_answer(effect, node.endpoint()));
                }
            }
        }
        Err(unreached(&reasons))
    }

    /// Learns from an answer, or an error, and gives it on.
    fn received(
        self: &Arc<Self>,
        sent: Sent,
        preference: &Preference,
        node: &Node,
        effect: Effect,
    ) -> Result<Answer> {
        match sent.result {
            Ok(answer) => {
                node.works();
                if let Some(table_name) = preference.table_name()
                    && (sent.forwarded || !self.routes.knows(table_name))
                {
                    self.refresh(table_name);
                }
                answer
            }
            Err(status) => {
                let received = from_status(&status, effect);
                if received.from_stator {
                    node.works();
                } else {
                    // The connection broke, or something on the way answers in the node's place.
                    node.fails();
                }
                if let Some(table_name) = preference.table_name() {
                    self.learn(table_name, preference, node, &received);
                }
                Err(received.error)
            }
        }
    }

    /// Learns from an error which routes are wrong.
    fn learn(
        self: &Arc<Self>,
        table_name: &str,
        preference: &Preference,
        node: &Node,
        received: &Received,
    ) {
        if received.error.kind() == ErrorKind::ResourceNotFound {
            self.routes.forget(table_name);
        } else if let Some(hint) = &received.route {
            if !self.routes.correct(table_name, hint) {
                self.refresh(table_name);
            }
        } else if received.error.retry() == Retry::Elsewhere && preference.leads(node.endpoint()) {
            self.routes.doubt(table_name, preference, node.endpoint());
            self.refresh(table_name);
        }
    }

    /// Asks for a table's routes in the background, unless somebody does already or just did.
    fn refresh(self: &Arc<Self>, table_name: &str) {
        if !self.direct || !self.routes.begin_refresh(table_name) {
            return;
        }
        let asking = Asking { shared: Arc::clone(self), table_name: table_name.to_owned() };
        tokio::spawn(async move {
            // Nothing is lost if it fails: requests find their way, and one of them asks again.
            let _ = asking.shared.load_routes(&asking.table_name).await;
        });
    }

    async fn load_routes(&self, table_name: &str) -> Result<()> {
        let ask = |node: Arc<Node>| async move {
            let mut client = node.client().await?;
            let request = v1::DescribeRoutesRequest { table_name: table_name.to_owned() };
            Ok(client.describe_routes(request).await)
        };
        match self.ask_any(Duration::from_secs(1), ask).await {
            Ok(told) => self.routes.install(table_name, told),
            Err(error) => {
                if error.kind() == ErrorKind::ResourceNotFound {
                    self.routes.forget(table_name);
                }
                Err(error)
            }
        }
    }

    /// Asks the nodes one after the other until one answers; each gets this time.
    async fn ask_any<T, F>(&self, patience: Duration, ask: impl Fn(Arc<Node>) -> F) -> Result<T>
    where
        F: Future<Output = Result<Result<tonic::Response<T>, tonic::Status>, Unreachable>>,
    {
        let mut reasons = Vec::new();
        let mut answered = None;
        for node in self.nodes.candidates(&[]) {
            let until = Instant::now() + patience;
            match timeout_at(until, ask(Arc::clone(&node))).await {
                Ok(Ok(Ok(response))) => return Ok(response.into_inner()),
                Ok(Ok(Err(status))) if never_served(&status) => {
                    node.fails();
                    reasons.push(format!("{}: {}", node.endpoint(), status.message()));
                }
                Ok(Ok(Err(status))) => {
                    let error = from_status(&status, Effect::Read).error;
                    if error.kind() != ErrorKind::Unavailable {
                        return Err(error);
                    }
                    answered = Some(error);
                }
                Ok(Err(Unreachable(reason))) => {
                    node.fails();
                    reasons.push(format!("{}: {reason}", node.endpoint()));
                }
                Err(_) => {
                    node.fails();
                    answered = Some(no_answer(Effect::Read, node.endpoint()));
                }
            }
        }
        Err(answered.unwrap_or_else(|| unreached(&reasons)))
    }
}

/// A table's routes are being asked for. It ends with this value, for the task may never come to its own end: a client can outlive
/// the runtime that it runs on.
struct Asking {
    shared: Arc<Shared>,
    table_name: String,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.shared.routes.end_refresh(&self.table_name);
    }
}

fn no_answer(effect: Effect, endpoint: &str) -> Error {
    let text = format!("{endpoint} did not answer in time");
    match effect {
        Effect::Read => Error::new(ErrorKind::DeadlineExceeded, text),
        Effect::Write => Error::uncertain(text),
    }
}

/// That all nodes were tried, and none was reached.
fn unreached(reasons: &[String]) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{UNREACHED}: {}", reasons.join("; ")))
}

/// That the time was over before a node was reached.
fn late(reasons: &[String]) -> Error {
    let text = if reasons.is_empty() {
        "The time given was over before the request was sent".to_owned()
    } else {
        format!("{UNREACHED} in the time given: {}", reasons.join("; "))
    };
    Error::new(ErrorKind::DeadlineExceeded, text)
}

/// Makes a [`GrpcTransport`].
#[derive(Clone, Debug)]
#[must_use]
pub struct GrpcTransportBuilder {
    endpoints: Vec<String>,
    channels_per_node: usize,
    connect_timeout: Duration,
    direct: bool,
}

impl GrpcTransportBuilder {
    /// Adds a node to begin with, such as `http://127.0.0.1:7400`, or `127.0.0.1:7400` for short. A cluster's other nodes are learnt from it, but only
    /// those that are given can be reached while it is down from the start.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Adds nodes to begin with.
    pub fn endpoints<T: Into<String>>(mut self, endpoints: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// How many connections a node gets: one unless set. One connection is served by one core.
    pub fn channels_per_node(mut self, channels: usize) -> Self {
        self.channels_per_node = channels.max(1);
        self
    }

    /// How long a connection may take to be made: 1 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Whether to go straight to leaders: true unless set. Without it only the given endpoints are ever used, as is right
    /// when they are proxies.
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    /// The transport. Connections are made when they are needed.
    ///
    /// # Errors
    /// `ValidationException` without an endpoint, or with one that is none.
    pub fn build(self) -> Result<GrpcTransport> {
        let endpoints: Vec<_> = self.endpoints.iter().map(|given| whole(given)).collect();
        let nodes = Nodes::new(&endpoints, self.channels_per_node, self.connect_timeout)?;
        let routes = RouteCache::default();
        Ok(GrpcTransport { shared: Arc::new(Shared { nodes, routes, direct: self.direct }) })
    }
}

/// An error of an answer that came, but makes no sense.
fn misread(error: Error) -> Error {
    error.with_applied(Applied::Unknown)
}
