//! The door's side: a stream that brings a snapshot.
//!
//! ```text
//! header ──▶ is there a replica for it? ──▶ frames, one by one, to the file ──▶ end: all of it is there ──▶ Raft hears of it
//!    └─ and no more: how far has it come?
//! ```
//!
//! Whatever is refused is refused with a word to the sender, who decides what to do next; the replica does not notice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stator_consensus::{Class, Event, GroupId, PeerMessage, ReplicaId};
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::snapshot_frame::Frame;
use stator_storage::partition::PartitionSpec;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::files::{Announced, Begun, Rejected, SnapshotFiles};
use super::incoming::Incoming;
use super::{FORMAT, FRAME_BYTES_MAX, Name};
use crate::node::Inner;

/// How long a sender may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A Raft message that announces a snapshot is short.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Takes a snapshot for a replica of this node.
///
/// # Errors
/// Why it is not taken.
pub(crate) async fn receive(
    node: &Inner,
    frames: impl Stream<Item = Result<wire::SnapshotFrame, Status>> + Unpin,
) -> Result<wire::SnapshotReceipt, Status> {
    let Some(files) = &node.snapshots else {
        return Err(Status::failed_precondition("this node takes no snapshots"));
    };
    let Ok(_permit) = node.incoming_snapshots.try_acquire() else {
        return Err(Status::resource_exhausted("this node takes other snapshots now"));
    };
    let mut frames = Frames(frames);
    let Some(Frame::Header(header)) = frames.next().await? else {
        return Err(Status::invalid_argument("the first frame is no header"));
    };
    let replica = node.replicas.get(GroupId(header.group));
    let Some(replica) = replica else {
        return Err(Status::not_found("there is no replica of the group here"));
    };
    let announced = announced(&header, &replica.spec).map_err(Status::invalid_argument)?;
    let receipt = take(files, announced, &mut frames).await?;
    if receipt.complete {
        let message = PeerMessage {
            group: replica.spec.group,
            from: ReplicaId(header.from_replica),
            to: ReplicaId(header.to_replica),
            class: Class::Snapshot,
            payload: header.message,
        };
        replica.host.push(Event::Message(message));
    }
    Ok(receipt)
}

/// What a header announces, if that is for the replica here.
fn announced(
    header: &wire::SnapshotHeader,
    spec: &Arc<PartitionSpec>,
) -> Result<Announced, &'static str> {
    if header.format_version != FORMAT {
        return Err("the snapshot's format is not known here");
    }
    let name = Name::parse(&header.snapshot_id).filter(|name| name.group == spec.group);
    let name = name.ok_or("the snapshot's id is not one of the group's")?;
    if header.to_replica != spec.replica {
        return Err("the snapshot is for another replica");
    }
    let is_members = spec.members.iter().any(|member| member.replica == header.from_replica);
    if !is_members || header.from_replica == spec.replica {
        return Err("the snapshot is not from another member of the group");
    }
    if header.generation != spec.generation {
        return Err("the snapshot is of another generation of the range");
    }
    if header.index == 0 || header.term == 0 {
        return Err("the snapshot is of nothing");
    }
    if header.message.is_empty() || header.message.len() > MESSAGE_BYTES_MAX {
        return Err("the message with the snapshot is none");
    }
    Ok(Announced { name, spec: spec.clone(), mark: (header.index, header.term) })
}

/// Writes what comes to the snapshot's file.
async fn take<S>(
    files: &Arc<SnapshotFiles>,
    announced: Announced,
    frames: &mut Frames<S>,
) -> Result<wire::SnapshotReceipt, Status>
where
    S: Stream<Item = Result<wire::SnapshotFrame, Status>> + Unpin,
{
    let snapshot_id = announced.name.to_string();
    let receipt = |next_chunk, complete| {
        Ok(wire::SnapshotReceipt { snapshot_id: snapshot_id.clone(), next_chunk, complete })
    };
    let files = files.clone();
    let incoming = match blocking(move || files.begin(announced)).await? {
        Begun::Whole => return receipt(0, true),
        Begun::Part(incoming) => Arc::new(incoming),
    };
    while let Some(frame) = frames.next().await? {
        match frame {
            Frame::Header(_) => return Err(Status::invalid_argument("a second header")),
            Frame::Chunk(chunk) => {
                let data = checked(&chunk)?;
                on(&incoming, move |incoming| incoming.put(chunk.number, &data)).await?;
            }
            Frame::End(end) => {
                let finish =
                    move |incoming: &Incoming| incoming.finish(end.chunks, end.applied_index);
                on(&incoming, finish).await?;
                return receipt(end.chunks, true);
            }
        }
    }
    receipt(on(&incoming, Incoming::sync).await?, false)
}

fn checked(chunk: &wire::SnapshotChunk) -> Result<Bytes, Status> {
    if chunk.data.len() > FRAME_BYTES_MAX {
        return Err(Status::invalid_argument("a frame is too long"));
    }
    if crc32fast::hash(&chunk.data) != chunk.crc32 {
        return Err(Status::data_loss("a frame was damaged on its way"));
    }
    Ok(chunk.data.clone())
}

async fn on<T: Send + 'static>(
    incoming: &Arc<Incoming>,
    act: impl FnOnce(&Incoming) -> Result<T, Rejected> + Send + 'static,
) -> Result<T, Status> {
    let incoming = incoming.clone();
    blocking(move || act(&incoming)).await
}

/// The disk's work, off the runtime's own threads.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Rejected> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(act).await;
    let done = done.map_err(|_| Status::internal("taking the snapshot failed unexpectedly"))?;
    done.map_err(|why| match why {
        Rejected::NoRoom(why) => Status::resource_exhausted(why),
        Rejected::Superseded => Status::aborted("another stream has taken over"),
        Rejected::Wrong(why) => Status::invalid_argument(why),
        Rejected::Disk(why) => Status::internal(why),
    })
}

/// The frames of a stream, each of which comes in time.
struct Frames<S>(S);

impl<S: Stream<Item = Result<wire::SnapshotFrame, Status>> + Unpin> Frames<S> {
    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        let next = tokio::time::timeout(SILENCE_MAX, self.0.next()).await;
        match next.map_err(|_| Status::deadline_exceeded("the sender is silent"))? {
            None => Ok(None),
            Some(Ok(wire::SnapshotFrame { frame: Some(frame) })) => Ok(Some(frame)),
            Some(Ok(_)) => Err(Status::invalid_argument("a frame of a kind that is not known")),
            Some(Err(status)) => Err(status),
        }
    }
}
