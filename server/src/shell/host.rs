//! The thread of a consensus host.
//!
//! # A turn that is larger than what the log takes at once
//! It is written in pieces, in the order of its records, each a batch of its own. Why that is as good as one batch, which is not
//! atomic either:
//! - *Hard states stay behind their entries* (R12). A group's records are in the order of its readies: what it was reset to, its
//!   entries, its hard state, and so on; the log moves hard states behind everything else of their batch, and a cut moves nothing.
//!   So whatever prefix of the pieces, and of the piece that was being written, a crash leaves, there is no commit index ahead of
//!   its entries.
//! - *Nobody has been told* (R6). Acknowledgements, votes, and all that is said in a new term wait for [`Event::Persisted`], which
//!   comes with the last piece alone; the log completes batches in their order, and later turns wait behind this one. So a crash
//!   between two pieces leaves, to all others, a replica that never had this turn. What it has besides are entries that it has not
//!   acknowledged and that may stay or go; a term or a vote that is lost with the last piece was never given to anybody.
//! - *The log's own format* (R13) knows batches only as writes: each carries the position that was known synced when it was issued.
//!
//! Truncations may be written ahead of pieces that wait for room: they speak of entries long synced and applied, and a group's
//! truncation and its new entries do not touch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use stator_consensus::{
    Class, Config, Effects, Event, Host, LogReader, NodeId, PeerMessage, ReplicaId,
};
use stator_storage::Error;
use stator_storage::log::{Log, LogCore, LogEntry, Record};
use stator_storage::machine::GroupId;
use stator_storage::partition::PartitionEvaluator;

use super::apply::ApplyMailbox;
use super::{Fatal, FatalOnPanic, HostEvent, HostMailbox, Token};
use crate::catalog::records::CATALOG_GROUP;
use crate::clock::Clock;
use crate::mailbox::{Drained, Inbox};
use crate::metrics::Metrics;
use crate::node::room::Room;
use crate::replicas::Replicas;

/// How long to wait before a log that had no room is tried again, in nanoseconds.
const STALLED_WAIT_NS: u64 = 2_000_000;
/// How often a host tells the states of its groups, in nanoseconds.
const STATES_EVERY_NS: u64 = 500_000_000;

/// Where a host's messages go: never waits, and drops what has no room.
pub(crate) trait Outbound: Send + Sync + 'static {
    /// Sends a message to a node. Answers whether it was taken; what is lost later is told with [`Event::Unreachable`].
    fn send(&self, node: NodeId, message: PeerMessage) -> bool;
    /// Gives a node a sign of life.
    fn ping(&self, node: NodeId);
    /// Sends a snapshot's chunks, and behind them the message that announces it.
    fn send_snapshot(&self, node: NodeId, message: PeerMessage);
    /// A group's follower needs a snapshot.
    fn snapshot_wanted(&self, group: GroupId, to: ReplicaId);
    /// The snapshot that a group wanted is given up.
    fn snapshot_over(&self, group: GroupId);
}

/// What a host's thread works with.
pub(crate) struct HostShell {
    pub(crate) config: Config,
    pub(crate) mailbox: HostMailbox,
    pub(crate) inbox: Inbox<HostEvent>,
    pub(crate) log: Arc<Log>,
    pub(crate) apply: ApplyMailbox,
    pub(crate) outbound: Arc<dyn Outbound>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) room: Arc<Room>,
    pub(crate) metrics: Arc<Metrics>,
    /// The most that the log takes at once.
    pub(crate) write_bytes_max: u64,
    /// Turns' records that the log has not taken yet, in order; with the last ones of a turn, the turn.
    pub(crate) stalled: VecDeque<(Option<u64>, Vec<Record>)>,
    /// Whether the others know that some do.
    pub(crate) is_stalled: bool,
    /// Whether they do because the log is full, and not merely busy.
    pub(crate) is_full: bool,
    /// Told when the log fails. The host's mailbox is closed then, and the thread ends: it drops, and so answers, all who wait.
    pub(crate) fatal: Fatal,
}

/// The log as a host reads it.
pub(crate) struct LogAccess(pub(crate) Arc<Log>);

impl LogReader for LogAccess {
    fn entries(
        &self,
        group: GroupId,
        range: std::ops::Range<u64>,
        bytes_max: u64,
    ) -> stator_storage::Result<Vec<LogEntry>> {
        self.0.entries(group, range, bytes_max)
    }
}

impl HostShell {
    /// Starts the thread. It ends when its mailbox is closed and empty.
    pub(crate) fn spawn(self, number: usize) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name(format!("stator-host-{number}")).spawn(move || self.run())
    }

    fn run(mut self) {
        let _guard = FatalOnPanic(self.fatal.clone());
        let tick_ns = u64::try_from(self.config.tick.as_nanos()).unwrap_or(u64::MAX);
        let mut host = Host::<PartitionEvaluator, Token>::new(
            self.config,
            Arc::new(LogAccess(self.log.clone())),
        )
        .claiming(|token| token.claim.take());
        let mut events = Vec::new();
        let mut next_tick_ns = self.clock.monotonic_ns() + tick_ns;
        let mut next_states_ns = 0;
        loop {
            let mut wait_ns = next_tick_ns.saturating_sub(self.clock.monotonic_ns());
            if !self.stalled.is_empty() {
                self.write_log();
                wait_ns = wait_ns.min(STALLED_WAIT_NS);
            }
            let drained = self.inbox.drain(&mut events, Some(Duration::from_nanos(wait_ns)));
            // Taken after the mailbox was drained: it judges the lease for what came in (R4).
            let now_ns = self.clock.monotonic_ns();
            if now_ns >= next_tick_ns {
                // Ticks that were missed are not made up: a process that was paused has not been waiting for its peers (R9).
                next_tick_ns = now_ns + tick_ns;
                events.push(Event::Tick);
            }
            if drained == Drained::Closed {
                return;
            }
            if now_ns >= next_states_ns {
                next_states_ns = now_ns + STATES_EVERY_NS;
                self.replicas.set_states(host.statuses());
            }
            host.set_takes_entries(self.takes_entries());
            if !events.is_empty() {
                let effects = host.turn(now_ns, self.clock.wall_ms(), events.drain(..));
                self.carry_out(effects);
            }
        }
    }

    /// Whose entries are taken from leaders elsewhere: those of a log that is full would wait in memory, and a disk that is
    /// nearly full is left to the catalog. They are sent again later.
    fn takes_entries(&self) -> fn(GroupId) -> bool {
        if self.is_full {
            |_| false
        } else if self.room.is_scarce() {
            |group| group == CATALOG_GROUP
        } else {
            |_| true
        }
    }

    fn carry_out(&mut self, effects: Effects<PartitionEvaluator, Token>) {
        self.count(&effects);
        // The leader's messages leave while its own write is under way.
        for (node, message) in effects.send {
            if message.class == Class::Snapshot {
                self.outbound.send_snapshot(node, message);
            } else {
                let (group, to) = (message.group, message.to);
                if !self.outbound.send(node, message) {
                    self.mailbox.push(Event::Dropped { group, to });
                }
            }
        }
        if !effects.log.is_empty() {
            let mut pieces = in_pieces(effects.log, self.write_bytes_max).into_iter().peekable();
            while let Some(piece) = pieces.next() {
                let turn = pieces.peek().is_none().then_some(effects.turn);
                self.stalled.push_back((turn, piece));
            }
            self.write_log();
        }
        for job in effects.install {
            self.apply.install(job);
        }
        for job in effects.apply {
            self.apply.apply(job);
        }
        for (token, answer) in effects.answers {
            // A caller that is gone has stopped waiting: that is its own affair.
            let _ = token.answer.send(answer);
        }
        for node in effects.ping {
            self.outbound.ping(node);
        }
        // In this order: the next one may be wanted in the turn that gives one up.
        for group in effects.snapshots_over {
            self.outbound.snapshot_over(group);
        }
        for (group, to) in effects.snapshots_wanted {
            self.outbound.snapshot_wanted(group, to);
        }
        for group in effects.removed {
            self.replicas.note_tombstone(group);
        }
        for (group, reason) in effects.faults {
            self.replicas.failed(group, reason);
        }
    }

    /// Writes what waits, in order. Nothing is reserved in the log before evaluation, for nothing is refused here after it (R7): the
    /// room that a proposal needs is reserved in Raft, and a turn that is too much for the log waits. A log that has no room keeps it
    /// waiting, and requests out, until truncations have made some.
    fn write_log(&mut self) {
        let was_full = self.is_full;
        while let Some((turn, records)) = self.stalled.front() {
            match self.append(*turn, records) {
                Ok(()) => {
                    self.stalled.pop_front();
                }
                Err(Error::LogBusy(_)) => break,
                Err(Error::LogFull(why)) => {
                    if !std::mem::replace(&mut self.is_full, true) {
                        tracing::warn!(
                            why,
                            "the log is full: writes wait until it has been truncated"
                        );
                    }
                    self.truncate_first();
                    break;
                }
                Err(error) => {
                    self.stalled.clear();
                    self.on_failure()(&error);
                }
            }
        }
        let is_stalled = !self.stalled.is_empty();
        self.is_full &= is_stalled;
        if self.is_full != was_full {
            self.room.note_log_full(self.is_full);
        }
        if is_stalled != self.is_stalled {
            self.is_stalled = is_stalled;
            self.replicas.note_log_stalled(is_stalled);
        }
    }

    fn append(&self, turn: Option<u64>, records: &[Record]) -> stator_storage::Result<()> {
        let (mailbox, failed) = (self.mailbox.clone(), self.on_failure());
        self.log.append(records, move |result| match (result, turn) {
            (Ok(()), Some(turn)) => {
                mailbox.push(Event::Persisted { turn });
            }
            // What is behind it will tell of the whole turn.
            (Ok(()), None) => {}
            (Err(error), _) => failed(&error),
        })
    }

    /// What is to be done when the log has failed, on whatever thread that is found.
    fn on_failure(&self) -> impl Fn(&Error) + Send + 'static {
        let (mailbox, fatal) = (self.mailbox.clone(), self.fatal.clone());
        move |error| {
            fatal(error.to_string());
            mailbox.close();
        }
    }

    /// Truncations go ahead of what waits: they speak of what is long synced, and are what makes room.
    fn truncate_first(&mut self) {
        let is_truncation = |record: &Record| matches!(record, Record::Truncate { .. });
        let waiting = self.stalled.iter().flat_map(|(_, records)| records);
        let truncations: Vec<Record> =
            waiting.filter(|record| is_truncation(record)).cloned().collect();
        if truncations.is_empty() {
            return;
        }
        let failed = self.on_failure();
        let appended = self.log.append(&truncations, move |result| {
            if let Err(error) = result {
                failed(&error);
            }
        });
        if appended.is_ok() {
            for (_, records) in &mut self.stalled {
                records.retain(|record| !is_truncation(record));
            }
        }
    }

    fn count(&self, effects: &Effects<PartitionEvaluator, Token>) {
        self.metrics.raft_turn(
            effects.elections,
            effects.leases,
            effects.proposed,
            effects.truncations,
            effects.refused_messages,
        );
    }
}

/// Records in pieces that the log takes, in order. A crash between two of them leaves the records up to some place, as one in
/// the midst of a write does.
fn in_pieces(records: Vec<Record>, bytes_max: u64) -> Vec<Vec<Record>> {
    if LogCore::weight(&records) <= bytes_max {
        return vec![records];
    }
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
    for record in records {
        let weight = LogCore::weight(std::slice::from_ref(&record));
        if bytes + weight > bytes_max && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += weight;
        piece.push(record);
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
