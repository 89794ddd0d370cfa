//! Where each group's records are, and how much of each segment is still needed.
//!
//! The same [`Index::apply`] serves staging and replay, so that what is found after a restart is what was there before it.
//! Staging checks a batch first ([`Index::check`]); replay sees only what passed that check once, but perhaps not from the
//! beginning: segments are released oldest first, so a group's first record found may be an entry in the middle of its log,
//! or a mark that was rewritten ahead. Entries are rewritten ahead too, one by one and the oldest first, so that replay may find
//! the newer ones before the older. So apply takes a group's entries in any order, those that do not touch the others *apart*, and
//! [`Index::settled`] says at the end whether there are no gaps and every group's entries begin right behind its mark. Whatever
//! drops entries drops those apart alike; so at every record what replay holds is what there was, less what was released by then.
//!
//! Needed are a group's entries above its mark, its last hard state, its mark, and its tombstone.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::log::format::{Body, record_bytes};
use crate::log::{GroupRecovery, HardState, Mark, Record};
use crate::machine::GroupId;

mod check;
mod live;

pub(crate) use self::live::Live;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's incarnation.
    pub segment: u64,
    /// The record's offset in bytes.
    pub offset: u32,
    /// The record's length in bytes.
    pub len: u32,
}

impl Place {
    /// Where the record ends, in bytes.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset as u64 + self.len as u64
    }
}

/// An entry's term and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The entry's index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Where it is.
    pub place: Place,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    term: u64,
    place: Place,
}

#[derive(Debug, Default)]
struct Group {
    hard_state: HardState,
    hard_state_at: Option<Place>,
    mark: Mark,
    mark_at: Option<Place>,
    /// The index of the first of `entries`: one past the mark, but for replay under way.
    first: u64,
    entries: VecDeque<Slot>,
    /// During replay, entries that do not touch those; empty otherwise.
    apart: BTreeMap<u64, Slot>,
    /// The entries up to this index may have been rewritten ahead, and lie anywhere; those above lie in their order.
    rewritten_to: u64,
    tombstone_at: Option<Place>,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Index {
    groups: BTreeMap<GroupId, Group>,
    pub(crate) live: Live,
}

impl Index {
    /// Takes up a record at its place.
    ///
    /// # Errors
    /// In words, what the record contradicts. Nothing was taken up.
    pub(crate) fn apply(
        &mut self,
        id: GroupId,
        body: &Body<'_>,
        place: Place,
    ) -> Result<(), &'static str> {
        if matches!(body, Body::Head(_)) {
            return Ok(());
        }
        let group = self.groups.entry(id).or_default();
        if group.tombstone_at.is_some() && !matches!(body, Body::Tombstone) {
            return Err("a record of a group that was removed");
        }
        let live = &mut self.live;
        match *body {
            Body::Head(_) => {}
            Body::Entry { index, term, again, .. } => {
                if index <= group.mark.index || index == u64::MAX {
                    return Err("an entry at or below its group's mark");
                }
                let slot = Slot { term, place };
                if again { group.renew(index, slot, live)? } else { group.push(index, slot, live) }
            }
            Body::HardState(state) => {
                group.hard_state = state;
                live.replace(&mut group.hard_state_at, place);
            }
            Body::Truncate(mark) => {
                group.drop_through(mark.index, live);
                group.mark = mark;
                live.replace(&mut group.mark_at, place);
            }
            Body::Reset(mark) => {
                group.drop_through(u64::MAX, live);
                group.mark = mark;
                live.replace(&mut group.mark_at, place);
            }
            Body::Tombstone => {
                group.drop_through(u64::MAX, live);
                live.remove(&mut group.hard_state_at);
                live.remove(&mut group.mark_at);
                (group.hard_state, group.mark) = Default::default();
                live.replace(&mut group.tombstone_at, place);
            }
        }
        Ok(())
    }

    /// Whether every group's entries begin right behind its mark; else the group and what is wrong.
    pub(crate) fn settled(&self) -> Result<(), (GroupId, u64)> {
        for (id, group) in &self.groups {
            if !group.entries.is_empty() && group.first != group.mark.index.wrapping_add(1) {
                return Err((*id, group.first));
            }
            if let Some((after_gap, _)) = group.apart.first_key_value() {
                return Err((*id, *after_gap));
            }
        }
        Ok(())
    }

    /// The term of an entry, or of the mark.
    pub(crate) fn term(&self, id: GroupId, index: u64) -> Option<u64> {
        let group = self.groups.get(&id)?;
        if index == group.mark.index {
            return Some(group.mark.term);
        }
        group.entries.get(usize::try_from(index.checked_sub(group.first)?).ok()?).map(|e| e.term)
    }

    /// What the group's log begins behind.
    pub(crate) fn mark(&self, id: GroupId) -> Option<Mark> {
        self.groups.get(&id).filter(|group| group.tombstone_at.is_none()).map(|group| group.mark)
    }

    /// The index of the last entry, or of the mark.
    pub(crate) fn last(&self, id: GroupId) -> Option<u64> {
        self.groups.get(&id).filter(|group| group.tombstone_at.is_none()).map(Group::last)
    }

    /// The entries of a range, as far as there are any.
    pub(crate) fn entries(
        &self,
        id: GroupId,
        range: Range<u64>,
    ) -> impl Iterator<Item = Located> + '_ {
        self.groups.get(&id).into_iter().flat_map(move |group| {
            let skip = usize::try_from(range.start.saturating_sub(group.first));
            let first = range.start.max(group.first);
            let slots = group.entries.iter().skip(skip.unwrap_or(usize::MAX));
            (first..range.end).zip(slots).map(|(index, slot)| Located {
                index,
                term: slot.term,
                place: slot.place,
            })
        })
    }

    /// The small records that the segment holds and that are still needed, as they are to be written again. A mark that was
    /// a reset becomes a truncation: the reset's own work is done, and doing it again would drop entries.
    pub(crate) fn small_records(&self, segment: u64, max_bytes: u64) -> Vec<Record> {
        let here = |place: Option<Place>| place.is_some_and(|place| place.segment == segment);
        let mut records = Vec::new();
        let mut bytes = 0;
        for (&group, it) in &self.groups {
            let before = records.len();
            if here(it.mark_at) {
                records.push(Record::Truncate { group, mark: it.mark });
            }
            if here(it.hard_state_at) {
                records.push(Record::HardState { group, state: it.hard_state });
            }
            if here(it.tombstone_at) {
                records.push(Record::Tombstone { group });
            }
            bytes += records[before..].iter().map(record_bytes).sum::<u64>();
            if bytes > max_bytes {
                records.truncate(before);
                break;
            }
        }
        records
    }

    /// Entries that lie in a segment, up to `max_bytes` but at least one. No older segment holds any.
    pub(crate) fn entries_in(&self, segment: u64, max_bytes: u64) -> Vec<(GroupId, Located)> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for (id, group) in &self.groups {
            for (index, slot) in (group.first..).zip(&group.entries) {
                let Slot { term, place } = *slot;
                if place.segment != segment {
                    if index > group.rewritten_to {
                        break;
                    }
                    continue;
                }
                bytes += u64::from(place.len);
                if bytes > max_bytes && !found.is_empty() {
                    return found;
                }
                found.push((*id, Located { index, term, place }));
            }
        }
        found
    }

    /// Whether an entry is at this place.
    pub(crate) fn is_at(&self, id: GroupId, index: u64, place: Place) -> bool {
        self.entries(id, index..index.saturating_add(1)).any(|located| located.place == place)
    }

    /// For each group, the highest index that lies in this segment or an older one.
    pub(crate) fn entries_through(
        &self,
        segment: u64,
    ) -> impl Iterator<Item = (GroupId, u64)> + '_ {
        self.groups.iter().filter_map(move |(id, group)| {
            let is_held = |slot: &Slot| slot.place.segment <= segment;
            let count = if group.rewritten_to < group.first {
                group.entries.partition_point(is_held)
            } else {
                group.entries.iter().rposition(is_held).map_or(0, |last| last + 1)
            };
            let last = group.first + (count as u64).checked_sub(1)?;
            Some((*id, last))
        })
    }

    /// Every group, as it is given out after recovery.
    pub(crate) fn recovery(&self) -> BTreeMap<GroupId, GroupRecovery> {
        let give = |group: &Group| GroupRecovery {
            hard_state: group.hard_state,
            mark: group.mark,
            terms: group.entries.iter().map(|slot| slot.term).collect(),
            tombstone: group.tombstone_at.is_some(),
        };
        self.groups.iter().map(|(id, group)| (*id, give(group))).collect()
    }
}

impl Group {
    fn last(&self) -> u64 {
        match self.entries.len() as u64 {
            0 => self.mark.index,
            len => self.first + (len - 1),
        }
    }

    /// Puts an entry behind those of lower indexes, and drops the others.
    fn push(&mut self, index: u64, slot: Slot, live: &mut Live) {
        let keep = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for dropped in self.entries.drain(keep.min(self.entries.len())..) {
            live.remove_entry(dropped.place);
        }
        for dropped in self.apart.split_off(&index).into_values() {
            live.remove_entry(dropped.place);
        }
        self.rewritten_to = self.rewritten_to.min(index - 1);
        self.take(index, slot, live);
    }

    /// Puts an entry in the place of its former record, and among the others if that was not found.
    fn renew(&mut self, index: u64, slot: Slot, live: &mut Live) -> Result<(), &'static str> {
        let at = index.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let former = match at.and_then(|at| self.entries.get_mut(at)) {
            Some(former) => Some(former),
            None => self.apart.get_mut(&index),
        };
        self.rewritten_to = self.rewritten_to.max(index);
        let Some(former) = former else {
            self.take(index, slot, live);
            return Ok(());
        };
        if former.term != slot.term {
            return Err("an entry written again with another term");
        }
        live.remove_entry(former.place);
        live.add_entry(slot.place);
        *former = slot;
        Ok(())
    }

    /// Takes an entry that there is not.
    fn take(&mut self, index: u64, slot: Slot, live: &mut Live) {
        live.add_entry(slot.place);
        if !self.entries.is_empty() && index == self.first + self.entries.len() as u64 {
            self.entries.push_back(slot);
        } else {
            self.apart.insert(index, slot);
        }
        self.join();
    }

    /// Takes in those entries apart that touch the others.
    fn join(&mut self) {
        if self.apart.is_empty() {
            return;
        }
        if self.entries.is_empty()
            && let Some((index, slot)) = self.apart.pop_first()
        {
            self.first = index;
            self.entries.push_back(slot);
        }
        while let Some(slot) = self.apart.remove(&(self.first + self.entries.len() as u64)) {
            self.entries.push_back(slot);
        }
        while let Some(slot) = self.apart.remove(&(self.first - 1)) {
            self.entries.push_front(slot);
            self.first -= 1;
        }
    }

    /// Drops the entries up to an index.
    fn drop_through(&mut self, index: u64, live: &mut Live) {
        while self.first <= index
            && let Some(slot) = self.entries.pop_front()
        {
            live.remove_entry(slot.place);
            self.first += 1;
        }
        while let Some(lowest) = self.apart.first_entry().filter(|it| *it.key() <= index) {
            live.remove_entry(lowest.remove().place);
        }
        if self.entries.is_empty() {
            // What a long tail took is given back.
            self.entries.shrink_to(64);
            self.join();
        }
    }
}
