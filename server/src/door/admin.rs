//! The admin port's view of a node.

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::{AdminSource, run};
use crate::node::Inner;

struct Source(Arc<Inner>);

impl AdminSource for Source {
    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.0.unready();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn gather(&self) {
        self.0.gather();
    }
}

/// Serves operators until the node stops.
pub(crate) async fn serve_admin(node: Arc<Inner>, listener: TcpListener) {
    let (stopping, metrics) = (node.clone(), node.metrics.clone());
    let shutdown = async move { stopping.stopping().await };
    if let Err(error) = run(listener, Arc::new(Source(node.clone())), metrics, shutdown).await {
        tracing::error!(%error, "the admin port failed");
    }
}
