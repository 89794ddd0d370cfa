//! Finding who serves a partition, and trying until somebody does or the time is over.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::{Member, NodeId};
use stator_model::error::{Applied, Retry};
use stator_model::key::Key;
use stator_model::schema::{KeySchema, TableStatus};
use stator_model::{Error, ErrorKind, Item, Result};
use stator_storage::partition::get;

use super::CallContext;
use crate::catalog::records::{
    CATALOG_GROUP, NodeRecord, PartitionRecord, TableRecord, catalog_schema, record_key,
};
use crate::node::Inner;
use crate::replicas::Replica;
use crate::tables::{Known, Table};

/// The pause before a partition without a leader is looked at again: the first, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How often somebody is asked for a caller that asks again by itself.
const PATIENCE: u32 = 4;
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

    /// Waits a little before the next attempt at all of a batch, if there was one before.
    ///
    /// # Errors
    /// The time is over.
    pub(crate) async fn rest_between(&mut self, node: &Inner) -> Result<()> {
        self.made += 1;
        if self.made > 1 { self.rest(node).await } else { Ok(()) }
    }

    /// Waits a little before the next attempt.
    ///
    /// # Errors
    /// The time is over.
    pub(crate) async fn rest(&mut self, node: &Inner) -> Result<()> {
        let left = self.cx.left(node.clock.monotonic_ns());
        // Long enough to have asked all of a partition's nodes.
        let is_enough = self.cx.asks_again && self.made > PATIENCE;
        if left <= self.pause || is_enough {
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
        let key = Key::of_key_attributes(&catalog_schema(), &record_key(kind, id)).ok()?;
        catalog.read(|| get(self.engine.as_ref(), &catalog.spec, &key).ok()??.decode().ok())
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
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
