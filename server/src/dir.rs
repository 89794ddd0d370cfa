//! The data directory: who it belongs to, and that only one process has it.
//!
//! ```text
//! DIR/lock        held (flock) by the process that has the directory open, whose id it holds
//! DIR/node.toml   whose directory this is: see `Identity`
//! DIR/log/        the node's log
//! DIR/engine/     the engine's files
//! DIR/rebuilding  there while the engine is made anew: see `dir::rebuild`
//! DIR/snapshots/  snapshots of partitions on their way in
//! DIR/spare       takes up room that is given up when the disk is full: see `node::room`
//! ```
//!
//! # Invariants
//! - A directory that is refused is left as it was. A foreign one does not even get a lock file.
//! - `node.toml` is written only where it changes, and replaced whole (written beside, synced, renamed, the directory synced), so a
//!   crash leaves the old one or the new one. It is made before anything else in the directory but the lock, so that a directory
//!   without it is new or somebody else's.
//! - The lock is the kernel's, on an open file: it ends with the process, however that ends, and two opens in one process
//!   exclude each other as well. The file is never removed, for then two could hold a lock of that name.
//!
//! # Caveats
//! The lock keeps out other processes on this machine. Whether it keeps out other machines is up to the file system.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock, statvfs};

pub use self::error::DirError;
pub use self::identity::{CatalogMember, FORMAT, Identity, Lengths, Mode};
use crate::config::EngineKind;

mod error;
mod identity;
mod rebuild;
#[cfg(test)]
mod tests;

const LOCK: &str = "lock";
const IDENTITY: &str = "node.toml";
/// What is appended to the name of a file that is to take another's place.
const TEMPORARY: &str = ".new";
const IDENTITY_TEMPORARY: &str = "node.toml.new";
/// What may lie in a directory that is nobody's: our own beginnings, cut short, and what `mkfs` leaves in an empty one.
const NOBODYS: [&str; 3] = [LOCK, IDENTITY_TEMPORARY, "lost+found"];
const SUBDIRECTORIES: [&str; 3] = ["log", "engine", "snapshots"];

/// A data directory that this process has, until it is dropped.
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Identity>,
    /// Its lock is given up when it is closed.
    _lock: File,
}

impl DataDir {
    /// Opens a directory, which is made if there is none. One that is there already is only read, so that a full disk is no
    /// reason not to open it.
    ///
    /// # Errors
    /// See [`DirError`]; what was there is untouched then.
    pub fn open(path: &Path, engine: EngineKind, mode: Mode) -> Result<Self, DirError> {
        make(path)?;
        refuse_foreign(path)?;
        let mut lock = lock(path)?;
        let identity = match identity::read(&path.join(IDENTITY))? {
            Some(found) => {
                agrees(path, &found, engine, mode)?;
                found
            }
            None => {
                let identity = Identity::new(engine, mode, random_u64()?);
                store(path, &identity)?;
                identity
            }
        };
        for name in SUBDIRECTORIES {
            make(&path.join(name))?;
        }
        sign(&mut lock);
        Ok(Self { path: path.to_owned(), identity: Mutex::new(identity), _lock: lock })
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where the engine is.
    #[must_use]
    pub fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where snapshots on their way in are.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// Whose directory this is, as it is stored.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.stored().clone()
    }

    /// Makes the directory that of a node of a cluster, for good, and remembers it durably. The same again is no change.
    ///
    /// # Errors
    /// [`DirError::Belongs`] if it is another node's, or another cluster's; or a fault of the disk, and then the directory
    /// may or may not be the node's at the next start.
    pub fn join(&self, cluster_id: &str, node_id: u64) -> Result<(), DirError> {
        let mut stored = self.stored();
        let differs = stored.cluster_id.as_deref().is_some_and(|known| known != cluster_id)
            || stored.node_id.is_some_and(|known| known != node_id);
        if differs {
            return Err(DirError::Belongs {
                dir: self.path.clone(),
                cluster_id: stored.cluster_id.clone(),
                node_id: stored.node_id,
                asked: (cluster_id.to_owned(), node_id),
            });
        }
        let (cluster_id, node_id) = (Some(cluster_id.to_owned()), Some(node_id));
        self.replace(&mut stored, |identity| {
            identity.cluster_id = cluster_id;
            identity.node_id = node_id;
        })
    }

    /// Remembers something durably, for the next start.
    ///
    /// # Errors
    /// A fault of the disk; either all of the change or nothing of it is known at the next start.
    pub(crate) fn remember(&self, change: impl FnOnce(&mut Identity)) -> Result<(), DirError> {
        self.replace(&mut self.stored(), change)
    }

    fn stored(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the identity, on disk first.
    fn replace(
        &self,
        stored: &mut Identity,
        change: impl FnOnce(&mut Identity),
    ) -> Result<(), DirError> {
        let mut changed = stored.clone();
        change(&mut changed);
        if changed != *stored {
            store(&self.path, &changed)?;
            *stored = changed;
        }
        Ok(())
    }
}

impl fmt::Debug for DataDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataDir").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Bytes that may still be written to the file system of a directory.
///
/// # Errors
/// What the operating system answers.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Makes a directory and those above it, each durably: its entry is synced before anything relies on it.
fn make(path: &Path) -> Result<(), DirError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make(parent)?;
    }
    match fs::create_dir(path) {
        // Somebody else was quicker: as well.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(DirError::NotADirectory(path.to_owned()))
        }
        Err(error) => Err(DirError::io("making", path)(error)),
        Ok(()) => sync_parent(path),
    }
}

fn sync_parent(path: &Path) -> Result<(), DirError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_directory(parent)
}

fn sync_directory(path: &Path) -> Result<(), DirError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(DirError::io("syncing", path))
}

/// Refuses a directory that holds something and says not whose it is.
fn refuse_foreign(path: &Path) -> Result<(), DirError> {
    let reading = || DirError::io("reading", path);
    let mut foreign = None;
    for entry in fs::read_dir(path).map_err(reading())? {
        let name = entry.map_err(reading())?.file_name();
        if name == IDENTITY {
            return Ok(());
        }
        if !NOBODYS.iter().any(|nobodys| name == *nobodys) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(found) => Err(DirError::Foreign { dir: path.to_owned(), found: found.into() }),
        None => Ok(()),
    }
}

/// Takes the lock, or says who has it.
fn lock(path: &Path) -> Result<File, DirError> {
    let file = path.join(LOCK);
    // Not truncated: until the lock is ours, it holds the id of the process that has it.
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&file);
    let mut opened = opened.map_err(DirError::io("opening", &file))?;
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(opened),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(DirError::InUse { dir: path.to_owned(), process: holder(&mut opened) })
        }
        Err(error) => Err(DirError::io("locking", &file)(error.into())),
    }
}

/// The process that wrote its id into a lock file, if one did.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Writes this process's id into a lock file that it holds: help for people, so it is not synced, and a disk that is too full
/// for it is no reason to stop. Of one length whatever the number, so that nothing has to be cut off.
fn sign(lock: &mut File) {
    let _ = lock.rewind().and_then(|()| writeln!(lock, "{:<10}", std::process::id()));
}

/// Refuses a directory made for another engine, or for the other kind of use.
fn agrees(dir: &Path, found: &Identity, engine: EngineKind, mode: Mode) -> Result<(), DirError> {
    let dir = || dir.to_owned();
    if found.engine != engine {
        return Err(DirError::Engine { dir: dir(), made: found.engine, asked: engine });
    }
    if found.mode != mode {
        return Err(DirError::Mode { dir: dir(), made: found.mode });
    }
    Ok(())
}

/// Replaces the identity, atomically and durably.
fn store(dir: &Path, identity: &Identity) -> Result<(), DirError> {
    write_whole(dir, IDENTITY, &identity.to_toml()?)
}

/// Replaces a small file, atomically and durably.
fn write_whole(dir: &Path, name: &str, text: &str) -> Result<(), DirError> {
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(name))
    };
    write().map_err(DirError::io("writing", &dir.join(name)))?;
    sync_directory(dir)
}

/// A number that nobody else has drawn.
fn random_u64() -> Result<u64, DirError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(DirError::io("reading", source))?;
    Ok(u64::from_le_bytes(bytes))
}
