//! The engine on `fjall` 3: a log-structured merge tree with a journal.
//!
//! One keyspace holds all keys of a node: only there is what a crash leaves a prefix of the batches (R15). A batch is in the
//! operating system's hands when [`Engine::write`] returns, and on the disk after [`Engine::flush`] (R16).
//!
//! # Caveats, all met by this file
//! - *A lost page of the journal.* fjall refuses to open when a machine that died lost a page in the middle of a batch of
//!   the journal's unsynced tail: such a journal is cut, see `journal.rs` beside this file
//!   (R17).
//! - *Poison.* After a failed write fjall takes no more, even with space back, until it is opened anew (R11):
//!   [`Engine::reopen`] does that in place. Snapshots of before are then refused; scans under way are waited for.
//! - *Endless waits.* A commit of fjall sleeps until its threads have flushed and compacted enough, even if those threads
//!   have died of an error, and nothing starts a compaction while all writers wait. So this file waits first: short of
//!   fjall's own limits, watching for poison, helping with compaction, and not for ever.
//! - *Half a batch in a snapshot.* A flush or compaction that ends makes all sequence numbers up to its own visible, also
//!   that of a batch still on its way into the memtable: a snapshot opened then shows half of it. So snapshots are opened
//!   only between commits, one after each, and lent out from there; readers never wait for a commit. All reads go through
//!   them, for one that looked past them would show what the next, through them, does not show yet.
//! - *Memtables.* fjall stores their size when the keyspace is made, and heeds no later wish; so they are rotated here.
//!   They are as large as the options say, times four while their flush lags behind.

mod journal;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::slot::Slot;
use super::{
    Batch, Change, Direction, Engine, EngineOptions, EngineSize, Isolation, KeyRange, Opened,
    Reader, Visitor, bounds, check, is_key, last_changes,
};
use crate::error::{Error, Result};

/// Name of the one keyspace. Its options are stored with it, those of the memtable set aside by this file.
const KEYSPACE: &str = "node";

/// fjall's smallest limit for its journals.
const MIN_JOURNAL_BYTES: u64 = 64 << 20;

/// Where fjall's commit sleeps until there are fewer: at 4 sealed memtables, at 30 runs of the first level.
const SEALED_MAX: usize = 2;
const RUNS_MAX: usize = 24;
/// How often, and how long each time, a write waits for them: a minute in all.
const STALLS: u32 = 12_000;
const STALL: Duration = Duration::from_millis(5);

/// The engine on fjall.
pub struct FjallEngine {
    slot: Slot<Open>,
    dir: PathBuf,
    options: EngineOptions,
}

/// The open database; the keyspace's handle holds its lock too.
struct Open {
    /// The view that is lent out: opened when no commit was under way.
    view: RwLock<Arc<fjall::Snapshot>>,
    /// Held while a batch is committed and the view after it opened.
    commits: Mutex<()>,
    keyspace: Keyspace,
    db: Database,
    /// The size at which a memtable is rotated.
    memtable_bytes: u64,
}

impl FjallEngine {
    /// Opens the engine of a directory that its marker says is fjall's.
    pub(super) fn open(dir: &Path, options: &EngineOptions) -> Result<Opened> {
        let (open, cut_bytes) = Open::new(dir, options)?;
        let engine = Self { slot: Slot::new(open), dir: dir.to_owned(), options: options.clone() };
        Ok(Opened { engine: Arc::new(engine), trusted: true, cut_bytes })
    }
}

impl Open {
    /// Opens the database, once more with its newest journal cut if that is what it is refused for.
    fn new(dir: &Path, options: &EngineOptions) -> Result<(Self, u64)> {
        let data = dir.join("data");
        clear_unborn(&data)?;
        let error = match Self::attempt(&data, options) {
            Ok(open) => return Ok((open, 0)),
            // Another process has it, or the system refuses: not the journal's fault.
            Err(error @ (Error::Io { .. } | Error::Full(_))) => return Err(error),
            Err(error) => error,
        };
        let Some(cut) = journal::Cut::prepare(dir, &data)? else { return Err(error) };
        cut.install()?;
        match Self::attempt(&data, options) {
            Ok(open) => {
                let cut_bytes = cut.bytes();
                tracing::warn!(%error, cut_bytes, journal = %cut.path().display(), "journal cut");
                Ok((open, cut_bytes))
            }
            Err(_) => {
                cut.undo()?;
                Err(error)
            }
        }
    }

    fn attempt(data: &Path, options: &EngineOptions) -> Result<Self> {
        let db = open_database(data, options)?;
        let create = || KeyspaceCreateOptions::default().max_memtable_size(u64::MAX);
        let keyspace = db.keyspace(KEYSPACE, create).map_err(|e| fault("opening", e))?;
        // Three may be sealed and waiting while one fills.
        let memtable_bytes = options.buffer_bytes / 4;
        let view = RwLock::new(Arc::new(db.snapshot()));
        Ok(Self { view, commits: Mutex::default(), keyspace, db, memtable_bytes })
    }

    fn view(&self) -> Arc<fjall::Snapshot> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens the view anew; takes the proof that no commit is under way.
    fn renew_view(&self, _: &MutexGuard<'_, ()>) {
        let new = Arc::new(self.db.snapshot());
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn commit(&self, changes: fjall::OwnedWriteBatch) -> Result<()> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        changes.commit().map_err(|e| fault("writing", e))?;
        self.renew_view(&commits);
        if self.keyspace.tree.active_memtable().size() > self.memtable_bytes {
            self.keyspace.rotate_memtable().map_err(|e| fault("rotating the memtable", e))?;
        }
        Ok(())
    }

    /// Waits until fjall's own, endless waits will not be met.
    fn wait_for_room(&self) -> Result<()> {
        let tree = &self.keyspace.tree;
        for _ in 0..STALLS {
            let runs = tree.l0_run_count();
            if tree.sealed_memtable_count() <= SEALED_MAX && runs < RUNS_MAX {
                return Ok(());
            }
            // Of all calls that write nothing this alone tells that a thread of fjall's died.
            self.db.persist(PersistMode::Buffer).map_err(|e| fault("waiting", e))?;
            if runs >= RUNS_MAX {
                let strategy = Arc::clone(&self.keyspace.config.compaction_strategy);
                // Zero: no version is dropped, for only fjall knows the oldest snapshot.
                tree.compact(strategy, 0).map_err(|e| fault("compacting", e.into()))?;
            }
            sleep(STALL);
        }
        Err(Error::Engine("fjall: flushes and compactions do not keep up, or have stopped".into()))
    }
}

/// Opens the database, a panic taken for a refusal: debug assertions of fjall check what it reads.
fn open_database(data: &Path, options: &EngineOptions) -> Result<Database> {
    let open = || {
        Database::builder(data)
            .cache_size(options.cache_bytes)
            .max_journaling_size(MIN_JOURNAL_BYTES.max(options.buffer_bytes.saturating_mul(4)))
            .worker_threads(options.threads.max(1))
            .open()
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|e| fault("opening", e)),
        Err(_) => Err(Error::Engine("fjall: opening: panicked".into())),
    }
}

/// Removes what an interrupted creation left, which fjall refuses to continue: its version marker comes last, so without
/// one there was never any data.
fn clear_unborn(data: &Path) -> Result<()> {
    let born = fs::metadata(data.join("version")).is_ok_and(|version| version.len() > 0);
    if born || !data.exists() {
        return Ok(());
    }
    fs::remove_dir_all(data).map_err(|e| Error::io(format!("clearing {}", data.display()), &e))
}

fn fault(what: &str, error: fjall::Error) -> Error {
    let context = format!("fjall: {what}");
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(fjall::LsmError::Io(e)) => {
            Error::io(context, &e)
        }
        fjall::Error::Locked => Error::Io {
            context,
            kind: std::io::ErrorKind::ResourceBusy,
            message: "the directory is in use by another process, or by another engine".into(),
        },
        other => Error::Engine(format!("{context}: {other:?}")),
    }
}

impl Reader for FjallEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if !is_key(key) {
            return Ok(None);
        }
        let open = self.slot.get()?;
        let value = open.view().get(&open.keyspace, key).map_err(|e| fault("reading", e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let open = self.slot.get()?;
        walk(open.view().range::<&[u8], _>(&open.keyspace, bounds), direction, visit)
    }
}

impl Engine for FjallEngine {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        check(batch)?;
        let open = self.slot.get()?;
        open.wait_for_room()?;
        let mut changes = open.db.batch();
        for change in last_changes(batch) {
            match change {
                Change::Put(key, value) => {
                    changes.insert(&open.keyspace, key.clone(), value.clone());
                }
                Change::Delete(key) => changes.remove(&open.keyspace, key.clone()),
            }
        }
        open.commit(changes)
    }

    fn flush(&self) -> Result<()> {
        let open = self.slot.get()?;
        open.db.persist(PersistMode::SyncAll).map_err(|e| fault("flushing", e))?;
        // With no writes the view would grow old, and with it what compaction may not drop.
        if let Ok(commits) = open.commits.try_lock() {
            open.renew_view(&commits);
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Box<dyn Reader>> {
        let open = self.slot.get().ok()?;
        Some(Box::new(Snapshot { view: open.view(), open: Arc::downgrade(&open) }))
    }

    fn isolation(&self) -> Isolation {
        Isolation::Snapshots
    }

    fn size(&self) -> EngineSize {
        let Ok(open) = self.slot.get() else { return EngineSize::default() };
        EngineSize {
            disk_bytes: open.db.disk_space().unwrap_or_default(),
            buffer_bytes: open.db.write_buffer_size(),
        }
    }

    fn reopen(&self) -> Result<()> {
        self.slot.reopen(|| Ok(Open::new(&self.dir, &self.options)?.0))
    }
}

/// A view at a sequence number. It does not keep the database open, for a reopening must not wait for a slow transfer.
struct Snapshot {
    open: Weak<Open>,
    view: Arc<fjall::Snapshot>,
}

impl Snapshot {
    fn open(&self) -> Result<Arc<Open>> {
        let gone = || Error::Engine("the engine was reopened after this snapshot".into());
        self.open.upgrade().ok_or_else(gone)
    }
}

impl Reader for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if !is_key(key) {
            return Ok(None);
        }
        let open = self.open()?;
        let value = self.view.get(&open.keyspace, key).map_err(|e| fault("reading", e))?;
        Ok(value.map(Bytes::from))
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let open = self.open()?;
        walk(self.view.range::<&[u8], _>(&open.keyspace, bounds), direction, visit)
    }
}

fn walk(mut found: fjall::Iter, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
    loop {
        let next = match direction {
            Direction::Forward => found.next(),
            Direction::Backward => found.next_back(),
        };
        let Some(next) = next else { return Ok(()) };
        let (key, value) = next.into_inner().map_err(|e| fault("scanning", e))?;
        if visit(key.into(), value.into())?.is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
