//! All nodes lose their power at once, at the worst moments: what no quorum has synced is lost everywhere, or nowhere.

use stator_storage::log::{DiskOp, Record};

use crate::faults::{CrashKind, Moment};
use crate::items::NODES;
use crate::node::Node;
use crate::time::{MS, SECOND};
use crate::world::World;

/// What the power cuts of a run are counted by.
const MOMENTS: [(Moment, &str); 4] = [
    (Moment::Unsynced, "power cuts of all nodes before a sync"),
    (Moment::Truncation, "power cuts of all nodes in a truncation"),
    (Moment::Tombstone, "power cuts of all nodes before a tombstone is synced"),
    (Moment::Installation, "power cuts of all nodes in an installation"),
];

impl World {
    /// Whether the power goes now, because a node is where it waited for one to be.
    pub(crate) fn blacks_out(&mut self, node: usize) -> bool {
        let is_now = self.blackout.is_some_and(|moment| is_at(&self.nodes[node], moment));
        if is_now {
            self.black_out();
        }
        is_now
    }

    /// The power goes everywhere.
    pub(crate) fn black_out(&mut self) {
        self.blackout = None;
        self.reached.one("power cuts of all nodes");
        for (moment, name) in MOMENTS {
            if self.nodes.iter().any(|node| is_at(node, moment)) {
                self.reached.one(name);
            }
        }
        for node in 0..NODES {
            let down = self.rng.between(50 * MS, 2 * SECOND);
            self.crash(node, CrashKind::PowerCut, down);
        }
    }
}

fn is_at(node: &Node, moment: Moment) -> bool {
    let Some(process) = &node.process else { return false };
    if moment == Moment::Installation {
        return process.installing.as_ref().is_some_and(|installing| installing.begun);
    }
    let Some((write, done)) = &process.log.write else { return false };
    let last = done.checked_sub(1).and_then(|last| write.ops.get(last));
    let is_unsynced = matches!(last, Some(DiskOp::Write { .. }))
        && matches!(write.ops.get(*done), Some(DiskOp::Sync { .. }));
    let Some(number) = write.number().filter(|_| is_unsynced) else { return false };
    let has = |is_one: fn(&Record) -> bool| node.shadow.is_under_way(number, is_one);
    match moment {
        Moment::Any | Moment::Unsynced | Moment::Installation => true,
        Moment::Truncation => has(|record| matches!(record, Record::Truncate { .. })),
        Moment::Tombstone => has(|record| matches!(record, Record::Tombstone { .. })),
    }
}
