//! Where each group's records are, and how much of each segment is still needed.
//!
//! The same [`Index::apply`] serves staging and replay, so that what is found after a restart is what was there before it.
//! Staging checks a batch first ([`Index::check`]); replay sees only what passed that check once, but perhaps not from the
//! beginning: segments are released oldest first, so a group's first record found may be an entry in the middle of its log,
//! or a mark that was rewritten ahead. So apply takes the first entry of a group at any index, refuses gaps after that, and
//! [`Index::settled`] says at the end whether every group's entries begin right behind its mark.
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
            Body::Entry { index, term, .. } => group.push(index, Slot { term, place }, live)?,
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

    /// For each group, the highest index that lies in this segment or an older one, and the bytes up to it.
    pub(crate) fn entries_through(
        &self,
        segment: u64,
    ) -> impl Iterator<Item = (GroupId, u64, u64)> + '_ {
        self.groups.iter().filter_map(move |(id, group)| {
            let count = group.entries.partition_point(|slot| slot.place.segment <= segment);
            let last = group.first + (count as u64).checked_sub(1)?;
            let bytes = group.entries.iter().take(count).map(|slot| u64::from(slot.place.len));
            Some((*id, last, bytes.sum()))
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
    fn push(&mut self, index: u64, slot: Slot, live: &mut Live) -> Result<(), &'static str> {
        if index <= self.mark.index || index == u64::MAX {
            return Err("an entry at or below its group's mark");
        }
        if self.entries.is_empty() || index < self.first {
            self.drop_through(u64::MAX, live);
            self.first = index;
        }
        let keep = usize::try_from(index - self.first).unwrap_or(usize::MAX);
        if keep > self.entries.len() {
            return Err("an entry behind a gap");
        }
        for dropped in self.entries.drain(keep..) {
            live.remove_entry(dropped.place);
        }
        self.entries.push_back(slot);
        live.add_entry(slot.place);
        Ok(())
    }

    /// Drops the entries up to an index.
    fn drop_through(&mut self, index: u64, live: &mut Live) {
        while self.first <= index
            && let Some(slot) = self.entries.pop_front()
        {
            live.remove_entry(slot.place);
            self.first += 1;
        }
        if self.entries.is_empty() {
            // What a long tail took is given back.
            self.entries.shrink_to(64);
        }
    }
}
