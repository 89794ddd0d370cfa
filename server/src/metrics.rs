//! What a node counts and measures, for Prometheus.
//!
//! One [`Metrics`] per node, a value like any other: several nodes in a process do not mix. A function per metric, so that
//! what is counted where can be searched for; names carry their units.
//!
//! # Bounds
//! Labels are of closed sets (operation, result, host's number, step), never a table, a key or a peer's address: the
//! number of series is fixed when the node starts, and a test holds it down.
//!
//! # Cost
//! What is counted for each request or turn goes through handles that were looked up when the node started: an atomic
//! addition each, and a short lock for a histogram. Levels (sizes, lengths, numbers of groups) are not kept up to date but
//! set when somebody asks: see [`crate::admin::AdminSource::gather`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use stator_storage::engine::EngineSize;
use stator_storage::log::LogStats;

pub use self::requests::{Outcome, RequestGuard, RequestKind};

mod process;
mod requests;
#[cfg(test)]
mod tests;

/// A level that is never negative.
type Level = Gauge<u64, AtomicU64>;
/// One label, of a closed set.
type Label = [(&'static str, &'static str); 1];

/// What becomes of a snapshot of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// One was sent whole.
    Sent,
    /// One was installed.
    Installed,
    /// One was given up, by either side.
    Failed,
}

impl SnapshotStep {
    const ALL: [Self; 3] = [Self::Sent, Self::Installed, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Installed => "installed",
            Self::Failed => "failed",
        }
    }
}

/// How many replicas a node has, and in what state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    /// Replicas.
    pub replicas: u64,
    /// Of them, those that lead.
    pub leading: u64,
    /// Of them, those that sleep.
    pub asleep: u64,
    /// Of them, those stopped by a fault.
    pub failed: u64,
    /// Of them, those that have not applied a hundred entries or more that they know committed: they install a snapshot, say.
    pub unapplied: u64,
    /// Followers of those that lead, elsewhere, that are far behind.
    pub behind: u64,
}

/// A node's metrics.
pub struct Metrics {
    registry: Registry,
    requests: requests::Requests,
    throttled: Counter,
    forwarded: Counter,
    connections: Level,
    reading_bytes: Level,
    waiting_answers_bytes: Level,

    replicas: Level,
    leading: Level,
    asleep: Level,
    failed: Level,
    unapplied: Level,
    behind: Level,
    elections: Counter,
    leases: Counter,
    proposals: Counter,
    truncations: Counter,
    refused_messages: Counter,
    read_index: Counter,
    uncertain: Counter,
    snapshots: [Counter; SnapshotStep::ALL.len()],

    log_syncs: Counter,
    log_writes: Counter,
    log_rewritten: Counter,
    log_written_bytes: Counter,
    log_sync_seconds: Histogram,
    log_file_bytes: Level,
    log_live_bytes: Level,
    log_pending_bytes: Level,
    log_budget_bytes: Level,
    log_segments: Level,

    engine_disk_bytes: Level,
    engine_buffer_bytes: Level,
    engine_flush_seconds: Histogram,
    engine_failures: Counter,
    disk_free_bytes: Level,

    mailboxes: Vec<Level>,
    apply_waiting: Level,
    peer_dropped: Counter,

    resident_bytes: Level,
}

impl Metrics {
    /// Metrics at zero, for a node with so many `hosts` that started at `started_ms` by the wall clock.
    #[must_use]
    pub fn new(hosts: usize, started_ms: u64) -> Self {
        let mut registry = Registry::default();
        let mut table = Table(registry.sub_registry_with_prefix("stator"));
        let t = &mut table;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        t.0.register("build", "The version of this node", build);
        Self {
            requests: requests::Requests::new(t.0),
            throttled: t.counter("throttled", "Requests refused because something was full"),
            forwarded: t.counter("forwarded", "Requests sent on to another node"),
            connections: t.level("connections", "Connections that are open"),
            reading_bytes: t.bytes("reading", "Size of requests that have not come whole"),
            waiting_answers_bytes: t.bytes("waiting_answers", "Size of answers not read yet"),

            replicas: t.level("raft_replicas", "Replicas on this node"),
            leading: t.level("raft_leaders", "Replicas on this node that lead their group"),
            asleep: t.level("raft_asleep", "Replicas on this node whose group sleeps"),
            failed: t.level("raft_failed", "Replicas on this node that a fault stopped"),
            unapplied: t.level(
                "raft_unapplied",
                "Replicas on this node that have a hundred entries or more to apply, or a snapshot to install",
            ),
            behind: t.level(
                "raft_followers_behind",
                "Followers of this node's leaders that get a snapshot, are not reached, or lack more than a hundred entries",
            ),
            elections: t.counter("raft_elections", "Elections that a replica here won"),
            leases: t.counter("raft_leases", "Leases granted or renewed"),
            proposals: t.counter("raft_proposals", "Entries proposed"),
            truncations: t.counter("raft_truncations", "Logs of groups truncated"),
            refused_messages: t.counter("raft_refused_messages", "Messages of peers refused"),
            read_index: t.counter("raft_read_index", "Reads that asked a majority"),
            uncertain: t.counter("raft_uncertain", "Proposals whose fate was lost sight of"),
            snapshots: t.labelled(
                "raft_snapshots",
                "Snapshots of partitions",
                "step",
                SnapshotStep::ALL.map(SnapshotStep::name),
            ),

            log_syncs: t.counter("log_syncs", "Syncs of log files"),
            log_writes: t.counter("log_writes", "Writes to log files"),
            log_rewritten: t.counter("log_rewritten_records", "Records rewritten ahead"),
            log_written_bytes: t.byte_counter("log_written", "Bytes written to the log"),
            log_sync_seconds: t.seconds("log_sync", "Time of a write and sync of the log"),
            log_file_bytes: t.bytes("log_file", "Size of all log files"),
            log_live_bytes: t.bytes("log_live", "Size of the log's records still needed"),
            log_pending_bytes: t
                .bytes("log_pending", "Size of what waits to be written to the log"),
            log_budget_bytes: t.bytes("log_budget", "The most that the log files may take"),
            log_segments: t.level("log_segments", "Log files in use"),

            engine_disk_bytes: t.bytes("engine_disk", "Size of the engine's files"),
            engine_buffer_bytes: t.bytes("engine_buffer", "Size of the engine's unwritten buffers"),
            engine_flush_seconds: t.seconds("engine_flush", "Time to make the engine durable"),
            engine_failures: t.counter("engine_failures", "Failures of the engine: after each it was opened again"),
            disk_free_bytes: t.bytes("disk_free", "Free space where the data directory is"),

            mailboxes: t.numbered("mailbox_waiting", "Events that wait for a host", "host", hosts),
            apply_waiting: t.level("apply_waiting", "Jobs that wait to be applied"),
            peer_dropped: t.counter("peer_dropped_messages", "Messages to peers without room"),

            resident_bytes: process::register(&mut registry, started_ms),
            registry,
        }
    }

    /// A request begins; the guard counts how it ends.
    #[must_use]
    pub fn request(&self, kind: RequestKind) -> RequestGuard<'_> {
        self.requests.begin(kind)
    }

    /// Requests being worked on.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.requests.in_flight()
    }

    /// A request was refused because something was full.
    pub fn throttled(&self) {
        self.throttled.inc();
    }

    /// A request was sent on to another node.
    pub fn forwarded(&self) {
        self.forwarded.inc();
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// So many more bytes have come of requests that are not whole yet.
    pub fn reading(&self, bytes: usize) {
        self.reading_bytes.inc_by(bytes as u64);
    }

    /// So many bytes of requests were read, or dropped.
    pub fn read(&self, bytes: usize) {
        self.reading_bytes.dec_by(bytes as u64);
    }

    /// An answer of so many bytes waits for its client.
    pub fn answer_waits(&self, bytes: usize) {
        self.waiting_answers_bytes.inc_by(bytes as u64);
    }

    /// An answer of so many bytes is on its way, or was dropped.
    pub fn answer_went(&self, bytes: usize) {
        self.waiting_answers_bytes.dec_by(bytes as u64);
    }

    /// The node's replicas are so many.
    pub fn groups(&self, counts: GroupCounts) {
        self.replicas.set(counts.replicas);
        self.leading.set(counts.leading);
        self.asleep.set(counts.asleep);
        self.failed.set(counts.failed);
        self.unapplied.set(counts.unapplied);
        self.behind.set(counts.behind);
    }

    /// What a host did in a turn.
    pub fn raft_turn(
        &self,
        elections: u64,
        leases: u64,
        proposed: u64,
        truncations: u64,
        refused_messages: u64,
    ) {
        // Most turns add nothing to most of these, and a read is cheaper than an addition between cores.
        let add = |counter: &Counter, more| {
            if more > 0 {
                counter.inc_by(more);
            }
        };
        add(&self.elections, elections);
        add(&self.leases, leases);
        add(&self.proposals, proposed);
        add(&self.truncations, truncations);
        add(&self.refused_messages, refused_messages);
    }

    /// A read found no lease and asked a majority.
    pub fn read_index(&self) {
        self.read_index.inc();
    }

    /// A proposal's fate was lost sight of.
    pub fn uncertain(&self) {
        self.uncertain.inc();
    }

    /// A snapshot of a partition came so far.
    pub fn snapshot(&self, step: SnapshotStep) {
        // The counters lie in the order of the steps.
        if let Some(counter) = self.snapshots.get(step as usize) {
            counter.inc();
        }
    }

    /// So many bytes were written to the log and synced, which took so long.
    pub fn log_sync(&self, bytes: u64, took: Duration) {
        self.log_written_bytes.inc_by(bytes);
        self.log_sync_seconds.observe(took.as_secs_f64());
    }

    /// What the log says of itself.
    pub fn log(&self, stats: &LogStats, budget_bytes: u64) {
        raise(&self.log_syncs, stats.syncs);
        raise(&self.log_writes, stats.writes);
        raise(&self.log_rewritten, stats.rewritten);
        self.log_file_bytes.set(stats.file_bytes);
        self.log_live_bytes.set(stats.live_bytes);
        self.log_pending_bytes.set(stats.pending_bytes);
        self.log_segments.set(stats.segments as u64);
        self.log_budget_bytes.set(budget_bytes);
    }

    /// How large the engine is.
    pub fn engine(&self, size: EngineSize) {
        self.engine_disk_bytes.set(size.disk_bytes);
        self.engine_buffer_bytes.set(size.buffer_bytes);
    }

    /// The engine failed, and is opened again.
    pub fn engine_failed(&self) {
        self.engine_failures.inc();
    }

    /// The engine was made durable, which took so long.
    pub fn engine_flush(&self, took: Duration) {
        self.engine_flush_seconds.observe(took.as_secs_f64());
    }

    /// So much space is free where the data directory is.
    pub fn disk_free(&self, bytes: u64) {
        self.disk_free_bytes.set(bytes);
    }

    /// So many events wait for a host; one that the node was not said to have is not counted.
    pub fn mailbox(&self, host: usize, waiting: usize) {
        if let Some(level) = self.mailboxes.get(host) {
            level.set(waiting as u64);
        }
    }

    /// So many jobs wait to be applied.
    pub fn apply_backlog(&self, jobs: usize) {
        self.apply_waiting.set(jobs as u64);
    }

    /// A message to a peer found no room.
    pub fn peer_dropped(&self) {
        self.peer_dropped.inc();
    }

    /// Everything in the OpenMetrics text format. Levels are as they were last set.
    #[must_use]
    pub fn encode(&self) -> String {
        if let Some(bytes) = process::resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        let mut text = String::with_capacity(64 << 10);
        // A string takes whatever is written to it.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Raises a counter to what somebody else has counted.
fn raise(counter: &Counter, to: u64) {
    counter.inner().fetch_max(to, Ordering::Relaxed);
}

/// Where metrics are registered, a line each.
struct Table<'a>(&'a mut Registry);

impl Table<'_> {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn byte_counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register_with_unit(name, help, Unit::Bytes, counter.clone());
        counter
    }

    fn level(&mut self, name: &str, help: &str) -> Level {
        let level = Level::default();
        self.0.register(name, help, level.clone());
        level
    }

    fn bytes(&mut self, name: &str, help: &str) -> Level {
        let level = Level::default();
        self.0.register_with_unit(name, help, Unit::Bytes, level.clone());
        level
    }

    /// Times of disks: from 50 us, doubled 16 times, to 1.6 s.
    fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        self.0.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        histogram
    }

    fn labelled<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: [&'static str; N],
    ) -> [Counter; N] {
        let family = Family::<Label, Counter>::default();
        self.0.register(name, help, family.clone());
        values.map(|value| family.get_or_create_owned(&[(label, value)]))
    }

    fn numbered(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        count: usize,
    ) -> Vec<Level> {
        let family = Family::<[(&'static str, u64); 1], Level>::default();
        self.0.register(name, help, family.clone());
        (0..count as u64).map(|number| family.get_or_create_owned(&[(label, number)])).collect()
    }
}
