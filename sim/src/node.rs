//! A simulated node: what outlives a crash, and the process that does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use stator_consensus::lease::ReadTicket;
use stator_consensus::{
    ApplyJob, Event, GroupId, Host, InstallJob, LogReader, PeerMessage, ReplicaId, ReplicaView,
};
use stator_storage::disk::CrashDisk;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::engine::{Batch, Change, Direction, Engine, EngineSize, Isolation, Reader};
use stator_storage::engine::{KeyRange, Visitor};
use stator_storage::key::EngineKey;
use stator_storage::log::{Files, LogCore, LogEntry, Record, Write, read_entries};
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::generation::Noted;
use stator_storage::partition::{
    DataGeneration, Deletion, PartitionApplier, PartitionSpec, SnapshotWriter,
};

use crate::catalog::carry::OrderOf;
use crate::catalog::replicas::Removed;
use crate::evaluator::SimEvaluator;
use crate::eventual::Glance;
use crate::invariants::durable_log::Shadow;
use crate::time::{NodeClock, Ns};
use crate::world::Action;

/// Whom a host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A caller's attempt at a write.
    Write(u64),
    /// A read that waits for a quorum.
    Read(u64),
    /// A task's attempt at a request.
    Task(u64),
}

/// What happens to a simulated host.
pub(crate) type HostEvent = Event<SimEvaluator, Token>;

/// A node.
pub(crate) struct Node {
    pub(crate) clock: NodeClock,
    /// The log's directory.
    pub(crate) disk: CrashDisk,
    /// Where received snapshots are kept.
    pub(crate) snapshots: CrashDisk,
    pub(crate) engine: Arc<MemoryEngine>,
    /// What the log has promised.
    pub(crate) shadow: Shadow,
    pub(crate) process: Option<Process>,
    /// Counts the processes there were; steps of former ones are void.
    pub(crate) life: u64,
    pub(crate) paused: bool,
    /// What came while the process was paused.
    pub(crate) deferred: Vec<Action>,
    /// The power goes before the next sync of the log.
    pub(crate) tears: bool,
    /// The process is paused for so long once a read has looked at its lease.
    pub(crate) pauses_at_read: Option<Ns>,
    /// The engine fails once a read has looked at its lease.
    pub(crate) engine_fails_at_read: bool,
    /// The power goes as soon as a replica here is elected.
    pub(crate) dies_elected: bool,
    /// How often the engine, opened again, still finds its disk full.
    pub(crate) full_times: u64,
    pub(crate) slow_disk_until: Ns,
    pub(crate) slow_engine_until: Ns,
}

impl Node {
    /// The engine as the process sees it.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        if planted(Mutation::AppliedApart) {
            return Arc::new(AppliedApart(Arc::clone(&self.engine)));
        }
        Arc::clone(&self.engine) as Arc<dyn Engine>
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) host: Host<SimEvaluator, Token>,
    pub(crate) mailbox: Vec<HostEvent>,
    /// Whether a turn is on its way.
    pub(crate) turn_due: bool,
    pub(crate) log: LogDriver,
    pub(crate) replicas: BTreeMap<GroupId, Replica>,
    /// What waits for the apply thread.
    pub(crate) work: VecDeque<Work>,
    /// Whether the apply thread is at work.
    pub(crate) working: bool,
    pub(crate) installing: Option<Installing>,
    /// Whether the engine was opened again, and what it lost is still to be applied.
    pub(crate) restoring: bool,
    /// Replicas that were removed from here.
    pub(crate) removed: Removed,
    /// Of these, those that the log has synced a tombstone of.
    pub(crate) tombstones: BTreeSet<GroupId>,
    /// Removals that wait for that.
    pub(crate) removing: Vec<(GroupId, OrderOf)>,
    /// Whether a replica is being made.
    pub(crate) is_making: bool,
    pub(crate) readings: BTreeMap<u64, Reading>,
    pub(crate) glances: BTreeMap<u64, Glance>,
    pub(crate) sending: BTreeMap<GroupId, Sending>,
}

/// A replica.
pub(crate) struct Replica {
    pub(crate) spec: Arc<PartitionSpec>,
    pub(crate) view: Arc<ReplicaView>,
    pub(crate) data: Arc<DataGeneration>,
    pub(crate) applier: PartitionApplier,
    /// The last entry applied.
    pub(crate) applied: u64,
    /// The engine lost some of it, and the log has been reset to a snapshot that is on its way.
    pub(crate) lacking: bool,
}

/// What the apply thread does.
#[derive(Debug)]
pub(crate) enum Work {
    Apply(ApplyJob),
    Install(InstallJob),
    /// A replica is removed for good, on this order.
    Remove(GroupId, OrderOf),
    /// What is left of a removed replica is deleted.
    Delete(Box<Deletion>),
}

/// A snapshot that is being installed.
#[derive(Debug)]
pub(crate) struct Installing {
    pub(crate) group: GroupId,
    pub(crate) frames: VecDeque<Bytes>,
    pub(crate) begun: bool,
    pub(crate) cleared: bool,
}

/// A snapshot for a follower.
pub(crate) struct Sending {
    pub(crate) to: ReplicaId,
    pub(crate) writer: Option<SnapshotWriter>,
    pub(crate) frames: Vec<Bytes>,
}

/// A strong read: check, engine read and second look are steps of their own (R23).
pub(crate) struct Reading {
    pub(crate) attempt: u64,
    pub(crate) group: GroupId,
    pub(crate) key: stator_model::key::Key,
    pub(crate) deadline_ns: u64,
    pub(crate) tries: u32,
    /// What was noted before the engine is read.
    pub(crate) noted: Option<NotedBefore>,
    pub(crate) found: Option<Option<stator_model::EncodedItem>>,
}

/// What a reader notes before it reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotedBefore {
    pub(crate) leased: Option<ReadTicket>,
    pub(crate) unleased: ReadTicket,
    pub(crate) data: Noted,
}

/// Drives the log's core: one operation on the disk after another, each an event.
pub(crate) struct LogDriver {
    pub(crate) access: Arc<LogAccess>,
    /// The write under way, and how many of its operations are done.
    pub(crate) write: Option<(Write, usize)>,
    /// Turns whose records the log has no room for.
    pub(crate) stalled: VecDeque<(u64, Vec<Record>)>,
    /// Turns whose batches wait, with the numbers of their writes.
    pub(crate) waiting: VecDeque<(u64, u64)>,
}

/// The log as the host and the apply thread read it.
pub(crate) struct LogAccess {
    pub(crate) core: Mutex<LogCore>,
    pub(crate) files: Files,
}

impl LogAccess {
    pub(crate) fn core(&self) -> MutexGuard<'_, LogCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader for LogAccess {
    fn entries(
        &self,
        group: GroupId,
        range: Range<u64>,
        bytes_max: u64,
    ) -> stator_storage::Result<Vec<LogEntry>> {
        read_entries(&self.files, group, || {
            let core = self.core();
            let located = core.locate(group, range.clone(), bytes_max)?;
            Ok(located.into_iter().filter_map(|at| core.source(at)).collect())
        })
    }
}

/// A message with a snapshot's frames before it.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotParcel {
    pub(crate) message: PeerMessage,
    pub(crate) frames: Vec<Bytes>,
}

/// A planted bug: the applied record goes into the engine in a batch of its own, before the data.
struct AppliedApart(Arc<MemoryEngine>);

impl Reader for AppliedApart {
    fn get(&self, key: &[u8]) -> stator_storage::Result<Option<Bytes>> {
        self.0.get(key)
    }

    fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut Visitor<'_>,
    ) -> stator_storage::Result<()> {
        self.0.scan(range, direction, visit)
    }
}

impl Engine for AppliedApart {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn write(&self, batch: &Batch) -> stator_storage::Result<()> {
        let is_record = |change: &Change| {
            matches!(EngineKey::decode(change.key()), Ok(EngineKey::Applied { .. }))
        };
        let (records, rest) = batch.changes.iter().cloned().partition(is_record);
        self.0.write(&Batch { changes: records })?;
        self.0.write(&Batch { changes: rest })
    }

    fn flush(&self) -> stator_storage::Result<()> {
        self.0.flush()
    }

    fn snapshot(&self) -> Option<Box<dyn Reader>> {
        self.0.snapshot()
    }

    fn isolation(&self) -> Isolation {
        self.0.isolation()
    }

    fn size(&self) -> EngineSize {
        self.0.size()
    }

    fn reopen(&self) -> stator_storage::Result<()> {
        self.0.reopen()
    }
}
