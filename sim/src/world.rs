//! The world of a run: everything there is, and the loop that lets one thing happen after another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use stator_consensus::{GroupId, PeerMessage};
use stator_storage::disk::CrashDisk;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::partition::PartitionSpec;

use crate::callers::{Callers, Reply};
use crate::catalog::carry::{Errand, OrderOf, Tasks};
use crate::catalog::orders::Done;
use crate::evaluator::Heard;
use crate::eventual::Eventual;
use crate::faults::{Fault, Moment};
use crate::invariants::durable_log::Shadow;
use crate::invariants::{Holds, Invariants, Violation, committed, leases, replicas};
use crate::items::{NODES, founded};
use crate::network::Network;
use crate::node::{Node, SnapshotParcel};
use crate::plan::{LIVENESS_NS, OPERATIONS_MIN, Plan, SAFETY_NS, SETTLE_NS};
use crate::reached::Reached;
use crate::rng::Rng;
use crate::time::{MS, NodeClock, Ns, Queue, SECOND};
use crate::trace::Trace;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Action {
    /// A step of a process; void if that process is no more.
    Step { node: usize, life: u64, step: Step },
    /// A peer's message arrives.
    Message { from: usize, to: usize, message: PeerMessage },
    /// A sign of life arrives.
    Ping { from: usize, to: usize },
    /// A snapshot has arrived.
    Snapshot { from: usize, to: usize, parcel: Box<SnapshotParcel> },
    /// The sender hears how the sending of a snapshot ended.
    SnapshotEnd { from: usize, life: u64, message: Box<PeerMessage>, arrived: bool },
    /// A caller's request arrives.
    Request { node: usize, attempt: u64 },
    /// A caller is answered.
    Reply { attempt: u64, reply: Box<Reply> },
    /// Somebody reads from any replica.
    Glance,
    /// A caller does something.
    Caller { caller: usize },
    /// A caller sends a call again.
    Again { call: u64 },
    /// A caller has waited too long.
    Impatience { caller: usize, call: u64 },
    /// Something came of a task's order.
    OrderDone { of: OrderOf, done: Box<Done> },
    /// A task wants something done at a node, in this life of it.
    Errand { node: usize, life: u64, of: OrderOf, errand: Errand },
    /// A task's request arrives.
    Asked { node: usize, attempt: u64 },
    /// A task's request is sent again.
    AskAgain { attempt: u64 },
    /// A fault begins.
    Fault(Fault),
    /// A fault ends.
    Mend(Fault),
    /// A replica without data begins.
    Late { group: GroupId, node: usize },
    /// A node starts again.
    Restart { node: usize, life: u64 },
    /// A paused process goes on.
    Resume { node: usize, life: u64 },
}

/// A step of a process.
#[derive(Debug)]
pub(crate) enum Step {
    Tick,
    Turn,
    /// The next operation of the log's write is done.
    Log,
    /// The apply thread does the next piece of work.
    Apply,
    FlushBegin,
    FlushEnd(Vec<(GroupId, u64)>),
    /// A strong read goes on.
    Read(u64),
    /// An eventually consistent read goes on.
    Glance(u64),
    /// A snapshot for a follower is read on.
    Cut(GroupId),
    /// The node looks at the catalog.
    Catalog,
    /// A replica is in the engine.
    Made(OrderOf, Box<PartitionSpec>, bool),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Safety,
    Liveness,
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: Ns,
    pub(crate) queue: Queue<Action>,
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) phase: Phase,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) callers: Callers,
    pub(crate) eventual: Eventual,
    pub(crate) tasks: Tasks,
    /// All groups that there are or were.
    pub(crate) groups: BTreeSet<GroupId>,
    pub(crate) invariants: Invariants,
    pub(crate) heard: Arc<Heard>,
    pub(crate) reached: Reached,
    pub(crate) trace: Trace,
    pub(crate) failure: Option<Violation>,
    /// What the power waits for before it goes everywhere.
    pub(crate) blackout: Option<Moment>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let mut more = Rng::new(seed ^ 0x6d6f_7265);
        let plan = Plan::draw(&mut rng, &mut more);
        let nodes = (0..NODES).map(|_| new_node(&plan, &mut rng)).collect();
        let mut world = Self {
            now: 0,
            queue: Queue::new(),
            network: Network::new(rng.fork()),
            callers: Callers::new(rng.fork(), &plan),
            eventual: Eventual::new(seed),
            tasks: Tasks::default(),
            groups: founded().collect(),
            rng,
            plan,
            phase: Phase::Safety,
            nodes,
            invariants: Invariants::default(),
            heard: Arc::default(),
            reached: Reached::default(),
            trace,
            failure: None,
            blackout: None,
        };
        world.trace.note(0, format_args!("seed {seed}, {:?}", world.plan));
        world
    }

    /// Runs both phases, and checks the histories. The world says afterwards what failed, if something did.
    pub(crate) fn run(&mut self) {
        for node in 0..NODES {
            self.found(node);
        }
        self.plan_faults();
        if let Some((group, node)) = self.plan.shape.late() {
            self.queue.push(self.plan.late_at, Action::Late { group, node });
        }
        for caller in 0..self.plan.callers {
            self.queue.push(SECOND + caller as Ns, Action::Caller { caller });
        }
        self.begin_stories();
        self.queue.push(SECOND, Action::Glance);
        self.run_until(SAFETY_NS);
        while self.callers.finished() < OPERATIONS_MIN
            && self.now < 2 * SAFETY_NS
            && self.failure.is_none()
        {
            self.run_until(self.now + SECOND);
        }
        self.phase = Phase::Liveness;
        self.make_whole();
        self.callers.begin_last_reads();
        let bound = self.now + LIVENESS_NS;
        let is_done = |world: &Self| world.callers.is_done() && world.tasks.are_over();
        while self.now < bound && !is_done(self) && self.failure.is_none() {
            self.run_until(self.now + SECOND);
        }
        if !is_done(self) {
            let open = self.callers.open_calls();
            self.violated(
                "liveness",
                format!("{LIVENESS_NS} ns after the last fault not everything is served: {open}"),
            );
        }
        self.run_until(self.now + SETTLE_NS);
        // The catalog is written to until every table is made or gone.
        let bound = self.now + LIVENESS_NS;
        while self.now < bound && !self.is_settled() && self.failure.is_none() {
            self.run_until(self.now + SECOND);
        }
        self.check_rest();
        self.reached.add("overlay conflicts", self.heard.conflicts.load(Relaxed));
        self.reached.add("entries taken back", self.heard.refused.load(Relaxed));
        self.reached.add("operations", self.callers.finished());
    }

    fn run_until(&mut self, end: Ns) {
        while self.failure.is_none() {
            match self.queue.pop() {
                Some((at, action)) if at < end => {
                    self.now = at;
                    self.act(action);
                }
                Some((at, action)) => {
                    // Behind whatever was asked for at that time already: order at equal times is not kept over the end of a
                    // phase, and the same in every run.
                    self.queue.push(at, action);
                    self.now = end;
                    return;
                }
                None => {
                    self.violated("liveness", "nothing happens any more".to_owned());
                }
            }
        }
    }

    /// What each replica of a group has applied.
    fn applied(&self, group: GroupId) -> Vec<u64> {
        let processes = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let statuses = processes.filter_map(|process| process.host.status(group));
        statuses.map(|status| status.applied).collect()
    }

    fn is_settled(&self) -> bool {
        let is_one = |group: &GroupId| replicas::settled(*group, &self.applied(*group)).is_ok();
        self.groups.iter().all(is_one) && self.table_holds().is_ok()
    }

    /// In the end replicas are equal and histories make sense.
    fn check_rest(&mut self) {
        for group in self.groups.clone() {
            self.check("liveness", replicas::settled(group, &self.applied(group)));
            for node in 0..NODES {
                self.compare_replica(node, group);
            }
        }
        let holds = self.table_holds();
        self.check("tables", holds);
        if self.failure.is_none() {
            let holds = self.callers.check_histories();
            self.check("histories", holds);
        }
    }

    /// An invariant that does not hold ends the run.
    pub(crate) fn check(&mut self, invariant: &'static str, holds: Holds) {
        if let Err(what) = holds {
            self.violated(invariant, what);
        }
    }

    /// Something stops, or does not start, that none of the faults of a run may stop.
    pub(crate) fn fail(&mut self, what: String) {
        self.violated("no_fault", what);
    }

    pub(crate) fn violated(&mut self, invariant: &'static str, what: String) {
        if self.failure.is_none() {
            self.trace.note(self.now, format_args!("FAILURE {what}"));
            self.failure = Some(Violation { invariant, at_ms: self.now / MS, what });
        }
    }

    fn act(&mut self, action: Action) {
        let Some(action) = self.admit(action) else { return };
        match action {
            Action::Step { node, step, .. } => self.step(node, step),
            Action::Message { from, to, message } => {
                self.trace.note(
                    self.now,
                    format_args!(
                        "{from}->{to} {:?} of group {} {:x}",
                        message.class,
                        message.group.0,
                        crate::items::short(&message.payload)
                    ),
                );
                self.tell(to, stator_consensus::Event::Message(message));
            }
            Action::Ping { from, to } => {
                self.tell(to, stator_consensus::Event::Ping(crate::items::node_id(from)));
            }
            Action::Snapshot { from, to, parcel } => self.snapshot_arrives(from, to, *parcel),
            Action::SnapshotEnd { from, message, arrived, .. } => {
                self.snapshot_ended(from, &message, arrived);
            }
            Action::Request { node, attempt } => self.request_arrives(node, attempt),
            Action::Reply { attempt, reply } => self.reply_arrives(attempt, &reply),
            Action::Glance => self.glance(),
            Action::Caller { caller } => self.caller_acts(caller),
            Action::Again { call } => self.again(call),
            Action::Impatience { caller, call } => self.caller_gives_up(caller, call),
            Action::OrderDone { of, done } => self.order_done(of, *done),
            Action::Errand { node, of, errand, .. } => self.errand_arrives(node, of, errand),
            Action::Asked { node, attempt } => self.asked_arrives(node, attempt),
            Action::AskAgain { attempt } => self.ask_again(attempt),
            Action::Fault(fault) => self.strike(fault),
            Action::Mend(fault) => self.mend(&fault),
            Action::Late { group, node } => self.begin_late(group, node),
            Action::Restart { node, life } => self.restart(node, life),
            Action::Resume { node, life } => self.resume(node, life),
        }
    }

    /// What happens to a process that is no more does not happen; what happens to one that is paused happens when it goes on.
    fn admit(&mut self, action: Action) -> Option<Action> {
        let (at, life) = match &action {
            Action::Step { node, life, .. } => (*node, Some(*life)),
            Action::SnapshotEnd { from, life, .. } => (*from, Some(*life)),
            Action::Message { to, .. } | Action::Ping { to, .. } | Action::Snapshot { to, .. } => {
                (*to, None)
            }
            Action::Request { node, .. } | Action::Asked { node, .. } => (*node, None),
            Action::Errand { node, life, .. } => (*node, Some(*life)),
            Action::OrderDone { of, .. } => match of.home {
                Some((node, life)) => (node, Some(life)),
                None => return Some(action),
            },
            _ => return Some(action),
        };
        let node = &mut self.nodes[at];
        if node.process.is_none() || life.is_some_and(|life| life != node.life) {
            return None;
        }
        if node.paused {
            node.deferred.push(action);
            return None;
        }
        Some(action)
    }

    fn step(&mut self, node: usize, step: Step) {
        match step {
            Step::Tick => self.tick(node),
            Step::Turn => self.turn(node),
            Step::Log => self.log_step(node),
            Step::Apply => self.apply_step(node),
            Step::FlushBegin => self.flush_begins(node),
            Step::FlushEnd(applied) => self.flush_ends(node, &applied),
            Step::Read(reading) => self.read_step(node, reading),
            Step::Glance(id) => self.glance_step(node, id),
            Step::Cut(group) => self.cut_snapshot(node, group),
            Step::Catalog => self.look_at_catalog(node),
            Step::Made(of, spec, fresh) => self.replica_made(node, of, &spec, fresh),
        }
    }

    /// Something that a process will do.
    pub(crate) fn after(&mut self, delay: Ns, node: usize, step: Step) {
        let life = self.nodes[node].life;
        self.queue.push(self.now + delay, Action::Step { node, life, step });
    }

    /// Leases and leaders, after something happened.
    pub(crate) fn check_leases(&mut self) {
        for group in self.groups.clone() {
            let mut stands =
                [leases::Stand { node: 0, leads: None, leased: false, term: 0 }; NODES];
            // Who votes alone leads before its vote is synced, but nobody hears of it before it serves.
            let is_alone = self.plan.shape.members(group).len() == 1;
            for (at, node) in self.nodes.iter().enumerate() {
                stands[at].node = at;
                let Some(process) = &node.process else { continue };
                let Some(status) = process.host.status(group) else { continue };
                let now_ns = node.clock.monotonic_ns(self.now);
                stands[at].term = status.term;
                let leads = status.leads && (status.serves || !is_alone);
                stands[at].leads = leads.then_some(status.term);
                stands[at].leased = process
                    .replicas
                    .get(&group)
                    .is_some_and(|replica| replica.view.begin(now_ns).is_some());
            }
            for stand in stands {
                if let Some(term) = stand.leads {
                    let life = self.nodes[stand.node].life;
                    let holds = self.invariants.leaders.leads(group, term, stand.node, life);
                    self.check("leaders", holds);
                }
            }
            self.check("leases", leases::exclusive(group, &stands));
        }
    }

    /// With all nodes up, a quorum's logs hold what was committed.
    pub(crate) fn check_committed(&mut self) {
        if self.nodes.iter().any(|node| node.process.is_none()) {
            return;
        }
        for group in founded() {
            let Some((index, term)) = self.invariants.committed.last(group) else { continue };
            let holders: Vec<bool> = self
                .plan
                .shape
                .members(group)
                .into_iter()
                .filter_map(|node| self.nodes[node].process.as_ref())
                .map(|process| {
                    let core = process.log.access.core();
                    core.term(group, index) == Some(term)
                        || core.mark(group).is_some_and(|mark| mark.index >= index)
                })
                .collect();
            let holds = committed::Committed::held(&self.invariants.committed, group, &holders);
            self.check("committed", holds);
        }
    }
}

fn new_node(plan: &Plan, rng: &mut Rng) -> Node {
    let engine =
        if plan.engine_snapshots { MemoryEngine::new() } else { MemoryEngine::without_snapshots() };
    Node {
        clock: NodeClock::draw(rng),
        disk: CrashDisk::new(),
        snapshots: CrashDisk::new(),
        engine: Arc::new(engine),
        shadow: Shadow::default(),
        process: None,
        life: 0,
        paused: false,
        deferred: Vec::new(),
        tears: false,
        pauses_at_read: None,
        engine_fails_at_read: false,
        dies_elected: false,
        full_times: 0,
        slow_disk_until: 0,
        slow_engine_until: 0,
    }
}
