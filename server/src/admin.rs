//! The admin port: is the node alive, is it ready, and what does it count.
//!
//! ```text
//! GET /livez    200 while the process answers at all
//! GET /readyz   200 [] when clients may be sent here, else 503 and the reasons as a JSON list of texts
//! GET /metrics  everything that is counted, as OpenMetrics text
//! ```
//!
//! It is a port of its own so that it answers when the other one is full, and so that it can be reached from elsewhere.
//!
//! # Bounds
//! A connection serves one request and lives for ten seconds at most, and 32 are open at once: whoever opens more waits,
//! whoever says nothing is cut off. Bodies are not read. One gathering of metrics runs at a time.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use self::bounded::BoundedListener;
use crate::metrics::Metrics;

mod bounded;
#[cfg(test)]
mod tests;

/// What the admin port asks the node.
pub trait AdminSource: Send + Sync + 'static {
    /// Whether clients may be sent here. Answers at once.
    ///
    /// # Errors
    /// Why not, in the words of people.
    fn ready(&self) -> Result<(), Vec<String>>;
    /// Sets the metrics that are levels. It runs on a thread where it may wait for a lock or a disk, and not twice at once.
    fn gather(&self);
}

struct Admin {
    source: Arc<dyn AdminSource>,
    metrics: Arc<Metrics>,
    /// Held while metrics are gathered.
    gathering: Arc<Mutex<()>>,
}

/// How long answers under way may take once the port is to close.
const GRACE: Duration = Duration::from_secs(1);

/// Serves the admin port until `shutdown` is done.
///
/// # Errors
/// If the listener fails for good.
pub async fn run(
    listener: TcpListener,
    source: Arc<dyn AdminSource>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let admin = Arc::new(Admin { source, metrics, gathering: Arc::default() });
    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    let served = axum::serve(BoundedListener::new(listener), router(admin)).with_graceful_shutdown(
        async move {
            shutdown.await;
            drop(stopping);
        },
    );
    let grace = async move {
        // It changes only by being dropped.
        let _ = stopped.changed().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = served => result,
        () = grace => Ok(()),
    }
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(axum::middleware::map_response(one_request))
        .with_state(admin)
}

/// Ends the connection with the answer.
async fn one_request(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let (status, reasons) = match admin.source.ready() {
        Ok(()) => (StatusCode::OK, Vec::new()),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons),
    };
    // A list of texts always has a JSON form.
    let body = serde_json::to_string(&reasons).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], body + "\n").into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    // The guard goes with the work: who asks and goes away does not start a second gathering beside it.
    let guard = Arc::clone(&admin.gathering).lock_owned().await;
    let gathered = tokio::task::spawn_blocking(move || {
        let _guard = guard;
        admin.source.gather();
        admin.metrics.encode()
    });
    match gathered.await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "gathering metrics failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
