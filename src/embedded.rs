//! A database in the process: a node alone, with no sockets, behind the same client.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use stator_client::{CallOptions, Client, Transport};
use stator_model::error::Applied;
use stator_model::{Answer, Error, ErrorKind, Request};
use stator_server::Node;
use stator_server::config::{EngineKind, NodeConfig};

/// How long an opened database may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens the database in a directory, which is made if there is none. Needs a tokio runtime; [`crate::blocking`] brings its own.
///
/// # Errors
/// Why the directory cannot be used, in one line: it is another program's, a cluster's node's, of another engine, or in use.
pub async fn open(path: impl AsRef<Path>) -> Result<Database, OpenError> {
    OpenOptions::new().open(path).await
}

/// Opens an empty database in memory. It is gone when it is closed.
///
/// # Errors
/// What keeps a node from starting: no thread, no temporary directory for its log.
pub async fn in_memory() -> Result<Database, OpenError> {
    OpenOptions::new().in_memory().await
}

/// Why a database could not be opened. One line, for people.
#[derive(Debug)]
pub struct OpenError(String);

impl OpenError {
    pub(crate) fn new(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// How to open a database.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = stator::OpenOptions::new().memory_bytes(256 << 20).table_partitions(4);
/// let database = options.in_memory().await?; // or open("./data")
/// assert!(database.close().await);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    config: NodeConfig,
}

impl Default for OpenOptions {
    fn default() -> Self {
        // A database in a process begins with one partition: there is one node to spread over.
        Self { config: NodeConfig { table_partitions: 1, ..NodeConfig::default() } }
    }
}

impl OpenOptions {
    /// The defaults: `fjall`, 512 MiB, one partition to a table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The memory to keep to, in bytes; at least 128 MiB.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.config.memory = stator_server::config::ByteSize::new(bytes);
        self
    }

    /// How much of the disk stays free, in bytes: 256 MiB unless said otherwise, and at least 1 MiB. With less than that free, writes
    /// are refused with `ThrottlingException`, and reads go on. A small disk wants less, and a smaller log with it.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// // On a disk of 256 MiB.
    /// let options = stator::OpenOptions::new()
    ///     .min_free_bytes(16 << 20)
    ///     .log_segment_bytes(8 << 20)
    ///     .log_budget_bytes(32 << 20);
    /// let database = options.open(dir.path()).await?;
    /// assert!(database.close().await);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn min_free_bytes(mut self, bytes: u64) -> Self {
        self.config.min_free = stator_server::config::ByteSize::new(bytes);
        self
    }

    /// How much of the disk the log may take, in bytes: 1 GiB unless said otherwise, and at least four segments.
    #[must_use]
    pub fn log_budget_bytes(mut self, bytes: u64) -> Self {
        self.config.log_budget = stator_server::config::ByteSize::new(bytes);
        self
    }

    /// How large a file of the log becomes, in bytes: 64 MiB unless said otherwise, a multiple of 4 KiB from 8 MiB to 1 GiB.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u64) -> Self {
        self.config.log_segment = stator_server::config::ByteSize::new(bytes);
        self
    }

    /// The engine: `fjall` or `sled`, as this build has them. A directory keeps the one that it was made with.
    ///
    /// # Errors
    /// If there is no engine of that name, or this build is without it.
    pub fn engine(mut self, name: &str) -> Result<Self, OpenError> {
        self.config.engine = engine_of(name, EngineKind::BUILT)?;
        Ok(self)
    }

    /// The partitions that a new table has unless its creator says otherwise.
    #[must_use]
    pub const fn table_partitions(mut self, partitions: u32) -> Self {
        self.config.table_partitions = partitions;
        self
    }

    /// Opens the database in a directory.
    ///
    /// # Errors
    /// As [`open`].
    pub async fn open(mut self, path: impl AsRef<Path>) -> Result<Database, OpenError> {
        self.config.data_dir = PathBuf::from(path.as_ref());
        self.start(false).await
    }

    /// Opens an empty database in memory.
    ///
    /// # Errors
    /// As [`in_memory`].
    pub async fn in_memory(self) -> Result<Database, OpenError> {
        self.start(true).await
    }

    async fn start(self, in_memory: bool) -> Result<Database, OpenError> {
        self.config.validate().map_err(|error| OpenError(error.to_string()))?;
        let node = Node::embedded(self.config, in_memory).await;
        let node = Arc::new(node.map_err(|error| OpenError(error.to_string()))?);
        if let Err(reasons) = node.wait_ready(READY_TIMEOUT).await {
            return Err(OpenError(reasons.join("; ")));
        }
        Ok(Database { client: Client::new(InProcess(node.clone())), node })
    }
}

/// The engine of this name, if it is one of those that a build has.
fn engine_of(name: &str, built: &[EngineKind]) -> Result<EngineKind, OpenError> {
    match name.parse() {
        Ok(EngineKind::Memory) | Err(_) => Err(OpenError(format!(
            "engine = {name} is not allowed: it must be fjall or sled; in_memory() opens a database that keeps nothing"
        ))),
        Ok(engine) if built.contains(&engine) => Ok(engine),
        Ok(_) => Err(OpenError(format!(
            "engine = {name} is not in this build: enable the feature engine-{name} of the crate stator-db"
        ))),
    }
}

/// An open database. Dropping it stops it at once; [`Database::close`] stops it in good order. Either way nothing that was answered
/// is lost.
pub struct Database {
    client: Client,
    node: Arc<Node>,
}

impl Database {
    /// A client of this database: the same type that speaks to a cluster. Cheap to clone.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Stops the database: it makes durable what the next opening would otherwise replay from the log.
    ///
    /// Answers whether it is closed. Clients that are still about keep it open: then it answers false, warns, and the database
    /// stops at once with the last of them, as when it is dropped. Drop them first.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let database = stator::in_memory().await?;
    /// let client = database.client();
    /// assert!(client.list_tables().send().await?.table_names.is_empty());
    /// drop(client);
    /// assert!(database.close().await);
    ///
    /// let database = stator::in_memory().await?;
    /// let client = database.client();
    /// assert!(!database.close().await, "its client still works");
    /// assert!(client.list_tables().send().await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(self) -> bool {
        drop(self.client);
        match Arc::try_unwrap(self.node) {
            Ok(node) => {
                node.shutdown().await;
                true
            }
            Err(_) => {
                tracing::warn!("the database stays open: a client of it is still there");
                false
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

/// The transport of a client in the node's own process: a call.
struct InProcess(Arc<Node>);

impl Transport for InProcess {
    fn call(&self, request: Request, options: CallOptions) -> BoxFuture<'_, Result<Answer, Error>> {
        let node = self.0.clone();
        async move {
            let left = options.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = "The time given for the request is over";
                return Err(Error::new(ErrorKind::DeadlineExceeded, what).with_applied(Applied::No));
            }
            node.call(request, options.request_id, Some(left)).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_disk_is_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let small = || OpenOptions::new().min_free_bytes(1 << 20).log_segment_bytes(8 << 20);
        let refused = async |options: OpenOptions| match options.open(dir.path()).await {
            Ok(_) => panic!("opened"),
            Err(error) => error.to_string(),
        };
        let budget = refused(small().log_budget_bytes((32 << 20) - 1)).await;
        assert!(budget.contains("log_budget") && budget.contains("32MiB"), "{budget}");
        let segment = refused(small().log_segment_bytes(4 << 20)).await;
        assert!(segment.contains("log_segment"), "{segment}");
        let full = refused(small().min_free_bytes(0)).await;
        assert!(full.contains("min_free"), "{full}");
        let database = small().log_budget_bytes(32 << 20).open(dir.path()).await.expect("opens");
        assert!(database.close().await);
    }

    #[test]
    fn an_engine_that_is_not_in_the_build_is_named_with_its_feature() {
        let built = [EngineKind::Memory, EngineKind::Fjall];
        let refused = |name| engine_of(name, &built).expect_err("refused").to_string();
        assert!(refused("sled").contains("the feature engine-sled"));
        for name in ["rocks", "memory", ""] {
            let told = refused(name);
            assert!(told.contains("must be fjall or sled") && told.contains("in_memory"), "{told}");
        }
        assert_eq!(engine_of("fjall", &built).ok(), Some(EngineKind::Fjall));
    }
}
