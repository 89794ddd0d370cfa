//! How many bytes of answers may wait for clients to read them.
//!
//! HTTP/2 lets a client say how much it is ready to take, and a client that takes nothing leaves its answers here. What works on
//! requests is bounded, but with the answer it is done: from there on an answer counts against its connection's share and against
//! what all connections have, until the last of it is with the operating system.
//!
//! Who sends an answer is done with it long before: HTTP/2 takes all of a piece as soon as the client takes a byte, and asks for the
//! next one. So what counts is tied to the bytes themselves, whoever has them, and not to the body that they come from.
//!
//! What would be over is thrown away and refused, if it only read. A write is answered in any case; the connection is cut off when
//! the answers to its writes are as much again as its share. And when the answers of all are more than half of what may be, those
//! connections go whose clients have not read anything for a while: one that reads nothing has a share, and many do not have all.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Response;

use super::lobby::Guest;
use crate::metrics::Metrics;

/// An answer that is no larger is not counted: a stream alone takes as much.
const SMALL: usize = 1 << 10;
/// The largest answer, with something for its frame: a batch of items.
const LARGEST: usize = 17 << 20;
/// How long a client may read nothing, when room is short.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers that wait, of all connections together.
#[derive(Debug)]
pub(super) struct Whole {
    held: AtomicUsize,
    max: usize,
    begun: Instant,
    guests: Mutex<Vec<Weak<Guest>>>,
    metrics: Arc<Metrics>,
}

/// Answers that wait, of one connection.
#[derive(Debug)]
pub(super) struct Answers {
    held: AtomicUsize,
    /// When the client last took an answer, or had none to take, in milliseconds.
    moved_ms: AtomicU64,
    whole: Arc<Whole>,
}

/// An answer that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    answers: Arc<Answers>,
}

impl Whole {
    /// So many bytes, or as many as a few of the largest answers need.
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            max: max.max(2 * LARGEST),
            begun: Instant::now(),
            guests: Mutex::default(),
            metrics,
        })
    }

    /// A connection came in.
    pub(super) fn enter(&self, guest: &Arc<Guest>) {
        self.lock().push(Arc::downgrade(guest));
    }

    /// Cuts off those who read nothing, if there is not much room left.
    pub(super) fn sweep(&self) {
        self.sweep_at(self.now_ms());
    }

    fn sweep_at(&self, now_ms: u64) {
        let is_short = self.held.load(Ordering::Relaxed) > self.max / 2;
        self.lock().retain(|guest| {
            let Some(guest) = guest.upgrade() else { return false };
            if is_short && guest.answers.is_stuck(now_ms) {
                guest.cut_off();
            }
            true
        });
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    pub(super) fn of_connection(whole: &Arc<Whole>) -> Arc<Self> {
        let moved_ms = AtomicU64::new(whole.now_ms());
        Arc::new(Self { held: AtomicUsize::new(0), moved_ms, whole: whole.clone() })
    }

    /// The most that the connection may have: the largest answer always fits, if there are no others.
    fn max(&self) -> usize {
        (self.whole.max / 4).max(LARGEST)
    }

    /// An answer of so many bytes is to wait: `None` if there is no room for it.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        if bytes <= SMALL {
            return Some(self.held(0));
        }
        let order = Ordering::Relaxed;
        let within =
            |max: usize| move |held: usize| held.checked_add(bytes).filter(|held| *held <= max);
        let before = self.held.fetch_update(order, order, within(self.max())).ok()?;
        if self.whole.held.fetch_update(order, order, within(self.whole.max)).is_err() {
            self.held.fetch_sub(bytes, order);
            return None;
        }
        Some(self.taken(bytes, before))
    }

    /// An answer waits that cannot be taken back. The connection may be over its share with it.
    pub(super) fn take_anyway(self: &Arc<Self>, bytes: usize) -> Held {
        if bytes <= SMALL {
            return self.held(0);
        }
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        self.whole.held.fetch_add(bytes, Ordering::Relaxed);
        self.taken(bytes, before)
    }

    fn taken(self: &Arc<Self>, bytes: usize, before: usize) -> Held {
        if before == 0 {
            self.moved_ms.store(self.whole.now_ms(), Ordering::Relaxed);
        }
        self.whole.metrics.answer_waits(bytes);
        self.held(bytes)
    }

    fn held(self: &Arc<Self>, bytes: usize) -> Held {
        Held { bytes, answers: self.clone() }
    }

    /// Whether the connection has more than it can be let have.
    pub(super) fn is_too_much(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.max().saturating_mul(2)
    }

    fn is_stuck(&self, now_ms: u64) -> bool {
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        self.held.load(Ordering::Relaxed) > 0
            && Duration::from_millis(now_ms).saturating_sub(moved) >= PATIENCE
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let whole = &self.answers.whole;
        self.answers.moved_ms.store(whole.now_ms(), Ordering::Relaxed);
        self.answers.held.fetch_sub(self.bytes, Ordering::Relaxed);
        whole.held.fetch_sub(self.bytes, Ordering::Relaxed);
        whole.metrics.answer_went(self.bytes);
    }
}

/// The answers of a response: one, or page after page.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Those of which no bytes are made yet.
    held: Mutex<Vec<Held>>,
    /// The leave to send page after page, and the request that they are read by.
    _stream: Option<(Vec<OwnedSemaphorePermit>, Option<Held>)>,
}

impl Outgoing {
    /// Page after page. What is given here is given back once the last byte is gone, or the client.
    pub(super) fn stream(leaves: Vec<OwnedSemaphorePermit>, request: Option<Held>) -> Self {
        Self { held: Mutex::default(), _stream: Some((leaves, request)) }
    }

    /// An answer is about to be made into bytes.
    pub(super) fn add(&self, held: Held) {
        self.lock().push(held);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response whose answers are counted, if it has any, until all their bytes are gone.
pub(super) fn counted(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Arc<Outgoing>>() {
        Some(outgoing) => response.map(|body| Body::new(Counted { body, outgoing })),
        None => response,
    }
}

struct Counted {
    body: Body,
    outgoing: Arc<Outgoing>,
}

/// Bytes of a response, with the answers that they are: whole ones, as encoding makes them.
struct Piece {
    bytes: Bytes,
    _held: Vec<Held>,
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
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let counted = |bytes| {
            let held = std::mem::take(&mut *self.outgoing.lock());
            Bytes::from_owner(Piece { bytes, _held: held, _outgoing: self.outgoing.clone() })
        };
        frame.map_ok(|frame| frame.map_data(counted))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget;
    use super::super::lobby::Lobby;
    use super::*;

    fn whole() -> Arc<Whole> {
        Whole::new(8 * LARGEST, Arc::new(Metrics::new(1, 0)))
    }

    #[test]
    fn a_connection_has_a_share_and_all_have_a_bound() {
        let whole = whole();
        let connections: Vec<_> = (0..9).map(|_| Answers::of_connection(&whole)).collect();
        let greedy = &connections[0];
        let first = greedy.take(LARGEST).expect("room");
        let second = greedy.take(LARGEST).expect("a quarter is two of the largest");
        assert!(greedy.take(SMALL + 1).is_none() && greedy.take(usize::MAX).is_none());
        assert!(greedy.take(SMALL).is_some(), "small ones are not counted");
        let others: Vec<_> = connections[1..].iter().filter_map(|own| own.take(LARGEST)).collect();
        assert_eq!(others.len(), 6, "all together have no more than eight");
        drop(first);
        assert!(connections[8].take(LARGEST).is_some());
        drop((second, others));
        assert_eq!(whole.held.load(Ordering::Relaxed), 0);
        assert!(connections.iter().all(|own| own.held.load(Ordering::Relaxed) == 0));
        assert!(whole.metrics.encode().contains("stator_waiting_answers_bytes 0"));
    }

    #[test]
    fn writes_are_answered_until_it_is_too_much() {
        let whole = whole();
        let own = Answers::of_connection(&whole);
        let mut held: Vec<_> = (0..4).map(|_| own.take_anyway(LARGEST)).collect();
        assert!(!own.is_too_much() && own.take(SMALL + 1).is_none());
        held.push(own.take_anyway(SMALL + 1));
        assert!(own.is_too_much());
        held.pop();
        assert!(!own.is_too_much());
    }

    #[test]
    fn who_reads_nothing_goes_when_room_is_short() {
        let whole = whole();
        let lobby = Lobby::new(9, whole.metrics.clone(), whole.clone());
        let read = budget::Whole::new(0, whole.metrics.clone());
        let guests: Vec<_> =
            (0..3).map(|_| lobby.enter(budget::Budget::of_connection(&read))).collect();
        let cut = || guests.iter().map(|guest| guest.is_cut()).collect::<Vec<_>>();
        let mut held: Vec<_> = guests[..2]
            .iter()
            .flat_map(|guest| [(); 2].map(|()| guest.answers.take(LARGEST).expect("room")))
            .collect();
        let late = whole.now_ms() + 2 * u64::try_from(PATIENCE.as_millis()).expect("short");
        whole.sweep_at(late);
        assert_eq!(cut(), [false; 3], "there is room enough");
        held.push(guests[2].answers.take(LARGEST).expect("room"));
        whole.sweep_at(whole.now_ms());
        assert_eq!(cut(), [false; 3], "there was no time to read");
        for guest in &guests[1..] {
            guest.answers.moved_ms.store(late, Ordering::Relaxed);
        }
        whole.sweep_at(late);
        assert_eq!(cut(), [true, false, false]);
    }
}
