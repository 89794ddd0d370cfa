//! The nodes whose disks are nearly full, or whose logs are, as they say themselves with every frame of messages.
//!
//! Leaders here propose nothing that most of a partition's replicas would soon not take: it would wait, and end in doubt. A node says
//! so at the whole of its disk's reserve and drops entries at the half of it, so that what is on its way by then still finds its place;
//! of its log it says so when it is full. What is known of a node is forgotten when it says otherwise, when its stream ends, and
//! when it has said nothing for a while: one that died while it was full is dead, and not full.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stator_consensus::NodeId;
use tokio::time::Instant;

/// How long a node's word counts: many signs of life.
const WORD_TIME: Duration = Duration::from_secs(3);

/// The nodes that have no room for entries.
#[derive(Debug, Default)]
pub(crate) struct Refusing {
    /// When each said so last.
    told: Mutex<BTreeMap<NodeId, Instant>>,
    /// Whether there are any: most of the time there are none, and every write asks.
    any: AtomicBool,
}

impl Refusing {
    /// A node says whether its disk is nearly full, or its log is.
    pub(crate) fn note(&self, node: NodeId, is_full: bool) {
        if !is_full && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if is_full {
            if told.insert(node, Instant::now()).is_none() {
                tracing::warn!(node = node.0, "the disk or the log of a node is nearly full");
            }
        } else if told.remove(&node).is_some() {
            tracing::info!(
                node = node.0,
                "nothing is heard any more of a full disk or log of a node"
            );
        }
        self.any.store(!told.is_empty(), Ordering::Relaxed);
    }

    /// Whether of these nodes, on which a partition has its replicas, no majority has room.
    pub(crate) fn block(&self, members: impl Iterator<Item = NodeId>) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |node: NodeId| told.get(&node).is_some_and(|told| told.elapsed() < WORD_TIME);
        let (mut full, mut all) = (0, 0);
        for node in members {
            all += 1;
            full += usize::from(is_full(node));
        }
        all - full < all / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u64) -> impl Iterator<Item = NodeId> {
        (1..=count).map(NodeId)
    }

    #[tokio::test(start_paused = true)]
    async fn most_have_to_have_room() {
        let refusing = Refusing::default();
        assert!(!refusing.block(members(3)));
        refusing.note(NodeId(2), true);
        assert!(!refusing.block(members(3)), "two are enough");
        assert!(refusing.block(members(2)), "one is not");
        refusing.note(NodeId(3), true);
        assert!(refusing.block(members(3)));
        assert!(!refusing.block(members(5)));
        assert!(!refusing.block(members(1)), "others' disks are nothing to it");
        refusing.note(NodeId(2), false);
        assert!(!refusing.block(members(3)), "there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_is_good_for_a_while() {
        let refusing = Refusing::default();
        refusing.note(NodeId(2), true);
        refusing.note(NodeId(3), true);
        tokio::time::advance(WORD_TIME - Duration::from_millis(1)).await;
        assert!(refusing.block(members(3)));
        refusing.note(NodeId(2), true);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!refusing.block(members(3)), "one of them has said nothing since");
        refusing.note(NodeId(3), true);
        assert!(refusing.block(members(3)));
    }
}
