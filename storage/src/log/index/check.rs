//! Judges a batch before any of it is taken.

use std::collections::BTreeMap;

use crate::log::index::Index;
use crate::log::{Mark, Record};
use crate::machine::GroupId;

/// What a group will look like once the records judged so far are taken.
#[derive(Clone, Copy)]
struct Shape {
    mark: Mark,
    last: u64,
    removed: bool,
    /// Whether the group's entries are those of the index still.
    untouched: bool,
}

impl Index {
    /// Whether the batch can be taken, in this order.
    ///
    /// # Errors
    /// What it contradicts, in words.
    pub(crate) fn check<'a>(&self, batch: impl Iterator<Item = &'a Record>) -> Result<(), String> {
        let mut shapes = BTreeMap::new();
        for record in batch {
            let id = record.group();
            let shape = shapes.entry(id).or_insert_with(|| self.shape(id));
            self.check_one(shape, record).map_err(|what| format!("{what} (group {})", id.0))?;
        }
        Ok(())
    }

    fn shape(&self, id: GroupId) -> Shape {
        let removed = self.groups.get(&id).is_some_and(|group| group.tombstone_at.is_some());
        Shape {
            mark: self.mark(id).unwrap_or_default(),
            last: self.last(id).unwrap_or_default(),
            removed,
            untouched: true,
        }
    }

    fn check_one(&self, shape: &mut Shape, record: &Record) -> Result<(), &'static str> {
        if shape.removed && !matches!(record, Record::Tombstone { .. }) {
            return Err("the group was removed");
        }
        match record {
            Record::Entry { entry, .. } => {
                if entry.index <= shape.mark.index {
                    return Err("the entry is at or below the mark");
                }
                if entry.index - 1 > shape.last || entry.index == u64::MAX {
                    return Err("the entry leaves a gap");
                }
                (shape.last, shape.untouched) = (entry.index, false);
            }
            Record::HardState { .. } => {}
            Record::Truncate { group, mark } if mark.index > shape.mark.index => {
                if mark.index > shape.last {
                    return Err("the mark is behind the last entry");
                }
                if shape.untouched && self.term(*group, mark.index) != Some(mark.term) {
                    return Err("the mark has another term than its entry");
                }
                shape.mark = *mark;
            }
            // Truncating less than before is nothing to do.
            Record::Truncate { .. } => {}
            Record::Reset { mark, .. } => {
                (shape.mark, shape.last, shape.untouched) = (*mark, mark.index, false);
            }
            Record::Tombstone { .. } => shape.removed = true,
        }
        Ok(())
    }

    /// Whether the record would change nothing, and need not be written.
    pub(crate) fn is_idle(&self, record: &Record) -> bool {
        match record {
            Record::Truncate { group, mark } => {
                self.mark(*group).is_some_and(|now| mark.index <= now.index)
            }
            Record::Tombstone { group } => {
                self.groups.get(group).is_some_and(|group| group.tombstone_at.is_some())
            }
            _ => false,
        }
    }
}
