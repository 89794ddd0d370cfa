//! While a lease on a group holds, nobody else has one, and nobody leads a later term: only so may a read be answered without
//! asking. Judged by each node's own clock, after every turn of any node; leases begin nowhere else.

use stator_consensus::GroupId;

use super::Holds;

/// A node's view of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    pub(crate) node: usize,
    /// The term led, if it leads.
    pub(crate) leads: Option<u64>,
    /// Whether a read under the lease would begin, or be answered, now.
    pub(crate) leased: bool,
    pub(crate) term: u64,
}

pub(crate) fn exclusive(group: GroupId, stands: &[Stand]) -> Holds {
    for holder in stands.iter().filter(|stand| stand.leased) {
        for other in stands.iter().filter(|other| other.node != holder.node) {
            if other.leased {
                return Err(format!(
                    "nodes {} and {} both hold a lease on group {}",
                    holder.node, other.node, group.0
                ));
            }
            if other.leads.is_some_and(|term| term > holder.term) {
                return Err(format!(
                    "node {} holds a lease on group {} of term {}, and node {} leads it in term {}",
                    holder.node,
                    group.0,
                    holder.term,
                    other.node,
                    other.leads.unwrap_or_default()
                ));
            }
        }
    }
    Ok(())
}
