//! Finding who serves a partition, and trying until somebody does or the time is over.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::NodeId;
use stator_model::error::{Applied, Retry};
use stator_model::key::Key;
use stator_model::schema::{KeySchema, TableStatus};
use stator_model::{Answer, Error, ErrorKind, Request, Result};
use stator_proto::operation::{decode_answer, encode_request};
use stator_proto::peer::v1 as wire;
use stator_proto::status::{Effect, from_status};
use stator_storage::partition::get;

use super::CallContext;
use crate::catalog::records::{CATALOG_GROUP, PartitionRecord, TableRecord, record_key};
use crate::node::Inner;
use crate::peers::CallFailure;
use crate::replicas::Replica;
use crate::tables::{Cached, Table};

/// The pause before a partition without a leader is looked at again: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How long a record that can still be used is looked for anew.
const REFRESH_PATIENCE: Duration = Duration::from_millis(200);

/// What came of one attempt to have a request served.
pub(crate) enum Attempt<T> {
    /// It was served, or refused for good.
    Done(Result<T>),
    /// It was surely not served here; perhaps that node serves it.
    NotHere(Option<NodeId>),
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
    /// Which member to try when no leader is known.
    member: usize,
    /// Who was named by the last attempt.
    named: Option<NodeId>,
    made: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) const fn new(cx: &'a CallContext) -> Self {
        Self { cx, pause: PAUSE_MIN, member: 0, named: None, made: 0 }
    }

    /// Whether another node has sent the request on, and not for this partition.
    pub(crate) fn are_for_another(&self, partition: &PartitionRecord) -> bool {
        self.cx.is_for_another(partition.group)
    }

    /// Whom to try for a strongly consistent request.
    pub(crate) fn way(&mut self, node: &Inner, partition: &PartitionRecord) -> Way {
        self.made += 1;
        if let Some(named) = self.named.take() {
            return node.way_to(partition, named);
        }
        if self.are_for_another(partition) {
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
        if let Some(leader) = leader
            && self.member == 0
        {
            return node.way_to(partition, leader);
        }
        let members = &partition.members;
        if members.is_empty() {
            return Way::Nowhere;
        }
        let member = members[self.member % members.len()];
        self.member += 1;
        node.way_to(partition, member.node)
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
                self.named = leader;
            }
            Attempt::StaleRoute => {
                node.tables.forget(&table.record.name);
                if self.cx.target.is_some() {
                    return Err(not_here(None));
                }
            }
        }
        // The first hop to somebody who was named costs no pause.
        if self.named.is_none() || self.made > 1 {
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

impl Inner {
    fn way_to(&self, partition: &PartitionRecord, node: NodeId) -> Way {
        if node != self.id() {
            return Way::There(node);
        }
        self.replicas.get(partition.group).map_or(Way::Nowhere, Way::Here)
    }

    /// The table that a request names: the catalog's own, if another node sent the request on for that.
    pub(crate) async fn table_for(&self, name: &str, cx: &CallContext) -> Result<Arc<Table>> {
        if cx.of_catalog || cx.target.is_some_and(|target| target.group == CATALOG_GROUP) {
            return Ok(self.catalog_table());
        }
        self.table(name, cx).await
    }

    /// A request's table, and what it is by the table's key schema. A request that does not fit what is known of the table may
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

    /// Whether what was known of a table has proved stale in an attempt to serve a part of a client's request: then all of it has
    /// to be taken apart anew.
    pub(crate) fn outdated<T>(
        &self,
        table: &Table,
        attempt: &Attempt<T>,
        cx: &CallContext,
    ) -> bool {
        let outdated = cx.target.is_none() && matches!(attempt, Attempt::StaleRoute);
        if outdated {
            self.tables.forget(&table.record.name);
        }
        outdated
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
        let half = cx.left(now_ns) / 2;
        let (patience, remembered) = match self.tables.get(name, now_ns) {
            Some(Cached::Fresh(table)) => return Ok(table),
            Some(Cached::Stale(table)) => (half.min(REFRESH_PATIENCE), Some(table)),
            None => (half, None),
        };
        let record = match self.table_record(name, &cx.for_at_most(patience, now_ns)).await {
            Ok(record) => record,
            Err(error) => {
                if let Some(table) = remembered {
                    return Ok(table);
                }
                self.table_record_here(name).ok_or(error).map(Some)?
            }
        };
        let usable = matches!(
            record.as_ref().map(|record| record.status),
            Some(TableStatus::Active | TableStatus::Updating)
        );
        let Some(record) = record.filter(|_| usable) else {
            self.tables.forget(name);
            return Err(Error::new(ErrorKind::ResourceNotFound, "Requested resource not found"));
        };
        let table = Arc::new(Table { record });
        self.tables.put(table.clone(), self.clock.monotonic_ns());
        Ok(table)
    }

    /// A table's record as the replica of the catalog on this node has it, if it takes requests by that.
    fn table_record_here(&self, name: &str) -> Option<TableRecord> {
        let catalog = self.replicas.get(CATALOG_GROUP)?;
        let noted = catalog.data.note()?;
        let schema = &catalog.spec.key_schema;
        let key = Key::of_key_attributes(schema, &record_key("table", name)).ok()?;
        let item = get(self.engine.as_ref(), &catalog.spec, &key).ok()??;
        let record = TableRecord::from_item(&item.decode().ok()?).ok()?;
        let usable = record.status == TableStatus::Active && catalog.data.holds(noted);
        usable.then_some(record)
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
        let left = cx.left(self.clock.monotonic_ns());
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
            deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            hops: 1,
            target: Some(wire::PartitionTarget {
                group: partition.group.0,
                generation: partition.generation,
            }),
            page_bytes_max: cx.page_room(),
        };
        self.metrics.forwarded();
        match peers.forward(to, message, left).await {
            Err(CallFailure::NotSent(why)) => {
                tracing::debug!(node = to.0, why, "a request could not be sent on");
                Attempt::NotHere(None)
            }
            Err(CallFailure::Lost(status)) => {
                let error = from_status(&status, effect).error;
                match effect {
                    // Nothing is lost by reading again.
                    Effect::Read => Attempt::NotHere(None),
                    Effect::Write => Attempt::Done(Err(error)),
                }
            }
            Ok(response) => self.received(to, partition, operation, response, cx),
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
