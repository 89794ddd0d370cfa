//! When each other node was last heard, for those who ask how the cluster is doing.
//!
//! A node is heard when it answers, and with everything that comes over its stream of messages. Who only follows sends little by
//! itself, so silence alone accuses nobody: a node is suspected once it has left a question unanswered, and given up when it has
//! still not been heard [`DEAD_AFTER`] later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stator_consensus::NodeId;
use stator_proto::v1::Liveness;

/// How long a node that does not answer is only suspected: several elections fit into it.
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
    /// The first question that it has left unanswered since.
    missed_ns: Option<u64>,
}

impl Heard {
    pub(crate) fn new(since_ns: u64) -> Self {
        Self { since_ns, nodes: Mutex::default() }
    }

    /// Something came from a node.
    pub(crate) fn heard(&self, node: NodeId, now_ns: u64) {
        self.nodes().insert(node, Seen { heard_ns: now_ns, missed_ns: None });
    }

    /// A node did not answer in time.
    pub(crate) fn missed(&self, node: NodeId, now_ns: u64) {
        let mut nodes = self.nodes();
        let never = Seen { heard_ns: self.since_ns, missed_ns: None };
        nodes.entry(node).or_insert(never).missed_ns.get_or_insert(now_ns);
    }

    /// How a node is doing, and for how many milliseconds it has been silent: at least, if it was never heard.
    pub(crate) fn of(&self, node: NodeId, now_ns: u64) -> (Liveness, u64) {
        let nodes = self.nodes();
        let Some(seen) = nodes.get(&node) else {
            return (Liveness::Unspecified, ms(self.since_ns, now_ns));
        };
        let liveness = match seen.missed_ns {
            None => Liveness::Alive,
            Some(missed_ns) if u128::from(ms(missed_ns, now_ns)) < DEAD_AFTER.as_millis() => {
                Liveness::Suspect
            }
            Some(_) => Liveness::Dead,
        };
        (liveness, ms(seen.heard_ns, now_ns))
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
        // It was silent for long, but was not asked.
        assert_eq!(heard.of(NODE, at(100_000)), (Liveness::Alive, 99_800));
        heard.missed(NODE, at(100_000));
        assert_eq!(heard.of(NODE, at(100_000)), (Liveness::Suspect, 99_800));
        heard.missed(NODE, at(109_000));
        assert_eq!(heard.of(NODE, at(109_999)), (Liveness::Suspect, 109_799));
        assert_eq!(heard.of(NODE, at(110_000)), (Liveness::Dead, 109_800), "since the first");
        heard.heard(NODE, at(111_000));
        assert_eq!(heard.of(NODE, at(111_007)), (Liveness::Alive, 7));
        heard.missed(NODE, at(112_000));
        assert_eq!(heard.of(NODE, at(113_000)), (Liveness::Suspect, 2_000), "counted anew");
    }

    #[test]
    fn a_node_that_was_never_heard_is_silent_since_this_one_began() {
        let heard = Heard::new(at(100));
        heard.missed(NODE, at(1_100));
        assert_eq!(heard.of(NODE, at(1_100)), (Liveness::Suspect, 1_000));
        assert_eq!(heard.of(NODE, at(11_100)), (Liveness::Dead, 11_000));
    }
}
