//! BatchGetItem and BatchWriteItem: each partition's share goes to its leader as one request; what is not done comes back to be
//! asked again.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;

use futures::future::join_all;
use stator_model::api::{
    BatchGetItem, BatchGetItemAnswer, BatchWriteItem, BatchWriteItemAnswer, KeysAndAttributes,
    WriteRequest,
};
use stator_model::error::Applied;
use stator_model::limits::BATCH_BYTES_MAX;
use stator_model::read::PreparedGets;
use stator_model::schema::KeySchema;
use stator_model::write::{PreparedWrite, prepare_batch};
use stator_model::{EncodedItem, Error, ErrorKind, Result};
use stator_storage::partition::{PartitionOutcome, PartitionRequest, get};

use super::CallContext;
use super::here::{Freshness, write_outcome};
use super::item::{other_answer, unwrap};
use super::route::{Attempt, Attempts, Way};
use crate::catalog::records::PartitionRecord;
use crate::node::Inner;
use crate::tables::Table;

/// The part of a batch that falls into one partition.
struct Share<T> {
    table: Arc<Table>,
    /// Of the table's partitions.
    index: usize,
    part: T,
}

impl<T> Share<T> {
    fn partition(&self) -> &PartitionRecord {
        &self.table.partitions()[self.index]
    }
}

impl Inner {
    /// Reads items by key.
    pub(crate) async fn batch_get_item(
        &self,
        request: BatchGetItem,
        cx: &CallContext,
    ) -> Result<BatchGetItemAnswer> {
        let mut answer = BatchGetItemAnswer::default();
        let (mut failure, mut bytes) = (None, 0);
        let mut waiting = request.request_items;
        let mut attempts = Attempts::new(cx);
        loop {
            let shares = self.shares_to_get(&waiting, cx).await?;
            waiting.clear();
            let reads = shares.iter().map(|(name, share)| self.get_share(name, share, cx));
            for ((name, share), result) in shares.iter().zip(join_all(reads).await) {
                let (items, mut left) = match result {
                    Ok(Some(read)) => read,
                    Ok(None) => {
                        add_keys(&mut waiting, name, &share.part, share.part.keys.clone());
                        continue;
                    }
                    Err(error) if is_passing(&error) => {
                        failure.get_or_insert(error);
                        (Vec::new(), share.part.keys.clone())
                    }
                    Err(error) => return Err(error),
                };
                let size: usize = items.iter().map(|item| item.as_bytes().len()).sum();
                let found = answer.responses.entry(name.clone()).or_default();
                if bytes + size <= BATCH_BYTES_MAX {
                    bytes += size;
                    found.extend(items);
                } else {
                    // Whole shares only: which key an item is of is not told apart here.
                    left.clone_from(&share.part.keys);
                }
                add_keys(&mut answer.unprocessed_keys, name, &share.part, left);
            }
            if waiting.is_empty() {
                break;
            }
            attempts.rest(self).await?;
        }
        let nothing = answer.responses.values().all(Vec::is_empty);
        match failure {
            // As DynamoDB: an error only if nothing at all could be read.
            Some(error) if nothing => Err(error),
            _ => Ok(answer),
        }
    }

    /// What a batch reads, by partition, under the tables' names as the request has them.
    async fn shares_to_get(
        &self,
        request_items: &BTreeMap<String, KeysAndAttributes>,
        cx: &CallContext,
    ) -> Result<Vec<(String, Share<KeysAndAttributes>)>> {
        let mut shares = Vec::new();
        for (name, wanted) in request_items {
            let prepare = |schema: &KeySchema| wanted.prepare(schema);
            let (table, prepared) = self.prepared(name, cx, prepare).await?;
            let mut by_partition: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            for (key, attributes) in prepared.keys.iter().zip(&wanted.keys) {
                let keys = by_partition.entry(table.index_of(key.hash())).or_default();
                keys.push(attributes.clone());
            }
            for (index, keys) in by_partition {
                let part = KeysAndAttributes { keys, ..wanted.clone() };
                shares.push((name.clone(), Share { table: table.clone(), index, part }));
            }
        }
        Ok(shares)
    }

    /// Reads one partition's share of a batch: what was found, and the keys that there was no room for. `None` if what was known of
    /// the table has proved stale.
    async fn get_share(
        &self,
        name: &str,
        share: &Share<KeysAndAttributes>,
        cx: &CallContext,
    ) -> Result<Option<(Vec<EncodedItem>, Vec<stator_model::Item>)>> {
        let (table, partition, part) = (&share.table, share.partition(), &share.part);
        let freshness = Freshness::of(part.consistent_read);
        let prepared = part.prepare(table.schema())?;
        let mut attempts = Attempts::new(cx);
        loop {
            let attempt = match self.way_to_read(&mut attempts, partition, freshness) {
                Way::Here(replica) => {
                    let engine = self.engine.as_ref();
                    self.read_here(&replica, freshness, cx, || {
                        let gets = prepared.keys.iter().map(|key| get(engine, &replica.spec, key));
                        ready(gets.collect::<Result<Vec<_>, _>>())
                    })
                    .await
                    .then(|found| fitting(&prepared, part, found))
                }
                Way::There(node) => {
                    let part =
                        BatchGetItem { request_items: [(name.to_owned(), part.clone())].into() };
                    let answer = self.forward(node, partition, part.into(), cx).await;
                    unwrap::<BatchGetItem>(answer).then(|mut answer| {
                        let left = answer.unprocessed_keys.remove(name);
                        Ok((
                            answer.responses.remove(name).unwrap_or_default(),
                            left.map(|left| left.keys).unwrap_or_default(),
                        ))
                    })
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if self.outdated(table, &attempt, cx) {
                return Ok(None);
            }
            if let Some(read) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(Some(read));
            }
        }
    }

    /// Puts and deletes items.
    pub(crate) async fn batch_write_item(
        &self,
        request: BatchWriteItem,
        cx: &CallContext,
    ) -> Result<BatchWriteItemAnswer> {
        let mut answer = BatchWriteItemAnswer::default();
        let (mut failure, mut done) = (None, 0);
        let mut waiting = request.request_items;
        let mut attempts = Attempts::new(cx);
        // What happened to the others is not told by an error of one part: some of it may have been written.
        let after = |done: usize, error: Error| match done {
            0 => error,
            _ => error.with_applied(Applied::Unknown),
        };
        loop {
            let shares = self.shares_to_write(&waiting, cx).await;
            let shares = shares.map_err(|error| after(done, error))?;
            waiting.clear();
            let writes = shares.iter().map(|(name, share)| self.write_share(name, share, cx));
            let results = join_all(writes).await;
            for ((name, share), result) in shares.into_iter().zip(results) {
                match result {
                    Ok(Some(left)) => {
                        done += share.part.len() - left.len();
                        add_writes(&mut answer.unprocessed_items, name, left);
                    }
                    Ok(None) => add_writes(&mut waiting, name, share.part),
                    // What may have been applied is not handed back as if it had not been: the caller is told.
                    Err(error) if is_passing(&error) && error.applied() == Applied::No => {
                        failure.get_or_insert(error);
                        add_writes(&mut answer.unprocessed_items, name, share.part);
                    }
                    Err(error) => return Err(error.with_applied(Applied::Unknown)),
                }
            }
            if waiting.is_empty() {
                break;
            }
            if let Err(error) = attempts.rest(self).await {
                failure.get_or_insert(error);
                for (name, writes) in std::mem::take(&mut waiting) {
                    add_writes(&mut answer.unprocessed_items, name, writes);
                }
                break;
            }
        }
        match failure {
            Some(error) if done == 0 => Err(error),
            _ => Ok(answer),
        }
    }

    /// What a batch writes, by partition, under the tables' names as the request has them.
    async fn shares_to_write(
        &self,
        request_items: &BTreeMap<String, Vec<WriteRequest>>,
        cx: &CallContext,
    ) -> Result<Vec<(String, Share<Vec<WriteRequest>>)>> {
        let mut shares = Vec::new();
        for (name, writes) in request_items {
            let prepare = |schema: &KeySchema| prepare_batch(writes, schema);
            let (table, prepared) = self.prepared(name, cx, prepare).await?;
            let mut by_partition: BTreeMap<usize, Vec<WriteRequest>> = BTreeMap::new();
            for (prepared, write) in prepared.iter().zip(writes) {
                let part = by_partition.entry(table.index_of(prepared.key.hash())).or_default();
                part.push(write.clone());
            }
            for (index, part) in by_partition {
                shares.push((name.clone(), Share { table: table.clone(), index, part }));
            }
        }
        Ok(shares)
    }

    /// Writes one partition's share of a batch; answers what was not written. `None`, and nothing written, if what was known of the
    /// table has proved stale.
    async fn write_share(
        &self,
        name: &str,
        share: &Share<Vec<WriteRequest>>,
        cx: &CallContext,
    ) -> Result<Option<Vec<WriteRequest>>> {
        let (table, partition, writes) = (&share.table, share.partition(), &share.part);
        let mut attempts = Attempts::new(cx);
        loop {
            let attempt = match attempts.way(self, partition) {
                Way::Here(replica) => {
                    let prepared: Vec<PreparedWrite> = prepare_batch(writes, table.schema())?;
                    let request = PartitionRequest::Writes(prepared);
                    let outcome = self.write_here(&replica, request, cx).await;
                    outcome.and_then(|outcome| match outcome {
                        PartitionOutcome::Writes(outcomes) => all_done(outcomes),
                        PartitionOutcome::Write(_) => Attempt::Done(Err(other_answer())),
                    })
                }
                Way::There(node) => {
                    let part = BatchWriteItem {
                        request_items: [(name.to_owned(), writes.clone())].into(),
                    };
                    let answer = self.forward(node, partition, part.into(), cx).await;
                    unwrap::<BatchWriteItem>(answer).then(|mut answer| {
                        Ok(answer.unprocessed_items.remove(name).unwrap_or_default())
                    })
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if self.outdated(table, &attempt, cx) {
                return Ok(None);
            }
            if let Some(left) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(Some(left));
            }
        }
    }
}

/// Adds keys to what is to be read of a table, with what goes for all of them.
fn add_keys(
    to: &mut BTreeMap<String, KeysAndAttributes>,
    name: &str,
    of: &KeysAndAttributes,
    keys: Vec<stator_model::Item>,
) {
    if !keys.is_empty() {
        let entry = to
            .entry(name.to_owned())
            .or_insert_with(|| KeysAndAttributes { keys: Vec::new(), ..of.clone() });
        entry.keys.extend(keys);
    }
}

/// Adds writes to those of a table.
fn add_writes(
    to: &mut BTreeMap<String, Vec<WriteRequest>>,
    name: String,
    writes: Vec<WriteRequest>,
) {
    if !writes.is_empty() {
        to.entry(name).or_default().extend(writes);
    }
}

/// As many of the items found as one answer holds, and the keys of the others.
fn fitting(
    prepared: &PreparedGets,
    share: &KeysAndAttributes,
    found: Vec<Option<EncodedItem>>,
) -> Result<(Vec<EncodedItem>, Vec<stator_model::Item>)> {
    let (mut items, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (found, key) in found.into_iter().zip(&share.keys) {
        let Some(item) = found else { continue };
        let item = prepared.answer(item)?;
        bytes += item.as_bytes().len();
        if bytes > BATCH_BYTES_MAX && !items.is_empty() {
            left.push(key.clone());
        } else {
            items.push(item);
        }
    }
    Ok((items, left))
}

/// The outcomes of a share: puts and deletes without conditions either all are done or meet an error.
fn all_done(outcomes: Vec<stator_storage::partition::WriteOutcome>) -> Attempt<Vec<WriteRequest>> {
    for outcome in outcomes {
        match write_outcome(outcome) {
            Attempt::Done(Ok(_)) => {}
            other => return other.then(|_| Ok(Vec::new())),
        }
    }
    Attempt::Done(Ok(Vec::new()))
}

/// Whether the same request may succeed a little later.
fn is_passing(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Throttling
            | ErrorKind::ProvisionedThroughputExceeded
            | ErrorKind::Unavailable
            | ErrorKind::DeadlineExceeded
    )
}
