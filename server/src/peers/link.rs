//! The stream of messages to one node, made again whenever it breaks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use stator_consensus::{Class, NodeId, PeerMessage};
use stator_proto::peer::v1 as wire;
use tokio_stream::wrappers::ReceiverStream;

use super::Peers;
use super::grpc::{Channel, Client, connect};
use super::queue::Queue;
use crate::node::room::Full;

/// The format version of what goes between nodes.
pub(crate) const PEER_FORMAT: u32 = 1;

/// How long to wait before the first and the last attempt to connect again.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often to see whether the node is gone, in a silent connection.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Frames between this task and the connection.
const FRAMES_MAX: usize = 4;

/// The task that keeps a stream to a node. It ends when the peers are gone.
pub(crate) struct Link {
    pub(crate) node: NodeId,
    pub(crate) peers: Weak<Peers>,
    pub(crate) queue: Arc<Queue>,
}

impl Link {
    pub(crate) async fn run(self) {
        let mut pause = PAUSE_MIN;
        while let Some(peers) = self.peers.upgrade() {
            let Some(address) = peers.address(self.node) else { return };
            drop(peers);
            let connected = self.stream(&address).await;
            if let Some(peers) = self.peers.upgrade() {
                peers.note_left(self.node);
            }
            if self.queue.close() || connected {
                let Some(peers) = self.peers.upgrade() else { return };
                (peers.unreachable)(self.node);
            }
            pause = if connected { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    /// A client on a connection, and the frame that says who this node is.
    fn introduced(&self, channel: Channel) -> Option<(Client, wire::PeerFrame)> {
        let peers = self.peers.upgrade()?;
        Some((peers.client_on(self.node, channel), hello(&peers)))
    }

    /// Connects and sends until the stream breaks. Answers whether it ever stood.
    async fn stream(&self, address: &str) -> bool {
        let Ok(channel) = connect(address).await else {
            if let Some(peers) = self.peers.upgrade() {
                peers.note_amiss(self.node, None);
            }
            return false;
        };
        let Some((client, hello)) = self.introduced(channel) else { return false };
        let (frames, outgoing) = tokio::sync::mpsc::channel(FRAMES_MAX);
        if frames.send(hello).await.is_err() {
            return false;
        }
        let answer = client.messages(ReceiverStream::new(outgoing)).await;
        let Some(peers) = self.peers.upgrade() else { return false };
        let mut incoming = match answer {
            Ok(incoming) if peers.note_taken(self.node, address, incoming.from) => incoming,
            Ok(_) => return false,
            Err(failed) => {
                peers.note_failed(self.node, &failed);
                tracing::warn!(node = self.node.0, address, status = %failed, "a node refused the stream of messages");
                return false;
            }
        };
        drop(peers);
        self.queue.open();
        loop {
            tokio::select! {
                messages = self.queue.take() => {
                    let Some(peers) = self.peers.upgrade() else { return true };
                    let frame = frame(messages, peers.room.full());
                    drop(peers);
                    if frames.send(frame).await.is_err() {
                        return true;
                    }
                }
                // The other side says nothing on this stream: what comes here is its end.
                more = incoming.next() => {
                    if !more {
                        return true;
                    }
                }
                // To see now and then whether anybody still wants this.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if self.peers.strong_count() == 0 {
                return true;
            }
        }
    }
}

/// Who this node is, for the one it connects to.
pub(crate) fn hello(peers: &Peers) -> wire::PeerFrame {
    let own = peers.introduction();
    wire::PeerFrame {
        frame: Some(wire::peer_frame::Frame::Hello(wire::Hello {
            format_version: PEER_FORMAT,
            cluster_id: peers.cluster_id().unwrap_or_default(),
            node_id: own.node.0,
            incarnation: own.incarnation,
            founders: own.founders_text().to_owned(),
        })),
    }
}

fn frame(messages: Vec<PeerMessage>, full: Option<Full>) -> wire::PeerFrame {
    let messages = messages.into_iter().map(|message| wire::GroupMessage {
        group: message.group.0,
        from_replica: message.from.0,
        to_replica: message.to.0,
        message: message.payload,
        message_class: match message.class {
            Class::Control | Class::Snapshot => wire::MessageClass::Control,
            Class::Entries => wire::MessageClass::Entries,
            Class::Rest => wire::MessageClass::Rest,
        }
        .into(),
    });
    let batch = wire::MessageBatch {
        messages: messages.collect(),
        refuses_entries: full.is_some(),
        log_full: full == Some(Full::Log),
    };
    wire::PeerFrame { frame: Some(wire::peer_frame::Frame::Batch(batch)) }
}
