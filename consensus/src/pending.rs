//! Outcomes of writes that wait until the entry they are in has been applied, by index, within one term of leadership (R6).

use std::collections::VecDeque;

/// The outcomes of one entry, and its weight against the bound of what is in flight.
#[derive(Debug)]
struct Proposed<W> {
    index: u64,
    bytes: usize,
    waiters: Vec<W>,
}

/// In the order of their indexes: a leader's log only grows.
#[derive(Debug)]
pub(crate) struct Pending<W> {
    entries: VecDeque<Proposed<W>>,
    bytes: usize,
}

impl<W> Pending<W> {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }

    /// The entry at `index` was proposed.
    pub(crate) fn add(&mut self, index: u64, bytes: usize, waiters: Vec<W>) {
        debug_assert!(self.entries.back().is_none_or(|last| last.index < index));
        self.bytes += bytes;
        self.entries.push_back(Proposed { index, bytes, waiters });
    }

    /// Bytes in flight.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index of the last entry that somebody waits for.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.index)
    }

    /// Those of the next entry that is applied, if `applied` covers one.
    pub(crate) fn next_applied(&mut self, applied: u64) -> Option<Vec<W>> {
        if self.entries.front()?.index > applied {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry.waiters)
    }

    /// All of them: this replica leads no more.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = W> + use<W> {
        self.bytes = 0;
        std::mem::take(&mut self.entries).into_iter().flat_map(|entry| entry.waiters)
    }
}
