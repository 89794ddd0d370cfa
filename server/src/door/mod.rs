//! The doors of a node: gRPC for clients and for peers on one port, HTTP for operators on another.

#[cfg(feature = "server")]
mod admin;
mod answers;
mod budget;
mod client;
mod gate;
mod health;
mod incoming;
mod lobby;
mod peer;

use std::sync::Arc;
use std::time::Duration;

use stator_proto::FILE_DESCRIPTOR_SET;
use stator_proto::metadata::MESSAGE_BYTES_MAX;
use stator_proto::peer::v1::peer_server::PeerServer;
use stator_proto::v1::stator_server::StatorServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

#[cfg(feature = "server")]
pub(crate) use self::admin::serve_admin;
use self::budget::Whole;
use self::gate::{Clients, Gate, Members, Streams};
use crate::node::Inner;
use crate::peers::grpc::PEER_MESSAGE_BYTES_MAX;

/// How many requests one connection may have under way.
const STREAMS_PER_CONNECTION: u32 = 512;
/// What a stream, and a connection, may send ahead of being read: enough for a fast network, and held by the operating system's
/// side of every connection, whatever is admitted.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// The bytes of a call's headers.
const HEADERS_MAX: u32 = 16 << 10;

/// Serves clients and peers until the node stops.
pub(crate) async fn serve(node: Arc<Inner>, listener: TcpListener) {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    health::say(&reporter, false).await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let reflection = match reflection {
        Ok(reflection) => reflection,
        Err(error) => return node.fail(&format!("the descriptors of the API are broken: {error}")),
    };
    let client = StatorServer::new(client::ClientDoor::new(node.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let peer = PeerServer::new(peer::PeerDoor::new(node.clone()))
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let being_read = node.config.memory_plan().in_flight_requests / 2;
    let whole_max = usize::try_from(being_read).unwrap_or(usize::MAX);
    let whole = Whole::new(whole_max, node.metrics.clone());
    let waiting = answers::Whole::new(whole_max, node.metrics.clone());
    let of_peers = Whole::new(0, node.metrics.clone());
    let clients = Clients { node: node.clone() };
    let peer = Gate::new(peer, Members { node: node.clone(), whole: of_peers });
    let stopping = node.clone();
    let served = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_service(Gate::new(client, clients.clone()))
        .add_service(peer)
        .add_service(Gate::new(health_service, Streams::of_health(clients.clone())))
        .add_service(Gate::new(reflection, Streams::of_reflection(clients)))
        .serve_with_incoming_shutdown(
            incoming::connections(node.clone(), listener, whole, waiting),
            async move { stopping.stopping().await },
        );
    tokio::spawn(health::tell(node.clone(), reporter));
    // Connections that stay open must not keep a stopping node from ending.
    tokio::select! {
        result = served => {
            if let Err(error) = result {
                node.fail(&format!("the door failed: {error}"));
            }
        }
        () = async { node.stopping().await; tokio::time::sleep(Duration::from_secs(2)).await } => {}
    }
}
