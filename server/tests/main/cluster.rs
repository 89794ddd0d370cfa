//! A cluster in one process: nodes on loopback, each with a directory of its own, that can be stopped and started again.

use std::sync::Arc;
use std::time::Duration;

use stator_model::api::{CreateTable, DescribeTable, GetItem, PutItem};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableStatus};
use stator_model::{Answer, AttributeValue, EncodedItem, Error, Item, Request};
use stator_server::config::{ByteSize, NodeConfig};
use stator_server::{Node, ReplicaChecksum, Sockets};
use tokio::time::{Instant, sleep};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes that found a cluster together.
pub(crate) struct Cluster {
    nodes: Vec<Option<Arc<Node>>>,
    configs: Vec<NodeConfig>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts `count` nodes, set up as the caller says, and waits until all of them serve.
    pub(crate) async fn start(count: usize, set_up: impl Fn(&mut NodeConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        let any = NodeConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: Some(([127, 0, 0, 1], 0).into()),
            ..NodeConfig::default()
        };
        for _ in 0..count {
            let bound = Sockets::bind(&any).await.expect("a port");
            addresses.push(bound.address().expect("an address"));
            sockets.push(bound);
        }
        let mut cluster = Self { nodes: Vec::new(), configs: Vec::new(), _directory: directory };
        for (number, address) in addresses.iter().enumerate() {
            let mut config = NodeConfig {
                data_dir: cluster._directory.path().join(number.to_string()),
                listen: *address,
                initial_nodes: addresses.iter().map(ToString::to_string).collect(),
                min_free: ByteSize::mib(1),
                memory: ByteSize::mib(128),
                table_partitions: 1,
                ..any.clone()
            };
            config.timing.tick = Duration::from_millis(20);
            set_up(&mut config);
            cluster.configs.push(config);
        }
        for (config, sockets) in cluster.configs.iter().zip(sockets) {
            let node = Node::serve(config.clone(), sockets).await.expect("starts");
            cluster.nodes.push(Some(Arc::new(node)));
        }
        cluster.wait_ready().await;
        cluster
    }

    /// Takes in a node that has been started to join the others.
    pub(crate) fn add(&mut self, config: NodeConfig, node: Node) {
        self.configs.push(config);
        self.nodes.push(Some(Arc::new(node)));
    }

    /// Waits until all nodes that run serve.
    pub(crate) async fn wait_ready(&self) {
        for node in self.nodes.iter().flatten() {
            node.wait_ready(PATIENCE).await.expect("ready");
        }
    }

    /// A node that runs.
    pub(crate) fn node(&self, number: usize) -> Arc<Node> {
        self.nodes[number].clone().expect("the node runs")
    }

    /// A node's configuration.
    pub(crate) fn config(&self, number: usize) -> &NodeConfig {
        &self.configs[number]
    }

    /// Changes the configuration that a node is started with next.
    pub(crate) fn set_up(&mut self, number: usize, set_up: impl FnOnce(&mut NodeConfig)) {
        set_up(&mut self.configs[number]);
    }

    /// Why a node does not start.
    pub(crate) async fn refusal(&self, number: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let config = self.configs[number].clone();
            let started = match Sockets::bind(&config).await {
                Ok(sockets) => Node::serve(config, sockets).await.map(drop),
                Err(error) => Err(error),
            };
            let why = started.expect_err("refused").to_string();
            let is_passing = ["in use", "listened on"].iter().any(|word| why.contains(word));
            if !is_passing || Instant::now() >= deadline {
                return why;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends a node as a crash would, but for what its threads have begun. Nobody else may hold it.
    pub(crate) async fn crash(&mut self, number: usize) {
        let node = self.nodes[number].take().expect("the node runs");
        let node = Arc::into_inner(node).expect("nobody else holds the node");
        // Joining threads would block the runtime.
        tokio::task::spawn_blocking(move || drop(node)).await.expect("dropped");
    }

    /// Stops a node in good order. Nobody else may hold it.
    pub(crate) async fn stop(&mut self, number: usize) {
        self.begin_shutdown(number).await.expect("without a panic");
    }

    /// Begins to end a node in good order. Nobody else may hold it.
    pub(crate) fn begin_shutdown(&mut self, number: usize) -> tokio::task::JoinHandle<()> {
        let node = self.nodes[number].take().expect("the node runs");
        tokio::spawn(Arc::into_inner(node).expect("nobody else holds the node").shutdown())
    }

    /// Starts a node again on its directory and its address.
    pub(crate) async fn restart(&mut self, number: usize) {
        let config = self.configs[number].clone();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let started = match Sockets::bind(&config).await {
                Ok(sockets) => Node::serve(config.clone(), sockets).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(node) => {
                    self.nodes[number] = Some(Arc::new(node));
                    return;
                }
                // Connections of the former life may take a moment to let go of the port and the directory.
                Err(error) if Instant::now() >= deadline => {
                    panic!("the node starts again: {error}")
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Makes a table with the key `id`, and waits until every node knows it.
    pub(crate) async fn create_table(&self, name: &str) {
        let running = |number: &usize| self.nodes[*number].is_some();
        let running: Vec<usize> = (0..self.nodes.len()).filter(running).collect();
        self.create_table_on(name, &running).await;
    }

    /// The same, by way of these nodes alone.
    pub(crate) async fn create_table_on(&self, name: &str, nodes: &[usize]) {
        let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
        let request = CreateTable {
            table_name: name.into(),
            key_schema: KeySchema { partition: id, sort: None },
            partitions: None,
            deletion_protection: false,
        };
        call(&self.node(nodes[0]), request).await.expect("created");
        let deadline = Instant::now() + PATIENCE;
        for node in nodes.iter().map(|number| self.node(*number)) {
            loop {
                let described = call(&node, DescribeTable { table_name: name.into() }).await;
                match described {
                    Ok(Answer::DescribeTable(answer))
                        if answer.table.status == TableStatus::Active =>
                    {
                        break;
                    }
                    _ if Instant::now() >= deadline => panic!("not active: {described:?}"),
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }

    /// Any node that runs.
    pub(crate) fn any(&self) -> Arc<Node> {
        self.nodes.iter().flatten().next().expect("a node runs").clone()
    }

    /// Waits until the replicas of all nodes that run hold the same at the same applied index.
    pub(crate) async fn wait_equal(&self) -> Vec<ReplicaChecksum> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut all = Vec::new();
            for node in self.nodes.iter().flatten() {
                // None while its engine is being opened again, say.
                all.push(node.checksums().await.unwrap_or_default());
            }
            let first = all[0].clone();
            if !first.is_empty()
                && first.iter().all(|replica| replica.checksum.is_some())
                && all.iter().all(|other| *other == first)
            {
                return first;
            }
            if Instant::now() >= deadline {
                let unready: Vec<_> =
                    self.nodes.iter().flatten().map(|node| node.unready()).collect();
                panic!(
                    "the replicas do not come to hold the same: {all:#?}; not ready: {unready:?}"
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Calls a node.
pub(crate) async fn call(node: &Node, request: impl Into<Request>) -> Result<Answer, Error> {
    node.call(request.into(), "test".into(), None).await
}

/// Puts an item with a value of so many bytes; tries again until it is done.
pub(crate) async fn put(node: &Node, table: &str, id: &str, value: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut item = Item::default();
    item.insert("id".into(), AttributeValue::from(id));
    item.insert("value".into(), AttributeValue::from(value));
    let request = PutItem {
        table_name: table.into(),
        item: EncodedItem::encode(&item),
        ..PutItem::default()
    };
    while let Err(error) = call(node, request.clone()).await {
        assert!(Instant::now() < deadline, "{id} could not be put: {error}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The value of an item, read strongly.
pub(crate) async fn get(node: &Node, table: &str, id: &str) -> Option<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut key = Item::default();
    key.insert("id".into(), AttributeValue::from(id));
    let request =
        GetItem { table_name: table.into(), key, consistent_read: true, ..GetItem::default() };
    loop {
        match call(node, request.clone()).await {
            Ok(Answer::GetItem(answer)) => {
                let item = answer.item?.decode().expect("an item");
                return item.get("value").and_then(|value| value.as_s()).map(ToOwned::to_owned);
            }
            answer if Instant::now() >= deadline => panic!("{id} could not be read: {answer:?}"),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}
