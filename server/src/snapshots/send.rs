//! The snapshots that leave this node: one task each, a few at a time.
//!
//! A transfer begins when a host wants a snapshot, and ends with a report to the host (R9), or when the host has given it up. Each
//! of its waits has an end: for its turn, for the host to announce it, for room on the stream, for the receipt. A stream that
//! breaks is resumed behind what the receiver has.
//!
//! A receiver that takes little and never stops would keep a turn for hours. While others wait its transfer gives the turn up, and
//! goes on from where it is with the next one. One that gets on keeps its turn to the end: many large transfers are sent faster
//! one after another, and none of them is given up half sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use stator_consensus::{Event, GroupId, NodeId, PeerMessage, ReplicaId};
use stator_proto::peer::v1 as wire;
use stator_proto::peer::v1::snapshot_frame::Frame;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::pace::Pace;
use super::source::{Next, Source};
use super::{FORMAT, Name};
use crate::metrics::SnapshotStep;
use crate::node::Inner;
use crate::peers::Failed;
use crate::peers::grpc::{Client, connect};

/// Transfers at a time.
const TRANSFERS_MAX: usize = 2;
/// How long a transfer waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(120);
/// The same for one that has given a turn up: its receiver has some of it, and the host waits for a little longer than that.
const NEXT_TURN_TIMEOUT: Duration = Duration::from_secs(480);
/// After how long of waiting for a slow receiver a turn is given up, if others wait for one.
const SLOW_TURN_MAX: Duration = Duration::from_secs(60);
/// How long a receiver may take for a frame, one with another, without being slow.
const FRAME_TIME: Duration = Duration::from_secs(1);
/// How long the host may take to announce a snapshot that is prepared. Raft offers it with its next heartbeat.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the receiver may take to make room for one more frame.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to make durable what it has, and say so.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(60);
/// After how many frames the host hears that a transfer goes on.
const FRAMES_PER_WORD: u64 = 8;
/// Frames between the engine and the connection.
const FRAMES_MAX: usize = 1;
/// How often in a row a stream may break without having brought a frame further.
const ATTEMPTS_MAX: u32 = 5;
/// How long to wait before a broken stream is resumed.
const RESUME_PAUSE: Duration = Duration::from_millis(200);

/// What the hosts want of this. A host has one snapshot under way for each group, which bounds what waits.
pub(crate) enum Order {
    /// A follower needs a snapshot.
    Wanted { group: GroupId, to: ReplicaId },
    /// It is to be sent, with this message.
    Announced { node: NodeId, message: PeerMessage },
    /// It is given up.
    Over { group: GroupId },
}

/// Where the hosts leave their orders.
pub(crate) type Orders = mpsc::UnboundedSender<Order>;

/// A transfer under way.
struct Underway {
    announce: Option<oneshot::Sender<(NodeId, PeerMessage)>>,
    task: AbortHandle,
    to: ReplicaId,
    given_up: Arc<AtomicBool>,
}

impl Underway {
    /// Ends it; the host has told Raft already.
    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

/// Carries out the hosts' orders until the node stops.
pub(crate) async fn run(node: Arc<Inner>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let turns = Arc::new(Turns::new(TRANSFERS_MAX, SLOW_TURN_MAX));
    let pace = Arc::new(Pace::new(node.config.snapshot_rate.bytes()));
    let mut underway: BTreeMap<GroupId, Underway> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(_) = tasks.join_next() => continue,
            () = node.stopping() => None,
        };
        match order {
            // Dropping the tasks ends them.
            None => return,
            Some(Order::Wanted { group, to }) => {
                let (announce, announced) = oneshot::channel();
                let (node, turns, pace) = (node.clone(), turns.clone(), pace.clone());
                let given_up = Arc::new(AtomicBool::new(false));
                let transfer = Transfer {
                    node,
                    pace,
                    group,
                    to,
                    given_up: given_up.clone(),
                    told: AtomicU64::new(0),
                };
                let task = tasks.spawn(async move {
                    let report = Report { transfer: &transfer, arrived: false };
                    transfer.run(report, &turns, announced).await;
                });
                let begun = Underway { announce: Some(announce), task, to, given_up };
                if let Some(former) = underway.insert(group, begun) {
                    former.give_up();
                }
            }
            Some(Order::Announced { node: to_node, message }) => {
                let (group, to) = (message.group, message.to);
                let waits = underway.get_mut(&group).filter(|transfer| transfer.to == to);
                let announce = waits.and_then(|transfer| transfer.announce.take());
                // Nobody waits for it any more: the follower must not wait either.
                if announce.is_none_or(|announce| announce.send((to_node, message)).is_err()) {
                    node.replicas.tell(group, Event::SnapshotSent { group, to, arrived: false });
                }
            }
            Some(Order::Over { group }) => {
                if let Some(transfer) = underway.remove(&group) {
                    transfer.give_up();
                }
            }
        }
    }
}

/// The turns of the transfers.
struct Turns {
    free: Semaphore,
    /// How many transfers wait for one.
    waiting: AtomicUsize,
    slow_max: Duration,
}

impl Turns {
    fn new(count: usize, slow_max: Duration) -> Self {
        Self { free: Semaphore::new(count), waiting: AtomicUsize::new(0), slow_max }
    }

    /// A transfer's turn, which it does not have yet.
    const fn turn(&self) -> Turn<'_> {
        Turn { turns: self, held: None, frames: 0, stalled: Duration::ZERO }
    }
}

/// One transfer's turn.
struct Turn<'a> {
    turns: &'a Turns,
    held: Option<SemaphorePermit<'a>>,
    /// The frames that the receiver has taken in this turn, and how long they have waited for it.
    frames: u32,
    stalled: Duration,
}

impl Turn<'_> {
    /// Waits for it, unless the transfer has it.
    async fn take(&mut self, wait_max: Duration) -> Result<(), String> {
        if self.held.is_some() {
            return Ok(());
        }
        let _waiting = Waiting::among(&self.turns.waiting);
        let held = timeout(wait_max, self.turns.free.acquire()).await;
        let held = held.map_err(|_| "others took too long")?;
        self.held = Some(held.map_err(|_| "the node is stopping")?);
        (self.frames, self.stalled) = (0, Duration::ZERO);
        Ok(())
    }

    /// The receiver has taken a frame, for which it took so long.
    fn taken(&mut self, stalled: Duration) {
        self.frames = self.frames.saturating_add(1);
        self.stalled += stalled;
    }

    /// Gives the turn up if the receiver is slow and others wait.
    fn is_given_up(&mut self) -> bool {
        let is_slow = self.stalled >= self.turns.slow_max.max(FRAME_TIME * self.frames);
        let is_over = is_slow && self.turns.waiting.load(Ordering::Relaxed) > 0;
        if is_over {
            self.held = None;
        }
        is_over
    }
}

/// Counts among those who wait for as long as it is there.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One transfer.
struct Transfer {
    node: Arc<Inner>,
    pace: Arc<Pace>,
    group: GroupId,
    to: ReplicaId,
    /// The host waits for no report.
    given_up: Arc<AtomicBool>,
    /// The furthest frame that the host was told of.
    told: AtomicU64,
}

/// The report that a host gets of each transfer, whatever becomes of it (R9), unless the host has given it up itself: then the
/// report would be taken for one of the next.
struct Report<'a> {
    transfer: &'a Transfer,
    arrived: bool,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        let Transfer { node, group, to, .. } = self.transfer;
        let step = if self.arrived { SnapshotStep::Sent } else { SnapshotStep::Failed };
        node.metrics.snapshot(step);
        if self.transfer.given_up.load(Ordering::Relaxed) {
            return;
        }
        let (group, to, arrived) = (*group, *to, self.arrived);
        node.replicas.tell(group, Event::SnapshotSent { group, to, arrived });
    }
}

impl Transfer {
    async fn run(
        &self,
        mut report: Report<'_>,
        turns: &Turns,
        announced: oneshot::Receiver<(NodeId, PeerMessage)>,
    ) {
        match self.send(turns, announced).await {
            Ok(()) => {
                report.arrived = true;
                tracing::info!(group = self.group.0, to = self.to.0, "a snapshot has been sent");
            }
            Err(why) => {
                tracing::warn!(
                    group = self.group.0,
                    to = self.to.0,
                    why,
                    "a snapshot was not sent"
                );
            }
        }
    }

    async fn send(
        &self,
        turns: &Turns,
        announced: oneshot::Receiver<(NodeId, PeerMessage)>,
    ) -> Result<(), String> {
        let mut turn = turns.turn();
        turn.take(TURN_TIMEOUT).await?;
        let id = self.node.new_snapshot_id();
        let mut source = Source::begin(self.node.applier_of(self.group), self.group, id).await?;
        let header = &source.header;
        tracing::info!(
            group = self.group.0,
            to = self.to.0,
            index = header.mark.index,
            "a snapshot is prepared"
        );
        self.node.replicas.tell(
            self.group,
            Event::SnapshotPrepared {
                group: self.group,
                index: header.mark.index,
                term: header.mark.term,
                header: header.encode(),
            },
        );
        let announced = timeout(ANNOUNCE_TIMEOUT, announced).await;
        let (to_node, message) = announced
            .map_err(|_| "it is not wanted any more")?
            .map_err(|_| "the node is stopping")?;
        self.stream_until_whole(&mut source, &mut turn, to_node, &message).await
    }

    /// Sends, and resumes what breaks, as long as that brings anything further.
    async fn stream_until_whole(
        &self,
        source: &mut Source,
        turn: &mut Turn<'_>,
        to_node: NodeId,
        message: &PeerMessage,
    ) -> Result<(), String> {
        let header = self.header(&source.header, message);
        let (mut next, mut attempts) = (0, 0);
        loop {
            turn.take(NEXT_TURN_TIMEOUT).await?;
            let why = match self.stream(source, turn, to_node, &header, next).await {
                Ok(receipt) if receipt.complete => return Ok(()),
                Ok(receipt) => format!("it was taken as far as frame {}", receipt.next_chunk),
                Err(why) => why,
            };
            source.rest();
            tracing::debug!(group = self.group.0, why, "a transfer was interrupted");
            // The header alone asks how far the receiver has come.
            tokio::time::sleep(RESUME_PAUSE * (attempts + 1)).await;
            let before = next;
            match self.ask(to_node, &header).await {
                Ok(receipt) if receipt.complete => return Ok(()),
                Ok(receipt) => next = receipt.next_chunk,
                Err(why) => {
                    tracing::debug!(group = self.group.0, why, "the receiver does not answer");
                }
            }
            attempts = if next > before { 0 } else { attempts + 1 };
            if attempts >= ATTEMPTS_MAX {
                return Err(why);
            }
        }
    }

    fn header(
        &self,
        header: &stator_storage::partition::SnapshotHeader,
        message: &PeerMessage,
    ) -> wire::SnapshotFrame {
        frame(Frame::Header(wire::SnapshotHeader {
            snapshot_id: Name { group: self.group, id: header.id }.to_string(),
            format_version: FORMAT,
            group: self.group.0,
            from_replica: message.from.0,
            to_replica: message.to.0,
            index: header.mark.index,
            term: header.mark.term,
            generation: header.generation,
            message: message.payload.clone(),
        }))
    }

    /// A connection of its own: a snapshot must not stand in the way of anything else.
    async fn client(&self, to_node: NodeId) -> Result<Client, String> {
        let peers = self.node.peers.as_ref().ok_or("this node has no peers")?;
        let address = peers.address(to_node).ok_or("the receiver's address is not known")?;
        Ok(peers.client_on(to_node, connect(&address).await?))
    }

    /// How far the receiver has come.
    async fn ask(
        &self,
        to_node: NodeId,
        header: &wire::SnapshotFrame,
    ) -> Result<wire::SnapshotReceipt, String> {
        let client = self.client(to_node).await?;
        let asked = client.send_snapshot(tokio_stream::once(header.clone()));
        receipt(timeout(RECEIPT_TIMEOUT, asked).await)
    }

    /// One stream, from a frame on.
    async fn stream(
        &self,
        source: &mut Source,
        turn: &mut Turn<'_>,
        to_node: NodeId,
        header: &wire::SnapshotFrame,
        from: u64,
    ) -> Result<wire::SnapshotReceipt, String> {
        let client = self.client(to_node).await?;
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let call = client.send_snapshot(ReceiverStream::new(outgoing));
        let feed = self.feed(source, turn, frames, header, from);
        tokio::pin!(call, feed);
        let fed = tokio::select! {
            // The receiver has said all it has to say before it has been sent everything.
            answered = &mut call => return receipt(Ok(answered)),
            fed = &mut feed => fed,
        };
        let answered = receipt(timeout(RECEIPT_TIMEOUT, call).await);
        fed.and(answered)
    }

    /// Tells the host every so often that it is to wait on. What is sent once more does not count.
    fn goes_on(&self, number: u64) {
        let is_due = number.is_multiple_of(FRAMES_PER_WORD);
        if is_due && self.told.fetch_max(number, Ordering::Relaxed) < number {
            self.tell_to_wait();
        }
    }

    fn tell_to_wait(&self) {
        let (group, to) = (self.group, self.to);
        self.node.replicas.tell(group, Event::SnapshotGoesOn { group, to });
    }

    async fn feed(
        &self,
        source: &mut Source,
        turn: &mut Turn<'_>,
        frames: mpsc::Sender<wire::SnapshotFrame>,
        header: &wire::SnapshotFrame,
        from: u64,
    ) -> Result<(), String> {
        let put = async |frame| match timeout(STALL_TIMEOUT, frames.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            // What the receiver answers says why.
            Ok(Err(_)) => Err("the stream broke".to_owned()),
            Err(_) => Err("the receiver takes nothing any more".to_owned()),
        };
        put(header.clone()).await?;
        for number in from.. {
            match source.frame(number).await? {
                Next::Frame(data) => {
                    self.pace.take(data.len()).await;
                    let crc32 = crc32fast::hash(&data);
                    let chunk = frame(Frame::Chunk(wire::SnapshotChunk { number, data, crc32 }));
                    let begun = Instant::now();
                    put(chunk).await?;
                    self.goes_on(number);
                    turn.taken(begun.elapsed());
                    if turn.is_given_up() {
                        self.tell_to_wait();
                        return Err("the receiver is slow, and others wait".to_owned());
                    }
                }
                Next::End(applied_index) => {
                    let end = wire::SnapshotEnd { chunks: number, applied_index };
                    return put(frame(Frame::End(end))).await;
                }
            }
        }
        Ok(())
    }
}

const fn frame(frame: Frame) -> wire::SnapshotFrame {
    wire::SnapshotFrame { frame: Some(frame) }
}

type Answered = Result<wire::SnapshotReceipt, Failed>;

fn receipt(
    answered: Result<Answered, tokio::time::error::Elapsed>,
) -> Result<wire::SnapshotReceipt, String> {
    match answered {
        Ok(answered) => answered.map_err(|failed| failed.to_string()),
        Err(_) => Err("no receipt in time".to_owned()),
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
