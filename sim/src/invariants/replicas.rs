//! Replicas at one applied index are equal, byte by byte, and so is what they keep beside the items.

use std::collections::BTreeMap;

use stator_consensus::GroupId;
use stator_storage::partition::{AppliedRecord, PartitionChecksum};

use super::Holds;

/// What the first replica had at an index.
#[derive(Default)]
pub(crate) struct Replicas(BTreeMap<(GroupId, u64), Image>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Image {
    sum: u64,
    term: u64,
    highest_stamp: u64,
    item_count: u64,
    size_bytes: u64,
}

impl Replicas {
    /// A replica is at an index. Answers whether another was there before.
    pub(crate) fn compare(
        &mut self,
        group: GroupId,
        node: usize,
        found: &PartitionChecksum,
        record: &AppliedRecord,
    ) -> Result<bool, String> {
        let image = Image {
            sum: found.sum,
            term: record.mark.term,
            highest_stamp: record.highest_stamp,
            item_count: found.counted.item_count,
            size_bytes: found.counted.size_bytes,
        };
        match self.0.insert((group, found.index), image) {
            None => Ok(false),
            Some(first) if first == image => Ok(true),
            Some(first) => Err(format!(
                "node {node} holds {image:?} of group {} at index {}, another held {first:?}",
                group.0, found.index
            )),
        }
    }
}

/// In the end all replicas of a group are at one index.
pub(crate) fn settled(group: GroupId, applied: &[u64]) -> Holds {
    if applied.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(format!("the replicas of group {} do not come together: {applied:?}", group.0))
}
