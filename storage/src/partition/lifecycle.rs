//! How a replica begins on a node, and how it ends.
//!
//! A founding replica begins with an empty range behind a made-up first index (R14): nobody is there to send it a snapshot. One
//! of a group that its log knows already, on an engine that is made anew, begins waiting for a snapshot. Both write the replica's
//! record and its applied record in one batch.
//!
//! The end is paced, because engines have no range delete: the applied record says first that the range is worth nothing any
//! more, the items go some at a time, and the two records go with the last of them. Until then the range is not free (R19).

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::Bytes;
use stator_model::key::KeyRange;

use super::record::{self, AppliedRecord, ReplicaState};
use super::spec::{PartitionSpec, list_specs, put_spec};
use crate::engine::{Batch, Direction, Engine, Reader};
use crate::error::{Error, Result};
use crate::key::{EngineKey, hash_range};
use crate::machine::{AppliedMark, GroupId};

/// Begins a replica: an empty one at this mark, made up by whoever founds the group; without a mark one that waits
/// for a snapshot. A replica that has begun already, with the same record, is left as it is.
///
/// # Errors
/// `Error::Corruption` if the range overlaps that of another replica on this node, which has to be deleted first, or this
/// one has begun with another record or is being deleted, or would begin empty where there are items; a fault of the engine.
pub fn initialise(
    engine: &dyn Engine,
    spec: &PartitionSpec,
    first: Option<&AppliedMark>,
) -> Result<()> {
    initialise_beside(engine, &list_specs(engine)?, spec, first)
}

/// As [`initialise`], for many replicas, each with its first mark, if it has one: what is here already is looked at once.
///
/// # Errors
/// As there; those before the one that met it are begun.
pub fn initialise_all(
    engine: &dyn Engine,
    replicas: &[(PartitionSpec, Option<AppliedMark>)],
) -> Result<()> {
    let mut held = list_specs(engine)?;
    for (spec, first) in replicas {
        initialise_beside(engine, &held, spec, first.as_ref())?;
        held.push(spec.clone());
    }
    Ok(())
}

/// Begins a replica beside those that are here.
fn initialise_beside(
    engine: &dyn Engine,
    held: &[PartitionSpec],
    spec: &PartitionSpec,
    first: Option<&AppliedMark>,
) -> Result<()> {
    let fault = |what: String| {
        Err(Error::corruption(format!("the replica of group {}", spec.group.0), 0, what))
    };
    for other in held {
        if other.group == spec.group {
            let record = AppliedRecord::expect(engine, spec.group)?;
            return if other == spec && record.state != ReplicaState::Deleting {
                Ok(())
            } else {
                fault("the node has it with another record, or is deleting it".into())
            };
        }
        if other.overlaps(spec) {
            return fault(format!("its range overlaps that of group {}", other.group.0));
        }
    }
    let mut record = AppliedRecord::worthless(ReplicaState::AwaitingSnapshot, spec.generation);
    if let Some(mark) = first {
        // What lies there already would be in nobody's counters, and on this replica only.
        if stage_deletes(engine, &mut spec.items(), 1, &mut Batch::default())? > 0 {
            return fault("it begins empty, and there are items in its range".into());
        }
        record.state = ReplicaState::Serving;
        record.mark = mark.clone();
    }
    let mut batch = Batch::default();
    put_spec(&mut batch, spec)?;
    record.put(spec.group, &mut batch);
    engine.write(&batch)
}

/// The deleting of a replica that has no applier any more, records and all. What other replicas on this node own is spared.
///
/// It goes on where it stopped: to an engine that keeps what is deleted for a while, each look at the range's beginning would be
/// one at all that was deleted so far. Every step counts itself in the applied record, so that one which finds a step before it lost
/// begins again.
#[derive(Clone, Debug)]
pub struct Deletion {
    spec: PartitionSpec,
    /// What is to be deleted, in order; what of it is left.
    ranges: Vec<KeyRange>,
    left: VecDeque<KeyRange>,
    /// The count of steps in the applied record after the last step; none before the first.
    steps: Option<u64>,
}

impl Deletion {
    /// The deleting of a replica, where it is known what is on this node: the replica itself may be among it, or not. What begins
    /// there later lies elsewhere, as long as this one is not over.
    #[must_use]
    pub fn new(held: &[PartitionSpec], spec: PartitionSpec) -> Self {
        let ranges = ranges_of_its_own(held, &spec);
        Self { spec, ranges, left: VecDeque::new(), steps: None }
    }

    /// Whose replica it is.
    #[must_use]
    pub const fn group(&self) -> GroupId {
        self.spec.group
    }

    /// Deletes up to `limit` keys; true once the replica is gone.
    ///
    /// # Errors
    /// A fault of the engine, or a corrupt record. The next step goes on.
    pub fn step(&mut self, engine: &dyn Engine, limit: usize) -> Result<bool> {
        let group = self.spec.group;
        let held = AppliedRecord::read(engine, group)?.map_or(0, |record| record.install_steps);
        if self.steps != Some(held) {
            self.left = self.ranges.iter().cloned().collect();
        }
        let mut record = AppliedRecord::worthless(ReplicaState::Deleting, self.spec.generation);
        record.install_steps = held + 1;
        let mut batch = Batch::default();
        record.put(group, &mut batch);
        let mut room = limit.max(1);
        while let Some(range) = self.left.front_mut() {
            room -= stage_deletes(engine, range, room, &mut batch)?;
            if room == 0 {
                break;
            }
            self.left.pop_front();
        }
        let is_over = room > 0;
        if is_over {
            batch.delete(record::key_of(group));
            batch.delete(EngineKey::Replica { group }.encode());
        }
        // Unless it is written it does not count.
        self.steps = None;
        engine.write(&batch)?;
        self.steps = Some(record.install_steps);
        Ok(is_over)
    }
}

/// Adds the deletes of the first keys of a range to a batch, at most `limit` but one at least, and gives how many they are. The range
/// is from then on what lies behind them.
pub(super) fn stage_deletes(
    reader: &dyn Reader,
    range: &mut KeyRange,
    limit: usize,
    batch: &mut Batch,
) -> Result<usize> {
    let mut deleted = 0;
    let mut last = Bytes::new();
    reader.scan(range, Direction::Forward, &mut |key: Bytes, _| {
        last = key.clone();
        batch.delete(key);
        deleted += 1;
        Ok(if deleted < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if deleted > 0 {
        range.start = [&last[..], &[0]].concat().into();
    }
    Ok(deleted)
}

/// What of a partition's range no other replica on this node owns, in order.
fn ranges_of_its_own(held: &[PartitionSpec], spec: &PartitionSpec) -> Vec<KeyRange> {
    let is_other = |other: &&PartitionSpec| other.group != spec.group && other.overlaps(spec);
    let mut others: Vec<&PartitionSpec> = held.iter().filter(is_other).collect();
    others.sort_by_key(|other| other.hash_start);
    let mut ranges = Vec::new();
    // The first hash that is not dealt with; none is left after the last.
    let mut next = Some(spec.hash_start);
    for other in others {
        let Some(first) = next else { break };
        if let Some(last) = other.hash_start.checked_sub(1)
            && first <= last
        {
            ranges.push(hash_range(spec.table_id, first, last));
        }
        next = other.hash_end.checked_add(1).map(|after| after.max(first));
    }
    if let Some(first) = next
        && first <= spec.hash_end
    {
        ranges.push(hash_range(spec.table_id, first, spec.hash_end));
    }
    ranges
}

#[cfg(test)]
mod tests;
