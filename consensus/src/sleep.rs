//! Idle groups that cost next to nothing.
//!
//! A leader whose group has been quiet for a while, and whose followers hold its whole log, tells them to rest and stops ticking; so
//! do they. One ping per pair of nodes and heartbeat stands for all of a node's sleeping leaders: a node that misses it wakes the
//! groups that are led there. Any message, request or read wakes a replica; ticks that it missed are never made up (R9).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::types::NodeId;

/// Whether a replica sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sleep {
    asleep: bool,
    quiet_ticks: u64,
}

impl Sleep {
    pub(crate) const fn asleep(&self) -> bool {
        self.asleep
    }

    /// Something happened.
    pub(crate) const fn wake(&mut self) {
        *self = Self { asleep: false, quiet_ticks: 0 };
    }

    /// The leader has told this follower to rest.
    pub(crate) const fn rest(&mut self) {
        self.asleep = true;
    }

    /// A tick of a leader: whether it is time to go to sleep.
    pub(crate) const fn tick(&mut self, quiet: bool, sleep_ticks: u64) -> bool {
        if !quiet || sleep_ticks == 0 {
            self.quiet_ticks = 0;
            return false;
        }
        self.quiet_ticks += 1;
        self.quiet_ticks >= sleep_ticks
    }
}

/// A leader's word to a follower that the group may sleep: both are at the end of the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

impl Rest {
    pub(crate) fn encode(self) -> Bytes {
        Bytes::from([self.term.to_be_bytes(), self.index.to_be_bytes()].concat())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (term, index) = (bytes.get(..8)?, bytes.get(8..)?);
        Some(Self {
            term: u64::from_be_bytes(term.try_into().ok()?),
            index: u64::from_be_bytes(index.try_into().ok()?),
        })
    }
}

/// When each peer was last heard of, in ticks.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    heard: BTreeMap<NodeId, Option<u64>>,
}

impl Peers {
    /// A node that holds replicas of a group here.
    pub(crate) fn know(&mut self, node: NodeId, tick: u64) {
        self.heard.entry(node).or_insert(Some(tick));
    }

    /// A sign of life.
    pub(crate) fn hear(&mut self, node: NodeId, tick: u64) {
        if let Some(heard) = self.heard.get_mut(&node) {
            *heard = Some(tick);
        }
    }

    /// All nodes known.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.heard.keys().copied()
    }

    /// The nodes that have been silent for that many ticks now; each is named once until it is heard of again.
    pub(crate) fn fall_silent(&mut self, tick: u64, silence_ticks: u64) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (node, heard) in &mut self.heard {
            if heard.is_some_and(|heard| tick >= heard + silence_ticks) {
                *heard = None;
                silent.push(*node);
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_named_once() {
        let mut peers = Peers::default();
        peers.know(NodeId(2), 0);
        assert!(peers.fall_silent(15, 16).is_empty());
        assert_eq!(peers.fall_silent(16, 16), [NodeId(2)]);
        assert!(peers.fall_silent(40, 16).is_empty());
        peers.hear(NodeId(2), 41);
        assert_eq!(peers.fall_silent(57, 16), [NodeId(2)]);
    }

    #[test]
    fn a_word_to_rest_survives_the_wire() {
        let rest = Rest { term: 7, index: 99 };
        assert_eq!(Rest::decode(&rest.encode()), Some(rest));
        assert_eq!(Rest::decode(b"short"), None);
    }
}
