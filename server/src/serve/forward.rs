//! Sending a request on to the node that leads its partition, and what to make of its answer, or of none.
//!
//! A node that is paused takes what it is sent and answers nothing. A read then costs a part of its time and is tried elsewhere. A
//! write cannot be: nobody knows what the other has done with it. It is given up as uncertain once somebody else leads.

use std::time::Duration;

use stator_consensus::{GroupId, NodeId};
use stator_model::error::Applied;
use stator_model::{Answer, Error, ErrorKind, Request};
use stator_proto::operation::{Effect, decode_answer, encode_request};
use stator_proto::peer::v1 as wire;

use super::CallContext;
use super::route::Attempt;
use crate::catalog::records::PartitionRecord;
use crate::node::Inner;
use crate::peers::CallFailure;

/// How long another node may take to answer a GetItem before somebody else is asked.
const GET_PATIENCE: Duration = Duration::from_secs(1);
/// Into how many parts the time for a read is cut: a node that answers nothing costs one of them.
const READ_PARTS: u32 = 3;
/// How often to look who leads while a write waits for another node's answer, and how long after a change that may still come.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LATE_ANSWER: Duration = Duration::from_millis(250);
/// What another node gets less than is left, to say what became of the request before nobody listens any more.
const FOR_THE_WAY: Duration = Duration::from_millis(20);

/// The time that another node is given, of what is left.
fn deadline_ms(left: Duration) -> u32 {
    let given = left - FOR_THE_WAY.min(left / 10);
    u32::try_from(given.as_millis()).unwrap_or(u32::MAX)
}

impl Inner {
    /// Sends a request on to the node that leads its partition.
    pub(crate) async fn forward(
        &self,
        to: NodeId,
        partition: &PartitionRecord,
        request: Request,
        cx: &CallContext,
    ) -> Attempt<Answer> {
        let Some(peers) = &self.peers else { return Attempt::NotHere(None) };
        let effect = Effect::of(&request);
        let mut left = cx.left(self.clock.monotonic_ns());
        if effect == Effect::Read {
            // A node that is paused answers nothing and refuses nothing; by then another one leads.
            left /= READ_PARTS;
        }
        if matches!(request, Request::GetItem(_)) {
            left = left.min(GET_PATIENCE);
        }
        if left.is_zero() {
            let what = "The time given for the request is over";
            return Attempt::Done(Err(Error::new(ErrorKind::DeadlineExceeded, what)));
        }
        let (operation, bytes) = match encode_request(request) {
            Ok(encoded) => encoded,
            Err(error) => return Attempt::Done(Err(error)),
        };
        let message = wire::ForwardRequest {
            operation: operation.into(),
            request: bytes,
            request_id: cx.request_id.to_string(),
            deadline_ms: deadline_ms(left),
            target: Some(wire::PartitionTarget {
                group: partition.group.0,
                generation: partition.generation,
            }),
            page_bytes_max: cx.page_room(),
        };
        self.metrics.forwarded();
        let sent = peers.forward(to, message, left);
        let answer = match effect {
            Effect::Read => sent.await,
            Effect::Write => tokio::select! {
                answer = sent => answer,
                () = self.has_lost_its_leader(to, partition.group) => {
                    self.tables.set_leader(partition.group, None);
                    let what = "The node that led the partition did not answer, and another one leads by now: \
                                the request may have been applied";
                    return Attempt::Done(Err(Error::uncertain(what)));
                }
            },
        };
        match answer {
            Err(CallFailure::NotSent(why)) => {
                tracing::debug!(node = to.0, why, "a request could not be sent on");
                Attempt::NotHere(None)
            }
            Err(CallFailure::Lost(failed)) => match effect {
                // Nothing is lost by reading again.
                Effect::Read => Attempt::Silent(to),
                Effect::Write => {
                    self.tables.set_leader(partition.group, None);
                    Attempt::Done(Err(failed.error))
                }
            },
            Ok(response) => self.received(to, partition, operation, response, cx),
        }
    }

    /// Resolves once a group has come to be led by another node than that, and has been for a while: what the other was sent it does
    /// not answer any more. Where there is no replica to tell it never does: the call itself ends with its time.
    async fn has_lost_its_leader(&self, leader: NodeId, group: GroupId) {
        // Who led when this began may have been named wrongly here: the other one is the newer then.
        let former = self.replicas.get(group).and_then(|replica| replica.view.leader());
        let mut changed = None;
        loop {
            let Some(replica) = self.replicas.get(group) else {
                return std::future::pending().await;
            };
            let now = replica.view.leader();
            let is_another = now.is_some_and(|now| now != leader) && now != former;
            changed = is_another.then(|| changed.unwrap_or_else(tokio::time::Instant::now));
            if changed.is_some_and(|changed| changed.elapsed() >= LATE_ANSWER) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn received(
        &self,
        from: NodeId,
        partition: &PartitionRecord,
        operation: wire::Operation,
        response: wire::ForwardResponse,
        cx: &CallContext,
    ) -> Attempt<Answer> {
        use wire::forward_response::Result as Received;
        cx.took_of_page(response.scanned_bytes);
        match response.result {
            Some(Received::Answer(bytes)) => {
                self.tables.set_leader(partition.group, Some(from));
                cx.forwarded_to(from);
                Attempt::Done(decode_answer(operation, bytes))
            }
            Some(Received::Error(detail)) => {
                Attempt::Done(Err(stator_proto::error::from_detail(&detail)))
            }
            Some(Received::NotHere(not_here)) if not_here.stale_route => Attempt::StaleRoute,
            Some(Received::NotHere(not_here)) => {
                Attempt::NotHere(not_here.leader_node_id.map(NodeId))
            }
            None => {
                let what = "a node answered neither an answer nor an error";
                Attempt::Done(Err(Error::internal(what).with_applied(Applied::Unknown)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_node_ends_before_nobody_listens() {
        assert_eq!(deadline_ms(Duration::from_secs(5)), 4980);
        assert_eq!(deadline_ms(Duration::from_millis(100)), 90);
        assert_eq!(deadline_ms(Duration::ZERO), 0);
    }
}
