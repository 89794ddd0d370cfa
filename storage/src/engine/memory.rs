//! The engine in memory: for tests, for the simulator, and for a database that need not outlive its process.
//!
//! An ordered map behind a lock. A snapshot shares the map; the first write after it copies the map (of handles, not of
//! values), so a snapshot costs nothing until then and is never in anybody's way.
//!
//! It plays the faults of a real engine on demand:
//! - two *modes*, [`MemoryEngine::new`] with snapshots, and [`MemoryEngine::without_snapshots`] (R23). A plain scan takes
//!   the lock anew for every key in both modes, so that it sees half a batch if one is written meanwhile, be it by the
//!   visitor itself: no caller may rest on more than [`Isolation`] says;
//! - a *crash* that loses some of the batches since the last flush, the newest ones, see [`MemoryEngine::crash`];
//! - *failing writes*, until the engine is reopened, see [`MemoryEngine::fail_next_write`].
//!
//! What is drawn at random is drawn by the caller. An engine that may crash keeps what the batches since the last flush
//! overwrote; [`MemoryEngine::volatile`] makes one that keeps nothing of the kind.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{
    Batch, Bounds, Change, Direction, Engine, EngineSize, Isolation, KeyRange, Reader, Visitor,
    bounds, check,
};
use crate::error::{Error, Result};

type Map = BTreeMap<Bytes, Bytes>;

/// What a batch overwrote: each key with its former value, in the order of the changes.
type Undo = Vec<(Bytes, Option<Bytes>)>;

/// The engine in memory.
#[derive(Debug)]
pub struct MemoryEngine {
    state: RwLock<State>,
    snapshots: bool,
    /// Whether `State::undo` is kept.
    crashes: bool,
}

#[derive(Debug, Default)]
struct State {
    map: Arc<Map>,
    /// Bytes of all keys and values.
    bytes: u64,
    /// One entry for each batch since the last flush, the newest last.
    undo: Vec<Undo>,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Fault {
    error: Error,
    draw: u64,
    /// Whether a write has met it already.
    struck: bool,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEngine {
    /// An empty engine with snapshots that may crash.
    #[must_use]
    pub fn new() -> Self {
        Self { state: RwLock::default(), snapshots: true, crashes: true }
    }

    /// An empty engine without snapshots that may crash: as isolated as `sled`.
    #[must_use]
    pub fn without_snapshots() -> Self {
        Self { snapshots: false, ..Self::new() }
    }

    /// An empty engine with snapshots that never loses a batch before its end, and keeps nothing to undo one.
    #[must_use]
    pub fn volatile() -> Self {
        Self { crashes: false, ..Self::new() }
    }

    /// Crashes and comes up again: the newest `draw % (unflushed batches + 1)` batches since the last flush are lost, so that
    /// any random number is a good one. An injected fault is over. Gives the number of batches lost.
    pub fn crash(&self, draw: u64) -> usize {
        self.write_state().crash(draw)
    }

    /// How many batches a crash can lose now.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.read_state().undo.len()
    }

    /// Makes the next write fail with `error`, and every write and flush after it, until the engine is reopened; reopening
    /// then loses batches as [`MemoryEngine::crash`] does with `draw`.
    pub fn fail_next_write(&self, error: Error, draw: u64) {
        self.write_state().fault = Some(Fault { error, draw, struck: false });
    }

    // Nothing panics under the lock but an allocation, so a poisoned lock guards a sound state.
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, batch: &Batch, keep_undo: bool) {
        let map = Arc::make_mut(&mut self.map);
        let mut undo = Undo::new();
        for change in &batch.changes {
            let (key, before) = match change {
                Change::Put(key, value) => {
                    self.bytes += (key.len() + value.len()) as u64;
                    (key, map.insert(key.clone(), value.clone()))
                }
                Change::Delete(key) => (key, map.remove(key)),
            };
            self.bytes -= before.as_ref().map_or(0, |value| key.len() + value.len()) as u64;
            if keep_undo {
                undo.push((key.clone(), before));
            }
        }
        if keep_undo {
            self.undo.push(undo);
        }
    }

    fn crash(&mut self, draw: u64) -> usize {
        // The remainder is no larger than a length.
        let lost = (draw % (self.undo.len() as u64 + 1)) as usize;
        for _ in 0..lost {
            let mut before = Batch::default();
            // The newest change first: a key that a batch changed twice goes back to what it was before both.
            for (key, value) in self.undo.pop().unwrap_or_default().into_iter().rev() {
                before.changes.push(match value {
                    Some(value) => Change::Put(key, value),
                    None => Change::Delete(key),
                });
            }
            self.apply(&before, false);
        }
        // What came through the crash was on the disk.
        self.undo.clear();
        self.fault = None;
        lost
    }

    fn check(&self) -> Result<()> {
        match &self.fault {
            Some(fault) if fault.struck => Err(fault.error.clone()),
            _ => Ok(()),
        }
    }
}

impl Reader for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.read_state().map.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        scan(range, direction, visit, |bounds| next(&self.read_state().map, bounds, direction))
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&self, batch: &Batch) -> Result<()> {
        check(batch)?;
        let mut state = self.write_state();
        if let Some(fault) = &mut state.fault {
            fault.struck = true;
            return Err(fault.error.clone());
        }
        state.apply(batch, self.crashes);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.write_state();
        state.check()?;
        state.undo.clear();
        Ok(())
    }

    fn snapshot(&self) -> Option<Box<dyn Reader>> {
        self.snapshots.then(|| {
            let map = Arc::clone(&self.read_state().map);
            Box::new(Snapshot(map)) as Box<dyn Reader>
        })
    }

    fn isolation(&self) -> Isolation {
        if self.snapshots { Isolation::Snapshots } else { Isolation::Gets }
    }

    fn size(&self) -> EngineSize {
        EngineSize { disk_bytes: 0, buffer_bytes: self.read_state().bytes }
    }

    fn reopen(&self) -> Result<()> {
        let mut state = self.write_state();
        if let Some(Fault { draw, struck: true, .. }) = state.fault {
            state.crash(draw);
        }
        Ok(())
    }
}

/// A view of the map as it was.
struct Snapshot(Arc<Map>);

impl Reader for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, direction: Direction, visit: &mut Visitor<'_>) -> Result<()> {
        scan(range, direction, visit, |bounds| next(&self.0, bounds, direction))
    }
}

fn next(map: &Map, bounds: Bounds<'_>, direction: Direction) -> Option<(Bytes, Bytes)> {
    let mut range = map.range::<[u8], _>(bounds);
    let found = match direction {
        Direction::Forward => range.next(),
        Direction::Backward => range.next_back(),
    };
    found.map(|(key, value)| (key.clone(), value.clone()))
}

/// Walks a range one key at a time, each found anew by `next`.
fn scan(
    range: &KeyRange,
    direction: Direction,
    visit: &mut Visitor<'_>,
    next: impl Fn(Bounds<'_>) -> Option<(Bytes, Bytes)>,
) -> Result<()> {
    let Some((start, end)) = bounds(range) else { return Ok(()) };
    let mut last: Option<Bytes> = None;
    loop {
        let rest = match (&last, direction) {
            (None, _) => (start, end),
            (Some(last), Direction::Forward) => (Bound::Excluded(last.as_ref()), end),
            (Some(last), Direction::Backward) => (start, Bound::Excluded(last.as_ref())),
        };
        let Some((key, value)) = next(rest) else { return Ok(()) };
        last = Some(key.clone());
        if visit(key, value)?.is_break() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
