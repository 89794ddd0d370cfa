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

/// A peer node: how many groups here have a replica there, and when it was last heard of, in ticks; `None` once its silence
/// has been told.
#[derive(Clone, Copy, Debug)]
struct Peer {
    groups: usize,
    heard: Option<u64>,
}

/// The nodes that hold replicas of the groups here.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    /// A group here has a replica there.
    pub(crate) fn join(&mut self, node: NodeId, tick: u64) {
        self.peers.entry(node).or_insert(Peer { groups: 0, heard: Some(tick) }).groups += 1;
    }

    /// A group here has a replica there no more.
    pub(crate) fn leave(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.groups -= 1;
            if peer.groups == 0 {
                self.peers.remove(&node);
            }
        }
    }

    /// A sign of life.
    pub(crate) fn hear(&mut self, node: NodeId, tick: u64) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = Some(tick);
        }
    }

    /// All nodes known.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// The nodes that have been silent for that many ticks now; each is named once until it is heard of again.
    pub(crate) fn fall_silent(&mut self, tick: u64, silence_ticks: u64) -> Vec<NodeId> {
        let mut silent = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.heard.is_some_and(|heard| tick >= heard + silence_ticks) {
                peer.heard = None;
                silent.push(*node);
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests;
