//! Carries out what tasks order, each order a few events: on its way, done, and the word of it on its way back.

use std::collections::BTreeMap;

use stator_consensus::{Event, GroupId, Refusal};
use stator_model::read::PreparedQuery;
use stator_model::write::PreparedWrite;
use stator_storage::partition::{self, PartitionOutcome, PartitionRequest, PartitionSpec};

use super::orders::{Done, Order, Task};
use super::records::{CATALOG_GROUP, TableRecord};
use super::stories;
use crate::items::{NODES, node_at, node_id};
use crate::node::Token;
use crate::time::{MS, Ns, SECOND};
use crate::world::{Action, Phase, Step, World};

/// How long a task waits for an answer.
const PATIENCE: Ns = 2 * SECOND;
/// How often a request is sent elsewhere.
const TRIES: u32 = 10;
/// Callers who make tables, and the names that they fight for.
const CALLERS: usize = 3;
const NAMES: usize = 2;
/// Tasks of callers end with the run's faults, those of nodes with their processes.
type Number = u64;

/// The tasks of a run, and what is under way for them.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<Number, Task>,
    asked: BTreeMap<u64, Asked>,
    /// Who controls, by node.
    controls: [Option<Number>; NODES],
    next: u64,
    leaders: BTreeMap<GroupId, usize>,
}

/// A request to a group.
#[derive(Clone, Debug)]
struct Asked {
    order: OrderOf,
    group: GroupId,
    request: Request,
    tries: u32,
}

#[derive(Clone, Debug)]
enum Request {
    Write(Box<PreparedWrite>),
    Query(Box<PreparedQuery>),
}

/// Which order of which task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderOf {
    task: Number,
    order: u64,
    /// Where the task runs.
    pub(crate) home: Option<(usize, u64)>,
}

/// Something to be done at a node for a task elsewhere. It does not come to another life of that node: a connection breaks.
#[derive(Debug)]
pub(crate) enum Errand {
    Ensure(Box<PartitionSpec>, bool),
    Remove(GroupId),
    Served(Vec<u64>),
}

impl Tasks {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A node's process is no more.
    pub(crate) fn end_of(&mut self, node: usize) {
        self.tasks.retain(|_, task| task.home.is_none_or(|(home, _)| home != node));
        self.controls[node] = None;
    }

    /// Whether the callers have come to their end.
    pub(crate) fn are_over(&self) -> bool {
        self.tasks.values().all(|task| task.home.is_some())
    }
}

impl World {
    /// Callers who make and delete tables begin.
    pub(crate) fn begin_stories(&mut self) {
        for caller in 0..CALLERS {
            let (name, rng) = (format!("table-{}", caller % NAMES), self.rng.fork());
            self.begin_task(Task::new(None, |orders| stories::live(orders, name, rng)));
        }
    }

    /// Now and then each node looks for what it has missed, and who leads the catalog at all of it.
    pub(crate) fn look_at_catalog(&mut self, node: usize) {
        let delay = self.rng.between(20 * MS, 500 * MS);
        self.after(delay, node, Step::Catalog);
        let Some(process) = &self.nodes[node].process else { return };
        let leads = process.host.status(CATALOG_GROUP).is_some_and(|status| status.leads);
        let home = Some((node, self.nodes[node].life));
        if leads && self.tasks.controls[node].is_none() {
            let number = self.begin_task(Task::new(home, stories::control));
            self.tasks.controls[node] = number;
        }
        if self.rng.chance(100) {
            let own = node_id(node);
            self.begin_task(Task::new(home, |orders| stories::make_missed(orders, own)));
        }
    }

    /// Answers its number, unless it is over at once.
    fn begin_task(&mut self, task: Task) -> Option<Number> {
        let number = self.tasks.id();
        self.tasks.tasks.insert(number, task);
        self.go_on(number, None);
        self.tasks.tasks.contains_key(&number).then_some(number)
    }

    fn go_on(&mut self, number: Number, come: Option<(u64, Done)>) {
        let is_over = self.phase == Phase::Liveness;
        let Some(task) = self.tasks.tasks.get_mut(&number) else { return };
        let home = task.home;
        match task.go_on(is_over, come) {
            Some(orders) => {
                for (order, what) in orders {
                    self.carry(OrderOf { task: number, order, home }, what);
                }
            }
            None => {
                self.tasks.tasks.remove(&number);
                if let Some((node, _)) = home
                    && self.tasks.controls[node] == Some(number)
                {
                    self.tasks.controls[node] = None;
                    self.reached.one("looks at the catalog");
                }
            }
        }
    }

    /// What came of an order.
    pub(crate) fn order_done(&mut self, of: OrderOf, done: Done) {
        self.trace.note(
            self.now,
            format_args!("task {} at {:?}: {} came to {done:?}", of.task, of.home, of.order),
        );
        self.go_on(of.task, Some((of.order, done)));
    }

    fn carry(&mut self, of: OrderOf, order: Order) {
        self.trace.note(
            self.now,
            format_args!("task {} at {:?}: {} orders {order:?}", of.task, of.home, of.order),
        );
        match order {
            Order::Write { group, write } => self.ask(of, group, Request::Write(write)),
            Order::Query(query) => self.ask(of, CATALOG_GROUP, Request::Query(query)),
            Order::Ensure { to, spec, fresh } => {
                self.send_errand(of, to, Errand::Ensure(spec, fresh));
            }
            Order::Remove { at, group } => self.send_errand(of, at, Errand::Remove(group)),
            Order::Served { at, groups } => self.send_errand(of, at, Errand::Served(groups)),
            Order::Sleep(for_ns) => self.come_back(of, for_ns, Done::Ready),
            Order::Complain(what) => {
                self.violated("tables", what);
            }
        }
    }

    fn come_back(&mut self, of: OrderOf, delay: Ns, done: Done) {
        self.queue.push(self.now + delay, Action::OrderDone { of, done: Box::new(done) });
    }

    /// A message for a task on its way: when it comes, if it does.
    fn passage(&mut self) -> Option<Ns> {
        self.network.pass_caller(self.now, self.phase == Phase::Liveness)
    }

    // Errands at nodes.

    fn send_errand(&mut self, of: OrderOf, to: usize, errand: Errand) {
        // The word of failure comes first to be forgotten if an answer was there before.
        self.come_back(of, PATIENCE, Done::Failed("no answer".to_owned()));
        let life = self.nodes[to].life;
        let is_here = of.home.is_some_and(|(home, _)| home == to);
        let at = if is_here { Some(self.now) } else { self.passage() };
        if let Some(at) = at {
            self.queue.push(at, Action::Errand { node: to, life, of, errand });
        }
    }

    /// Something is to be done at a node.
    pub(crate) fn errand_arrives(&mut self, node: usize, of: OrderOf, errand: Errand) {
        match errand {
            Errand::Ensure(spec, fresh) => self.ensure_replica(node, of, *spec, fresh),
            Errand::Remove(group) => self.remove_replica(node, of, group),
            Errand::Served(groups) => {
                let Some(process) = &self.nodes[node].process else { return };
                let groups = groups.into_iter().map(GroupId);
                let served =
                    groups.filter(|group| process.host.status(*group).is_some_and(|it| it.serves));
                let served = Done::Served(served.collect());
                self.errand_done(of, served);
            }
        }
    }

    /// The word of it goes back.
    pub(crate) fn errand_done(&mut self, of: OrderOf, done: Done) {
        if let Some(at) = self.passage() {
            self.come_back(of, at - self.now, done);
        }
    }

    // Requests to groups.

    fn ask(&mut self, order: OrderOf, group: GroupId, request: Request) {
        self.come_back(order, PATIENCE, Done::Failed("no answer".to_owned()));
        self.send_asked(Asked { order, group, request, tries: 0 });
    }

    fn send_asked(&mut self, asked: Asked) {
        let known = self.tasks.leaders.get(&asked.group).copied();
        let node = known.unwrap_or_else(|| self.rng.index(NODES));
        // Who hears nothing asks elsewhere next time.
        self.tasks.leaders.remove(&asked.group);
        let attempt = self.tasks.id();
        self.tasks.asked.insert(attempt, asked);
        if let Some(at) = self.passage() {
            self.queue.push(at, Action::Asked { node, attempt });
        }
    }

    /// A request arrives at a node.
    pub(crate) fn asked_arrives(&mut self, node: usize, attempt: u64) {
        let Some(asked) = self.tasks.asked.get(&attempt) else { return };
        let (group, token) = (asked.group, Token::Task(attempt));
        let deadline_ns = self.nodes[node].clock.monotonic_ns(self.now) + PATIENCE;
        match asked.request.clone() {
            Request::Write(write) => {
                if self.log_waits(node) {
                    return self.task_refused(attempt, &Refusal::Throttled);
                }
                let request = PartitionRequest::Write(*write);
                self.tell(node, Event::Submit { group, request, deadline_ns, token });
            }
            Request::Query(_) if self.query(node, attempt, true) => {}
            Request::Query(_) => self.tell(node, Event::Read { group, deadline_ns, token }),
        }
    }

    /// A quorum has confirmed the leader.
    pub(crate) fn task_may_read(&mut self, node: usize, attempt: u64) {
        if !self.query(node, attempt, false) {
            self.task_refused(attempt, &Refusal::Throttled);
        }
    }

    /// Reads a page at a node, if it may, under a lease or without.
    fn query(&mut self, node: usize, attempt: u64, leased: bool) -> bool {
        let state = &self.nodes[node];
        let Some(asked) = self.tasks.asked.get(&attempt) else { return true };
        let Some(process) = &state.process else { return true };
        let Some(replica) = process.replicas.get(&asked.group) else { return false };
        let ticket = match leased {
            true => replica.view.begin(state.clock.monotonic_ns(self.now)),
            false => replica.view.begin_unleased(),
        };
        let Request::Query(query) = &asked.request else { return false };
        if ticket.is_none() || replica.data.note().is_none() {
            return false;
        }
        let page = partition::query(state.engine.as_ref(), &replica.spec, query, &mut || false);
        let (order, group) = (asked.order, asked.group);
        match page {
            Ok(page) => {
                self.tasks.asked.remove(&attempt);
                self.tasks.leaders.insert(group, node);
                self.errand_done(order, Done::Page(page.items, page.last_evaluated_key));
            }
            Err(error) => self.fail(format!("node {node} cannot read the catalog: {error:?}")),
        }
        true
    }

    /// A request of a task was carried out.
    pub(crate) fn task_answered(&mut self, node: usize, attempt: u64, outcome: PartitionOutcome) {
        let Some(asked) = self.tasks.asked.remove(&attempt) else { return };
        self.tasks.leaders.insert(asked.group, node);
        match outcome {
            PartitionOutcome::Write(outcome) => {
                if outcome.is_ok() && asked.group == CATALOG_GROUP {
                    self.reached.one("catalog changes");
                }
                self.errand_done(asked.order, Done::Written(outcome));
            }
            PartitionOutcome::Writes(_) => self.fail("a write has many outcomes".to_owned()),
        }
    }

    /// A request of a task was not carried out, or perhaps.
    pub(crate) fn task_refused(&mut self, attempt: u64, refusal: &Refusal) {
        let Some(mut asked) = self.tasks.asked.remove(&attempt) else { return };
        asked.tries += 1;
        if let Refusal::NotLeader(Some(leader)) = refusal {
            self.tasks.leaders.insert(asked.group, node_at(*leader));
        }
        if matches!(refusal, Refusal::Uncertain) || asked.tries > TRIES {
            return self.errand_done(asked.order, Done::Failed(format!("{refusal:?}")));
        }
        let attempt = self.tasks.id();
        let delay = self.rng.between(5 * MS, 50 * MS);
        self.tasks.asked.insert(attempt, asked);
        self.queue.push(self.now + delay, Action::AskAgain { attempt });
    }

    /// A request that was surely not carried out is sent again.
    pub(crate) fn ask_again(&mut self, attempt: u64) {
        if let Some(asked) = self.tasks.asked.remove(&attempt) {
            self.send_asked(asked);
        }
    }

    /// The tables that the catalog's replica on a node knows in the end.
    pub(crate) fn tables_in_the_end(&self, node: usize) -> Result<Vec<TableRecord>, String> {
        let engine = self.nodes[node].engine.as_ref();
        let spec = crate::items::catalog_spec(node, self.plan.shape);
        let read = |kind: &str| {
            let query = super::requests::page(kind, None, None);
            let query = query.prepare(&super::records::catalog_schema());
            let query = query.map_err(|error| error.to_string())?;
            let page = partition::query(engine, &spec, &query, &mut || false);
            let items = page.map_err(|error| format!("{error:?}"))?.items;
            let items = items.iter().map(stator_model::EncodedItem::decode);
            items.collect::<stator_model::Result<Vec<_>>>().map_err(|error| error.to_string())
        };
        let dropped = read("dropped")?.len();
        if dropped > 0 {
            return Err(format!("{dropped} deleted tables are not done with"));
        }
        let tables = read("table")?.iter().map(TableRecord::from_item).collect();
        let tables: stator_model::Result<Vec<TableRecord>> = tables;
        tables.map_err(|error| error.to_string())
    }
}
