//! The nodes whose disks are nearly full, or whose logs are full, as they say themselves with every frame of messages.
//!
//! Leaders here propose nothing that most of a partition's replicas would soon not take: it would wait, and end in doubt. A node says
//! so at the whole of its disk's reserve and drops entries at the half of it, so that what is on its way by then still finds its
//! place; the catalog's it goes on to take. Of its log it says so when it is full, and takes none. What is known of a node is
//! forgotten when it says otherwise, when its stream ends, and when it has said nothing for a while: one that died while it was full
//! is dead, and not full.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stator_consensus::NodeId;
use tokio::time::Instant;

use crate::node::room::Full;

/// How long a node's word counts: many signs of life.
const WORD_TIME: Duration = Duration::from_secs(3);

/// The nodes that have no room for entries.
#[derive(Debug, Default)]
pub(crate) struct Refusing {
    /// When each said so last, and of what.
    told: Mutex<BTreeMap<NodeId, (Instant, Full)>>,
    /// Whether there are any: most of the time there are none, and every write asks.
    any: AtomicBool,
}

impl Refusing {
    /// A node says what it has no room on, if anything.
    pub(crate) fn note(&self, node: NodeId, full: Option<Full>) {
        if full.is_none() && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = full {
            let before = told.insert(node, (Instant::now(), full));
            if before.is_none_or(|(_, before)| before != full) {
                tracing::warn!(node = node.0, on = ?full, "a node has no room");
            }
        } else if told.remove(&node).is_some() {
            tracing::info!(
                node = node.0,
                "nothing is heard any more of a full disk or log of a node"
            );
        }
        self.any.store(!told.is_empty(), Ordering::Relaxed);
    }

    /// Whether of these nodes, on which a partition has its replicas, no majority has room for what those refuse who are so full.
    pub(crate) fn block(&self, members: impl Iterator<Item = NodeId>, full: Full) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let refuses = |node: NodeId| {
            told.get(&node).is_some_and(|(at, on)| *on >= full && at.elapsed() < WORD_TIME)
        };
        let (mut refusing, mut all) = (0, 0);
        for node in members {
            all += 1;
            refusing += usize::from(refuses(node));
        }
        all - refusing < all / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::Full::{Disk, Log};
    use super::*;

    fn members(count: u64) -> impl Iterator<Item = NodeId> {
        (1..=count).map(NodeId)
    }

    #[tokio::test(start_paused = true)]
    async fn most_have_to_have_room() {
        let refusing = Refusing::default();
        assert!(!refusing.block(members(3), Disk));
        refusing.note(NodeId(2), Some(Disk));
        assert!(!refusing.block(members(3), Disk), "two are enough");
        assert!(refusing.block(members(2), Disk), "one is not");
        refusing.note(NodeId(3), Some(Disk));
        assert!(refusing.block(members(3), Disk));
        assert!(!refusing.block(members(5), Disk));
        assert!(!refusing.block(members(1), Disk), "others' disks are nothing to it");
        refusing.note(NodeId(2), None);
        assert!(!refusing.block(members(3), Disk), "there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_log_takes_less_than_a_full_disk() {
        let refusing = Refusing::default();
        let blocks = || [Disk, Log].map(|full| refusing.block(members(3), full));
        refusing.note(NodeId(2), Some(Disk));
        refusing.note(NodeId(3), Some(Log));
        assert_eq!(blocks(), [true, false], "one with a full disk takes what the reserve is for");
        refusing.note(NodeId(2), Some(Log));
        assert_eq!(blocks(), [true, true]);
        refusing.note(NodeId(2), Some(Disk));
        assert_eq!(blocks(), [true, false], "the last word counts");
        refusing.note(NodeId(2), None);
        assert_eq!(blocks(), [false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_is_good_for_a_while() {
        let refusing = Refusing::default();
        refusing.note(NodeId(2), Some(Disk));
        refusing.note(NodeId(3), Some(Disk));
        tokio::time::advance(WORD_TIME - Duration::from_millis(1)).await;
        assert!(refusing.block(members(3), Disk));
        refusing.note(NodeId(2), Some(Disk));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!refusing.block(members(3), Disk), "one of them has said nothing since");
        refusing.note(NodeId(3), Some(Disk));
        assert!(refusing.block(members(3), Disk));
    }
}
