//! When each other node was last heard, for those who ask how the cluster is doing.
//!
//! A node is heard when it answers, and with everything that comes over its stream of messages. Who only follows sends little by
//! itself, so silence alone accuses nobody: a node that leaves a question unanswered is suspected, and given up if nothing has come
//! from it for [`DEAD_AFTER`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stator_consensus::NodeId;
use stator_proto::v1::Liveness;

/// How long a node that does not answer has to have been silent to be given up: several elections fit into it.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// All times are the node's monotonic clock's, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Nobody was heard before.
    since_ns: u64,
    nodes: Mutex<BTreeMap<NodeId, Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    heard_ns: u64,
    /// Whether it has left a question unanswered since.
    missed: bool,
}

impl Heard {
    pub(crate) fn new(since_ns: u64) -> Self {
        Self { since_ns, nodes: Mutex::default() }
    }

    /// Something came from a node.
    pub(crate) fn heard(&self, node: NodeId, now_ns: u64) {
        self.nodes().insert(node, Seen { heard_ns: now_ns, missed: false });
    }

    /// A node did not answer in time.
    pub(crate) fn missed(&self, node: NodeId) {
        let never = Seen { heard_ns: self.since_ns, missed: false };
        self.nodes().entry(node).or_insert(never).missed = true;
    }

    /// How a node is doing, and for how many milliseconds it has been silent: at least, if it was never heard.
    pub(crate) fn of(&self, node: NodeId, now_ns: u64) -> (Liveness, u64) {
        let nodes = self.nodes();
        let Some(seen) = nodes.get(&node) else {
            return (Liveness::Unspecified, ms(self.since_ns, now_ns));
        };
        let silent_ms = ms(seen.heard_ns, now_ns);
        let liveness = match seen.missed {
            false => Liveness::Alive,
            true if u128::from(silent_ms) < DEAD_AFTER.as_millis() => Liveness::Suspect,
            true => Liveness::Dead,
        };
        (liveness, silent_ms)
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Seen>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn ms(from_ns: u64, to_ns: u64) -> u64 {
    to_ns.saturating_sub(from_ns) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);

    const fn at(ms: u64) -> u64 {
        ms * 1_000_000
    }

    #[test]
    fn a_node_that_does_not_answer_is_suspected_and_then_given_up() {
        let heard = Heard::new(at(100));
        assert_eq!(heard.of(NODE, at(150)), (Liveness::Unspecified, 50), "nobody knows");
        heard.heard(NODE, at(200));
        assert_eq!(heard.of(NODE, at(200)), (Liveness::Alive, 0));
        assert_eq!(heard.of(NODE, at(100_000)), (Liveness::Alive, 99_800), "it was not asked");
        heard.heard(NODE, at(101_000));
        heard.missed(NODE);
        assert_eq!(heard.of(NODE, at(101_007)), (Liveness::Suspect, 7));
        heard.missed(NODE);
        assert_eq!(heard.of(NODE, at(110_999)), (Liveness::Suspect, 9_999));
        assert_eq!(heard.of(NODE, at(111_000)), (Liveness::Dead, 10_000));
        heard.heard(NODE, at(112_000));
        assert_eq!(heard.of(NODE, at(112_007)), (Liveness::Alive, 7));
    }

    #[test]
    fn a_node_that_was_never_heard_is_silent_since_this_one_began() {
        let heard = Heard::new(at(100));
        heard.missed(NODE);
        assert_eq!(heard.of(NODE, at(1_100)), (Liveness::Suspect, 1_000));
        assert_eq!(heard.of(NODE, at(11_100)), (Liveness::Dead, 11_000));
    }
}
