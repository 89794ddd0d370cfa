//! What a seed decides before a run begins: sizes, bounds and habits, small enough for every bound to be met.

use std::time::Duration;

use stator_consensus::Config;
use stator_storage::log::LogOptions;

use crate::faults::Moment;
use crate::items::Shape;
use crate::rng::Rng;
use crate::time::{MS, Ns, SECOND};

/// How long faults go on.
pub(crate) const SAFETY_NS: Ns = 60 * SECOND;
/// Operations of a run at least: the phase of faults is drawn out until there are so many, to twice its length at most.
pub(crate) const OPERATIONS_MIN: u64 = 1000;
/// How long after the last fault every partition has to serve, and every item to be read.
pub(crate) const LIVENESS_NS: Ns = 20 * SECOND;
/// How long after that replicas have to be equal.
pub(crate) const SETTLE_NS: Ns = 5 * SECOND;

/// What a seed decides.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) log: LogOptions,
    /// Whether the engine has snapshots (R23).
    pub(crate) engine_snapshots: bool,
    pub(crate) callers: usize,
    /// Items that all callers fight for.
    pub(crate) contended: usize,
    /// Items that they seldom meet at.
    pub(crate) spread: usize,
    /// Of a thousand puts, how many are larger than a page.
    pub(crate) large_per_mille: u64,
    /// Bytes of a snapshot's chunk.
    pub(crate) chunk_bytes: usize,
    /// When callers rest, so that groups go to sleep.
    pub(crate) quiet: Option<(Ns, Ns)>,
    /// How long the engine is not flushed, at most.
    pub(crate) flush_every: Ns,
    pub(crate) shape: Shape,
    /// When all nodes lose their power, if they do.
    pub(crate) blackout: Moment,
    /// When the replica that begins late begins.
    pub(crate) late_at: Ns,
}

impl Plan {
    /// `more` is drawn from by what most runs do without, so that it changes nothing for them; and by the ranks.
    pub(crate) fn draw(rng: &mut Rng, more: &mut Rng) -> Self {
        let quiet = rng.chance(500).then(|| {
            let from = rng.between(10 * SECOND, 45 * SECOND);
            (from, from + rng.between(3 * SECOND, 6 * SECOND))
        });
        let large_per_mille = rng.pick(&[0, 50, 200]);
        Self {
            config: config(rng),
            log: log_options(rng, large_per_mille == 0),
            engine_snapshots: rng.chance(500),
            callers: rng.between(5, 8) as usize,
            contended: rng.between(2, 6) as usize,
            spread: rng.between(30, 80) as usize,
            large_per_mille,
            chunk_bytes: rng.pick(&[500, 2_000, 100_000]),
            quiet,
            flush_every: rng.pick(&[100 * MS, 500 * MS, 2 * SECOND]),
            shape: Shape { small: more.chance(400), late: more.chance(300), ranks: more.next() },
            blackout: more.pick(&[
                Moment::Any,
                Moment::Unsynced,
                Moment::Truncation,
                Moment::Tombstone,
                Moment::Installation,
            ]),
            late_at: more.between(2 * SECOND, 20 * SECOND),
        }
    }
}

fn config(rng: &mut Rng) -> Config {
    let config = Config {
        leases: rng.chance(900),
        sleep_ticks: rng.pick(&[0, 20, 40]),
        entry_bytes_max: rng.pick(&[4 << 10, 16 << 10]),
        in_flight_bytes_max: 64 << 10,
        host_in_flight_bytes_max: 128 << 10,
        waiting_max: rng.pick(&[6, 64]),
        waiting_bytes_max: 64 << 10,
        message_bytes_max: rng.pick(&[2 << 10, 16 << 10]),
        messages_in_flight_max: rng.pick(&[2, 64]),
        apply_bytes_max: rng.pick(&[1 << 10, 16 << 10]),
        apply_backlog_bytes_max: rng.pick(&[4 << 10, 64 << 10]),
        cache_bytes_max: rng.pick(&[0, 2 << 10, 1 << 20]),
        host_cache_bytes_max: 4 << 20,
        truncate_entries: rng.pick(&[8, 32, 128]),
        snapshot_ticks: 100,
        snapshot_log_bytes_max: rng.pick(&[2 << 10, 1 << 20]),
        drift_margin: Duration::from_millis(25),
        ..Config::default()
    };
    config.validate().expect("the simulator's own table is sound");
    config
}

/// Small segments hold small records only.
fn log_options(rng: &mut Rng, small: bool) -> LogOptions {
    let sizes =
        if small { [64 << 10, 64 << 10, 128 << 10] } else { [128 << 10, 256 << 10, 512 << 10] };
    let segment_bytes = rng.pick(&sizes);
    LogOptions {
        segment_bytes,
        budget_bytes: 8 * segment_bytes,
        pending_bytes: segment_bytes / 2,
        pending_batches: 4096,
        spare_segments: 2,
        salt: rng.next(),
    }
}
