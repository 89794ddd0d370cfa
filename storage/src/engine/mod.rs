//! The engine: an ordered map of byte keys to byte values under the state machines, behind a small trait.
//!
//! Nothing above this folder knows which engine it is. Every implementation passes one conformance suite, which also
//! states which reads are isolated from a batch under way (see [`Isolation`]).
//!
//! The engine's own durability is not waited for on the write path: the log is the promise. [`Engine::flush`] is called
//! in the background, and the log is truncated only up to the applied index that was read before that call (R16).

#[cfg(feature = "engine-fjall")]
pub mod fjall;
pub mod memory;
mod open;
#[cfg(feature = "engine-sled")]
pub mod sled;
#[cfg(any(feature = "engine-fjall", feature = "engine-sled"))]
mod slot;

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;

pub use self::open::{EngineKind, EngineOptions, Opened, inspect, open, trust};
pub use stator_model::key::KeyRange;

use crate::error::{Error, Result};
use crate::key::{ENGINE_TAG, hex};

/// One change of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has this value from now on.
    Put(Bytes, Bytes),
    /// The key is absent from now on.
    Delete(Bytes),
}

impl Change {
    /// The key that changes.
    #[must_use]
    pub const fn key(&self) -> &Bytes {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Changes that become visible, and survive, together or not at all. Later changes of a key win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes, in order.
    pub changes: Vec<Change>,
}

impl Batch {
    /// Adds a put.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push(Change::Put(key.into(), value.into()));
    }

    /// Adds a delete.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.changes.push(Change::Delete(key.into()));
    }
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Upwards in key order.
    Forward,
    /// Downwards in key order.
    Backward,
}

/// What a scan calls for each key and value; it may end the scan.
pub type Visitor<'a> = dyn FnMut(Bytes, Bytes) -> Result<ControlFlow<()>> + 'a;

/// What can be read from an engine, or from a snapshot of it.
pub trait Reader: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// A fault of the engine.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;
    /// Visits the keys of a range in order.
    ///
    /// # Errors
    /// A fault of the engine, or what the visitor answers.
    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()>;
}

/// Which reads never see half a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Reads through [`Engine::snapshot`].
    Snapshots,
    /// Single gets only: the engine has no snapshots.
    Gets,
}

/// How large an engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineSize {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of buffers not yet written to disk, where the engine tells.
    pub buffer_bytes: u64,
}

/// An ordered, embedded store.
pub trait Engine: Reader + 'static {
    /// The engine's name: `memory`, `fjall` or `sled`.
    fn name(&self) -> &'static str;
    /// Makes the changes of a batch visible, atomically. Durable after the next [`Engine::flush`]; what survives a
    /// crash is always a prefix of the batches (R15).
    ///
    /// # Errors
    /// `Error::Engine` at once for a key that no engine takes: an empty one, one of more than [`MAX_KEY_BYTES`], one that
    /// begins with [`ENGINE_TAG`]. Else a fault of the engine, which may need [`Engine::reopen`]: until then reads that are
    /// not isolated may see part of the batch, after it all or nothing of it is there.
    fn write(&self, batch: &Batch) -> Result<()>;
    /// Makes durable everything that was written before the call (R16).
    ///
    /// # Errors
    /// A fault of the engine.
    fn flush(&self) -> Result<()>;
    /// A view of the engine as it is now, if the engine has such views.
    fn snapshot(&self) -> Option<Box<dyn Reader>>;
    /// Which reads never see half a batch.
    fn isolation(&self) -> Isolation;
    /// How large the engine is.
    fn size(&self) -> EngineSize;
    /// Closes and opens the engine again in place, after a fault (R11): what is visible then is a prefix of what was, so
    /// that reads go back in time until the log is replayed. Calls under way are waited for, ten seconds at most; others are
    /// answered `Error::Engine` at once. Snapshots of before may answer errors.
    ///
    /// # Errors
    /// A fault of the engine; it may be tried again.
    fn reopen(&self) -> Result<()>;
}

/// The longest key that every engine takes, in bytes.
pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

/// Whether every engine takes a key.
fn is_key(key: &[u8]) -> bool {
    key.len() <= MAX_KEY_BYTES && key.first().is_some_and(|&tag| tag != ENGINE_TAG)
}

/// Refuses keys that some engine does not take, for all of them alike.
fn check(batch: &Batch) -> Result<()> {
    match batch.changes.iter().map(Change::key).find(|key| !is_key(key)) {
        None => Ok(()),
        Some(key) => {
            let message = format!("a batch with a key of {} bytes, {}", key.len(), hex(key));
            Err(Error::Engine(message))
        }
    }
}

/// The last change of each key of a batch: engines do not agree on, or do not keep, the order of changes within a batch.
#[cfg(any(feature = "engine-fjall", feature = "engine-sled"))]
fn last_changes(batch: &Batch) -> impl Iterator<Item = &Change> {
    batch
        .changes
        .iter()
        .map(|change| (change.key(), change))
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
}

/// A range as the standard library's maps take one.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds of a range that is not empty, none of them longer than a key: maps panic on a range that ends before it
/// starts, and fjall on a longer bound.
fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let end = match &range.end {
        Some(end) if *end <= range.start => return None,
        Some(end) => match end.get(..MAX_KEY_BYTES) {
            Some(cut) if end.len() > cut.len() => Bound::Included(cut),
            _ => Bound::Excluded(end.as_ref()),
        },
        None => Bound::Unbounded,
    };
    let start = match range.start.get(..MAX_KEY_BYTES) {
        Some(cut) if range.start.len() > cut.len() => Bound::Excluded(cut),
        _ => Bound::Included(range.start.as_ref()),
    };
    match (start, end) {
        // Both were cut to the same: no key lies between them.
        (Bound::Excluded(start), Bound::Included(end)) if start == end => None,
        bounds => Some(bounds),
    }
}

#[cfg(test)]
mod conformance;
