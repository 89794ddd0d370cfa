//! How a node answers a request: any operation, for any door.
//!
//! A request is validated, its table looked up, and its partition found. If this node may serve that partition it does; if not, it
//! sends the request on to the node that may, once. What finds no leader waits a little and looks again, until the deadline:
//! nothing was applied, so that is safe. What may have been applied is never sent again here; the caller is told.

mod batch;
mod forward;
mod here;
mod item;
mod pages;
mod route;
mod tables;

pub(crate) use self::here::throttled;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stator_consensus::NodeId;
use stator_model::limits::PAGE_BYTES_MAX;
use stator_model::{Answer, Error, ErrorKind, Request, Result};

use crate::node::Inner;

/// Nobody can serve it now; perhaps another node can.
pub(crate) fn unavailable(why: &str) -> Error {
    Error::new(ErrorKind::Unavailable, why)
}

/// How a request came in, and how long it may take.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    /// The caller's name for the request, or one made here; for logs.
    pub(crate) request_id: Arc<str>,
    /// When it is too late, by the node's monotonic clock, in nanoseconds.
    pub(crate) deadline_ns: u64,
    /// The partition that another node has sent it on for; such a request goes no further.
    pub(crate) target: Option<Target>,
    /// Whether the request is the node's own, for the catalog's table.
    pub(crate) of_catalog: bool,
    /// Whether the caller asks again by itself if nobody is found who serves it, so that it is not waited for here.
    pub(crate) asks_again: bool,
    /// The node that served the request, if it was sent on; 0 is none.
    forwarded: Arc<AtomicU64>,
    /// What a page of Scan may still read, in bytes: its parts are of several partitions, perhaps on several nodes.
    page_room: Arc<AtomicU64>,
}

/// The partition that a request was sent on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: stator_consensus::GroupId,
}

impl CallContext {
    /// A client's request.
    #[must_use]
    pub(crate) fn new(request_id: Arc<str>, deadline_ns: u64) -> Self {
        Self {
            request_id,
            deadline_ns,
            target: None,
            of_catalog: false,
            asks_again: false,
            forwarded: Arc::default(),
            page_room: Arc::new(AtomicU64::new(PAGE_BYTES_MAX as u64)),
        }
    }

    /// The same caller and deadline, for a request of the node's own to the catalog.
    pub(crate) fn to_catalog(&self) -> Self {
        let new = Self::new(self.request_id.clone(), self.deadline_ns);
        Self { of_catalog: true, ..new }
    }

    /// The same caller, but for at most this long from `now_ns` on.
    pub(crate) fn for_at_most(&self, patience: Duration, now_ns: u64) -> Self {
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = self.deadline_ns.min(now_ns.saturating_add(patience_ns));
        Self { deadline_ns, ..self.clone() }
    }

    /// The same for one of a caller's attempts, which makes another one itself.
    pub(crate) fn for_an_attempt(&self, patience: Duration, now_ns: u64) -> Self {
        Self { asks_again: true, ..self.for_at_most(patience, now_ns) }
    }

    /// The same request with a page of which nothing was read, and that reads no more than so many bytes. Zero, as of a sender that
    /// says nothing, is 1 MB, and so is more than that.
    pub(crate) fn with_a_page(&self, bytes_max: u64) -> Self {
        let whole = PAGE_BYTES_MAX as u64;
        let room = if bytes_max == 0 { whole } else { bytes_max.min(whole) };
        Self { page_room: Arc::new(AtomicU64::new(room)), ..self.clone() }
    }

    /// How many bytes a page may still read.
    pub(crate) fn page_room(&self) -> u64 {
        self.page_room.load(Ordering::Relaxed)
    }

    /// A part of a page has read so many bytes.
    pub(crate) fn took_of_page(&self, bytes: u64) {
        let left = self.page_room().saturating_sub(bytes);
        self.page_room.store(left, Ordering::Relaxed);
    }

    /// A node has served the request in this one's place.
    pub(crate) fn forwarded_to(&self, node: NodeId) {
        self.forwarded.store(node.0, Ordering::Relaxed);
    }

    /// The node that served the request in this one's place, if one did.
    pub(crate) fn served_by(&self) -> Option<NodeId> {
        match self.forwarded.load(Ordering::Relaxed) {
            0 => None,
            node => Some(NodeId(node)),
        }
    }

    /// What is left of the time, at `now_ns`.
    pub(crate) fn left(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.deadline_ns.saturating_sub(now_ns))
    }
}

impl Inner {
    /// Answers a request. One that another node has sent on is judged like any other: what comes from a peer is bytes.
    pub(crate) async fn call(&self, request: Request, cx: &CallContext) -> Result<Answer> {
        request.validate()?;
        Ok(match request {
            Request::PutItem(request) => Answer::PutItem(self.write(request, cx).await?),
            Request::UpdateItem(request) => Answer::UpdateItem(self.write(request, cx).await?),
            Request::DeleteItem(request) => Answer::DeleteItem(self.write(request, cx).await?),
            Request::GetItem(request) => Answer::GetItem(self.get_item(request, cx).await?),
            Request::Query(request) => Answer::Query(self.query(request, cx).await?),
            Request::Scan(request) => Answer::Scan(self.scan(request, cx).await?),
            Request::BatchGetItem(request) => {
                Answer::BatchGetItem(self.batch_get_item(request, cx).await?)
            }
            Request::BatchWriteItem(request) => {
                Answer::BatchWriteItem(self.batch_write_item(request, cx).await?)
            }
            Request::CreateTable(request) => {
                Answer::CreateTable(self.create_table(request, cx).await?)
            }
            Request::DescribeTable(request) => {
                Answer::DescribeTable(self.describe_table(request, cx).await?)
            }
            Request::ListTables(request) => {
                Answer::ListTables(self.list_tables(request, cx).await?)
            }
            Request::UpdateTable(request) => {
                Answer::UpdateTable(self.update_table(request, cx).await?)
            }
            Request::DeleteTable(request) => {
                Answer::DeleteTable(self.delete_table(request, cx).await?)
            }
            other => {
                let what = format!("The operation {} is not offered", other.operation());
                return Err(Error::new(ErrorKind::UnknownOperation, what));
            }
        })
    }
}
