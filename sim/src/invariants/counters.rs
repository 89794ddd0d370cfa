//! Counters are exact: what the applied record says of a partition's items is what is there.

use stator_consensus::GroupId;
use stator_storage::partition::PartitionChecksum;

use super::Holds;

pub(crate) fn exact(group: GroupId, node: usize, found: &PartitionChecksum) -> Holds {
    if found.counted == found.recorded {
        return Ok(());
    }
    Err(format!(
        "node {node} counts {:?} in group {} at index {}, and there is {:?}",
        found.recorded, group.0, found.index, found.counted
    ))
}
