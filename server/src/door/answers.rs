//! How many bytes of answers may wait for clients to read them.
//!
//! HTTP/2 lets a client say how much it is ready to take, and a client that takes nothing leaves its answers here. What works on
//! requests is bounded, but with the answer it is done: from there on an answer counts against its connection's share and against
//! what all connections have, until the last of it is with the operating system.
//!
//! Who sends an answer is done with it long before: HTTP/2 takes all of a piece as soon as the client takes a byte, and asks for the
//! next one. So what counts is tied to the bytes themselves, whoever has them, and not to the body that they come from; and an
//! answer goes out in small pieces, each of which makes room once it is gone, and is a sign that the client reads.
//!
//! What would be over is thrown away and refused, if it only read; a page of a stream waits for its room before it is read. A write
//! is answered in any case; the connection is cut off when the answers to its writes are as much again as its share. And when more
//! than half of all room is taken, those connections go whose clients have not read anything for a while of what is there for them:
//! one that reads nothing has a share, and many do not have all. Room that waits for the node, and not for the client, accuses
//! nobody: that of a page that is being read, and of what its stream was asked with. And a page that is not there yet does not make
//! room short.
//!
//! So that none waits for the other, room is left at each step: what streams are asked with takes no more than half of it, room for
//! their pages is reserved in three quarters, and the last quarter is for answers that are there. A connection's share is divided in
//! the same way.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Response;

use super::lobby::Guest;
use crate::metrics::Metrics;

/// An answer that is no larger is not counted: a stream alone takes as much.
const SMALL: usize = 1 << 10;
/// The largest answer, with something for its frame: a batch of items.
const LARGEST: usize = 17 << 20;
/// An answer goes out in pieces of so many bytes: frames of HTTP/2, as most clients take them.
const PIECE: usize = 16 << 10;
/// How long a client may read nothing, when room is short.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers that wait, of all connections together.
#[derive(Debug)]
pub(super) struct Whole {
    held: AtomicUsize,
    /// What of that is of pages that are not there yet.
    reserved: AtomicUsize,
    max: usize,
    begun: Instant,
    guests: Mutex<Vec<Weak<Guest>>>,
    metrics: Arc<Metrics>,
}

/// Answers that wait, of one connection.
#[derive(Debug)]
pub(super) struct Answers {
    held: AtomicUsize,
    /// What of that waits for the client.
    unread: AtomicUsize,
    /// When the client last took something, or had nothing to take, in milliseconds.
    moved_ms: AtomicU64,
    whole: Arc<Whole>,
}

/// Room that is taken, until it is dropped: of an answer that waits, or is going to.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    is_for: For,
    answers: Arc<Answers>,
}

/// What room is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// An answer that is not there yet.
    Later,
    /// What the node is at work with.
    Node,
    /// What waits for the client.
    Client,
}

impl Whole {
    /// So many bytes, or as many as a few of the largest answers need.
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            max: max.max(2 * LARGEST),
            begun: Instant::now(),
            guests: Mutex::default(),
            metrics,
        })
    }

    /// A connection came in.
    pub(super) fn enter(&self, guest: &Arc<Guest>) {
        lock(&self.guests).push(Arc::downgrade(guest));
    }

    /// Cuts off those who read nothing, if there is not much room left.
    pub(super) fn sweep(&self) {
        self.sweep_at(self.now_ms());
    }

    fn sweep_at(&self, now_ms: u64) {
        let reserved = self.reserved.load(Ordering::Relaxed);
        let there = self.held.load(Ordering::Relaxed).saturating_sub(reserved);
        let is_short = there > self.max / 2;
        lock(&self.guests).retain(|guest| {
            let Some(guest) = guest.upgrade() else { return false };
            if is_short && guest.answers.is_stuck_at(now_ms) {
                guest.cut_off();
            }
            true
        });
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Answers {
    pub(super) fn of_connection(whole: &Arc<Whole>) -> Arc<Self> {
        let moved_ms = AtomicU64::new(whole.now_ms());
        let (held, unread) = Default::default();
        Arc::new(Self { held, unread, moved_ms, whole: whole.clone() })
    }

    /// The most that the connection may have: the largest answer always fits, if there are no others.
    fn max(&self) -> usize {
        (self.whole.max / 4).max(LARGEST)
    }

    /// An answer of so many bytes is to wait: `None` if there is no room for it.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.held(0).comes_to(bytes)
    }

    /// Room for an answer that is not there yet: `None` if there is none. For one that is larger than all that may be reserved as
    /// much as may be is: the rest it finds when it is there, or not.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let (own_max, whole_max) = (self.max() / 4 * 3, self.whole.max / 4 * 3);
        let bytes = bytes.min(own_max);
        self.grow(bytes, own_max, whole_max).then(|| self.held(bytes).taken_for(For::Later))
    }

    /// Room for what a stream of pages is asked with, which waits for the client until it asks for the first one.
    pub(super) fn take_request(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let bytes = counting(bytes);
        let (own_max, whole_max) = (self.max() / 2, self.whole.max / 2);
        self.grow(bytes, own_max, whole_max).then(|| self.held(bytes).taken_for(For::Client))
    }

    /// An answer waits that cannot be taken back. The connection may be over its share with it.
    pub(super) fn take_anyway(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = counting(bytes);
        self.grow(bytes, usize::MAX, usize::MAX);
        self.held(bytes).taken_for(For::Client)
    }

    fn held(self: &Arc<Self>, bytes: usize) -> Held {
        Held { bytes, is_for: For::Node, answers: self.clone() }
    }

    /// Whether so many more bytes were taken.
    fn grow(&self, bytes: usize, own_max: usize, whole_max: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let order = Ordering::Relaxed;
        let within =
            |max: usize| move |held: usize| held.checked_add(bytes).filter(|held| *held <= max);
        if self.held.fetch_update(order, order, within(own_max)).is_err() {
            return false;
        }
        if self.whole.held.fetch_update(order, order, within(whole_max)).is_err() {
            self.held.fetch_sub(bytes, order);
            return false;
        }
        self.whole.metrics.answer_waits(bytes);
        true
    }

    fn shrink(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.whole.held.fetch_sub(bytes, Ordering::Relaxed);
        self.whole.metrics.answer_went(bytes);
    }

    /// Whether the connection has more than it can be let have.
    pub(super) fn is_too_much(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.max().saturating_mul(2)
    }

    /// Whether something waits for the client, and it has taken nothing for a while.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck_at(self.whole.now_ms())
    }

    fn is_stuck_at(&self, now_ms: u64) -> bool {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        self.unread.load(Ordering::Relaxed) > 0
            && Duration::from_millis(now_ms).saturating_sub(moved) >= PATIENCE
    }

    fn moved(&self) {
        self.moved_ms.store(self.whole.now_ms(), Ordering::Relaxed);
    }
}

/// How many bytes count of an answer.
const fn counting(bytes: usize) -> usize {
    if bytes <= SMALL { 0 } else { bytes }
}

impl Held {
    /// The answer for which room was reserved is there, and has so many bytes: it waits for the client. `None` if there is no room
    /// for all of them.
    pub(super) fn comes_to(mut self, bytes: usize) -> Option<Self> {
        self.set_for(For::Node);
        let (bytes, answers) = (counting(bytes), &self.answers);
        let (more, less) = (bytes.saturating_sub(self.bytes), self.bytes.saturating_sub(bytes));
        if !answers.grow(more, answers.max(), answers.whole.max) {
            return None;
        }
        answers.shrink(less);
        self.bytes = bytes;
        Some(self.taken_for(For::Client))
    }

    fn taken_for(mut self, is_for: For) -> Self {
        self.set_for(is_for);
        self
    }

    fn set_for(&mut self, is_for: For) {
        let was_for = std::mem::replace(&mut self.is_for, is_for);
        if was_for == is_for || self.bytes == 0 {
            return;
        }
        let (order, answers) = (Ordering::Relaxed, &self.answers);
        let (unread, reserved) = (&answers.unread, &answers.whole.reserved);
        match was_for {
            For::Later => _ = reserved.fetch_sub(self.bytes, order),
            For::Node => {}
            For::Client => {
                unread.fetch_sub(self.bytes, order);
                answers.moved();
            }
        }
        match is_for {
            For::Later => _ = reserved.fetch_add(self.bytes, order),
            For::Node => {}
            For::Client if unread.fetch_add(self.bytes, order) == 0 => answers.moved(),
            For::Client => {}
        }
    }

    /// Goes together with another of the same connection that waits for the client, as this one does.
    fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// So many bytes of it, or all that there are.
    fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { bytes, is_for: self.is_for, answers: self.answers.clone() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set_for(For::Node);
        self.answers.shrink(self.bytes);
    }
}

/// The answers of a response: one, or page after page.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Those that have not gone out in pieces yet.
    held: Mutex<Option<Held>>,
    /// The request that pages are read by.
    request: Mutex<Option<Held>>,
    /// The leave to send page after page.
    _leaves: Vec<OwnedSemaphorePermit>,
    /// What ends it from without, if something does.
    end: Option<JoinSet<()>>,
}

impl Outgoing {
    /// Page after page. What is given here is given back once the last byte is gone, or the client.
    pub(super) fn stream(leaves: Vec<OwnedSemaphorePermit>, request: Option<Held>) -> Self {
        Self { request: Mutex::new(request), _leaves: leaves, ..Self::default() }
    }

    /// A client that has not read all of it by then is cut off: nothing else takes back what waits for it with HTTP/2.
    pub(super) fn cut_off_after(&mut self, time: Duration, guest: &Arc<Guest>) {
        let guest = Arc::downgrade(guest);
        self.end.get_or_insert_default().spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(guest) = guest.upgrade() {
                guest.cut_off();
            }
        });
    }

    /// An answer is about to be made into bytes.
    pub(super) fn add(&self, held: Held) {
        let mut all = lock(&self.held);
        match &mut *all {
            Some(all) => all.merge(held),
            None => *all = Some(held),
        }
    }

    /// The next page is being made, or waits for the client: what it is asked with waits for the same.
    pub(super) fn set_unread(&self, is_unread: bool) {
        if let Some(request) = &mut *lock(&self.request) {
            request.set_for(if is_unread { For::Client } else { For::Node });
        }
    }

    /// What counts of the next bytes that go out, which may be the last of those that are there.
    fn piece(&self, bytes: usize, is_last: bool) -> Option<Held> {
        let mut held = lock(&self.held);
        if is_last { held.take() } else { held.as_mut().map(|held| held.split(bytes)) }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A response whose answers are counted, if it has any, until all their bytes are gone.
pub(super) fn counted(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Arc<Outgoing>>() {
        Some(outgoing) => {
            response.map(|body| Body::new(Counted { body, left: Bytes::new(), outgoing }))
        }
        None => response,
    }
}

struct Counted {
    body: Body,
    /// What has been made into bytes and has not gone out.
    left: Bytes,
    outgoing: Arc<Outgoing>,
}

/// Some bytes of a response, with what counts of them.
struct Piece {
    bytes: Bytes,
    _held: Option<Held>,
    _outgoing: Arc<Outgoing>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.left = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let bytes = PIECE.min(self.left.len());
        let bytes = self.left.split_to(bytes);
        let held = self.outgoing.piece(bytes.len(), self.left.is_empty());
        let piece = Piece { bytes, _held: held, _outgoing: self.outgoing.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
