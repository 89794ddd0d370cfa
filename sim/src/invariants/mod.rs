//! What must hold at every moment of a run, one file each. A violation is a text that says what does not hold.

pub(crate) mod acknowledged;
pub(crate) mod committed;
pub(crate) mod counters;
pub(crate) mod durable_log;
pub(crate) mod leaders;
pub(crate) mod leases;
pub(crate) mod logs;
pub(crate) mod replicas;
pub(crate) mod stamps;

/// Whether an invariant holds, or what does not.
pub(crate) type Holds = Result<(), String>;

/// The invariants that remember something.
#[derive(Default)]
pub(crate) struct Invariants {
    pub(crate) leaders: leaders::Leaders,
    pub(crate) logs: logs::Logs,
    pub(crate) committed: committed::Committed,
    pub(crate) replicas: replicas::Replicas,
    pub(crate) acknowledged: acknowledged::Acknowledged,
    pub(crate) stamps: stamps::Stamps,
}
