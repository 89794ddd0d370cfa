//! The engine on `sled` 0.34: a B-tree on a log.
//!
//! One tree holds all keys of a node: only there is what a crash leaves a prefix of the batches (R15).
//!
//! # Caveats
//! - *No snapshots.* A scan, and two gets, may see half a batch: [`Isolation::Gets`].
//! - *Durability.* sled's flush starts to write, and does not wait for the disk; so [`Engine::flush`] syncs the file system
//!   of the directory after it. And sled never syncs its files for values beyond a quarter of a segment; so segments are of
//!   16 MiB, and values are stored in pieces of at most 200 KB: sixteen of them, the most that a leaf holds before it
//!   splits, stay below a quarter of a segment (R16).
//! - *The last batch.* If nothing stands behind it in sled's log, recovery takes the last batch for torn, flushed or not; so
//!   a flush writes a mark behind it first.
//! - *Power loss.* Even so sled does not order its writes. An engine that was open when the *machine* died is reported as
//!   not trusted, see [`Opened::trusted`]; a process that was killed leaves the system's cache behind, and does no harm.
//! - *Errors.* sled repeats an error until it is opened anew: [`Engine::reopen`] does that in place (R11).
//!
//! # Format
//! A key's value begins with a byte: `00`, the value follows; `01`, its pieces stand elsewhere, and their id and number
//! follow, eight and four bytes. A piece's key is [`ENGINE_TAG`] · id · number of the piece: behind all keys of a node, so
//! that scans end before them. The tag alone is the key of the flushes' mark, and its value means nothing. An id is used once: whoever finds all pieces of an id has one whole value, and whoever misses
//! one looks at the key again.

mod boot;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sled::{Db, IVec};

use self::boot::Boot;
use super::slot::Slot;
use super::{
    Batch, Change, Direction, Engine, EngineOptions, EngineSize, Isolation, KeyRange, Opened,
    Reader, Visitor, bounds, check, is_key, last_changes,
};
use crate::error::{Error, Result};
use crate::key::{ENGINE_TAG, hex};

/// The largest piece of a value, in bytes.
const PIECE_BYTES: usize = 200_000;
/// sled's largest segment.
const SEGMENT_BYTES: usize = 16 << 20;

const WHOLE: u8 = 0;
const PIECES: u8 = 1;

/// The key of the mark that a flush writes behind the last batch; it stands before all pieces.
const MARK: [u8; 1] = [ENGINE_TAG];
/// Where the pieces begin.
const FIRST_PIECE: [u8; 2] = [ENGINE_TAG, 0];

/// How often a get looks again for a value whose pieces were replaced while it read them.
const LOOKS: u32 = 1_000;

/// How often, and how long each time, opening waits for what sled does behind a closed database: two seconds in all.
const UNLOCKS: u32 = 200;
const UNLOCK: Duration = Duration::from_millis(10);

/// The engine on sled.
pub struct SledEngine {
    slot: Slot<Open>,
    dir: PathBuf,
    options: EngineOptions,
    /// The last id given to pieces; held while a batch is written.
    last_id: Mutex<u64>,
    /// Whether a value in pieces may be there: while none is, a write need not look for pieces that it makes void.
    pieces: AtomicBool,
    /// Whether a batch was written behind the last mark.
    unmarked: Mutex<bool>,
    boot: Boot,
}

struct Open {
    db: Db,
}

/// A value's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pieces {
    id: u64,
    count: u32,
}

impl SledEngine {
    /// Opens the engine of a directory that its marker says is sled's.
    pub(super) fn open(dir: &Path, options: &EngineOptions) -> Result<Opened> {
        let engine = Self::new(dir, options)?;
        let trusted = engine.boot.trusted();
        Ok(Opened { engine: Arc::new(engine), trusted, cut_bytes: 0 })
    }

    fn new(dir: &Path, options: &EngineOptions) -> Result<Self> {
        let open = Open::new(dir, options)?;
        // sled's lock is held from here on.
        let boot = Boot::begin(dir)?;
        let last_id = open.last_id()?;
        Ok(Self {
            slot: Slot::new(open),
            dir: dir.to_owned(),
            options: options.clone(),
            last_id: Mutex::new(last_id),
            pieces: AtomicBool::new(last_id > 0),
            unmarked: Mutex::new(true),
            boot,
        })
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        if self.flush().is_ok()
            && let Err(error) = self.boot.end(&self.dir)
        {
            tracing::warn!(%error, "the engine will look as if it had not been closed");
        }
    }
}

impl Open {
    fn new(dir: &Path, options: &EngineOptions) -> Result<Self> {
        let config = || {
            sled::Config::new()
                .path(dir.join("data"))
                .cache_capacity(options.cache_bytes)
                .segment_size(SEGMENT_BYTES)
                // The caller flushes, see `Engine::flush`.
                .flush_every_ms(None)
        };
        for tried in 0.. {
            // sled asserts much of what it reads.
            let opened = catch_unwind(AssertUnwindSafe(|| config().open()));
            match opened.map_err(|_| Error::Engine("sled: opening: panicked".into()))? {
                Ok(db) => return Ok(Self { db }),
                Err(e) if tried < UNLOCKS && e.to_string().contains("could not acquire lock") => {}
                Err(e) => return Err(fault("opening", e)),
            }
            sleep(UNLOCK);
        }
        Err(Error::Engine("sled: opening: unreachable".into()))
    }

    /// The highest id that any piece has; zero if there is none.
    fn last_id(&self) -> Result<u64> {
        match self.db.range(FIRST_PIECE..).next_back() {
            None => Ok(0),
            Some(Err(e)) => Err(fault("reading", e)),
            Some(Ok((key, _))) => match key.get(1..9).and_then(|id| id.try_into().ok()) {
                Some(id) => Ok(u64::from_be_bytes(id)),
                None => Err(corruption(&key, "not the key of a piece")),
            },
        }
    }

    fn raw(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.db.get(key).map_err(|e| fault("reading", e))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut missed = None;
        for _ in 0..LOOKS {
            let Some(stored) = self.raw(key)? else { return Ok(None) };
            let pieces = match parse(key, &stored)? {
                Stored::Whole(value) => return Ok(Some(value)),
                Stored::Pieces(pieces) => pieces,
            };
            if let Some(value) = self.join(pieces)? {
                return Ok(Some(value));
            }
            // Batches are whole for gets: the key would have changed before its pieces went.
            if missed == Some(pieces) {
                return Err(corruption(key, "pieces of the value are missing"));
            }
            missed = Some(pieces);
        }
        Err(Error::Engine(format!("sled: key {} changes faster than it is read", hex(key))))
    }

    fn join(&self, pieces: Pieces) -> Result<Option<Bytes>> {
        let mut value = BytesMut::new();
        for number in 0..pieces.count {
            let Some(piece) = self.raw(&piece_key(pieces.id, number))? else { return Ok(None) };
            value.extend_from_slice(&piece);
        }
        Ok(Some(value.freeze()))
    }

    /// Makes the pieces void that a key's value has now.
    fn remove_pieces(&self, key: &[u8], changes: &mut sled::Batch) -> Result<()> {
        let Some(stored) = self.raw(key)? else { return Ok(()) };
        if let Stored::Pieces(pieces) = parse(key, &stored)? {
            for number in 0..pieces.count {
                changes.remove(&piece_key(pieces.id, number));
            }
        }
        Ok(())
    }
}

enum Stored {
    Whole(Bytes),
    Pieces(Pieces),
}

fn parse(key: &[u8], stored: &[u8]) -> Result<Stored> {
    match stored.split_first() {
        Some((&WHOLE, value)) => Ok(Stored::Whole(Bytes::copy_from_slice(value))),
        Some((&PIECES, mut rest)) if rest.len() == 12 => {
            Ok(Stored::Pieces(Pieces { id: rest.get_u64(), count: rest.get_u32() }))
        }
        _ => Err(corruption(key, "not a value of this format")),
    }
}

fn corruption(key: &[u8], what: &str) -> Error {
    Error::corruption(format!("sled: key {}", hex(key)), 0, what)
}

fn piece_key(id: u64, number: u32) -> [u8; 13] {
    let mut key = [ENGINE_TAG; 13];
    key[1..9].copy_from_slice(&id.to_be_bytes());
    key[9..].copy_from_slice(&number.to_be_bytes());
    key
}

fn whole(value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(1 + value.len());
    stored.put_u8(WHOLE);
    stored.put_slice(value);
    stored
}

/// Puts a value's pieces into a batch; gives what stands under its key.
fn split(value: &[u8], id: u64, changes: &mut sled::Batch) -> Vec<u8> {
    let mut count = 0;
    for piece in value.chunks(PIECE_BYTES) {
        changes.insert(&piece_key(id, count), piece);
        count += 1;
    }
    let mut stored = Vec::with_capacity(13);
    stored.put_u8(PIECES);
    stored.put_u64(id);
    stored.put_u32(count);
    stored
}

fn fault(what: &str, error: sled::Error) -> Error {
    let context = format!("sled: {what}");
    match error {
        sled::Error::Io(e) => Error::io(context, &e),
        other => Error::Engine(format!("{context}: {other}")),
    }
}

impl Reader for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if !is_key(key) {
            return Ok(None);
        }
        self.slot.get()?.get(key)
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        let Some((start, end)) = bounds(range) else { return Ok(()) };
        // Scans end before the pieces of values.
        let tag: &[u8] = &[ENGINE_TAG];
        if matches!(start, Bound::Included(start) | Bound::Excluded(start) if start >= tag) {
            return Ok(());
        }
        let end = match end {
            Bound::Included(end) | Bound::Excluded(end) if end >= tag => Bound::Excluded(tag),
            Bound::Unbounded => Bound::Excluded(tag),
            end => end,
        };
        let open = self.slot.get()?;
        let mut found = open.db.range::<&[u8], _>((start, end));
        loop {
            let next = match direction {
                Direction::Forward => found.next(),
                Direction::Backward => found.next_back(),
            };
            let Some(next) = next else { return Ok(()) };
            let (key, stored) = next.map_err(|e| fault("scanning", e))?;
            let value = match parse(&key, &stored)? {
                Stored::Whole(value) => value,
                Stored::Pieces(_) => match open.get(&key)? {
                    Some(value) => value,
                    // Removed meanwhile.
                    None => continue,
                },
            };
            if visit(Bytes::copy_from_slice(&key), value)?.is_break() {
                return Ok(());
            }
        }
    }
}

impl Engine for SledEngine {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        check(batch)?;
        let open = self.slot.get()?;
        // Held to the end: a key's pieces must not change between looking for them and making them void.
        let mut last_id = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = sled::Batch::default();
        let look = self.pieces.load(Ordering::Relaxed);
        for change in last_changes(batch) {
            if look {
                open.remove_pieces(change.key(), &mut changes)?;
            }
            let key = change.key().as_ref();
            match change {
                Change::Delete(_) => changes.remove(key),
                Change::Put(_, value) if value.len() < PIECE_BYTES => {
                    changes.insert(key, whole(value));
                }
                Change::Put(_, value) => {
                    *last_id += 1;
                    let stored = split(value, *last_id, &mut changes);
                    changes.insert(key, stored);
                    self.pieces.store(true, Ordering::Relaxed);
                }
            }
        }
        open.db.apply_batch(changes).map_err(|e| fault("writing", e))?;
        *self.unmarked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let open = self.slot.get()?;
        {
            let mut unmarked = self.unmarked.lock().unwrap_or_else(PoisonError::into_inner);
            if *unmarked {
                open.db.insert(MARK, &[]).map_err(|e| fault("marking a flush", e))?;
                *unmarked = false;
            }
        }
        open.db.flush().map_err(|e| fault("flushing", e))?;
        boot::sync_file_system(&self.dir)
    }

    fn snapshot(&self) -> Option<Box<dyn Reader>> {
        None
    }

    fn isolation(&self) -> Isolation {
        Isolation::Gets
    }

    fn size(&self) -> EngineSize {
        let open = self.slot.get().ok();
        let disk_bytes = open.and_then(|open| open.db.size_on_disk().ok()).unwrap_or_default();
        EngineSize { disk_bytes, buffer_bytes: 0 }
    }

    fn reopen(&self) -> Result<()> {
        let mut last_id = self.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot.reopen(|| {
            let open = Open::new(&self.dir, &self.options)?;
            // Never lower: a reader may still hold an id from before.
            *last_id = open.last_id()?.max(*last_id);
            *self.unmarked.lock().unwrap_or_else(PoisonError::into_inner) = true;
            Ok(open)
        })
    }
}

#[cfg(test)]
mod tests;
