//! Outcomes of writes that wait until the entry they are in has been applied, by index, within one term of leadership (R6).

use std::collections::BTreeMap;

/// The outcomes of one entry, and its weight against the bound of what is in flight.
#[derive(Debug)]
struct Entry<W> {
    bytes: usize,
    waiters: Vec<W>,
}

#[derive(Debug)]
pub(crate) struct Pending<W> {
    entries: BTreeMap<u64, Entry<W>>,
    bytes: usize,
}

impl<W> Pending<W> {
    pub(crate) const fn new() -> Self {
        Self { entries: BTreeMap::new(), bytes: 0 }
    }

    /// The entry at `index` was proposed.
    pub(crate) fn add(&mut self, index: u64, bytes: usize, waiters: Vec<W>) {
        self.bytes += bytes;
        self.entries.insert(index, Entry { bytes, waiters });
    }

    /// Bytes in flight.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those whose entries are applied.
    pub(crate) fn applied(&mut self, index: u64) -> Vec<W> {
        let later = self.entries.split_off(&(index + 1));
        let done = std::mem::replace(&mut self.entries, later);
        self.take(done)
    }

    /// All of them: this replica leads no more.
    pub(crate) fn abandon(&mut self) -> Vec<W> {
        let all = std::mem::take(&mut self.entries);
        self.take(all)
    }

    fn take(&mut self, entries: BTreeMap<u64, Entry<W>>) -> Vec<W> {
        let mut waiters = Vec::new();
        for entry in entries.into_values() {
            self.bytes -= entry.bytes;
            waiters.extend(entry.waiters);
        }
        waiters
    }
}
