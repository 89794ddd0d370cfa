//! The deterministic simulator: three nodes in one thread, in virtual time, from one seed.
//!
//! It runs the real cores, and plays the shell around them: [`stator_consensus::Host`] with the real evaluator, the real log
//! (core, format, recovery) on a disk that loses what was not synced, the real applier and snapshots on the engine in memory, which
//! loses what was not flushed. The catalog and the four partitions of a table on three nodes (in some runs one of them on two, and one
//! on a single node), and tables that come and go; callers talk to partitions directly and follow the hints of those who do not lead,
//! for a server's routing and doors stay outside.
//!
//! ```text
//!  seed ──▶ plan (sizes, bounds, clocks, faults)
//!           queue of events ──▶ World::act ──▶ host turns · log operations · applies · reads · messages · callers · faults
//!                 ▲                  │
//!                 └── what follows ──┴──▶ invariants after each · trace and its hash · what was reached
//! ```
//!
//! # A run
//! Sixty virtual seconds of faults (crashes, power cuts, cut links, pauses, slow disks, failing engines, clocks that drift and
//! jump), then everything is mended: every partition has to serve within a bound, every item is read once more, replicas have to
//! come together. Then each item's history is checked for linearizability.
//!
//! # Map
//! - `world`: the loop. `time`, `rng`, `plan`, `trace`, [`Reached`]: what a run is made of, and what it comes to.
//! - `node`, `boot`: what a node keeps, how it begins, dies and comes back. `turn`: mailbox, turns, effects.
//! - `log_driver`, `apply`, `snapshots`, `reads`, `eventual`: the threads of a real node, as events. `network`, `callers`, `calling`, `faults`, `aimed`, `blackout`: the rest.
//! - `catalog`: tables made and deleted.
//! - [`run_many`]: seeds side by side. `invariants`: one file each. [`history`]: what callers saw, and the checker.
//!
//! # Replay
//! A seed gives the same run, event for event, under the same code and toolchain: nothing draws from anything but the seed, and
//! election timeouts inside raft-rs are constant, because each replica's range is one tick wide. (raft-rs iterates over maps with a
//! constant hasher, so a failing seed is noted with the toolchain it failed under.) A test runs a seed twice and compares the
//! hashes of the whole traces.
//!
//! # Blind spots
//! fjall's and sled's own threads are outside; they have crash tests of their own. Clocks drift by at most 1% of true time.

mod aimed;
mod apply;
mod blackout;
mod boot;
mod callers;
mod calling;
mod catalog;
mod evaluator;
mod eventual;
mod faults;
pub mod history;
mod invariants;
mod items;
mod log_driver;
mod many;
mod network;
mod node;
mod plan;
mod reached;
mod reads;
mod rng;
mod snapshots;
mod time;
mod trace;
mod turn;
mod world;

pub use invariants::Violation;
pub use many::{all_cores, run_many};
pub use reached::{REQUIRED, Reached};
pub use stator_storage::mutation;
pub use trace::Sink;

use std::panic::{AssertUnwindSafe, catch_unwind};

use trace::Trace;
use world::World;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The hash of its whole trace.
    pub hash: u64,
    /// How many events the trace has.
    pub events: u64,
    /// What was reached.
    pub reached: Reached,
    /// What failed, if something did.
    pub failure: Option<Violation>,
}

/// Runs a seed. Each line of the trace goes to `sink`, if there is one.
#[must_use]
pub fn run(seed: u64, sink: Option<Sink>) -> Outcome {
    let mut world = World::new(seed, Trace::new(sink));
    // Hosts keep panics of their groups to themselves; what gets here comes from the log, the engine or the simulator.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        world.fail(format!("it panicked: {}", text.unwrap_or("without a message")));
    }
    Outcome {
        seed,
        hash: world.trace.hash(),
        events: world.trace.lines(),
        reached: world.reached,
        failure: world.failure,
    }
}
