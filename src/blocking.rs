//! The same database for programs without an async runtime: it brings a small one, and each call waits for its answer.
//!
//! ```
//! use stator::{AttributeValue, KeyType, blocking};
//!
//! let database = blocking::in_memory()?;
//! let client = database.client();
//! database.wait(client.create_table().table_name("songs").partition_key("pk", KeyType::S).send())?;
//! database.wait(client.wait_until_active("songs"))?;
//! database.wait(client.put_item().table_name("songs").item("pk", AttributeValue::from("a")).send())?;
//! drop(client);
//! assert!(database.close());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;

use stator_client::Client;
use tokio::runtime::Runtime;

use crate::embedded::OpenError;

/// An open database, with a runtime of its own.
#[derive(Debug)]
pub struct Database {
    inner: crate::embedded::Database,
    runtime: Runtime,
}

/// Opens the database in a directory, as [`crate::open`] does.
///
/// ```
/// use stator::{KeyType, blocking};
///
/// # let dir = tempfile::tempdir()?;
/// let database = blocking::open(dir.path())?;
/// let client = database.client();
/// database.wait(client.create_table().table_name("songs").partition_key("pk", KeyType::S).send())?;
/// drop(client);
/// assert!(database.close());
///
/// // What was there is there again.
/// let database = blocking::open(dir.path())?;
/// let client = database.client();
/// assert_eq!(database.wait(client.list_tables().send())?.table_names, ["songs"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`crate::open`]; or the threads of the runtime cannot be started.
pub fn open(path: impl AsRef<Path>) -> Result<Database, OpenError> {
    start(crate::embedded::open(path))
}

/// Opens an empty database in memory, as [`crate::in_memory`] does.
///
/// # Errors
/// As [`crate::in_memory`]; or the threads of the runtime cannot be started.
pub fn in_memory() -> Result<Database, OpenError> {
    start(crate::embedded::in_memory())
}

fn start(
    opening: impl Future<Output = Result<crate::embedded::Database, OpenError>>,
) -> Result<Database, OpenError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| OpenError::new(&format!("no runtime: {error}")))?;
    let inner = runtime.block_on(opening)?;
    Ok(Database { inner, runtime })
}

impl Database {
    /// A client of this database. Its calls are futures: [`Database::wait`] waits for them.
    #[must_use]
    pub fn client(&self) -> Client {
        self.inner.client()
    }

    /// Waits for a call.
    ///
    /// # Panics
    /// When called from within an async runtime, which must not be blocked.
    pub fn wait<T>(&self, call: impl IntoFuture<Output = T>) -> T {
        self.runtime.block_on(call.into_future())
    }

    /// Stops the database in good order, and answers whether it did: see [`crate::Database::close`].
    pub fn close(self) -> bool {
        self.runtime.block_on(self.inner.close())
    }
}
