//! Starting a node, in an order in which nothing is touched before it is known to be usable.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use stator_consensus::{Event, GroupId, NodeId, ReplicaId};
use stator_storage::partition::PartitionSpec;
use tokio::sync::{Notify, Semaphore, watch};

use super::open::{Census, census, open};
use super::sockets::Sockets;
use super::standing::{Standing, standing};
use super::{Inner, Node, balance, founding, heard, intake, membership, rebuild, room};
use crate::catalog::records::NodeRecord;
use crate::clock::{Clock, RealClock};
use crate::config::{EngineKind, NodeConfig};
use crate::dir::{CatalogMember, DataDir, Mode};
use crate::mailbox::mailbox;
use crate::metrics::Metrics;
use crate::peers::introduction::Introduction;
use crate::peers::{Around, Peers};
use crate::replicas::Replicas;
use crate::shell::apply::{ApplyMailbox, ApplyShell};
use crate::shell::flush::{FlushShell, Losses};
use crate::shell::host::{HostShell, Outbound};
use crate::shell::{Fatal, fatal_on_panic};
use crate::snapshots;
use crate::snapshots::files::SnapshotFiles;
use crate::tables::{Table, Tables};
use crate::telemetry::{RequestIds, SlowLog};

/// Requests and messages that may wait for one host.
const HOST_WAITING_MAX: usize = 64 * 1024;
/// How often the engine is made durable.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Why a node could not start. One line, for an operator.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

pub(super) fn refused(why: impl fmt::Display) -> StartError {
    StartError(why.to_string())
}

impl Node {
    /// Starts a node that listens.
    ///
    /// # Errors
    /// Why it cannot, in one line. What was there is untouched, unless a fault of the disk says otherwise.
    pub async fn serve(config: NodeConfig, sockets: Sockets) -> Result<Self, StartError> {
        config.validate().map_err(refused)?;
        let listening = sockets.address()?;
        let address = config.advertised(listening);
        let dir = DataDir::open(&config.data_dir, config.engine, Mode::Cluster).map_err(refused)?;
        let is_rebuilt = rebuild::agreed(&config, &dir).await?;
        let standing = standing(&config, &dir, &address).await?;
        Self::start(config, Some(dir), is_rebuilt, standing, address, Some(sockets)).await
    }

    /// Opens a database in the process: a node alone, with no sockets. Without a directory it keeps everything in memory.
    ///
    /// # Errors
    /// Why it cannot, in one line.
    pub async fn embedded(mut config: NodeConfig, in_memory: bool) -> Result<Self, StartError> {
        if config.rebuild_engine {
            return Err(refused(rebuild::NOBODY));
        }
        let dir = if in_memory {
            config.engine = EngineKind::Memory;
            None
        } else {
            Some(DataDir::open(&config.data_dir, config.engine, Mode::Embedded).map_err(refused)?)
        };
        let standing = Standing {
            own: NodeId(1),
            cluster_id: None,
            catalog: vec![CatalogMember {
                node_id: 1,
                replica_id: 1,
                address: "embedded".to_owned(),
                incarnation: None,
            }],
        };
        Self::start(config, dir, false, standing, "embedded".to_owned(), None).await
    }

    async fn start(
        config: NodeConfig,
        dir: Option<DataDir>,
        is_rebuilt: bool,
        standing: Standing,
        address: String,
        sockets: Option<Sockets>,
    ) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock);
        let incarnation = dir.as_ref().map_or_else(entropy, |dir| dir.identity().incarnation);
        let metrics = Arc::new(Metrics::new(1, clock.wall_ms()));
        let counted = metrics.clone();
        let (stores, census, config, dir) = tokio::task::spawn_blocking(move || {
            let stores = open(&config, dir.as_ref(), is_rebuilt, incarnation, &counted)?;
            let census = census(stores.engine.as_ref(), &stores.recovery)?;
            let census = if is_rebuilt { census } else { census.whole()? };
            Ok::<_, stator_storage::Error>((stores, census, config, dir))
        })
        .await
        .map_err(|_| refused("opening the data directory failed unexpectedly"))?
        .map_err(refused)?;

        let replicas = Arc::new(Replicas::default());
        let fatal = Arc::new(watch::channel(None).0);
        let failed = Arc::new(AtomicBool::new(false));
        let (orders, snapshot_orders) = tokio::sync::mpsc::unbounded_channel();
        let snapshots = stores.snapshots.map(Arc::new);
        if let Some(snapshots) = &snapshots {
            let starts = |group| census.start.iter().any(|found| found.spec.group == group);
            let is_known = |group: &GroupId| {
                census.lost.contains_key(group) || census.failed.contains_key(group)
            };
            snapshots.retain(|group| starts(group) || is_known(&group));
        }
        let losses = Arc::new(Losses::default());
        let founders = if config.initial_nodes.is_empty() {
            standing.catalog.iter().map(|member| member.address.clone()).collect()
        } else {
            config.initial_nodes.clone()
        };
        let room = Arc::new(room::Room::new(
            dir.as_ref().map(|dir| dir.path().to_owned()),
            config.min_free.bytes(),
            clock.clone(),
        ));
        let peers = sockets.is_some().then(|| {
            let on_drop = replicas.clone();
            Peers::new(
                Introduction::new(standing.own, incarnation, &founders),
                standing.cluster_id.clone(),
                Around {
                    unreachable: Box::new(move |node| {
                        on_drop.tell_hosts(|| Event::Unreachable(node));
                    }),
                    snapshots: orders,
                    room: room.clone(),
                    queue_bytes_max: config.memory_plan().peer_queues(),
                    metrics: metrics.clone(),
                    runtime: tokio::runtime::Handle::current(),
                    fatal: fatal_by(&fatal, &failed),
                },
            )
        });
        let mut threads = Vec::new();
        let (mut hosts, mut appliers) = (Vec::new(), Vec::new());
        let shells = Shells {
            config: &config,
            log: &stores.log,
            engine: &stores.engine,
            replicas: &replicas,
            metrics: &metrics,
            clock: &clock,
            snapshots: &snapshots,
            losses: &losses,
            room: &room,
            fatal: &fatal,
            failed: &failed,
            outbound: match &peers {
                Some(peers) => peers.clone(),
                None => Arc::new(Nobody),
            },
        };
        shells.spawn(0, &mut hosts, &mut appliers, &mut threads).map_err(refused)?;
        replicas.set_hosts(hosts.clone());
        let (flush_stop, stop) = std::sync::mpsc::channel();
        let flush = FlushShell {
            every: FLUSH_EVERY,
            engine: stores.engine.clone(),
            log: stores.log.clone(),
            replicas: replicas.clone(),
            metrics: metrics.clone(),
            snapshots: snapshots.clone(),
            losses: losses.clone(),
            room: room.clone(),
            fatal: shells.fatal(),
            stop,
        };
        threads.push(flush.spawn().map_err(refused)?);

        let catalog: Vec<NodeId> =
            standing.catalog.iter().map(|member| NodeId(member.node_id)).collect();
        let inner = Arc::new(Inner {
            own: standing.own,
            address,
            room,
            rebuild: rebuild::Rebuild::new(is_rebuilt, stores.aside, &census.lost),
            pool: Arc::new(Semaphore::new(config.query_threads)),
            heard: heard::Heard::new(clock.monotonic_ns()),
            looks: Arc::new(Semaphore::new(super::watch::LOOKS_MAX)),
            clock,
            engine: stores.engine,
            log: stores.log,
            replicas,
            tables: Tables::default(),
            metrics,
            peers,
            catalog_format: AtomicU32::new(0),
            controller: Notify::new(),
            snapshots,
            incoming_snapshots: Semaphore::new(snapshots::STREAMS_MAX),
            catalog: Arc::new(Table::catalog(&catalog)),
            hosts,
            appliers,
            life: Arc::default(),
            deleting: Arc::default(),
            request_counter: AtomicU64::new(0),
            joined: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            incarnation,
            request_ids: RequestIds::new(incarnation, entropy()),
            slow_log: SlowLog::new(standing.own.0, config.slow_request),
            intake: intake::Intake::new(
                config.max_in_flight_requests,
                config.memory_plan().in_flight_requests,
            ),
            fatal,
            failed,
            stop: watch::channel(false).0,
            _scratch: stores.scratch,
            dir,
            config,
        });
        let mut node = Self {
            inner: inner.clone(),
            threads,
            flush_stop: Some(flush_stop),
            tasks: Vec::new(),
            listening: None,
            admin: None,
        };
        if let Some(peers) = &inner.peers {
            for member in &standing.catalog {
                let id = NodeId(member.node_id);
                peers.know(id, &member.address);
                if let Some(incarnation) = member.incarnation {
                    peers.expect(id, incarnation);
                }
            }
        }
        begin(&inner, census).await.map_err(refused)?;
        #[cfg(feature = "grpc")]
        if let Some(sockets) = sockets {
            node.open_doors(sockets)?;
        }
        let snapshots = snapshots::send::run(inner.clone(), snapshot_orders);
        node.until_stopped("the sending of snapshots", snapshots);
        node.until_stopped("the membership", membership::run(inner.clone()));
        node.until_stopped("the rebuild", rebuild::run(inner.clone()));
        if inner.peers.is_some() {
            node.until_stopped("the balance of leaders", balance::run(inner.clone()));
        }
        node.until_stopped("the controller", crate::catalog::controller::run(inner));
        Ok(node)
    }

    /// Starts a task that is ended, wherever it is, when the node stops. If it panics the node cannot go on.
    fn until_stopped(
        &mut self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let inner = self.inner.clone();
        self.tasks.push(tokio::spawn(fatal_on_panic(inner.fatal(), what, async move {
            tokio::select! {
                () = task => {}
                () = inner.stopping() => {}
            }
        })));
    }

    /// Starts a task that ends when the node stops. If it ends before, the node cannot go on.
    #[cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "only doors do"))]
    fn while_serving(
        &mut self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let inner = self.inner.clone();
        self.tasks.push(tokio::spawn(fatal_on_panic(inner.fatal(), what, async move {
            task.await;
            if !inner.is_stopping() {
                inner.fail(&format!("{what} ended"));
            }
        })));
    }

    #[cfg(feature = "grpc")]
    fn open_doors(&mut self, sockets: Sockets) -> Result<(), StartError> {
        self.listening = Some(sockets.address()?);
        let door = crate::door::serve(self.inner.clone(), sockets.listener);
        self.while_serving("the door", door);
        #[cfg(feature = "server")]
        if let Some(admin) = sockets.admin {
            self.admin = Some(admin.local_addr().map_err(refused)?);
            let door = crate::door::serve_admin(self.inner.clone(), admin);
            self.while_serving("the operators' door", door);
        }
        Ok(())
    }
}

/// Has the node told that it cannot go on, the first time.
fn fatal_by(fatal: &Arc<watch::Sender<Option<String>>>, failed: &Arc<AtomicBool>) -> Fatal {
    let (fatal, failed) = (fatal.clone(), failed.clone());
    Arc::new(move |why| {
        if !failed.swap(true, Ordering::Release) {
            tracing::error!(why, "the node cannot go on");
            fatal.send_replace(Some(why));
        }
    })
}

/// Starts the replicas that were found, goes on deleting what was being deleted, recalls who the others are, and begins the catalog
/// where it belongs.
async fn begin(inner: &Inner, census: Census) -> Result<(), String> {
    for group in census.removed {
        inner.replicas.note_gone(group);
    }
    for deletion in census.delete {
        inner.replicas.note_gone(deletion.group());
        inner.delete_in_background(deletion);
    }
    for (group, why) in census.failed {
        tracing::error!(group = group.0, why, "a replica is damaged and does not start");
        inner.replicas.failed(group, why);
    }
    for found in census.start {
        let group = found.spec.group;
        if let Err(why) = inner.start_replica(found.spec, found.recovered, found.fresh) {
            tracing::error!(group = group.0, why, "a replica could not be started");
            inner.replicas.failed(group, why);
        }
    }
    // Before what others have said of themselves meanwhile is written down: the catalog here may know them otherwise.
    membership::recall(inner).map_err(|error| error.to_string())?;
    if founding::is_to_meet(inner) {
        return Ok(());
    }
    founding::begin_catalog(inner).await
}

/// What the threads of a host need.
struct Shells<'a> {
    config: &'a NodeConfig,
    log: &'a Arc<stator_storage::log::Log>,
    engine: &'a Arc<dyn stator_storage::engine::Engine>,
    replicas: &'a Arc<Replicas>,
    metrics: &'a Arc<Metrics>,
    clock: &'a Arc<dyn Clock>,
    snapshots: &'a Option<Arc<SnapshotFiles>>,
    losses: &'a Arc<Losses>,
    room: &'a Arc<room::Room>,
    fatal: &'a Arc<watch::Sender<Option<String>>>,
    failed: &'a Arc<AtomicBool>,
    outbound: Arc<dyn Outbound>,
}

impl Shells<'_> {
    /// Told what a thread cannot go on after.
    fn fatal(&self) -> Fatal {
        fatal_by(self.fatal, self.failed)
    }

    /// Starts one host with its applier.
    fn spawn(
        &self,
        number: usize,
        hosts: &mut Vec<crate::shell::HostMailbox>,
        appliers: &mut Vec<ApplyMailbox>,
        threads: &mut Vec<std::thread::JoinHandle<()>>,
    ) -> std::io::Result<()> {
        let (host, host_inbox) = mailbox(HOST_WAITING_MAX);
        let (apply, apply_inbox) = mailbox(usize::MAX);
        let apply = ApplyMailbox(apply);
        let fatal = self.fatal();
        let host_shell = HostShell {
            config: self.config.consensus(),
            mailbox: host.clone(),
            inbox: host_inbox,
            log: self.log.clone(),
            apply: apply.clone(),
            outbound: self.outbound.clone(),
            clock: self.clock.clone(),
            replicas: self.replicas.clone(),
            room: self.room.clone(),
            metrics: self.metrics.clone(),
            write_bytes_max: self.config.memory_plan().log_buffers,
            stalled: std::collections::VecDeque::new(),
            is_stalled: false,
            is_full: false,
            fatal: fatal.clone(),
        };
        let apply_shell = ApplyShell {
            inbox: apply_inbox,
            host: host.clone(),
            engine: self.engine.clone(),
            log: self.log.clone(),
            replicas: self.replicas.clone(),
            fatal,
            metrics: self.metrics.clone(),
            snapshots: self.snapshots.clone(),
            losses: self.losses.clone(),
            room: self.room.clone(),
        };
        threads.push(host_shell.spawn(number)?);
        threads.push(apply_shell.spawn(number)?);
        hosts.push(host);
        appliers.push(apply);
        Ok(())
    }
}

/// Nobody to send anything to.
struct Nobody;

impl Outbound for Nobody {
    fn send(&self, _: NodeId, _: stator_consensus::PeerMessage) -> bool {
        false
    }
    fn ping(&self, _: NodeId) {}
    fn send_snapshot(&self, _: NodeId, _: stator_consensus::PeerMessage) {}
    fn snapshot_wanted(&self, _: GroupId, _: ReplicaId) {}
    fn snapshot_over(&self, _: GroupId) {}
}

impl Inner {
    /// What the catalog is to know of this node.
    pub(crate) fn own_record(&self) -> NodeRecord {
        NodeRecord {
            id: self.own,
            address: self.address.clone(),
            zone: self.config.zone.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.incarnation,
        }
    }

    /// An id for a cluster that has none.
    pub(crate) fn new_cluster_id(&self) -> String {
        format!("{:016x}", entropy() ^ self.incarnation)
    }

    /// An id for a snapshot that no other has.
    pub(crate) fn new_snapshot_id(&self) -> u64 {
        entropy()
    }

    /// Told what the node cannot go on after.
    pub(crate) fn fatal(&self) -> Fatal {
        fatal_by(&self.fatal, &self.failed)
    }

    /// The node cannot go on.
    pub(crate) fn fail(&self, why: &str) {
        (self.fatal())(why.to_owned());
    }

    /// The region that is written into stamps: none while a cluster is alone.
    pub(crate) fn region(&self) -> stator_storage::item::Region {
        stator_storage::item::Region::default()
    }

    /// The spec of a replica here, by group.
    pub(crate) fn spec_of(&self, group: GroupId) -> Option<Arc<PartitionSpec>> {
        self.replicas.get(group).map(|replica| replica.spec.clone())
    }
}

/// A number that nobody can guess.
fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds each of these from the operating system.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
