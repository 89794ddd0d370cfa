//! What waits for an apply thread is bounded, however long the engine stalls (R11): no job is handed out while more waits.

use std::collections::VecDeque;

use stator_consensus::GroupId;

use super::Holds;
use crate::node::Work;

/// A job of a group is handed to an apply thread that has this to do.
pub(crate) fn bounded(group: GroupId, work: &VecDeque<Work>, bytes_max: usize) -> Holds {
    // What waits before a snapshot is void, and the host has forgotten it.
    let behind = work
        .iter()
        .rev()
        .take_while(|work| !matches!(work, Work::Install(install) if install.group == group));
    let bytes: usize = behind
        .map(|work| match work {
            Work::Apply(job) if job.group == group => {
                job.entries.iter().map(|entry| entry.data.len()).sum()
            }
            _ => 0,
        })
        .sum();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(format!("{bytes} bytes of group {} wait to be applied, and more is handed out", group.0))
}
