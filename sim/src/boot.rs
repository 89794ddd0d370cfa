//! How nodes begin, die and come back: by the real recovery of the log, and the same look at the engine as a real node takes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use stator_consensus::group::FIRST_MARK;
use stator_consensus::{Event, GroupId, Host, Recovered, ReplicaView, StartGroup};
use stator_storage::disk::{Crash, CrashDisk, Fault, FaultOp};
use stator_storage::engine::Engine;
use stator_storage::log::{GroupRecovery, Recovery, recover};
use stator_storage::machine::AppliedMark;
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::spec::list_specs;
use stator_storage::partition::{
    AppliedRecord, Deletion, PartitionApplier, PartitionEvaluator, PartitionSpec, ReplicaState,
    initialise,
};

use crate::evaluator::SimEvaluator;
use crate::faults::CrashKind;
use crate::invariants::durable_log::Shadow;
use crate::invariants::tables;
use crate::items::{founded, group_spec, groups, partition_spec};
use crate::node::{LogAccess, LogDriver, Process, Replica, Work};
use crate::snapshots::{install_again, take_for_installed};
use crate::time::{MS, Ns};
use crate::world::{Action, Step, World};

impl World {
    /// A node begins for the first time, with a replica of every group that is on it.
    pub(crate) fn found(&mut self, node: usize) {
        let engine = Arc::clone(&self.nodes[node].engine);
        let shape = self.plan.shape;
        let here = |group: &GroupId| {
            shape.members(*group).contains(&node) && shape.late() != Some((*group, node))
        };
        for group in founded().filter(here) {
            let spec = partition_spec(group, node, shape);
            let (index, term) = FIRST_MARK;
            let mark = AppliedMark { index, term, voters: spec.replicas() };
            if let Err(error) = initialise(engine.as_ref(), &spec, Some(&mark)) {
                self.fail(format!("node {node} cannot be made: {error}"));
            }
        }
        // What the engine knows of a replica must not be younger than what the log knows.
        if let Err(error) = engine.flush() {
            self.fail(format!("node {node} cannot be made: {error}"));
        }
        self.boot(node);
    }

    /// A replica without data begins, of a group that has run for a while (R14). If its node is down, it does later.
    pub(crate) fn begin_late(&mut self, group: GroupId, node: usize) {
        let spec = partition_spec(group, node, self.plan.shape);
        let state = &self.nodes[node];
        let is_up = state.process.is_some() && !state.paused;
        let engine = state.engine();
        if !is_up || initialise(engine.as_ref(), &spec, None).is_err() || engine.flush().is_err() {
            return self.queue.push(self.now + 50 * MS, Action::Late { group, node });
        }
        // A crash may have come between the two before.
        let is_there = state.process.as_ref().is_some_and(|it| it.replicas.contains_key(&group));
        if !is_there && let Err(what) = self.start_replica(node, spec, None, false) {
            self.fail(format!("node {node} cannot begin group {} late: {what}", group.0));
        }
        self.reached.one("replicas begun without data");
    }

    /// A process begins on what its node has kept.
    fn boot(&mut self, node: usize) {
        match self.recover_log(node) {
            Ok((access, recovery)) => {
                if let Err(what) = self.begin_process(node, access, &recovery) {
                    self.fail(format!("node {node} does not start: {what}"));
                }
            }
            Err(what) => self.fail(format!("node {node} does not start: {what}")),
        }
    }

    /// Recovers the log, perhaps with a crash in the middle of that.
    fn recover_log(&mut self, node: usize) -> Result<(LogAccess, Recovery), String> {
        let options = self.plan.log.clone();
        self.nodes[node].disk.heal();
        if self.rng.chance(150) {
            let op =
                self.rng.pick(&[FaultOp::Write, FaultOp::Sync, FaultOp::Create, FaultOp::SyncDir]);
            let kind = std::io::ErrorKind::Other;
            let after = self.rng.below(3);
            let disk = self.nodes[node].disk.clone();
            disk.fail(Fault { op, after, times: u64::MAX, kind });
            let is_cut_short = recover(Arc::new(disk.clone()), &options).is_err();
            disk.heal();
            if is_cut_short {
                self.reached.one("recoveries cut short");
                let crash = self.draw_crash();
                self.nodes[node].disk = disk.crash(crash);
            }
        }
        let state = &mut self.nodes[node];
        let recovered = recover(Arc::new(state.disk.clone()), &options);
        let (core, files, recovery) = recovered.map_err(|error| error.to_string())?;
        self.trace.note(self.now, format_args!("{node} recovered, torn: {}", recovery.torn));
        if recovery.torn {
            self.reached.one("torn tails");
        }
        let holds = if state.life > 0 { state.shadow.allows(&recovery.groups) } else { Ok(()) };
        state.shadow = Shadow::of(&recovery.groups);
        self.check("durable_log", holds);
        Ok((LogAccess { core: Mutex::new(core), files }, recovery))
    }

    fn begin_process(
        &mut self,
        node: usize,
        access: LogAccess,
        recovery: &Recovery,
    ) -> Result<(), String> {
        let access = Arc::new(access);
        let state = &mut self.nodes[node];
        state.life += 1;
        let engine = state.engine();
        let tombstones = recovery.groups.iter().filter(|(_, known)| known.tombstone);
        state.process = Some(Process {
            host: Host::new(self.plan.config, access.clone()),
            mailbox: Vec::new(),
            turn_due: false,
            log: LogDriver {
                access,
                write: None,
                stalled: VecDeque::new(),
                waiting: VecDeque::new(),
            },
            replicas: BTreeMap::new(),
            work: VecDeque::new(),
            working: false,
            installing: None,
            restoring: false,
            removed: tombstones.map(|(group, _)| (*group, true)).collect(),
            tombstones: BTreeSet::new(),
            removing: Vec::new(),
            is_making: false,
            readings: BTreeMap::new(),
            glances: BTreeMap::new(),
            sending: BTreeMap::new(),
        });
        let specs = list_specs(engine.as_ref()).map_err(|error| error.to_string())?;
        self.check("tables", tables::known(node, &recovery.groups, &specs));
        for spec in specs.clone() {
            let known = recovery.groups.get(&spec.group);
            let state = read_record(&engine, spec.group)?.state;
            if state == ReplicaState::Deleting || known.is_some_and(|known| known.tombstone) {
                let removed = self.nodes[node].process.as_mut().map(|process| &mut process.removed);
                removed.and_then(|removed| removed.insert(spec.group, true));
                self.give_work(node, Work::Delete(Box::new(Deletion::new(&specs, spec))));
                continue;
            }
            let holds = self.invariants.tables.made(node, spec.group);
            self.check("tables", holds);
            let is_fresh = known.is_none() && state != ReplicaState::AwaitingSnapshot;
            self.start_replica(node, spec, known, is_fresh)?;
        }
        let first_tick = self.rng.between(MS, 50 * MS);
        self.after(first_tick, node, Step::Tick);
        let first_flush = self.rng.between(MS, self.plan.flush_every);
        self.after(first_flush, node, Step::FlushBegin);
        let first_look = self.rng.between(MS, 50 * MS);
        self.after(first_look, node, Step::Catalog);
        self.pump_log(node);
        self.check_committed();
        Ok(())
    }

    /// Starts a replica that is in the engine.
    pub(crate) fn start_replica(
        &mut self,
        node: usize,
        spec: PartitionSpec,
        known: Option<&GroupRecovery>,
        fresh: bool,
    ) -> Result<(), String> {
        let group = spec.group;
        self.groups.insert(group);
        // A snapshot that was received may be lost for good; then the replica has to ask for another.
        let is_lost = self.rng.chance(200);
        let state = &mut self.nodes[node];
        let engine = state.engine();
        let begun = begin_replica(&engine, &state.snapshots, spec, known, is_lost)?;
        match begun.installed {
            Some(true) => self.reached.one("snapshots installed anew after a crash"),
            Some(false) => self.reached.one("received snapshots lost"),
            None => {}
        }
        let evaluator = SimEvaluator {
            inner: PartitionEvaluator::new(engine, begun.replica.spec.clone()),
            heard: Arc::clone(&self.heard),
            view: begun.replica.view.clone(),
            rng: self.rng.fork(),
        };
        let start = StartGroup {
            spec: group_spec(&begun.replica.spec),
            recovered: begun.recovered,
            fresh,
            evaluator,
            view: begun.replica.view.clone(),
        };
        if let Some(process) = &mut state.process {
            process.replicas.insert(group, begun.replica);
        }
        self.tell(node, Event::Start(Box::new(start)));
        Ok(())
    }

    /// A crash takes the process, and of what was not durable whatever its kind takes.
    pub(crate) fn crash(&mut self, node: usize, kind: CrashKind, down: Ns) {
        let crash = match kind {
            CrashKind::MidWrite => Crash::Prefix(self.rng.next()),
            CrashKind::Kill | CrashKind::PowerCut => self.draw_crash(),
        };
        let draw = self.rng.next();
        let state = &mut self.nodes[node];
        if state.process.take().is_none() {
            return;
        }
        let life = state.life;
        state.paused = false;
        state.full_times = 0;
        state.deferred.clear();
        self.tasks.end_of(node);
        let unsynced = state.disk.unsynced_writes();
        let mut lost = 0;
        match kind {
            CrashKind::Kill => {
                state.disk.heal();
                state.disk = state.disk.crash(Crash::KeepAll);
                state.snapshots = state.snapshots.crash(Crash::KeepAll);
                lost += state.engine.crash(0);
            }
            CrashKind::PowerCut | CrashKind::MidWrite => {
                state.disk.heal();
                state.disk = state.disk.crash(crash);
                state.snapshots = state.snapshots.crash(crash);
                lost += state.engine.crash(draw);
                let mut rng = self.rng.fork();
                state.clock.reboot(&mut rng);
                if unsynced > 0 && crash != Crash::KeepAll {
                    self.reached.one("unsynced writes lost");
                }
            }
        }
        self.reached.one("crashes");
        for group in groups() {
            let members = self.plan.shape.members(group);
            match members.len() {
                1 if members.contains(&node) => self.reached.one("crashes of an only voter"),
                2 if members.contains(&node) => self.reached.one("crashes of one of two voters"),
                _ => {}
            }
        }
        self.reached.add("engine batches lost", lost as u64);
        self.trace.note(
            self.now,
            format_args!(
                "{node} crash {kind:?} {crash:?}, {unsynced} writes not synced, {lost} batches lost"
            ),
        );
        self.check_damage(node);
        self.queue.push(self.now + down, Action::Restart { node, life });
    }

    fn draw_crash(&mut self) -> Crash {
        let seed = self.rng.next();
        match self.rng.below(6) {
            0 => Crash::LoseAll,
            1 => Crash::KeepAll,
            2 | 3 => Crash::Prefix(seed),
            _ => Crash::Pages(seed),
        }
    }

    pub(crate) fn restart(&mut self, node: usize, life: u64) {
        if self.nodes[node].process.is_none() && self.nodes[node].life == life {
            self.trace.note(self.now, format_args!("{node} starts again"));
            self.boot(node);
        }
    }

    /// On a copy of the disk that a crash has left: a damaged byte is refused, or was in nothing that is vouched for.
    fn check_damage(&mut self, node: usize) {
        let copy = self.nodes[node].disk.crash(Crash::KeepAll);
        let Some(name) = self.draw_segment(&copy) else { return };
        let written = copy.bytes(&name).unwrap_or_default();
        let Some(last) = written.iter().rposition(|byte| *byte != 0) else { return };
        let offset = self.rng.below(last as u64 + 1);
        let bit = 1u8 << self.rng.below(8);
        if !copy.damage(&name, offset, |byte| byte ^ bit) {
            return;
        }
        match recover(Arc::new(copy), &self.plan.log) {
            Ok((_, _, recovery)) => {
                let holds = self.nodes[node].shadow.allows_damaged(&recovery.groups);
                self.check(
                    "durable_log",
                    holds.map_err(|what| {
                        format!("damage at {offset} of {name} on node {node} is not seen: {what}")
                    }),
                );
            }
            Err(_) => self.reached.one("damage refused"),
        }
    }

    fn draw_segment(&mut self, disk: &CrashDisk) -> Option<String> {
        use stator_storage::disk::Disk as _;
        let names = disk.list().ok()?;
        (!names.is_empty()).then(|| names[self.rng.index(names.len())].clone())
    }
}

/// A replica that was found in the engine.
struct Begun {
    replica: Replica,
    recovered: Recovered,
    /// Whether a snapshot that had to be installed again was there.
    installed: Option<bool>,
}

fn begin_replica(
    engine: &Arc<dyn Engine>,
    snapshots: &CrashDisk,
    spec: PartitionSpec,
    known: Option<&GroupRecovery>,
    is_lost: bool,
) -> Result<Begun, String> {
    let group = spec.group;
    let spec = Arc::new(spec);
    let mut applier = PartitionApplier::open(Arc::clone(engine), spec.clone())
        .map_err(|error| error.to_string())?;
    let view = Arc::new(ReplicaView::default());
    let mut record = read_record(engine, group)?;
    let mut installed = None;
    if let Some(known) = known
        && record.mark.index < known.mark.index
    {
        let mark = (known.mark.index, known.mark.term);
        if planted(Mutation::InstallNotRedone) {
            take_for_installed(engine.as_ref(), snapshots, group, mark)?;
        } else if !is_lost {
            let installed = install_again(snapshots, &mut applier, group, mark);
            installed.map_err(|error| error.to_string())?;
        }
        installed = Some(!is_lost);
        record = read_record(engine, group)?;
    }
    if !record.is_complete() {
        // Items are as of different entries until so much is applied (R18).
        view.replace_data(record.complete_from);
        view.data_restored();
    }
    let applied = (record.mark.index, record.mark.term);
    let recovered = match known {
        Some(known) => Recovered {
            term: known.hard_state.term,
            vote: known.hard_state.vote,
            commit: known.hard_state.commit,
            mark: (known.mark.index, known.mark.term),
            terms: known.terms.clone(),
            applied,
        },
        // The node died between beginning the replica and its first log record: it has promised nothing to anybody.
        None if record.state == ReplicaState::AwaitingSnapshot => Recovered::default(),
        None => Recovered { applied, ..Recovered::fresh() },
    };
    let data = applier.data_generation();
    let replica = Replica { spec, view, data, applier, applied: applied.0, lacking: false };
    Ok(Begun { replica, recovered, installed })
}

fn read_record(engine: &Arc<dyn Engine>, group: GroupId) -> Result<AppliedRecord, String> {
    let record = AppliedRecord::read(engine.as_ref(), group).map_err(|error| error.to_string())?;
    record.ok_or_else(|| format!("group {} has no applied record", group.0))
}
