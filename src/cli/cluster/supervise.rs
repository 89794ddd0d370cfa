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
/// How long the supervisor may take to end, with its nodes.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// Between a node's death and its next start, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A node that ran for so long has recovered from whatever killed it before.
const STEADY: Duration = Duration::from_secs(10);

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
}

/// What the nodes' tasks share.
struct Shared {
    restart: bool,
    json: bool,
    plan: Plan,
    record: Mutex<Record>,
    events: mpsc::UnboundedSender<Event>,
    stop: watch::Receiver<bool>,
    /// Whether all nodes have been ready: from then on their deaths are no refusal to start.
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
        begun = all_ready(&mut told, count) => begun.map(|()| true),
        _ = stop.asked() => Ok(false),
    };
    if let Ok(true) = result {
        begin.send_replace(true);
        shared.announce();
        result = tokio::select! {
            gone = all_gone(&mut told, count) => Err(gone),
            _ = stop.asked() => Ok(true),
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

/// Waits until all nodes are ready.
async fn all_ready(
    events: &mut mpsc::UnboundedReceiver<Event>,
    count: usize,
) -> Result<(), Failure> {
    let mut ready = vec![false; count];
    let waiting = async {
        while !ready.iter().all(|ready| *ready) {
            match events.recv().await {
                Some(Event::Ready(index)) => ready[index] = true,
                Some(Event::Gone(index, why)) => {
                    return Err(Failure::refused(format!("node {} {why}", index + 1)));
                }
                None => break,
            }
        }
        Ok(())
    };
    match tokio::time::timeout(READY_TIMEOUT, waiting).await {
        Ok(result) => result,
        Err(_) => Err(Failure::refused(format!(
            "the nodes were not ready in {} seconds; their logs may tell why",
            READY_TIMEOUT.as_secs()
        ))),
    }
}

/// Waits until no node is left.
async fn all_gone(events: &mut mpsc::UnboundedReceiver<Event>, count: usize) -> Failure {
    let mut left = count;
    while left > 0 {
        match events.recv().await {
            Some(Event::Gone(..)) => left -= 1,
            Some(Event::Ready(_)) => {}
            None => break,
        }
    }
    Failure::refused("no node is left")
}

/// Keeps one node running.
async fn tend(shared: Arc<Shared>, node: NodePlan) {
    let mut stop = shared.stop.clone();
    let mut pause = PAUSE;
    let mut first = true;
    while !*stop.borrow() {
        let started = Instant::now();
        let why = match Child::start(&node) {
            Ok(child) => match shared.watch(child, &node, first, &mut stop).await {
                Some(status) => describe(status),
                None => return,
            },
            Err(error) => format!("could not be started: {error}"),
        };
        if !*shared.begun.borrow() || !shared.restart {
            shared.tell(&format!("node {} {why}", node.index + 1));
            let last = last_line(&node.log_file).map(|line| format!(": {line}"));
            let told = format!("{why}{}", last.unwrap_or_default());
            let _ = shared.events.send(Event::Gone(node.index, told));
            return;
        }
        if started.elapsed() >= STEADY {
            pause = PAUSE;
        }
        shared.tell(&format!("node {} {why}; starting it again", node.index + 1));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
        first = false;
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
    ) -> Option<ExitStatus> {
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
            let _ = self.events.send(Event::Ready(index));
            if !first {
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
        status
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
        let pids = record.pids.iter().map(|pid| pid.unwrap_or_default());
        for (n, (endpoint, pid)) in (1..).zip(record.endpoints.iter().zip(pids)) {
            say(format_args!("node {n}: {endpoint} (process {pid})"));
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

/// The last line of a log, which most likely tells why its writer ended.
fn last_line(file: &Path) -> Option<String> {
    let text = std::fs::read(file).ok()?;
    let tail = text.get(text.len().saturating_sub(4096)..)?;
    let tail = String::from_utf8_lossy(tail);
    tail.lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}
