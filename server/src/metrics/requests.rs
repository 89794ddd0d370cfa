//! Requests: how many, how they ended, and how long they took.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use stator_model::{Error, ErrorKind, Request};

/// Gives an enum of plain variants the list of them and their names.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant,)+ }

        impl $type {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            const COUNT: usize = Self::ALL.len();

            /// The label's value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

named! {
    /// The operation of a request.
    RequestKind {
        /// Makes a table.
        CreateTable = "CreateTable",
        /// Tells what a table is.
        DescribeTable = "DescribeTable",
        /// Lists tables.
        ListTables = "ListTables",
        /// Changes a table's settings.
        UpdateTable = "UpdateTable",
        /// Removes a table.
        DeleteTable = "DeleteTable",
        /// Writes an item.
        PutItem = "PutItem",
        /// Reads an item.
        GetItem = "GetItem",
        /// Changes an item.
        UpdateItem = "UpdateItem",
        /// Deletes an item.
        DeleteItem = "DeleteItem",
        /// Reads the items of a partition key.
        Query = "Query",
        /// Reads the items of a table.
        Scan = "Scan",
        /// Reads items by key.
        BatchGetItem = "BatchGetItem",
        /// Puts and deletes items.
        BatchWriteItem = "BatchWriteItem",
        /// One that was added to the API and not yet here.
        Other = "Other",
    }
}

impl RequestKind {
    /// The operation of a request.
    #[must_use]
    pub const fn of(request: &Request) -> Self {
        match request {
            Request::CreateTable(_) => Self::CreateTable,
            Request::DescribeTable(_) => Self::DescribeTable,
            Request::ListTables(_) => Self::ListTables,
            Request::UpdateTable(_) => Self::UpdateTable,
            Request::DeleteTable(_) => Self::DeleteTable,
            Request::PutItem(_) => Self::PutItem,
            Request::GetItem(_) => Self::GetItem,
            Request::UpdateItem(_) => Self::UpdateItem,
            Request::DeleteItem(_) => Self::DeleteItem,
            Request::Query(_) => Self::Query,
            Request::Scan(_) => Self::Scan,
            Request::BatchGetItem(_) => Self::BatchGetItem,
            Request::BatchWriteItem(_) => Self::BatchWriteItem,
            _ => Self::Other,
        }
    }
}

named! {
    /// How a request ended: whose affair it is.
    Outcome {
        /// It was answered.
        Ok = "ok",
        /// Its condition did not hold.
        ConditionFailed = "condition_failed",
        /// It was refused for what it asks.
        Refused = "refused",
        /// It was refused because something was full.
        Throttled = "throttled",
        /// Nobody was found to serve it.
        Unavailable = "unavailable",
        /// Its time was over.
        DeadlineExceeded = "deadline_exceeded",
        /// Its fate was lost sight of.
        Uncertain = "uncertain",
        /// The database failed.
        Fault = "fault",
        /// The caller went away before it ended.
        Cancelled = "cancelled",
    }
}

impl Outcome {
    /// How a request ended, by its result.
    #[must_use]
    pub fn of<T>(result: &Result<T, Error>) -> Self {
        result.as_ref().map_or_else(|error| Self::of_kind(error.kind()), |_| Self::Ok)
    }

    /// How a request ended that failed with such an error.
    #[must_use]
    pub const fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConditionalCheckFailed => Self::ConditionFailed,
            ErrorKind::ProvisionedThroughputExceeded | ErrorKind::Throttling => Self::Throttled,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::DeadlineExceeded => Self::DeadlineExceeded,
            ErrorKind::Uncertain => Self::Uncertain,
            ErrorKind::Validation
            | ErrorKind::ResourceNotFound
            | ErrorKind::ResourceInUse
            | ErrorKind::LimitExceeded
            | ErrorKind::ItemCollectionSizeLimitExceeded
            | ErrorKind::UnknownOperation => Self::Refused,
            // One that is not known here is looked into rather than overlooked.
            _ => Self::Fault,
        }
    }
}

/// The handles of one operation.
struct Handles {
    ended: [Counter; Outcome::COUNT],
    seconds: Histogram,
}

pub(super) struct Requests {
    in_flight: Gauge<u64, AtomicU64>,
    by_kind: [Handles; RequestKind::COUNT],
}

impl Requests {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let ended = Family::<[(&str, &str); 2], Counter>::default();
        // From 50 us, doubled 17 times, to 3.3 s: deadlines are counted by their outcome.
        let buckets = || Histogram::new(exponential_buckets(0.000_05, 2.0, 17));
        let seconds = Family::<super::Label, Histogram, _>::new_with_constructor(buckets);
        let in_flight = Gauge::default();
        registry.register("requests", "Requests that ended, and how", ended.clone());
        let help = "Time from a request to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, seconds.clone());
        registry.register("requests_in_flight", "Requests being worked on", in_flight.clone());
        let by_kind = std::array::from_fn(|i| {
            let operation = ("operation", RequestKind::ALL[i].name());
            Handles {
                ended: std::array::from_fn(|i| {
                    let result = ("result", Outcome::ALL[i].name());
                    ended.get_or_create_owned(&[operation, result])
                }),
                seconds: seconds.get_or_create_owned(&[operation]),
            }
        });
        Self { in_flight, by_kind }
    }

    pub(super) fn begin(&self, kind: RequestKind) -> RequestGuard<'_> {
        self.in_flight.inc();
        // The handles lie in the order of the kinds.
        let handles = &self.by_kind[kind as usize];
        RequestGuard {
            handles,
            in_flight: &self.in_flight,
            begun: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }
}

/// A request being worked on. Dropped without [`RequestGuard::end`], it counts as cancelled: its caller went away.
pub struct RequestGuard<'a> {
    handles: &'a Handles,
    in_flight: &'a Gauge<u64, AtomicU64>,
    begun: Instant,
    outcome: Outcome,
}

impl RequestGuard<'_> {
    /// The request ended so; how long it took.
    pub fn end(mut self, outcome: Outcome) -> Duration {
        self.outcome = outcome;
        self.begun.elapsed()
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.in_flight.dec();
        self.handles.ended[self.outcome as usize].inc();
        if self.outcome != Outcome::Cancelled {
            self.handles.seconds.observe(self.begun.elapsed().as_secs_f64());
        }
    }
}

impl std::fmt::Debug for RequestGuard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestGuard").field("begun", &self.begun).finish_non_exhaustive()
    }
}
