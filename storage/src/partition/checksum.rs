//! What a partition holds in one number: for comparing replicas at one applied index.
//!
//! The sum of a 64-bit hash of every item, stored value and all. A sum has no order, so that of a partition is the sum of those
//! of its parts. It finds damage and divergence, not malice.

use std::ops::ControlFlow;

use stator_model::key::hash64;

use super::record::{AppliedRecord, Counters};
use super::spec::PartitionSpec;
use crate::engine::{Direction, Engine, Reader};
use crate::error::{Error, Result};
use crate::item::StoredItem;
use crate::key::hex;

/// What a replica holds at one applied index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionChecksum {
    /// The applied index.
    pub index: u64,
    /// The sum of the items' hashes.
    pub sum: u64,
    /// The items as they were counted.
    pub counted: Counters,
    /// The items as the applied record has it: the same in a sound replica.
    pub recorded: Counters,
}

/// Reads all of a partition's items and sums them up. `None` if the replica does not hold the partition as of one index, or
/// went on to another while it was read.
///
/// # Errors
/// A fault of the engine, or an item or record that is corrupt.
pub fn checksum(engine: &dyn Engine, spec: &PartitionSpec) -> Result<Option<PartitionChecksum>> {
    let view = engine.snapshot();
    let reader: &dyn Reader = view.as_deref().unwrap_or(engine);
    let record = AppliedRecord::expect(reader, spec.group)?;
    if !record.is_complete() {
        return Ok(None);
    }
    let mut sum = 0u64;
    let mut counted = Counters::default();
    let mut pair = Vec::new();
    reader.scan(&spec.items(), Direction::Forward, &mut |key, value| {
        let item = StoredItem::open(&value, &key)?.item;
        let size = item.check().map_err(|error| {
            Error::corruption(format!("item {}", hex(&key)), 0, error.message().to_owned())
        })?;
        counted.item_count += 1;
        counted.size_bytes += size.size as u64;
        pair.clear();
        pair.extend_from_slice(&(key.len() as u64).to_be_bytes());
        pair.extend_from_slice(&key);
        pair.extend_from_slice(&value);
        sum = sum.wrapping_add(hash64(&pair));
        Ok(ControlFlow::Continue(()))
    })?;
    if AppliedRecord::expect(reader, spec.group)? != record {
        return Ok(None);
    }
    Ok(Some(PartitionChecksum {
        index: record.mark.index,
        sum,
        counted,
        recorded: record.counters,
    }))
}

#[cfg(test)]
mod tests;
