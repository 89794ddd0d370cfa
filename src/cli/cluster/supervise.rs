//! The supervisor: starts the nodes, starts them again when they die, and ends them.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::Cluster;
use super::child::Child;
use super::plan::{NodePlan, Plan};
use super::record::Record;
use crate::cli::output::{Failure, complain, note, say};
use crate::cli::stop::Stop;

/// How long the nodes may take until all are ready for the first time.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a majority that is ready waits for the other nodes before it begins without them.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the supervisor may take to end, with its nodes.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Between a node's death and its next start, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A node that ran for so long has recovered from whatever killed it before.
const STEADY: Duration = Duration::from_secs(10);

/// The exit code of a node that is given up: a setting is not allowed, and that does not heal by asking again. With any other it may: a
/// port is free again, and so are files to open.
const WRONG_SETTING: i32 = 2;

/// What `--json` prints when all nodes are ready. All lists have the nodes' order.
#[derive(Serialize)]
struct ReadyLine<'a> {
    ready: bool,
    endpoints: &'a [String],
    admin: &'a [String],
    pids: &'a [Option<u32>],
    dir: &'a Path,
}

/// What a node's task tells.
enum Event {
    Ready(usize),
    /// It will not be started again.
    Gone(usize, String),
    /// Nor will it, for it refuses to start, although the cluster has begun.
    Refused(usize, String),
}

/// What the nodes' tasks share.
struct Shared {
    restart: bool,
    json: bool,
    plan: Plan,
    record: Mutex<Record>,
    events: mpsc::UnboundedSender<Event>,
    stop: watch::Receiver<bool>,
    /// Whether the cluster has begun: from then on their deaths are no refusal to start.
    begun: watch::Receiver<bool>,
}

/// Runs the nodes until the supervisor is asked to end.
pub(super) async fn run(plan: Plan, options: &Cluster, mut stop: Stop) -> Result<(), Failure> {
    let nodes = plan.nodes()?;
    let count = nodes.len();
    let (events, mut told) = mpsc::unbounded_channel();
    let (stopping, stopped) = watch::channel(false);
    let (begin, begun) = watch::channel(false);
    let record = Record { supervisor: Some(std::process::id()), ..plan.record.clone() };
    let shared = Arc::new(Shared {
        restart: !options.no_restart,
        json: options.json,
        plan,
        record: Mutex::new(record),
        events,
        stop: stopped,
        begun,
    });
    shared.note(|_| {})?;
    let tasks: Vec<_> =
        nodes.into_iter().map(|node| tokio::spawn(tend(shared.clone(), node))).collect();

    let mut result = tokio::select! {
        begun = Start::new(&shared.plan, count).wait(&shared, &mut told) => begun.map(Some),
        _ = stop.asked() => Ok(None),
    };
    if let Ok(Some(gone)) = result {
        begin.send_replace(true);
        shared.announce();
        result = tokio::select! {
            gone = all_gone(&shared, &mut told, count - gone) => Err(gone),
            _ = stop.asked() => Ok(None),
        };
    }
    stop.no_later_than(STOP_TIMEOUT);
    stopping.send_replace(true);
    for task in tasks {
        // A task that panicked has dropped its node's pipe, and with it the node.
        let _ = task.await;
    }
    shared.note(|record| record.supervisor = None)?;
    result.map(drop)
}

/// How far the nodes are with starting.
struct Start {
    ready: Vec<bool>,
    /// Why nodes ended that will not be started again.
    gone: Vec<Option<String>>,
    /// How many nodes have to be ready: all of a new cluster's, a majority of one that was there before.
    needed: usize,
}

impl Start {
    fn new(plan: &Plan, count: usize) -> Self {
        let needed = if plan.is_new { count } else { count / 2 + 1 };
        Self { ready: vec![false; count], gone: vec![None; count], needed }
    }

    /// Waits until the cluster can begin, and answers how many of its nodes are gone.
    async fn wait(
        mut self,
        shared: &Shared,
        events: &mut mpsc::UnboundedReceiver<Event>,
    ) -> Result<usize, Failure> {
        let mut until = tokio::time::Instant::now() + READY_TIMEOUT;
        let gone = |start: &Self| start.gone.iter().flatten().count();
        loop {
            let (ready, gone) = (self.count_ready(), gone(&self));
            if self.gone.len() - gone < self.needed {
                return Err(self.too_few());
            }
            if ready + gone == self.ready.len() {
                return Ok(gone);
            }
            let event = match tokio::time::timeout_at(until, events.recv()).await {
                Ok(Some(event)) => event,
                // The last of the tasks has told, so there is nothing to wait for.
                Ok(None) => return Ok(gone),
                Err(_) if ready >= self.needed => {
                    self.tell_unready(shared);
                    return Ok(gone);
                }
                Err(_) => {
                    return Err(Failure::refused(format!(
                        "the nodes were not ready in {} seconds; their logs may tell why: {}",
                        READY_TIMEOUT.as_secs(),
                        shared.plan.dir.join("node-*").join("node.log").display()
                    )));
                }
            };
            match event {
                Event::Ready(index) => self.ready[index] = true,
                Event::Gone(index, why) | Event::Refused(index, why) => {
                    self.ready[index] = false;
                    let left = self.gone.len() - gone - 1;
                    if left >= self.needed {
                        shared.tell(&format!("node {} {why}", index + 1));
                        shared.tell(&advice(shared, index + 1));
                    }
                    self.gone[index] = Some(why);
                }
            }
            if self.count_ready() == self.needed {
                until = until.min(tokio::time::Instant::now() + OTHERS_TIMEOUT);
            }
        }
    }

    fn count_ready(&self) -> usize {
        self.ready.iter().filter(|ready| **ready).count()
    }

    fn tell_unready(&self, shared: &Shared) {
        let nodes = (1..).zip(self.ready.iter().zip(&self.gone));
        for (node, _) in nodes.filter(|(_, (ready, gone))| !**ready && gone.is_none()) {
            shared
                .tell(&format!("node {node} is not ready yet; {} may tell why", log(shared, node)));
        }
    }

    fn too_few(&self) -> Failure {
        let gone = (1..).zip(&self.gone);
        let gone = gone.filter_map(|(node, why)| Some(format!("node {node} {}", why.as_ref()?)));
        let gone = gone.collect::<Vec<_>>().join("\n");
        Failure::refused(format!(
            "{gone}\n{} of {} nodes have to run, and too few are left",
            self.needed,
            self.ready.len()
        ))
    }
}

/// What to do about a node of a cluster that was there before.
fn advice(shared: &Shared, node: usize) -> String {
    let data = shared.plan.dir.join(format!("node-{node}")).join("data");
    format!(
        "the other nodes go on without node {node}. {} has all that it said. Mend the cause and \
         start the cluster again; if the data in {} is lost, the others have it all, and a new cluster can be loaded from a \
         `stator dump` of this one",
        log(shared, node),
        data.display()
    )
}

fn log(shared: &Shared, node: usize) -> String {
    shared.plan.dir.join(format!("node-{node}")).join("node.log").display().to_string()
}

/// Waits until no node is left.
async fn all_gone(
    shared: &Shared,
    events: &mut mpsc::UnboundedReceiver<Event>,
    count: usize,
) -> Failure {
    let mut left = count;
    while left > 0 {
        match events.recv().await {
            Some(Event::Gone(..)) => left -= 1,
            Some(Event::Refused(index, why)) => {
                left -= 1;
                shared.tell(&format!("node {} {why}", index + 1));
                if left > 0 {
                    shared.tell(&advice(shared, index + 1));
                }
            }
            Some(Event::Ready(_)) => {}
            None => break,
        }
    }
    Failure::refused("no node is left")
}

/// Keeps one node running.
async fn tend(shared: Arc<Shared>, node: NodePlan) {
    let mut stop = shared.stop.clone();
    let mut pause = None;
    let mut first = true;
    // Why it could not start the last time, where that was told.
    let mut told = None;
    while !*stop.borrow() {
        let started = Instant::now();
        let (why, refusal) = match Child::start(&node) {
            Ok(child) => match shared.watch(child, &node, first, &mut stop).await {
                Some(end) => (describe(end.status), end.refusal()),
                None => return,
            },
            Err(error) => (format!("could not be started: {error}"), None),
        };
        if !*shared.begun.borrow() || !shared.restart {
            if *shared.begun.borrow() {
                shared.tell(&format!("node {} {why}", node.index + 1));
            }
            let _ = shared.events.send(Event::Gone(node.index, with_last_line(why, &node)));
            return;
        }
        if refusal == Some(WRONG_SETTING) {
            let _ = shared.events.send(Event::Refused(node.index, with_last_line(why, &node)));
            return;
        }
        let reason = refusal.map(|_| with_last_line(why.clone(), &node));
        match &reason {
            None => shared.tell(&format!("node {} {why}; starting it again", node.index + 1)),
            Some(_) if reason == told => {}
            Some(reason) => shared.tell(&format!(
                "node {} {reason}\nit is tried again until it starts",
                node.index + 1
            )),
        }
        told = reason;
        let now = pause_after(pause, started.elapsed());
        tokio::select! {
            () = tokio::time::sleep(now) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = Some(now);
        first = false;
    }
}

/// The pause before a node that ran for so long is started again, given the one before its last start.
fn pause_after(former: Option<Duration>, ran: Duration) -> Duration {
    match former {
        Some(former) if ran < STEADY => (former * 2).min(PAUSE_MAX),
        _ => PAUSE,
    }
}

/// How a process ended by itself.
struct End {
    status: ExitStatus,
    was_ready: bool,
}

impl End {
    /// Its exit code, if it was not able to start and said so: a crash has a signal or another code.
    fn refusal(&self) -> Option<i32> {
        let code = self.status.code().filter(|code| matches!(code, 1 | 2))?;
        (!self.was_ready).then_some(code)
    }
}

impl Shared {
    /// Watches a process until it ends by itself, and answers how; `None` if it was stopped.
    async fn watch(
        &self,
        mut child: Child,
        node: &NodePlan,
        first: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<End> {
        let (index, pid) = (node.index, child.pid);
        self.note_quietly(|record| record.pids[index] = Some(pid));
        if !first {
            self.tell(&format!("node {} is process {pid} now", index + 1));
        }
        let ready = tokio::select! {
            ready = child.ready() => Some(ready),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        if ready == Some(true) {
            // Looked up before it is told: the cluster may begin by it, and that is announced for all of its nodes at once.
            let begun = *self.begun.borrow();
            let _ = self.events.send(Event::Ready(index));
            if !first || begun {
                self.tell(&format!("node {} is ready", index + 1));
            }
        }
        let ended = tokio::select! {
            ended = child.ended(), if ready.is_some() => Some(ended),
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let status = match ended {
            Some(status) => status.ok(),
            None => {
                if let Err(error) = child.stop().await {
                    complain(&format!("node {} could not be stopped: {error}", index + 1));
                }
                None
            }
        };
        self.note_quietly(|record| record.pids[index] = None);
        status.map(|status| End { status, was_ready: ready == Some(true) })
    }

    /// Says that the cluster is ready, and where.
    fn announce(&self) {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.json {
            let line = ReadyLine {
                ready: true,
                endpoints: &record.endpoints,
                admin: &record.admin,
                pids: &record.pids,
                // Whoever reads it may be in another directory.
                dir: &std::path::absolute(&self.plan.dir).unwrap_or(self.plan.dir.clone()),
            };
            // Texts and numbers always have a JSON form; a directory whose name is no text has none.
            return say(serde_json::to_string(&line).unwrap_or_default());
        }
        say("ready");
        for (n, (endpoint, pid)) in (1..).zip(record.endpoints.iter().zip(&record.pids)) {
            match pid {
                Some(pid) => say(format_args!("node {n}: {endpoint} (process {pid})")),
                None => say(format_args!("node {n}: does not run")),
            }
        }
        say("Ctrl-C ends it");
    }

    /// Says something about a node, where that does not disturb a program that reads.
    fn tell(&self, text: &str) {
        if self.json {
            note(text);
        } else {
            say(text);
        }
    }

    /// Changes the record, and the file with it.
    fn note(&self, change: impl FnOnce(&mut Record)) -> Result<(), Failure> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut record);
        let dir = &self.plan.dir;
        let written = record.write(dir);
        written.map_err(|error| Failure::refused(format!("writing {}: {error}", dir.display())))
    }

    /// The same where a file that cannot be written is no reason to stop.
    fn note_quietly(&self, change: impl FnOnce(&mut Record)) {
        if let Err(failure) = self.note(change) {
            let _ = failure.report();
        }
    }
}

/// How a process ended, as in `node 1 ...`.
fn describe(status: ExitStatus) -> String {
    format!("ended with {status}")
}

fn with_last_line(why: String, node: &NodePlan) -> String {
    match last_line(&node.log_file) {
        Some(line) => format!("{why}: {line}"),
        None => why,
    }
}

/// The last line of a log, which most likely tells why its writer ended.
fn last_line(file: &Path) -> Option<String> {
    let text = std::fs::read(file).ok()?;
    let tail = text.get(text.len().saturating_sub(4096)..)?;
    let tail = String::from_utf8_lossy(tail);
    tail.lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_keeps_dying_is_started_ever_more_rarely() {
        let next = |former: &Option<Duration>| Some(Some(pause_after(*former, Duration::ZERO)));
        let pauses = std::iter::successors(Some(None), next).skip(1).take(9);
        let pauses: Vec<_> = pauses.flatten().map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn a_node_that_ran_for_a_while_is_as_one_that_never_died() {
        for former in [PAUSE, PAUSE_MAX] {
            assert_eq!(pause_after(Some(former), Duration::from_secs(10)), PAUSE);
            let doubled = (former * 2).min(PAUSE_MAX);
            assert_eq!(pause_after(Some(former), Duration::from_millis(9_999)), doubled);
        }
        assert_eq!(pause_after(None, Duration::from_secs(3600)), PAUSE);
    }
}
