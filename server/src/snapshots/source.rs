//! Where the frames of a snapshot come from: the engine, through the replica's applier.
//!
//! A snapshot begins, is resumed and ends on the apply thread, for there no batch is under way; its chunks are read elsewhere.

use std::time::{Duration, Instant};

use bytes::Bytes;
use stator_consensus::GroupId;
use stator_storage::partition::snapshot::{CHUNK_BYTES, SnapshotFooter};
use stator_storage::partition::{
    PartitionApplier, SnapshotHeader, SnapshotPosition, SnapshotWriter,
};
use tokio::sync::oneshot;

use crate::shell::apply::{ApplyEvent, ApplyMailbox};

/// How long one view of the engine is kept: the engine keeps what it shows.
const VIEW_AGE_MAX: Duration = Duration::from_secs(30);

/// The frames of one snapshot, from any number on.
pub(super) struct Source {
    applier: ApplyMailbox,
    group: GroupId,
    pub(super) header: SnapshotHeader,
    /// Reads on; none if it went with a read that was given up.
    writer: Option<(SnapshotWriter, Instant)>,
    /// Where each chunk begins.
    positions: Vec<SnapshotPosition>,
}

/// The next of a source.
pub(super) enum Next {
    /// A frame.
    Frame(Bytes),
    /// No more frames; what was applied after the last.
    End(u64),
}

type Read<T> = Result<T, String>;

impl Source {
    /// Begins a snapshot of a group's replica as it is now.
    pub(super) async fn begin(applier: ApplyMailbox, group: GroupId, id: u64) -> Read<Self> {
        let begin = move |applier: &PartitionApplier| applier.begin_snapshot(id);
        let writer = with(&applier, group, begin).await?;
        let header = writer.header().clone();
        let positions = vec![SnapshotPosition::default()];
        Ok(Self { applier, group, header, writer: Some((writer, Instant::now())), positions })
    }

    /// The frame of this number, 0 the header's, or the end. Frames are asked for in order, or from an earlier one on again.
    pub(super) async fn frame(&mut self, number: u64) -> Read<Next> {
        let Some(chunk) = number.checked_sub(1) else {
            return Ok(Next::Frame(self.header.encode()));
        };
        let chunk = usize::try_from(chunk).map_err(|_| "no such frame")?;
        let (mut writer, opened) = self.writer_at(chunk).await?;
        let read = tokio::task::spawn_blocking(move || {
            let read = writer.next_chunk(CHUNK_BYTES);
            read.map(|frame| (writer, frame))
        });
        let (writer, frame) = read
            .await
            .map_err(|_| "the reader panicked".to_owned())?
            .map_err(|error| error.to_string())?;
        let Some(frame) = frame else { return self.end(writer).await };
        self.positions.truncate(chunk + 1);
        self.positions.push(writer.position().clone());
        self.writer = Some((writer, opened));
        Ok(Next::Frame(frame))
    }

    /// A writer that stands before a chunk: the one that is there, or a new one in its place.
    async fn writer_at(&mut self, chunk: usize) -> Read<(SnapshotWriter, Instant)> {
        let position = self.positions.get(chunk).cloned().ok_or("a frame that was never sent")?;
        if let Some((writer, opened)) = self.writer.take()
            && *writer.position() == position
            && opened.elapsed() < VIEW_AGE_MAX
        {
            return Ok((writer, opened));
        }
        let header = self.header.clone();
        let resume = move |applier: &PartitionApplier| applier.resume_snapshot(header, position);
        Ok((with(&self.applier, self.group, resume).await?, Instant::now()))
    }

    async fn end(&self, writer: SnapshotWriter) -> Read<Next> {
        let finish = move |applier: &PartitionApplier| writer.finish(applier);
        let footer = with(&self.applier, self.group, finish).await?;
        let footer = SnapshotFooter::decode(self.header.id, &footer);
        footer.map(|footer| Next::End(footer.end_index)).map_err(|error| error.to_string())
    }

    /// Lets go of the engine's view, for as long as nothing is read.
    pub(super) fn rest(&mut self) {
        self.writer = None;
    }
}

/// Has the apply thread do something with a replica.
async fn with<T: Send + 'static>(
    applier: &ApplyMailbox,
    group: GroupId,
    act: impl FnOnce(&PartitionApplier) -> stator_storage::Result<T> + Send + 'static,
) -> Read<T> {
    let (answer, answered) = oneshot::channel();
    let act = move |applier: Option<&PartitionApplier>| {
        let done = match applier {
            Some(applier) => act(applier).map_err(|error| error.to_string()),
            None => Err("the replica is not here any more".to_owned()),
        };
        // Who asked may have gone.
        let _ = answer.send(done);
    };
    applier.0.push(ApplyEvent::With { group, act: Box::new(act) });
    answered.await.map_err(|_| "the node is stopping".to_owned())?
}
