//! Finding who serves a partition, and trying until somebody does or the time is over.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::{GroupId, Member, NodeId};
use stator_model::error::{Applied, Retry};
use stator_model::key::Key;
use stator_model::schema::{KeySchema, TableStatus};
use stator_model::{Answer, Error, ErrorKind, Item, Request, Result};
use stator_proto::operation::{decode_answer, encode_request};
use stator_proto::peer::v1 as wire;
use stator_proto::status::{Effect, from_status};
use stator_storage::partition::get;

use super::CallContext;
use crate::catalog::records::{
    CATALOG_GROUP, NodeRecord, PartitionRecord, TableRecord, catalog_schema, record_key,
};
use crate::node::Inner;
use crate::peers::CallFailure;
use crate::replicas::Replica;
use crate::tables::{Known, Table};

/// The pause before a partition without a leader is looked at again: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How long another node may take to answer a GetItem before somebody else is asked.
const GET_PATIENCE: Duration = Duration::from_secs(1);
/// Into how many parts the time for a read is cut: a node that answers nothing costs one of them.
const READ_PARTS: u32 = 3;
/// How often to look who leads while a write waits for another node's answer, and how long after a change that may still come.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LATE_ANSWER: Duration = Duration::from_millis(250);
/// What another node gets less than is left, to say what became of the request before nobody listens any more.
const FOR_THE_WAY: Duration = Duration::from_millis(20);
/// How long the catalog may take to tell whether a table is still what it was.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What came of one attempt to have a request served.
pub(crate) enum Attempt<T> {
    /// It was served, or refused for good.
    Done(Result<T>),
    /// It was surely not served here; perhaps that node serves it.
    NotHere(Option<NodeId>),
    /// It was a read, and that node did not answer it in its part of the time.
    Silent(NodeId),
    /// It was surely not served: what was known of its table is stale.
    StaleRoute,
}

impl<T> Attempt<T> {
    /// Goes on with what was served, to another attempt.
    pub(crate) fn and_then<U>(self, next: impl FnOnce(T) -> Attempt<U>) -> Attempt<U> {
        match self {
            Self::Done(Ok(value)) => next(value),
            Self::Done(Err(error)) => Attempt::Done(Err(error)),
            Self::NotHere(leader) => Attempt::NotHere(leader),
            Self::Silent(node) => Attempt::Silent(node),
            Self::StaleRoute => Attempt::StaleRoute,
        }
    }

    /// Goes on with what was served, to what is answered.
    pub(crate) fn then<U>(self, next: impl FnOnce(T) -> Result<U>) -> Attempt<U> {
        self.and_then(|value| Attempt::Done(next(value)))
    }
}

/// Who may serve a request for a partition.
pub(crate) enum Way {
    /// A replica on this node.
    Here(Arc<Replica>),
    /// Another node.
    There(NodeId),
    /// This node should have the replica, and has not: what is known of the table is stale, or runs ahead.
    Nowhere,
}

/// The attempts at one request.
pub(crate) struct Attempts<'a> {
    cx: &'a CallContext,
    pause: Duration,
    choice: Choice,
    made: u32,
}

/// Which node to try next: who was named by the last attempt, or who leads as far as is known, or else one member after another.
/// Nobody is tried twice in a row, so that a belief that is wrong, however firm, does not keep a request from being served.
#[derive(Default)]
struct Choice {
    named: Option<NodeId>,
    last: Option<NodeId>,
    /// It answers nothing: it is named as the leader until the others know better.
    silent: Option<NodeId>,
    member: usize,
}

impl Choice {
    /// The next one. `may` says who can be tried at all: not this node, if it has no replica.
    fn next(
        &mut self,
        leader: Option<NodeId>,
        members: &[Member],
        may: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        let speaks = |node: NodeId| may(node) && Some(node) != self.silent;
        let named = self.named.take().filter(|named| speaks(*named));
        let leader = leader.filter(|leader| speaks(*leader) && Some(*leader) != self.last);
        let next = named.or(leader).or_else(|| {
            let count = members.len();
            let at = |place: usize| members[place].node;
            let mut places = (0..count).map(|step| (self.member + step) % count);
            let place = places
                .find(|&place| speaks(at(place)) && (Some(at(place)) != self.last || count == 1))
                // Two members of which one cannot be tried leave only the other; and who is silent is tried before nobody is.
                .or_else(|| (0..count).find(|&place| speaks(at(place))))
                .or_else(|| (0..count).find(|&place| may(at(place))))?;
            self.member = place + 1;
            Some(at(place))
        });
        self.last = next;
        next
    }
}

impl<'a> Attempts<'a> {
    pub(crate) const fn new(cx: &'a CallContext) -> Self {
        let choice = Choice { named: None, last: None, silent: None, member: 0 };
        Self { cx, pause: PAUSE_MIN, choice, made: 0 }
    }

    /// Whether another node has sent the request here for another partition than this one: then one of the two knows an older
    /// table of that name, and serving the request would be wrong.
    pub(crate) fn is_astray(&self, partition: &PartitionRecord) -> bool {
        self.cx.target.is_some_and(|target| target.group != partition.group)
    }

    /// Whom to try for a strongly consistent request.
    pub(crate) fn way(&mut self, node: &Inner, partition: &PartitionRecord) -> Way {
        self.made += 1;
        if self.is_astray(partition) {
            return Way::Nowhere;
        }
        let here = node.replicas.get(partition.group);
        if self.cx.target.is_some() {
            return here.map_or(Way::Nowhere, Way::Here);
        }
        let leader = match &here {
            Some(replica) => replica.view.leader(),
            None => node.tables.leader(partition.group),
        };
        let may = |other: NodeId| other != node.id() || here.is_some();
        match self.choice.next(leader, &partition.members, may) {
            Some(next) if next != node.id() => Way::There(next),
            Some(_) => here.map_or(Way::Nowhere, Way::Here),
            None => Way::Nowhere,
        }
    }

    /// Takes in what an attempt came to. `Ok(None)` says: once more.
    ///
    /// # Errors
    /// The time is over, or the request was sent here by another node, which has to look elsewhere itself.
    pub(crate) async fn judge<T>(
        &mut self,
        node: &Inner,
        table: &Table,
        partition: &PartitionRecord,
        attempt: Attempt<T>,
    ) -> Result<Option<T>> {
        match attempt {
            Attempt::Done(result) => return result.map(Some),
            Attempt::NotHere(leader) => {
                node.tables.set_leader(partition.group, leader);
                if self.cx.target.is_some() {
                    return Err(not_here(leader));
                }
                self.choice.named = leader;
            }
            Attempt::Silent(silent) => {
                node.tables.set_leader(partition.group, None);
                self.choice.silent = Some(silent);
            }
            Attempt::StaleRoute => {
                node.tables.forget(&table.record.name);
                node.tables.set_leader(partition.group, None);
                if self.cx.target.is_some() {
                    return Err(not_here(None));
                }
            }
        }
        // The first hop to somebody who was named costs no pause.
        if self.choice.named.is_none() || self.made > 1 {
            self.rest(node).await?;
        }
        Ok(None)
    }

    /// Waits a little before the next attempt.
    ///
    /// # Errors
    /// The time is over.
    pub(crate) async fn rest(&mut self, node: &Inner) -> Result<()> {
        let left = self.cx.left(node.clock.monotonic_ns());
        if left <= self.pause {
            let what = "No node was found in time that may serve the request";
            return Err(Error::new(ErrorKind::Unavailable, what).with_applied(Applied::No));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// What a node that was sent a request answers when it does not serve it.
pub(crate) fn not_here(leader: Option<NodeId>) -> Error {
    let what = match leader {
        Some(leader) => format!("the partition is led by node {leader}"),
        None => "the partition is not led here".to_owned(),
    };
    Error::new(ErrorKind::Unavailable, what).with_retry(Retry::Elsewhere)
}

/// The time that another node is given, of what is left.
fn deadline_ms(left: Duration) -> u32 {
    let given = left - FOR_THE_WAY.min(left / 10);
    u32::try_from(given.as_millis()).unwrap_or(u32::MAX)
}

impl Inner {
    /// The table that a request names: the catalog's own, if another node sent the request on for that.
    pub(crate) async fn table_for(&self, name: &str, cx: &CallContext) -> Result<Arc<Table>> {
        if cx.of_catalog || cx.target.is_some_and(|target| target.group == CATALOG_GROUP) {
            return Ok(self.catalog_table());
        }
        self.table(name, cx).await
    }

    /// A request's table, and what the request is by the table's key schema. One that does not fit what is known of the table may
    /// fit what has come in its place under the same name.
    ///
    /// # Errors
    /// Those of [`Inner::table_for`] and of `prepare`.
    pub(crate) async fn prepared<T>(
        &self,
        name: &str,
        cx: &CallContext,
        prepare: impl Fn(&KeySchema) -> Result<T>,
    ) -> Result<(Arc<Table>, T)> {
        let table = self.table_for(name, cx).await?;
        let refusal = match prepare(table.schema()) {
            Ok(prepared) => return Ok((table, prepared)),
            Err(refusal) => refusal,
        };
        if !self.tables.doubt(name, self.clock.monotonic_ns()) {
            return Err(refusal);
        }
        let table = self.table_for(name, cx).await?;
        let prepared = prepare(table.schema())?;
        Ok((table, prepared))
    }

    /// Whether what was known of a table has proved stale in an attempt to serve a part of a client's request: then the request has
    /// to be taken apart anew, for the table may be another one, or be cut differently.
    pub(crate) fn is_outdated<T>(
        &self,
        table: &Table,
        attempt: &Attempt<T>,
        cx: &CallContext,
    ) -> bool {
        let is_outdated = cx.target.is_none() && matches!(attempt, Attempt::StaleRoute);
        if is_outdated {
            self.tables.forget(&table.record.name);
        }
        is_outdated
    }

    /// A table that takes requests.
    ///
    /// The catalog's leader knows. While there is none, what is remembered of the table will do, or what a replica of the catalog here
    /// says: who serves a partition is not the catalog's to say, and a request that comes to the wrong place is not served there. That
    /// there is no such table only the leader says.
    ///
    /// # Errors
    /// `ResourceNotFoundException`, and what keeps the catalog from answering.
    pub(crate) async fn table(&self, name: &str, cx: &CallContext) -> Result<Arc<Table>> {
        let now_ns = self.clock.monotonic_ns();
        let left = cx.left(now_ns);
        let (patience, remembered) = match self.tables.get(name, now_ns) {
            Known::Fresh(table) => return Ok(table),
            Known::Stale(table) => (LOOK_AGAIN.min(left / 4), Some(table)),
            Known::Not => (left / 2, None),
        };
        let record = match self.table_record(name, &cx.for_at_most(patience, now_ns)).await {
            Ok(record) => record,
            Err(error) => match remembered {
                Some(table) => return Ok(table),
                None => Some(self.table_record_here(name).ok_or(error)?),
            },
        };
        let is_usable = |record: &TableRecord| {
            matches!(record.status, TableStatus::Active | TableStatus::Updating)
        };
        let Some(record) = record.filter(is_usable) else {
            self.tables.forget(name);
            return Err(Error::new(ErrorKind::ResourceNotFound, "Requested resource not found"));
        };
        let table = Arc::new(Table { record });
        self.tables.put(table.clone(), self.clock.monotonic_ns());
        Ok(table)
    }

    /// A table's record as the replica of the catalog on this node has it, if it takes requests by that.
    fn table_record_here(&self, name: &str) -> Option<TableRecord> {
        let record = TableRecord::from_item(&self.catalog_record_here("table", name)?).ok()?;
        (record.status == TableStatus::Active).then_some(record)
    }

    /// A node's record as the replica of the catalog on this node has it.
    pub(crate) fn node_record_here(&self, node: NodeId) -> Option<NodeRecord> {
        NodeRecord::from_item(&self.catalog_record_here("node", &node.to_string())?).ok()
    }

    fn catalog_record_here(&self, kind: &str, id: &str) -> Option<Item> {
        let catalog = self.replicas.get(CATALOG_GROUP)?;
        let (noted, ticket) = (catalog.data.note()?, catalog.view.begin_unleased()?);
        let key = Key::of_key_attributes(&catalog_schema(), &record_key(kind, id)).ok()?;
        let item = get(self.engine.as_ref(), &catalog.spec, &key).ok()??.decode().ok()?;
        (catalog.data.holds(noted) && catalog.view.holds_unleased(ticket)).then_some(item)
    }

    /// A table's record, from the catalog's leader.
    pub(crate) async fn table_record(
        &self,
        name: &str,
        cx: &CallContext,
    ) -> Result<Option<TableRecord>> {
        let item = self.catalog_get(record_key("table", name), cx).await?;
        item.map(|item| TableRecord::from_item(&item)).transpose()
    }

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
            hops: 1,
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
                () = self.has_lost_its_leader(to, partition.group, left) => {
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
            Err(CallFailure::Lost(status)) => {
                let error = from_status(&status, effect).error;
                match effect {
                    // Nothing is lost by reading again.
                    Effect::Read => Attempt::Silent(to),
                    Effect::Write => {
                        self.tables.set_leader(partition.group, None);
                        Attempt::Done(Err(error))
                    }
                }
            }
            Ok(response) => self.received(to, partition, operation, response, cx),
        }
    }

    /// Resolves once another node than that leads a group, and has done so for a while: what the other was sent it does not answer
    /// any more. Where there is no replica to tell, half of the time is as long as anybody waits.
    async fn has_lost_its_leader(&self, leader: NodeId, group: GroupId, left: Duration) {
        let mut changed = None;
        loop {
            let Some(replica) = self.replicas.get(group) else {
                return tokio::time::sleep(left / 2).await;
            };
            let is_another = replica.view.leader().is_some_and(|now| now != leader);
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
#[path = "route_tests.rs"]
mod tests;
