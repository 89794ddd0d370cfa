//! Opening an engine in a directory, which names the engine that it belongs to.
//!
//! ```text
//! DIR/engine       "stator engine 1 fjall": the layout's version and the engine's name, written before anything else
//! DIR/data/        the engine's own files
//! DIR/boot         sled: the boot of the machine during which the engine was opened, until it is closed
//! DIR/refused.jnl  fjall: the last journal that was cut, as it was
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::Engine;
use super::memory::MemoryEngine;
use crate::error::{Error, Result};

/// The version of the layout above.
const LAYOUT: u32 = 1;
const MARKER: &str = "engine";

/// An engine, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Nothing on disk.
    Memory,
    /// A log-structured merge tree.
    Fjall,
    /// A B-tree on a log; without snapshots.
    Sled,
}

impl EngineKind {
    /// Every engine that this build has.
    pub const BUILT: &[Self] = &[
        Self::Memory,
        #[cfg(feature = "engine-fjall")]
        Self::Fjall,
        #[cfg(feature = "engine-sled")]
        Self::Sled,
    ];

    /// The engine's name, as [`Engine::name`] gives it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fjall => "fjall",
            Self::Sled => "sled",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Memory, Self::Fjall, Self::Sled]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("no engine is called `{name}`: memory, fjall or sled"))
    }
}

/// How an engine shares the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// Memory for what was read, in bytes.
    pub cache_bytes: u64,
    /// Memory for what is not yet written to sorted files, in bytes, where the engine has such buffers.
    pub buffer_bytes: u64,
    /// Threads for the engine's background work, where the engine lets us say.
    pub threads: usize,
}

impl EngineOptions {
    /// The smallest budget that is kept to, in bytes.
    pub const MIN_BUDGET_BYTES: u64 = 32 << 20;

    /// Shares a budget of memory out: half to the cache, a quarter to buffers; the rest is for indexes and filters, which
    /// engines keep outside the cache.
    #[must_use]
    pub fn within(budget_bytes: u64) -> Self {
        let budget = budget_bytes.max(Self::MIN_BUDGET_BYTES);
        Self { cache_bytes: budget / 2, buffer_bytes: budget / 4, threads: 2 }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self::within(512 << 20)
    }
}

/// An engine that was opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct Opened {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Whether what it holds is what its flushes promised. It is not if the machine died with the engine open and the
    /// engine's flush is none (sled, R16): its replicas are to be made anew from their peers in a fresh directory, or an
    /// operator says [`trust`]. It stays so until then.
    pub trusted: bool,
    /// How many bytes at the end of the engine's journal were cut because a machine that died had lost pages of it (R17).
    pub cut_bytes: u64,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("engine", &self.engine.name())
            .field("trusted", &self.trusted)
            .field("cut_bytes", &self.cut_bytes)
            .finish()
    }
}

/// Opens the engine of a directory, which is made if it is not there. The engine in memory leaves the directory alone.
///
/// # Errors
/// - `Error::Io` with `InvalidInput` if the directory belongs to another engine, with `Unsupported` if this build does not
///   have the engine, and with `AlreadyExists` if the directory holds something else;
/// - `Error::Version` if a newer version made the directory;
/// - what the engine answers.
pub fn open(dir: &Path, kind: EngineKind, options: &EngineOptions) -> Result<Opened> {
    if kind == EngineKind::Memory {
        let engine = Arc::new(MemoryEngine::volatile());
        return Ok(Opened { engine, trusted: true, cut_bytes: 0 });
    }
    if !EngineKind::BUILT.contains(&kind) {
        let message = format!("this build has no engine `{kind}`");
        return Err(refusal(dir, std::io::ErrorKind::Unsupported, message));
    }
    fs::create_dir_all(dir).map_err(|e| Error::io(format!("making {}", dir.display()), &e))?;
    claim(dir, kind)?;
    match kind {
        #[cfg(feature = "engine-fjall")]
        EngineKind::Fjall => super::fjall::FjallEngine::open(dir, options),
        #[cfg(feature = "engine-sled")]
        EngineKind::Sled => super::sled::SledEngine::open(dir, options),
        // Both cases were answered above; without engines on disk, `options` has no other use.
        #[allow(unreachable_patterns)]
        _ => Err(refusal(dir, std::io::ErrorKind::Unsupported, format!("{options:?}"))),
    }
}

/// Declares a directory's engine trusted from its next opening on: an operator's decision, for what an engine that was not
/// [trusted](Opened::trusted) holds may lack writes that were acknowledged.
///
/// # Errors
/// What the operating system answers.
pub fn trust(dir: &Path) -> Result<()> {
    remove(&dir.join(BOOT))?;
    sync_dir(dir)
}

/// Name of the file that notes the boot during which a sled engine was opened.
pub(super) const BOOT: &str = "boot";

/// Reads the directory's marker, or writes it into an empty directory.
fn claim(dir: &Path, kind: EngineKind) -> Result<()> {
    if is_claimed(dir, kind)? {
        return Ok(());
    }
    write_file(dir, MARKER, &format!("stator engine {LAYOUT} {kind}\n"))
}

/// Looks, and touches nothing, whether a directory may be opened with an engine: whether it is that engine's, of a version known
/// here, or nobody's. For whoever has more to open, and wants to refuse before anything is changed.
///
/// # Errors
/// As [`open`], but for what only the engine itself can tell.
pub fn inspect(dir: &Path, kind: EngineKind) -> Result<()> {
    if kind == EngineKind::Memory {
        return Ok(());
    }
    is_claimed(dir, kind).map(drop)
}

/// Whether the directory's marker names this engine; false if it has none.
fn is_claimed(dir: &Path, kind: EngineKind) -> Result<bool> {
    let path = dir.join(MARKER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if dir.join("data").exists() {
                let message = "it holds data, and no marker that says which engine's".to_owned();
                return Err(refusal(dir, std::io::ErrorKind::AlreadyExists, message));
            }
            return Ok(false);
        }
        Err(e) => return Err(Error::io(format!("reading {}", path.display()), &e)),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let (version, name) = match words[..] {
        ["stator", "engine", version, name] => (version.parse().ok(), name),
        _ => (None, ""),
    };
    match version {
        None => Err(Error::corruption(path.display().to_string(), 0, "not an engine's marker")),
        Some(found) if found > LAYOUT => {
            Err(Error::Version { place: path.display().to_string(), found, known: LAYOUT })
        }
        Some(_) if name != kind.name() => {
            let message = format!("it belongs to the engine `{name}`, and `{kind}` was asked for");
            Err(refusal(dir, std::io::ErrorKind::InvalidInput, message))
        }
        Some(_) => Ok(true),
    }
}

fn refusal(dir: &Path, kind: std::io::ErrorKind, message: String) -> Error {
    Error::Io { context: format!("opening the engine in {}", dir.display()), kind, message }
}

/// Writes a small file whole or not at all, durably.
pub(super) fn write_file(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    let new = dir.join(format!("{name}.new"));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    };
    write().map_err(|e| Error::io(format!("writing {}", path.display()), &e))?;
    sync_dir(dir)
}

/// Removes a file that may be gone already. Durable after [`sync_dir`].
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("removing {}", path.display()), &e))
        }
        _ => Ok(()),
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io(format!("syncing the directory {}", dir.display()), &e))
}

#[cfg(test)]
mod tests;
