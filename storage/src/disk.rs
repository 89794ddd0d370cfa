//! The door to the disk: the few file operations that the log and the snapshot files need.
//!
//! [`Disk`] is one flat directory. The real one is [`RealDisk`]; [`CrashDisk`] is for tests and the simulator, and loses
//! what was not synced. An operation is durable only after the sync that its doc names.

use std::io;
use std::sync::Arc;

mod crash;
mod real;

pub use self::crash::{Crash, CrashDisk, Fault, FaultOp};
pub use self::real::RealDisk;

/// One flat directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a file of `len` bytes with its space allocated, or empties and reuses the one of that name.
    /// Durable (as a name) after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the operating system answers; `StorageFull` when there is no room.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound`, or what else the operating system answers.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of all files, sorted.
    ///
    /// # Errors
    /// What the operating system answers.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames a file, replacing one of the new name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the operating system answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the operating system answers.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// What the operating system answers.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "nobody asks a file whether it is empty")]
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at an offset; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the operating system answers.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `data` at an offset. Durable after [`DiskFile::sync_data`].
    ///
    /// # Errors
    /// What the operating system answers.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written to the file durable (`fdatasync`).
    ///
    /// # Errors
    /// What the operating system answers; the file's content is unknown after that.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the operating system answers.
    fn len(&self) -> io::Result<u64>;
}
