//! Opening what a node keeps, and finding the replicas in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use stator_consensus::{GroupId, Recovered};
use stator_storage::disk::RealDisk;
use stator_storage::engine::{
    Engine, EngineKind, EngineOptions, Opened, inspect, open as open_engine,
};
use stator_storage::log::{GroupRecovery, Log, LogOptions, Recovery};
use stator_storage::partition::spec::list_each_spec;
use stator_storage::partition::{AppliedRecord, Deletion, PartitionSpec, ReplicaState};
use stator_storage::{Error, Result};

use super::metered::MeteredDisk;
use crate::config::NodeConfig;
use crate::dir::{DataDir, free_bytes};
use crate::metrics::Metrics;
use crate::snapshots::files::SnapshotFiles;

/// The log and the engine of a node.
pub(crate) struct Stores {
    pub(crate) log: Arc<Log>,
    pub(crate) recovery: Recovery,
    pub(crate) engine: Arc<dyn Engine>,
    /// Where the former engine is, while this one is made anew and there was one.
    pub(crate) aside: Option<PathBuf>,
    /// Snapshots that have come, where any can.
    pub(crate) snapshots: Option<SnapshotFiles>,
    /// Keeps a directory in the temporary folder for as long as the stores are open.
    pub(crate) scratch: Option<tempfile::TempDir>,
}

/// Opens the stores of a data directory: the log first, because it leaves what it refuses as it was, and the engine may not. The
/// engine in memory has its log in a directory of its own that goes with the node. If it `is_rebuilt`,
/// the engine that is there is set aside, once.
pub(crate) fn open(
    config: &NodeConfig,
    dir: Option<&DataDir>,
    is_rebuilt: bool,
    salt: u64,
    metrics: &Arc<Metrics>,
) -> Result<Stores> {
    let plan = config.memory_plan();
    let options = LogOptions {
        segment_bytes: config.log_segment.bytes(),
        budget_bytes: config.log_budget.bytes(),
        pending_bytes: plan.log_buffers,
        salt,
        ..LogOptions::default()
    };
    let (log_dir, engine_dir, kind, scratch) = match dir {
        Some(dir) => (dir.log(), dir.engine(), config.engine, None),
        None => {
            let scratch = tempfile::tempdir()
                .map_err(|error| Error::io("making a temporary directory", &error))?;
            (scratch.path().to_owned(), PathBuf::new(), EngineKind::Memory, Some(scratch))
        }
    };
    if !is_rebuilt {
        inspect(&engine_dir, kind)?;
    }
    let begun = Instant::now();
    let opening = |error| Error::io(format!("opening {}", log_dir.display()), &error);
    let disk = MeteredDisk::new(RealDisk::open(&log_dir).map_err(opening)?, metrics.clone());
    let (log, recovery) =
        Log::open(Arc::new(disk), &options).map_err(|error| placed(error, &log_dir))?;
    let log_ms = begun.elapsed().as_millis();
    let rebuilt = dir.filter(|_| is_rebuilt);
    let aside = rebuilt.map(set_aside).transpose()?.flatten();
    let opened = open_engine(&engine_dir, kind, &engine_options(&plan));
    let opened =
        opened.inspect_err(|_| tracing::error!("the engine cannot be opened: {WAY_OUT}"))?;
    let engine = believed(opened)?;
    let engine_ms = begun.elapsed().as_millis() - log_ms;
    tracing::info!(log_ms, engine_ms, "log and engine are open");
    let snapshots = dir.map(|dir| open_snapshots(dir, config.min_free.bytes())).transpose()?;
    Ok(Stores { log: Arc::new(log), recovery, engine, aside, snapshots, scratch })
}

/// The log names its files; an operator wants their paths.
fn placed(error: Error, dir: &Path) -> Error {
    let path = |place: String| dir.join(place).display().to_string();
    match error {
        Error::Corruption { place, offset, message } => {
            Error::Corruption { place: path(place), offset, message }
        }
        Error::Version { place, found, known } => {
            Error::Version { place: path(place), found, known }
        }
        other => other,
    }
}

fn open_snapshots(dir: &DataDir, min_free: u64) -> Result<SnapshotFiles> {
    let path = dir.snapshots();
    let opening = |error| Error::io(format!("opening {}", path.display()), &error);
    let disk = RealDisk::open(&path).map_err(opening)?;
    let of = path.clone();
    // What cannot be asked is found out by writing.
    let has_room = move || free_bytes(&of).map_or(true, |free| free >= min_free);
    SnapshotFiles::open(Arc::new(disk), Box::new(has_room)).map_err(opening)
}

fn engine_options(plan: &crate::config::MemoryPlan) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.cache_bytes = plan.engine_cache;
    options.buffer_bytes = plan.engine_buffers;
    options
}

/// What an operator can do about an engine that is damaged or cannot be believed.
const WAY_OUT: &str = "a node of a cluster gets its data from the others: start it once with --rebuild-engine while the other nodes run";

/// Sets the former engine aside, and says so.
fn set_aside(dir: &DataDir) -> Result<Option<PathBuf>> {
    let aside = dir.begin_rebuild().map_err(|error| Error::Io {
        context: "setting the engine aside".to_owned(),
        kind: std::io::ErrorKind::Other,
        message: error.to_string(),
    })?;
    tracing::warn!(former = ?aside, "the engine is made anew from the other nodes");
    Ok(aside)
}

fn believed(opened: Opened) -> Result<Arc<dyn Engine>> {
    if opened.cut_bytes > 0 {
        tracing::warn!(
            bytes = opened.cut_bytes,
            "the engine's journal was cut at its last whole batch; the log has what was behind it"
        );
    }
    if opened.trusted {
        return Ok(opened.engine);
    }
    Err(Error::Engine(format!(
        "the machine stopped while this engine was open, and the engine cannot promise that nothing is missing; {WAY_OUT}; \
         see \"After a power cut\" in the README"
    )))
}

/// A replica found in the engine, and what the log knows of its group.
pub(crate) struct Found {
    pub(crate) spec: PartitionSpec,
    pub(crate) recovered: Recovered,
    /// It was begun, and the log has never heard of it.
    pub(crate) fresh: bool,
}

/// What was found: replicas to start, replicas whose deletion is to be finished, groups that are never to be made again, groups
/// that the log knows and the engine does not hold, and replicas whose records are damaged, with what is wrong: they alone do not
/// start.
#[derive(Default)]
pub(crate) struct Census {
    pub(crate) start: Vec<Found>,
    pub(crate) delete: Vec<Deletion>,
    pub(crate) removed: BTreeSet<GroupId>,
    pub(crate) lost: BTreeMap<GroupId, GroupRecovery>,
    pub(crate) failed: BTreeMap<GroupId, String>,
}

/// Finds the replicas of a node.
pub(crate) fn census(engine: &dyn Engine, recovery: &Recovery) -> Result<Census> {
    let mut census = Census::default();
    for (group, state) in &recovery.groups {
        if state.tombstone {
            census.removed.insert(*group);
        } else {
            census.lost.insert(*group, state.clone());
        }
    }
    let each = list_each_spec(engine)?;
    // Whose record is damaged owns a range that nobody knows: then nothing is deleted.
    let held: Result<Vec<PartitionSpec>> = each.iter().map(|(_, spec)| spec.clone()).collect();
    for (group, spec) in each {
        census.lost.remove(&group);
        let (spec, record) = match spec.and_then(|spec| with_record(engine, spec)) {
            Ok(whole) => whole,
            Err(error @ Error::Corruption { .. }) => {
                census.failed.insert(group, error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        let known = recovery.groups.get(&group);
        if census.removed.contains(&group) || record.state == ReplicaState::Deleting {
            if let Ok(held) = &held {
                census.delete.push(Deletion::new(held, spec));
            }
            continue;
        }
        let (recovered, fresh) = recovered(known, &record);
        census.start.push(Found { spec, recovered, fresh });
    }
    Ok(census)
}

fn with_record(engine: &dyn Engine, spec: PartitionSpec) -> Result<(PartitionSpec, AppliedRecord)> {
    let record = AppliedRecord::read(engine, spec.group)?.ok_or_else(|| {
        let place = format!("the replica of group {}", spec.group.0);
        Error::corruption(place, 0, "it has no applied record")
    })?;
    Ok((spec, record))
}

impl Census {
    /// Refuses an engine that does not hold a replica that the log knows: the engine hears of each before the log does, and keeps it
    /// until the log has heard that it is removed.
    pub(crate) fn whole(self) -> Result<Self> {
        let Some(first) = self.lost.keys().next() else { return Ok(self) };
        Err(Error::Engine(format!(
            "it does not hold {} of the replicas that the log knows, that of group {} among them: it was deleted, exchanged or \
             damaged; {WAY_OUT}",
            self.lost.len(),
            first.0
        )))
    }
}

fn recovered(known: Option<&GroupRecovery>, record: &AppliedRecord) -> (Recovered, bool) {
    let applied = (record.mark.index, record.mark.term);
    match known {
        Some(known) => (
            Recovered {
                term: known.hard_state.term,
                vote: known.hard_state.vote,
                commit: known.hard_state.commit,
                mark: (known.mark.index, known.mark.term),
                terms: known.terms.clone(),
                applied,
            },
            false,
        ),
        // The node died between beginning the replica and its first log record: it has promised nothing to anybody. One that has
        // applied more than that has lost its log, which starting it will say.
        None => (Recovered { applied, ..Recovered::fresh() }, true),
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
