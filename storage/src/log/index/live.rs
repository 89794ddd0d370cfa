//! How much of each segment is still needed.

use std::collections::BTreeMap;

use crate::log::index::Place;
use crate::mutation::{Mutation, planted};

/// One segment's account.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Bytes of entries that are still needed.
    entries: u64,
    /// Bytes of hard states, marks and tombstones that are.
    small: u64,
    /// The number of the write in which something here was last superseded.
    superseded_by: u64,
}

/// The accounts of all segments.
#[derive(Debug, Default)]
pub(crate) struct Live {
    segments: BTreeMap<u64, Account>,
    entries: u64,
    small: u64,
    /// The number of the write that is being staged.
    pub(crate) write: u64,
}

impl Live {
    /// Bytes of all entries needed.
    pub(crate) const fn entry_bytes(&self) -> u64 {
        self.entries
    }

    /// Bytes of all small records needed: what rewriting them all ahead would take.
    pub(crate) const fn small_bytes(&self) -> u64 {
        self.small
    }

    /// Whether nothing in the segment is needed, and what superseded it was written at the latest by this write.
    pub(crate) fn is_released(&self, segment: u64, completed_write: u64) -> bool {
        self.segments.get(&segment).is_none_or(|account| {
            let keeps_small = account.small > 0 && !planted(Mutation::HardStateFreed);
            account.entries == 0 && !keeps_small && account.superseded_by <= completed_write
        })
    }

    /// The bytes of entries needed in a segment.
    pub(crate) fn entry_bytes_in(&self, segment: u64) -> u64 {
        self.segments.get(&segment).map_or(0, |account| account.entries)
    }

    /// The bytes of small records needed in a segment that holds no entries that are.
    pub(crate) fn small_only(&self, segment: u64) -> Option<u64> {
        let account = self.segments.get(&segment).copied().unwrap_or_default();
        (account.entries == 0).then_some(account.small)
    }

    /// Closes the account of a segment that was released.
    pub(crate) fn forget(&mut self, segment: u64) {
        if !planted(Mutation::HardStateFreed) {
            self.segments.remove(&segment);
        }
    }

    pub(super) fn add_entry(&mut self, place: Place) {
        self.segments.entry(place.segment).or_default().entries += u64::from(place.len);
        self.entries += u64::from(place.len);
    }

    pub(super) fn remove_entry(&mut self, place: Place) {
        let account = self.segments.entry(place.segment).or_default();
        account.entries -= u64::from(place.len);
        account.superseded_by = self.write;
        self.entries -= u64::from(place.len);
    }

    /// A small record takes the place of the one before.
    pub(super) fn replace(&mut self, at: &mut Option<Place>, place: Place) {
        self.remove(at);
        self.segments.entry(place.segment).or_default().small += u64::from(place.len);
        self.small += u64::from(place.len);
        *at = Some(place);
    }

    /// A small record is not needed any more.
    pub(super) fn remove(&mut self, at: &mut Option<Place>) {
        if let Some(place) = at.take() {
            let account = self.segments.entry(place.segment).or_default();
            account.small -= u64::from(place.len);
            account.superseded_by = self.write;
            self.small -= u64::from(place.len);
        }
    }
}
