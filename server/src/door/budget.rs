//! How many bytes of calls may be on their way from a connection into a request.
//!
//! What is worked on is bounded by the node's intake, which weighs a request. Before that a call is bytes that come in piece by piece,
//! on many streams at once, and nobody knows yet what they will be: they are counted here as they come, for each connection and for
//! all together, until the request is whole. What is over is refused at once, and what has come of it is dropped.
//!
//! Large calls leave a quarter of all room to small ones, and a connection's small calls an eighth of it to those of others: one
//! connection that begins calls and never ends them keeps nobody else from being served. Many connections could: so where all room
//! is taken, those calls make some that have been coming for longest, and for a while at least. They are refused in the midst.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::Frame;
use stator_model::{Error, ErrorKind};
use stator_proto::metadata::MESSAGE_BYTES_MAX;
use stator_proto::status::{DETAIL_BYTES_DEFAULT, to_status};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

use crate::metrics::Metrics;
use crate::serve::throttled;

/// How long the bytes of a call may take to come.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long the bytes of a call are waited for though there is no room for others.
const TIME_SAFE: Duration = Duration::from_millis(500);
/// A call that is no larger is small.
const SMALL: usize = 64 << 10;
/// The largest message, with its frame.
const LARGEST: usize = MESSAGE_BYTES_MAX + 64;

/// Bytes that are being read, of all connections together.
#[derive(Debug)]
pub(super) struct Whole {
    held: AtomicUsize,
    max: usize,
    /// The calls that have not come at once, in the order in which they began. Some may have ended by now.
    slow: Mutex<VecDeque<Weak<Call>>>,
    metrics: Arc<Metrics>,
}

impl Whole {
    /// So many bytes, or as many as the largest call needs.
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let max = max.max(LARGEST / 3 * 4 + 4);
        Arc::new(Self { held: AtomicUsize::new(0), max, slow: Mutex::default(), metrics })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Weak<Call>>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call does not come at once.
    fn is_slow(&self, call: &Arc<Call>) {
        let mut slow = self.lock();
        // Those that have ended are let go of before there are more of them than of the others.
        if slow.len() == slow.capacity() {
            slow.retain(|call| call.strong_count() > 0);
        }
        slow.push_back(Arc::downgrade(call));
    }

    /// Ends the call that has been coming for longest, if that is long enough: whether there was one. Its bytes count no more.
    fn end_slowest(&self) -> bool {
        let mut slow = self.lock();
        while let Some(call) = slow.front() {
            match call.upgrade() {
                Some(call) if call.came.elapsed() < TIME_SAFE => return false,
                Some(call) => {
                    slow.pop_front();
                    drop(slow);
                    call.end();
                    return true;
                }
                None => drop(slow.pop_front()),
            }
        }
        false
    }
}

/// A call that is being read.
#[derive(Debug)]
struct Call {
    budget: Arc<Budget>,
    came: Instant,
    /// How many bytes of it count.
    bytes: AtomicUsize,
    /// Whether it had to make room.
    is_ended: AtomicBool,
    reader: AtomicWaker,
}

impl Call {
    fn begin(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            came: Instant::now(),
            bytes: AtomicUsize::new(0),
            is_ended: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        })
    }

    /// Whether so many more bytes were taken. Only its reader asks.
    fn take(&self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes, self.bytes.load(Ordering::Relaxed));
        if taken {
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
        }
        taken
    }

    /// It has to make room, on whatever thread that is found. What it may take at this very moment is given back by its reader.
    fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        self.give_back();
        self.reader.wake();
    }

    fn give_back(&self) {
        self.budget.give_back(self.bytes.swap(0, Ordering::AcqRel));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Bytes that are being read, of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    whole: Arc<Whole>,
}

impl Budget {
    /// A connection's: one large call at a time, or many small ones.
    pub(super) fn of_connection(whole: &Arc<Whole>) -> Self {
        Self { held: AtomicUsize::new(0), whole: whole.clone() }
    }

    /// Whether so many more bytes were taken, of a call that has taken `before`.
    fn take(&self, bytes: usize, before: usize) -> bool {
        let (whole, order) = (&self.whole, Ordering::Relaxed);
        let (own_max, whole_max) = if before.saturating_add(bytes) > SMALL {
            (LARGEST, whole.max - whole.max / 4)
        } else {
            (whole.max / 8, whole.max)
        };
        let within =
            |max: usize| move |held: usize| held.checked_add(bytes).filter(|held| *held <= max);
        if self.held.fetch_update(order, order, within(own_max)).is_err() {
            return false;
        }
        let mut taken = whole.held.fetch_update(order, order, within(whole_max)).is_ok();
        while !taken && whole.end_slowest() {
            taken = whole.held.fetch_update(order, order, within(whole_max)).is_ok();
        }
        if taken {
            whole.metrics.reading(bytes);
        } else {
            self.held.fetch_sub(bytes, order);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.whole.held.fetch_sub(bytes, Ordering::Relaxed);
        self.whole.metrics.read(bytes);
    }
}

/// A call whose bytes are counted, until it is read or dropped.
pub(super) fn counted(call: Request<Body>, budget: Arc<Budget>) -> Request<Body> {
    call.map(|body| Body::new(Counted { body, call: Call::begin(budget), end: None }))
}

/// A refusal, as every call is told.
pub(super) fn refusal(error: &Error) -> Status {
    to_status(error, None, DETAIL_BYTES_DEFAULT)
}

struct Counted {
    body: Body,
    call: Arc<Call>,
    /// When the rest has to be here; most calls come at once, and need no such thing.
    end: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.call.is_ended.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(self.no_room())));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if self.end.is_none() {
                self.end = Some(Box::pin(tokio::time::sleep(TIME_MAX)));
                self.call.budget.whole.is_slow(&self.call);
            }
            self.call.reader.register(cx.waker());
            if self.call.is_ended.load(Ordering::Acquire) {
                return Poll::Ready(Some(Err(self.no_room())));
            }
            let Some(end) = &mut self.end else { return Poll::Pending };
            return match end.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let what = "The request did not come whole in time";
                    Poll::Ready(Some(Err(refusal(&Error::new(ErrorKind::DeadlineExceeded, what)))))
                }
                Poll::Pending => Poll::Pending,
            };
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.call.take(data.len())
        {
            return Poll::Ready(Some(Err(self.no_room())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Counted {
    fn no_room(&self) -> Status {
        self.call.budget.whole.metrics.throttled();
        refusal(&throttled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Arc<Whole> {
        Whole::new(0, Arc::new(Metrics::new(1, 0)))
    }

    #[test]
    fn one_connection_leaves_room_for_others() {
        let whole = whole();
        let [greedy, other] = [(); 2].map(|()| Budget::of_connection(&whole));
        assert!(greedy.take(LARGEST, 0), "the largest call always fits");
        assert!(!greedy.take(1, LARGEST), "and nothing else of its connection");
        assert!(!greedy.take(usize::MAX, 0));
        assert!(!other.take(SMALL + 1, 0), "large calls have their share");
        assert!(other.take(SMALL, 0), "and leave the rest to small ones");
        assert!(!other.take(1, SMALL), "which may not grow");
        greedy.give_back(LARGEST);
        assert!(other.take(1, SMALL));
        other.give_back(SMALL + 1);
        assert_eq!(whole.held.load(Ordering::Relaxed), 0);
        assert!(whole.metrics.encode().contains("stator_reading_bytes 0"));
    }

    #[test]
    fn the_slowest_make_room_for_others() {
        let whole = whole();
        let begin = |ago: Duration| {
            let mut call = Call::begin(Arc::new(Budget::of_connection(&whole)));
            Arc::get_mut(&mut call).expect("it is new").came -= ago;
            whole.is_slow(&call);
            assert!(call.take(SMALL));
            call
        };
        let is_ended = |call: &Call| call.is_ended.load(Ordering::Relaxed);
        let held = |calls: &[Arc<Call>]| calls.iter().filter(|call| !is_ended(call)).count();
        let count = whole.max / SMALL;
        let mut slow: Vec<_> = (0..2).map(|_| begin(2 * TIME_SAFE)).collect();
        slow.extend((2..count).map(|_| begin(Duration::ZERO)));
        let late = Call::begin(Arc::new(Budget::of_connection(&whole)));
        assert!(late.take(SMALL), "the first has to go");
        assert_eq!((is_ended(&slow[0]), held(&slow)), (true, count - 1));
        let later = Call::begin(Arc::new(Budget::of_connection(&whole)));
        assert!(later.take(SMALL) && is_ended(&slow[1]), "and the second");
        let other = Call::begin(Arc::new(Budget::of_connection(&whole)));
        assert!(!other.take(2 * SMALL), "the others have not had their time");
        drop(slow);
        assert_eq!(whole.held.load(Ordering::Relaxed), 2 * SMALL);
        assert!(other.take(SMALL), "what has ended is passed over");
        drop((late, later, other));
        assert_eq!(whole.held.load(Ordering::Relaxed), 0);
        assert!(whole.metrics.encode().contains("stator_reading_bytes 0"));
    }

    #[test]
    fn small_calls_have_bounds_too() {
        let whole = whole();
        let connections: Vec<_> = (0..16).map(|_| Budget::of_connection(&whole)).collect();
        let mut taken = Vec::new();
        for budget in &connections {
            let calls = (0..10_000).take_while(|_| budget.take(SMALL, 0)).count();
            taken.push(calls * SMALL);
        }
        assert!(taken[0] > whole.max / 8 - 2 * SMALL && taken[0] <= whole.max / 8);
        assert!(taken.iter().sum::<usize>() <= whole.max);
        assert!(taken[6] == taken[0] && taken[8] < SMALL * 9, "{taken:?}");
    }
}
