//! How a node is set up: settings as data, checked against each other before anything is touched.
//!
//! Settings come in layers, each over the one before: defaults, a TOML file, the environment (`STATOR_LISTEN` is `listen`),
//! flags (`--listen`). A layer is a [`PartialConfig`]; [`load`] puts them together. Whatever the source, a value is read by
//! the one parser of its type (module `value`), so that it means the same everywhere and is refused in the same words: one line
//! that names the key, the value and what is allowed.
//!
//! An unknown name is an error in a file and among the variables as among the flags, for it is most likely a known one misspelt.
//! Left alone are only the variables that container platforms make out of a service's name: see `names`.
//!
//! # What is not here
//! What must be the same on every node (tick, lease and election lengths) is a setting of the cluster, not of a node (R2);
//! tests inject it as [`NodeConfig::timing`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use self::error::ConfigError;
pub use self::layers::{PartialConfig, load};
pub use self::memory::MemoryPlan;
pub use self::names::check_variables;
pub(crate) use self::validate::{is_address, is_name};
pub use self::value::{AdminListen, ByteSize, LogFormat, ReadMode, engine_name};
pub use stator_storage::engine::EngineKind;

#[cfg(feature = "cli")]
mod args;
mod error;
mod layers;
mod memory;
mod names;
#[cfg(test)]
mod tests;
mod validate;
mod value;

#[cfg(feature = "cli")]
pub use self::args::{ServeArgs, one_line};

/// What one write takes in an entry at most. An item is as large as DynamoDB counts it, and its bytes can be four times that (a
/// list of empty texts); its keys, and what an entry and a segment have besides, are the rest.
const WRITE_BYTES_MAX: usize = 4 * stator_model::limits::ITEM_BYTES_MAX + (32 << 10);

/// How a node is set up. Every field is a key of the file, a variable and a flag; [`PartialConfig`] tells what each is for.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where clients and peers are listened for. Port 0 is any free one.
    pub listen: SocketAddr,
    /// Where others reach the node, `host:port`; where it listens, unless given.
    pub advertise: Option<String>,
    /// Where the admin port listens, if anywhere. Port 0 is any free one.
    pub admin_listen: Option<SocketAddr>,
    /// The founding nodes of a cluster, `host:port`, this one among them; none for a node alone.
    pub initial_nodes: Vec<String>,
    /// Nodes of the cluster to join, `host:port`, any of them.
    pub join: Vec<String>,
    /// The zone, if zones are given.
    pub zone: Option<String>,
    /// The region's name.
    pub region: String,
    /// The engine.
    pub engine: EngineKind,
    /// The memory to keep to; [`NodeConfig::memory_plan`] splits it.
    pub memory: ByteSize,
    /// The most that the log's files may take.
    pub log_budget: ByteSize,
    /// The length of each of them.
    pub log_segment: ByteSize,
    /// Free disk space below which writes are refused.
    pub min_free: ByteSize,
    /// How fast snapshots leave the node, all together: so much in a second.
    pub snapshot_rate: ByteSize,
    /// How strong reads are served.
    pub reads: ReadMode,
    /// Whether listening beyond loopback is allowed although nothing is protected.
    pub insecure: bool,
    /// Whether the engine is set aside and made anew from the other nodes.
    pub rebuild_engine: bool,
    /// How what the node says is written.
    pub log_format: LogFormat,
    /// What of it is written: directives of `tracing-subscriber`.
    pub log_filter: String,
    /// A request that took as long is logged; zero for none.
    pub slow_request: Duration,
    /// The deadline of a request that names none. One that names more has that, but no more than a minute or this, if this is longer.
    pub request_timeout: Duration,
    /// The most connections at once.
    pub max_connections: usize,
    /// The most requests being worked on at once.
    pub max_in_flight_requests: usize,
    /// The partitions that a new table starts with.
    pub table_partitions: u32,
    /// The threads for queries, scans and large batches.
    pub query_threads: usize,
    /// The groups' times and bounds, for tests: not a setting of a node (R2).
    pub timing: stator_consensus::Config,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data_dir: PathBuf::from("stator-data"),
            listen: loopback(7400),
            advertise: None,
            admin_listen: Some(loopback(7401)),
            initial_nodes: Vec::new(),
            join: Vec::new(),
            zone: None,
            region: "local".into(),
            engine: EngineKind::Fjall,
            memory: ByteSize::mib(512),
            log_budget: ByteSize::mib(1024),
            log_segment: ByteSize::mib(64),
            min_free: ByteSize::mib(256),
            snapshot_rate: ByteSize::mib(64),
            reads: ReadMode::Lease,
            insecure: false,
            rebuild_engine: false,
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            slow_request: Duration::from_millis(500),
            request_timeout: Duration::from_secs(5),
            max_connections: 1024,
            max_in_flight_requests: 4096,
            table_partitions: 4,
            query_threads: 4,
            timing: stator_consensus::Config::default(),
        }
    }
}

impl NodeConfig {
    /// Where others reach the node that listens at `listening`, which is where [`NodeConfig::listen`] turned out to be.
    #[must_use]
    pub fn advertised(&self, listening: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| listening.to_string())
    }

    /// The times and bounds of the groups, with leases as [`NodeConfig::reads`] says, within [`NodeConfig::memory_plan`].
    #[must_use]
    pub fn consensus(&self) -> stator_consensus::Config {
        let leases = self.timing.leases && self.reads == ReadMode::Lease;
        stator_consensus::Config {
            leases,
            entry_bytes_max: self.entry_bytes_max(),
            ..self.memory_plan().consensus(self.timing)
        }
    }

    /// The bytes of requests that one entry may carry. The log takes records of up to a quarter of a segment, less what a segment
    /// has besides; and the last request of an entry may come to more than it was taken for, by the largest write.
    pub(crate) fn entry_bytes_max(&self) -> usize {
        let quarter = usize::try_from(self.log_segment.bytes() / 4).unwrap_or(usize::MAX);
        self.timing.entry_bytes_max.min(quarter.saturating_sub(WRITE_BYTES_MAX))
    }

    /// What the memory goes to.
    #[must_use]
    pub fn memory_plan(&self) -> MemoryPlan {
        MemoryPlan::new(self.memory.bytes(), self.log_segment.bytes())
    }
}
