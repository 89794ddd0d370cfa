//! How many bytes of calls may be on their way from a connection into a request.
//!
//! What is worked on is bounded by the node's intake, which weighs a request. Before that a call is bytes that come in piece by piece,
//! on many streams at once, and nobody knows yet what they will be: they are counted here as they come, for each connection and for
//! all together, until the request is whole. What is over is refused at once, and what has come of it is dropped.
//!
//! Large calls leave a quarter of all room to small ones, and a connection's small calls an eighth of it to those of others: one
//! connection that begins calls and never ends them keeps nobody else from being served. Many can, for as long as calls may take.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
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
/// A call that is no larger is small.
const SMALL: usize = 64 << 10;
/// The largest message, with its frame.
const LARGEST: usize = MESSAGE_BYTES_MAX + 64;

/// Bytes that are being read, of all connections together.
#[derive(Debug)]
pub(super) struct Whole {
    held: AtomicUsize,
    max: usize,
    metrics: Arc<Metrics>,
}

impl Whole {
    /// So many bytes, or as many as the largest call needs.
    pub(super) fn new(max: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max: max.max(LARGEST / 3 * 4 + 4), metrics })
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
        let taken = whole.held.fetch_update(order, order, within(whole_max)).is_ok();
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
    call.map(|body| Body::new(Counted { body, budget, bytes: 0, end: None }))
}

/// A refusal, as every call is told.
pub(super) fn refusal(error: &Error) -> Status {
    to_status(error, None, DETAIL_BYTES_DEFAULT)
}

struct Counted {
    body: Body,
    budget: Arc<Budget>,
    /// How many bytes have come.
    bytes: usize,
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
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(TIME_MAX)));
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
        {
            if !self.budget.take(data.len(), self.bytes) {
                self.budget.whole.metrics.throttled();
                return Poll::Ready(Some(Err(refusal(&throttled()))));
            }
            self.bytes += data.len();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
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
