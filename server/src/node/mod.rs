//! A node: the engine, the log, the threads that drive them, and the tasks that keep it a member of its cluster.
//!
//! Starting a node opens everything in an order in which nothing is touched before it is known to be usable: sockets, then the data
//! directory, then the log and the engine, then the replicas, then the threads, then the doors. [`Node::shutdown`] goes the other
//! way: no new requests, leadership handed over, the doors closed, the engine flushed, the log closed.
//!
//! A node knows no globals: several live in one process, in tests and when embedded.

mod balance;
mod compare;
mod founding;
pub(crate) mod heard;
pub(crate) mod intake;
mod membership;
mod metered;
mod open;
mod overview;
mod rebuild;
mod replica_life;
pub(crate) mod room;
mod sockets;
mod standing;
mod start;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use stator_consensus::{Event, GroupId, NodeId};
use stator_model::{Answer, Request, Result};
use stator_storage::engine::Engine;
use stator_storage::log::Log;
use tokio::sync::watch::Sender;
use tokio::sync::{Notify, Semaphore};

use crate::catalog::records::CATALOG_GROUP;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::dir::DataDir;
use crate::metrics::{Metrics, Outcome, RequestKind};
use crate::peers::Peers;
use crate::replicas::Replicas;
use crate::serve::CallContext;
use crate::shell::HostMailbox;
use crate::shell::apply::ApplyMailbox;
use crate::snapshots::files::SnapshotFiles;
use crate::tables::{Table, Tables};
use crate::telemetry::{RequestIds, SlowLog};

pub use self::compare::ReplicaChecksum;
pub use self::sockets::Sockets;
pub use self::start::StartError;

/// How long a request that came in is worked on at most, whatever deadline it names, unless the node's own setting is longer. One that
/// waits, for a quorum perhaps, takes room from others for as long.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a node tries to hand its leaderships over before it stops all the same.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a node's requests, tasks and doors share.
pub(crate) struct Inner {
    pub(crate) config: NodeConfig,
    /// This node's id.
    pub(crate) own: NodeId,
    /// Where others reach this node.
    pub(crate) address: String,
    pub(crate) dir: Option<DataDir>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) tables: Tables,
    pub(crate) metrics: Arc<Metrics>,
    /// The other nodes, unless this one is alone for good.
    pub(crate) peers: Option<Arc<Peers>>,
    /// When they were heard.
    pub(crate) heard: heard::Heard,
    /// The format version of the catalog, once it is known; 0 before.
    catalog_format: AtomicU32,
    /// Wakes the controller.
    pub(crate) controller: Notify,
    /// The leave to read the states of replicas for somebody.
    pub(crate) looks: Arc<Semaphore>,
    /// Threads for long reads.
    pub(crate) pool: Arc<Semaphore>,
    /// Whether there is room for writes.
    pub(crate) room: Arc<room::Room>,
    /// What is left to do of making the engine anew.
    pub(crate) rebuild: rebuild::Rebuild,
    /// Snapshots that have come, where any can.
    pub(crate) snapshots: Option<Arc<SnapshotFiles>>,
    /// Streams that bring snapshots.
    pub(crate) incoming_snapshots: Semaphore,
    catalog: Arc<Table>,
    hosts: Vec<HostMailbox>,
    appliers: Vec<ApplyMailbox>,
    /// One replica is made or removed at a time.
    life: Arc<tokio::sync::Mutex<()>>,
    /// What is left of one replica is deleted at a time.
    deleting: Arc<tokio::sync::Mutex<()>>,
    request_counter: AtomicU64,
    joined: AtomicBool,
    leaving: AtomicBool,
    incarnation: u64,
    pub(crate) request_ids: RequestIds,
    pub(crate) slow_log: SlowLog,
    /// What bounds the requests being worked on.
    intake: intake::Intake,
    _scratch: Option<tempfile::TempDir>,
    /// Why the node cannot go on, once that is so.
    fatal: Arc<Sender<Option<String>>>,
    /// Whether that is so, for those who look at every request.
    failed: Arc<AtomicBool>,
    stop: Sender<bool>,
}

/// A running node.
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
    flush_stop: Option<std::sync::mpsc::Sender<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    listening: Option<std::net::SocketAddr>,
    admin: Option<std::net::SocketAddr>,
}

impl Inner {
    /// This node's id.
    pub(crate) const fn id(&self) -> NodeId {
        self.own
    }

    /// The catalog's own table.
    pub(crate) fn catalog_table(&self) -> Arc<Table> {
        self.catalog.clone()
    }

    /// The nodes that hold the catalog, by rank.
    fn catalog_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.catalog.partitions()[0].members.iter().map(|member| member.node)
    }

    /// How many nodes founded the cluster.
    pub(crate) fn founders(&self) -> usize {
        self.catalog_nodes().count()
    }

    /// Whether this node leads the catalog, as far as it knows.
    pub(crate) fn leads_catalog(&self) -> bool {
        self.replicas
            .get(CATALOG_GROUP)
            .is_some_and(|replica| replica.view.leader() == Some(self.own))
    }

    /// The context of a request of the node's own.
    pub(crate) fn own_context(&self, timeout: Duration) -> CallContext {
        let number = self.request_counter.fetch_add(1, Ordering::Relaxed);
        self.context_for(format!("node-{}-{number}", self.own).into(), timeout)
    }

    /// The context of a request that came in: without a timeout of its own it has the node's, and in any case one that has a bound.
    pub(crate) fn context(&self, request_id: Arc<str>, timeout: Option<Duration>) -> CallContext {
        let own = self.config.request_timeout;
        self.context_for(request_id, timeout.unwrap_or(own).min(own.max(REQUEST_TIME_MAX)))
    }

    fn context_for(&self, request_id: Arc<str>, timeout: Duration) -> CallContext {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        CallContext::new(request_id, self.clock.monotonic_ns().saturating_add(timeout_ns))
    }

    /// Answers a request whose message has so many bytes, within the node's bounds, and counts it.
    pub(crate) async fn answer(
        &self,
        request: Request,
        bytes: usize,
        cx: &CallContext,
    ) -> Result<Answer> {
        let kind = RequestKind::of(&request);
        let counted = self.metrics.request(kind);
        let slow = self.slow_log.begin(&request);
        let answer = match self.admit(&request, bytes) {
            Ok(_leave) => self.call(request, cx).await,
            Err(error) => Err(error),
        };
        let outcome = Outcome::of(&answer);
        let took = counted.end(outcome);
        self.slow_log.ended(&cx.request_id, kind, slow.as_ref(), outcome, took);
        answer
    }

    /// Leave to work on one more request, whose message has so many bytes.
    ///
    /// # Errors
    /// `ThrottlingException`, at once, if as much is being worked on as may be; a node that has failed takes nothing at all.
    pub(crate) fn admit(&self, request: &Request, bytes: usize) -> Result<intake::Leave> {
        self.admitted(self.intake.admit(request, bytes))
    }

    fn admitted(&self, leave: Option<intake::Leave>) -> Result<intake::Leave> {
        if self.has_failed() {
            return Err(crate::serve::unavailable("the node has failed and cannot go on"));
        }
        leave.ok_or_else(|| {
            self.metrics.throttled();
            crate::serve::throttled()
        })
    }

    /// Leave to answer a call that is no operation, whose message has so many bytes.
    ///
    /// # Errors
    /// As of [`Inner::admit`].
    pub(crate) fn admit_other(&self, bytes: usize) -> Result<intake::Leave> {
        self.admitted(self.intake.admit_bytes(bytes.saturating_add(intake::BASE_BYTES)))
    }

    /// Room for what an answer comes to.
    pub(crate) fn answer_room(&self) -> intake::AnswerRoom {
        self.intake.answer_room()
    }

    /// Whether the node has failed and cannot go on: it takes nothing any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the node is on its way out: it hands its leaderships over, and takes none.
    pub(crate) fn is_stopping(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || *self.stop.borrow()
    }

    /// Resolves once the node is stopping.
    pub(crate) async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as this node does.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// The host that drives a group.
    fn host_of(&self, group: GroupId) -> usize {
        // Multiplied by a large odd number, so that the groups of one table spread.
        let mixed = group.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(mixed).unwrap_or(0) % self.hosts.len()
    }

    /// The thread that applies a group's entries.
    pub(crate) fn applier_of(&self, group: GroupId) -> ApplyMailbox {
        self.appliers[self.host_of(group)].clone()
    }

    /// A replica stops on a fault that was found outside its host.
    pub(crate) fn stop_replica(&self, group: GroupId, reason: &str) {
        tracing::error!(group = group.0, reason, "a replica stopped");
        let event = stator_consensus::Event::Stop { group, reason: reason.to_owned() };
        self.hosts[self.host_of(group)].push(event);
        self.replicas.failed(group, reason.to_owned());
    }

    /// What keeps this node from serving, if anything.
    pub(crate) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(why) = &*self.fatal.borrow() {
            reasons.push(format!("the node has failed: {why}"));
        }
        if !self.joined.load(Ordering::Acquire) {
            reasons.push("the node has not reached the catalog yet".to_owned());
            reasons.extend(founding::awaited(self));
            reasons.extend(self.peers.iter().flat_map(|peers| peers.amiss()));
        }
        let leaderless =
            self.replicas.all().iter().filter(|replica| replica.view.leader().is_none()).count();
        if leaderless > 0 {
            reasons.push(format!("{leaderless} partitions here have no leader"));
        }
        if let Some(lacking) = self.lacking() {
            reasons.push(format!("the engine is made anew: {lacking} replicas lack their data"));
        }
        for (group, why) in self.replicas.failures() {
            reasons.push(format!("the replica of group {} has stopped: {why}", group.0));
        }
        reasons
    }
}

impl Node {
    /// Answers a request, within the node's own deadline unless another is given: of that no more than a minute counts, or than the
    /// node's own if it is longer.
    ///
    /// # Errors
    /// What the operation answers.
    pub async fn call(
        &self,
        request: Request,
        request_id: Arc<str>,
        timeout: Option<Duration>,
    ) -> Result<Answer> {
        let cx = self.inner.context(request_id, timeout);
        let bytes = intake::bytes_of(&request);
        self.inner.answer(request, bytes, &cx).await
    }

    /// The node's id in its cluster.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inner.own.0
    }

    /// Where clients and peers reach the node, if it listens.
    #[must_use]
    pub const fn listening(&self) -> Option<std::net::SocketAddr> {
        self.listening
    }

    /// Where the admin port is, if there is one.
    #[must_use]
    pub const fn admin(&self) -> Option<std::net::SocketAddr> {
        self.admin
    }

    /// Where the former engine is, if this one is made anew from the other nodes and there was one.
    #[must_use]
    pub fn former_engine(&self) -> Option<&std::path::Path> {
        self.inner.rebuild.aside()
    }

    /// What keeps the node from serving; empty when it is ready.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        self.inner.unready()
    }

    /// Waits until the node is ready to serve.
    ///
    /// # Errors
    /// Why it is not, when the time is over or the node has failed.
    pub async fn wait_ready(&self, timeout: Duration) -> std::result::Result<(), Vec<String>> {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let reasons = self.unready();
            if reasons.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline || self.inner.fatal.borrow().is_some() {
                return Err(reasons);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Resolves when the node cannot go on, with the reason.
    pub async fn failed(&self) -> String {
        let mut fatal = self.inner.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops the node in good order, once others lead what it has led.
    pub async fn shutdown(self) {
        self.inner.leaving.store(true, Ordering::Release);
        self.hand_over_all().await;
        self.shutdown_with_cluster().await;
    }

    /// Stops the node in good order, where all nodes are stopped at once: nobody is left to lead anything.
    pub async fn shutdown_with_cluster(mut self) {
        self.inner.leaving.store(true, Ordering::Release);
        // The doors stop taking connections, finish what they are at, and end; so do the tasks.
        self.inner.stop.send_replace(true);
        for mut task in self.tasks.drain(..) {
            if tokio::time::timeout(Duration::from_secs(5), &mut task).await.is_err() {
                tracing::warn!("a task did not end in time");
                task.abort();
            }
        }
        let engine = self.inner.engine.clone();
        let threads = self.close_mailboxes();
        let flushed = tokio::task::spawn_blocking(move || {
            join(threads);
            engine.flush()
        });
        let flushed = flushed.await;
        if let Ok(Err(error)) = flushed {
            tracing::error!(%error, "the engine could not be flushed at the end");
        }
    }

    /// Moves the leadership of every group elsewhere, where there is an elsewhere.
    async fn hand_over_all(&self) {
        let Some(peers) = &self.inner.peers else { return };
        if peers.nodes().is_empty() {
            return;
        }
        self.inner.replicas.tell_hosts(|| Event::Retire);
        let deadline = tokio::time::Instant::now() + HAND_OVER_TIMEOUT;
        while self.inner.replicas.led_by(self.inner.own) > 0
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has the threads end once they have done what waits for them.
    fn close_mailboxes(&mut self) -> Vec<JoinHandle<()>> {
        drop(self.flush_stop.take());
        for host in &self.inner.hosts {
            host.close();
        }
        for applier in &self.inner.appliers {
            applier.0.close();
        }
        std::mem::take(&mut self.threads)
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the node panicked");
        }
    }
}

impl Drop for Node {
    /// A node that is dropped stops at once, as if it had crashed, but for what its threads have begun. That blocks until they have
    /// ended; after [`Node::shutdown`] they have.
    fn drop(&mut self) {
        self.inner.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
        join(self.close_mailboxes());
    }
}
