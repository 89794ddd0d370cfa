//! Where stories happen: databases, and the ways to speak to them.
//!
//! Databases are shared by the tests of a process and live as long as it does. What a process leaves on disk is removed by the next.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use stator::{CallOptions, Client, Database, GrpcTransport, KeyType, Transport};
use stator_model::{Answer, Error, Request};
#[cfg(feature = "cli")]
use stator_server::config::LogFormat;
use stator_server::config::{ByteSize, EngineKind, NodeConfig};
use stator_server::{Node, Sockets};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A database, and a way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the process, in memory.
    Memory,
    /// In the process, on disk.
    Disk,
    /// One node, over gRPC.
    Served,
    /// The same on sled.
    Sled,
    /// Three nodes, over gRPC, by a client that knows where to go.
    Cluster,
    /// The same three nodes, by a client that sends each request to the next of them, whoever leads.
    AnyNode,
}

/// Nodes outlive the tests that start them, so they have a runtime that does.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // What the nodes say, for whoever looks for a fault: `STATOR_LOG_FILTER=stator=debug`.
    #[cfg(feature = "cli")]
    if let Ok(filter) = std::env::var("STATOR_LOG_FILTER") {
        stator_server::telemetry::install(LogFormat::Text, &filter).expect("a filter");
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Runs a test.
pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

static MEMORY: OnceCell<Database> = OnceCell::const_new();
static DISK: OnceCell<Database> = OnceCell::const_new();
static SERVED: OnceCell<Nodes> = OnceCell::const_new();
static SLED: OnceCell<Nodes> = OnceCell::const_new();
static CLUSTER: OnceCell<Nodes> = OnceCell::const_new();

impl Place {
    /// A client of the place.
    pub(crate) async fn client(self) -> Client {
        match self {
            Self::Memory => {
                let open = || async { stator::in_memory().await.expect("opens") };
                MEMORY.get_or_init(open).await.client()
            }
            Self::Disk => {
                let open = || async { stator::open(directory("disk")).await.expect("opens") };
                DISK.get_or_init(open).await.client()
            }
            Self::Served => SERVED.get_or_init(|| Nodes::start("served", 1)).await.client(),
            Self::Sled => {
                let start = || Nodes::start_on(EngineKind::Sled, "sled", 1);
                SLED.get_or_init(start).await.client()
            }
            Self::Cluster => CLUSTER.get_or_init(|| Nodes::start("cluster", 3)).await.client(),
            Self::AnyNode => CLUSTER.get_or_init(|| Nodes::start("cluster", 3)).await.any_client(),
        }
    }

    /// A client of the place, and an empty table of a name of its own there, with these keys.
    pub(crate) async fn table(
        self,
        partition: (&str, KeyType),
        sort: Option<(&str, KeyType)>,
    ) -> (Client, String) {
        let (client, name) = (self.client().await, table_name());
        let mut create =
            client.create_table().table_name(&name).partition_key(partition.0, partition.1);
        if let Some((sort, key_type)) = sort {
            create = create.sort_key(sort, key_type);
        }
        // Several partitions everywhere, so that requests find theirs and scans cross them.
        create.partitions(3).timeout(PATIENCE).send().await.expect("created");
        client.wait_until_active(&name).await.expect("active");
        (client, name)
    }
}

/// A name that no other table of the process has.
pub(crate) fn table_name() -> String {
    static TABLES: AtomicUsize = AtomicUsize::new(0);
    format!("table-{:05}", TABLES.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a table is gone.
pub(crate) async fn wait_until_gone(client: &Client, table: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.describe_table().table_name(table).send().await {
            Err(error) if error.is_resource_not_found() => return,
            told => assert!(Instant::now() < deadline, "the table stays: {told:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A directory of this process. Those of processes that are gone are removed on the way.
fn directory(name: &str) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if let Ok(entries) = std::fs::read_dir(tmp) {
        for entry in entries.flatten() {
            let of = entry.file_name();
            let pid = of.to_str().and_then(|name| name.strip_prefix("api-")?.split('-').next());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
    tmp.join(format!("api-{}-{name}", std::process::id()))
}

/// Nodes that listen, in this process.
pub(crate) struct Nodes {
    nodes: Vec<Option<Node>>,
    configs: Vec<NodeConfig>,
}

impl Nodes {
    /// Starts so many nodes, which found a cluster if they are several, and waits until they serve.
    pub(crate) async fn start(name: &str, count: usize) -> Self {
        Self::start_on(EngineKind::Fjall, name, count).await
    }

    async fn start_on(engine: EngineKind, name: &str, count: usize) -> Self {
        let any = NodeConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: None,
            min_free: ByteSize::mib(1),
            memory: ByteSize::mib(128),
            log_segment: ByteSize::mib(16),
            engine,
            ..NodeConfig::default()
        };
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(Sockets::bind(&any).await.expect("a port"));
        }
        let addresses: Vec<_> =
            sockets.iter().map(|bound| bound.address().expect("an address")).collect();
        let founders: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let mut started = Self { nodes: Vec::new(), configs: Vec::new() };
        for (number, (sockets, address)) in sockets.into_iter().zip(addresses).enumerate() {
            let config = NodeConfig {
                data_dir: directory(&format!("{name}-{number}")),
                listen: address,
                initial_nodes: if count > 1 { founders.clone() } else { Vec::new() },
                ..any.clone()
            };
            started.nodes.push(Some(Node::serve(config.clone(), sockets).await.expect("starts")));
            started.configs.push(config);
        }
        for node in started.nodes.iter().flatten() {
            node.wait_ready(PATIENCE).await.expect("ready");
        }
        started
    }

    /// Where a node is reached.
    pub(crate) fn endpoint(&self, number: usize) -> String {
        format!("http://{}", self.configs[number].listen)
    }

    fn endpoints(&self) -> Vec<String> {
        (0..self.configs.len()).map(|number| self.endpoint(number)).collect()
    }

    /// A client that knows all nodes, and learns who leads what.
    pub(crate) fn client(&self) -> Client {
        Client::new(
            GrpcTransport::builder().endpoints(self.endpoints()).build().expect("endpoints"),
        )
    }

    /// A client that speaks to one node only.
    pub(crate) fn client_of(&self, number: usize) -> Client {
        Client::new(only(self.endpoint(number)))
    }

    /// A client that sends each request to another node.
    fn any_client(&self) -> Client {
        let nodes = self.endpoints().into_iter().map(only).collect();
        Client::new(InTurn { nodes, turn: AtomicUsize::new(0) })
    }

    /// Ends a node as a crash would, but for what its threads have begun.
    pub(crate) async fn crash(&mut self, number: usize) {
        let node = self.nodes[number].take().expect("the node runs");
        // Joining threads would block the runtime.
        tokio::task::spawn_blocking(move || drop(node)).await.expect("dropped");
    }

    /// Ends a node in good order.
    pub(crate) async fn shut_down(&mut self, number: usize) {
        self.nodes[number].take().expect("the node runs").shutdown().await;
    }

    /// Starts a node again on its directory and its address, and waits until it serves.
    pub(crate) async fn restart(&mut self, number: usize) {
        self.restart_without_waiting(number).await;
        let node = self.nodes[number].as_ref().expect("it was just started");
        node.wait_ready(PATIENCE).await.expect("ready");
    }

    /// Starts a node again on its directory and its address.
    pub(crate) async fn restart_without_waiting(&mut self, number: usize) {
        let config = self.configs[number].clone();
        let deadline = Instant::now() + PATIENCE;
        let node = loop {
            let started = match Sockets::bind(&config).await {
                Ok(sockets) => Node::serve(config.clone(), sockets).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(node) => break node,
                // Connections of the former life may take a moment to let go of the port.
                Err(error) if Instant::now() >= deadline => panic!("it does not start: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        self.nodes[number] = Some(node);
    }

    /// Ends all nodes.
    pub(crate) async fn stop(mut self) {
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_some() {
                self.crash(number).await;
            }
            let _ = std::fs::remove_dir_all(&self.configs[number].data_dir);
        }
    }
}

fn only(endpoint: String) -> GrpcTransport {
    GrpcTransport::builder().endpoint(endpoint).direct(false).build().expect("an endpoint")
}

/// Sends each request to another node.
struct InTurn {
    nodes: Vec<GrpcTransport>,
    turn: AtomicUsize,
}

impl Transport for InTurn {
    fn call(&self, request: Request, options: CallOptions) -> BoxFuture<'_, Result<Answer, Error>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.nodes[turn % self.nodes.len()].call(request, options).boxed()
    }
}
