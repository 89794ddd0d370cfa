//! Serving a request from a replica on this node: writes through its host, reads straight from the engine.

use std::time::Duration;

use stator_consensus::{Answer as HostAnswer, Event, NodeId, Refusal};
use stator_model::error::{Applied, Retry};
use stator_model::{Error, ErrorKind, Result};
use stator_storage::partition::read::ReadError;
use stator_storage::partition::{PartitionOutcome, PartitionRequest, WriteError, WriteOutcome};
use tokio::sync::oneshot;

use super::CallContext;
use super::route::Attempt;
use crate::catalog::records::CATALOG_GROUP;
use crate::mailbox::Refused;
use crate::node::Inner;
use crate::node::room::Full;
use crate::replicas::Replica;
use crate::shell::{Claim, HostEvent, Token};

/// How often a read is repeated because the data changed hands meanwhile, before the caller is sent elsewhere.
const READ_ATTEMPTS: usize = 8;

/// How long those wait that are refused because the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(500);
/// Why writes are refused that most replicas would not take.
const MOST_ARE_FULL: &str = "Most of the partition's replicas have no room for writes: their disks or their logs are nearly full. Reads go on.";
/// The same of the catalog's, which a disk has room for that is nearly full.
const LOGS_ARE_FULL: &str =
    "Most of the catalog's replicas have no room for writes: their logs are full. Reads go on.";
/// How long a read waits for an engine that has no room to apply what it needs.
const APPLY_PATIENCE: Duration = Duration::from_millis(200);

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It sees every write that was answered before it came: only the leader serves it.
    Strong,
    /// It sees a state that was true not long ago: any replica serves it.
    Eventual,
}

impl Freshness {
    pub(crate) const fn of(consistent_read: bool) -> Self {
        if consistent_read { Self::Strong } else { Self::Eventual }
    }
}

impl Inner {
    /// Has a request evaluated by the leader on this node, and waits for its outcome.
    pub(crate) async fn write_here(
        &self,
        replica: &Replica,
        request: PartitionRequest,
        cx: &CallContext,
    ) -> Attempt<PartitionOutcome> {
        let group = replica.spec.group;
        if let Err(error) = self.admits_writes(replica) {
            return Attempt::Done(Err(error));
        }
        let deadline_ns = cx.deadline_ns;
        let asked =
            self.ask(replica, cx, |token| Event::Submit { group, request, deadline_ns, token });
        let written = match asked.await {
            Asked::Answered(HostAnswer::Outcome(outcome)) => {
                if group == CATALOG_GROUP {
                    // The controller runs here, where the catalog is led, whichever node the request came to.
                    self.controller.notify_one();
                }
                Attempt::Done(Ok(outcome))
            }
            Asked::Answered(HostAnswer::Refused(refusal)) => refused(&refusal),
            // Not an answer to a write: the host would be broken.
            Asked::Answered(HostAnswer::MayRead) => {
                Attempt::Done(Err(Error::uncertain("the host gave no outcome")))
            }
            Asked::Dropped { begun: false } => Attempt::NotHere(None),
            Asked::Dropped { begun: true } => {
                Attempt::Done(Err(Error::uncertain("the node is stopping")))
            }
            Asked::TimedOut { begun: false } => refused(&Refusal::Expired),
            Asked::TimedOut { begun: true } => Attempt::Done(Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "The time given for the request is over, and it may have been applied",
            )
            .with_applied(Applied::Unknown))),
            Asked::NotTaken(error) => Attempt::Done(Err(error)),
        };
        if matches!(&written, Attempt::Done(Err(error)) if error.applied() == Applied::Unknown) {
            self.metrics.uncertain();
        }
        written
    }

    /// Reads from the engine of this node, as fresh as it has to be.
    pub(crate) async fn read_here<T, F: Future<Output = Result<T, ReadError>> + Send>(
        &self,
        replica: &Replica,
        freshness: Freshness,
        cx: &CallContext,
        read: impl Fn() -> F + Send + Sync,
    ) -> Attempt<T> {
        for _ in 0..READ_ATTEMPTS {
            let leased = match freshness {
                Freshness::Strong => replica.view.begin(self.clock.monotonic_ns()),
                Freshness::Eventual => None,
            };
            if freshness == Freshness::Strong && leased.is_none() {
                match self.confirm_leadership(replica, cx).await {
                    Attempt::Done(Ok(())) => {}
                    Attempt::Done(Err(error)) => return Attempt::Done(Err(error)),
                    Attempt::NotHere(leader) => return Attempt::NotHere(leader),
                    Attempt::Silent(node) => return Attempt::Silent(node),
                    Attempt::StaleRoute => return Attempt::StaleRoute,
                }
            }
            let unleased = replica.view.begin_unleased();
            let (Some(noted), Some(unleased)) = (replica.data.note(), unleased) else {
                return Attempt::NotHere(replica.view.leader());
            };
            let result = read().await;
            // What was read counts only if it is still the same data, and under a lease only if that still holds (R5).
            let holds = replica.data.holds(noted)
                && match leased {
                    Some(ticket) => replica.view.holds(ticket, self.clock.monotonic_ns()),
                    None => replica.view.holds_unleased(unleased),
                };
            if holds {
                return self.judge_read(replica, result);
            }
        }
        Attempt::NotHere(replica.view.leader())
    }

    fn judge_read<T>(&self, replica: &Replica, result: Result<T, ReadError>) -> Attempt<T> {
        match result {
            Ok(value) => Attempt::Done(Ok(value)),
            Err(ReadError::Moved { .. }) => Attempt::StaleRoute,
            Err(ReadError::Refused(error)) => Attempt::Done(Err(error)),
            Err(ReadError::Fault(error)) => {
                if matches!(error, stator_storage::Error::Corruption { .. }) {
                    // A replica that holds what was never written serves nobody any more; the others do.
                    self.stop_replica(replica.spec.group, &error.to_string());
                    return Attempt::NotHere(None);
                }
                Attempt::Done(Err(Error::internal(error.to_string())))
            }
        }
    }

    /// Asks a quorum, through the host, whether this node still leads.
    async fn confirm_leadership(&self, replica: &Replica, cx: &CallContext) -> Attempt<()> {
        self.metrics.read_index();
        let (group, deadline_ns) = (replica.spec.group, cx.deadline_ns);
        let asked = self.ask(replica, cx, |token| Event::Read { group, deadline_ns, token });
        let asked = tokio::select! {
            biased;
            asked = asked => asked,
            why = self.cannot_apply() => Asked::NotTaken(
                Error::new(ErrorKind::Unavailable, why)
                    .with_retry(Retry::After(FULL_DISK_PAUSE)),
            ),
        };
        match asked {
            Asked::Answered(HostAnswer::MayRead) => Attempt::Done(Ok(())),
            Asked::Answered(HostAnswer::Refused(refusal)) => refused(&refusal),
            Asked::Answered(HostAnswer::Outcome(_)) | Asked::Dropped { .. } => {
                Attempt::NotHere(None)
            }
            Asked::TimedOut { .. } => Attempt::Done(Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "The time given for the request is over",
            ))),
            Asked::NotTaken(error) => Attempt::Done(Err(error)),
        }
    }

    /// Resolves, with the reason, once the engine has been without room for what it should apply for a moment: nobody's time is
    /// to pass with waiting for it.
    async fn cannot_apply(&self) -> &'static str {
        loop {
            tokio::time::sleep(APPLY_PATIENCE).await;
            if let Some(why) = self.room.reads_refusal() {
                return why;
            }
        }
    }

    async fn ask(
        &self,
        replica: &Replica,
        cx: &CallContext,
        event: impl FnOnce(Token) -> HostEvent,
    ) -> Asked {
        let (token, answer) = oneshot::channel();
        let claim = Claim::default();
        match replica.host.try_push(event(Token { answer: token, claim: claim.clone() })) {
            Ok(()) => {}
            Err(Refused::Full(_)) => {
                self.metrics.throttled();
                return Asked::NotTaken(throttled());
            }
            Err(Refused::Closed(_)) => return Asked::NotTaken(super::route::not_here(None)),
        }
        let left = cx.left(self.clock.monotonic_ns());
        match tokio::time::timeout(left, answer).await {
            Ok(Ok(answer)) => Asked::Answered(answer),
            // Whatever the host still has of it, it does not begin with any more.
            Ok(Err(_)) => Asked::Dropped { begun: !claim.take() },
            Err(_) => Asked::TimedOut { begun: !claim.take() },
        }
    }

    /// Whether there is room for writes: refused before the log or the engine run out of disk. The catalog's few and small ones
    /// are what the disk's reserve is for: deleting a table is how an operator makes room. In a log that is full they have none.
    fn admits_writes(&self, replica: &Replica) -> Result<()> {
        if self.replicas.log_stalled() {
            self.metrics.throttled();
            return Err(throttled());
        }
        let refusal = match replica.spec.group {
            CATALOG_GROUP => {
                self.peers_refuse(replica, Full::Log).then(|| LOGS_ARE_FULL.to_owned())
            }
            _ => self.room.refusal().or_else(|| {
                self.peers_refuse(replica, Full::Disk).then(|| MOST_ARE_FULL.to_owned())
            }),
        };
        match refusal {
            None => Ok(()),
            Some(why) => {
                self.metrics.throttled();
                Err(Error::new(ErrorKind::Throttling, why)
                    .with_retry(Retry::After(FULL_DISK_PAUSE)))
            }
        }
    }

    /// Whether this node leads a partition, most of whose replicas would not take what those refuse who are so full.
    fn peers_refuse(&self, replica: &Replica, full: Full) -> bool {
        let nodes = replica.spec.members.iter().map(|member| NodeId(member.node));
        self.peers.as_ref().is_some_and(|peers| peers.full.block(nodes, full))
            && replica.view.leader() == Some(self.own)
    }
}

/// What came of asking a host.
#[derive(Debug)]
enum Asked {
    Answered(HostAnswer<PartitionOutcome>),
    /// The host is gone, and what it was asked with it. `begun` says whether it had begun with it, as below.
    Dropped {
        begun: bool,
    },
    TimedOut {
        begun: bool,
    },
    /// The host never heard of it.
    NotTaken(Error),
}

/// The error of a node that takes no more for the moment.
pub(crate) fn throttled() -> Error {
    Error::new(
        ErrorKind::Throttling,
        "The node takes no more requests at the moment: try again later",
    )
}

fn refused<T>(refusal: &Refusal) -> Attempt<T> {
    match refusal {
        Refusal::NotLeader(leader) => Attempt::NotHere(*leader),
        Refusal::NoGroup | Refusal::Stopped(_) => Attempt::NotHere(None),
        Refusal::Throttled => Attempt::Done(Err(throttled())),
        Refusal::Expired => Attempt::Done(Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "The time given for the request is over; it was not applied",
        ))),
        _ => Attempt::Done(Err(Error::uncertain(
            "Leadership was lost with the request on its way: it may have been applied",
        ))),
    }
}

/// The outcome of one write, as its caller gets it.
pub(crate) fn write_outcome(
    outcome: WriteOutcome,
) -> Attempt<stator_storage::partition::WriteAnswer> {
    match outcome {
        Ok(answer) => Attempt::Done(Ok(answer)),
        Err(WriteError::Moved { .. }) => Attempt::StaleRoute,
        Err(WriteError::Refused(error)) => Attempt::Done(Err(error)),
    }
}

#[cfg(test)]
#[path = "here_tests.rs"]
mod tests;
