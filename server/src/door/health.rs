//! What `grpc.health.v1.Health` answers: whether the node serves, as its admin port's `/readyz` says it.
//!
//! A node has many reasons not to serve, and they come and go in many places: here they are looked at, a few times a second, and
//! who watches is told of changes. While a node hands over what it leads before it ends, it does not serve any more.

use std::sync::Arc;
use std::time::Duration;

use stator_proto::v1::stator_server::SERVICE_NAME;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::node::Inner;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is asked about: the server as a whole, and the API.
const SERVICES: [&str; 2] = ["", SERVICE_NAME];

/// Says so until the node stops, and then that it does not.
pub(super) async fn tell(node: Arc<Inner>, health: HealthReporter) {
    let mut told = false;
    while !node.is_stopping() {
        let serves = node.unready().is_empty();
        if serves != told {
            told = serves;
            say(&health, serves).await;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = node.stopping() => break,
        }
    }
    say(&health, false).await;
}

/// Says whether the node serves. Before anything is known, it does not.
pub(super) async fn say(health: &HealthReporter, serves: bool) {
    let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}
