//! BatchGetItem and BatchWriteItem: each partition's share goes to its leader as one request; what is not done comes back to be
//! asked again.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use futures::future::join_all;
use stator_model::api::{
    BatchGetItem, BatchGetItemAnswer, BatchWriteItem, BatchWriteItemAnswer, KeysAndAttributes,
    WriteRequest,
};
use stator_model::error::Applied;
use stator_model::key::Key;
use stator_model::limits::{
    BATCH_BYTES_MAX, BATCH_GET_PARTITION_BYTES_MAX, PARTITION_KEY_BYTES_MAX, SORT_KEY_BYTES_MAX,
};
use stator_model::read::PreparedGets;
use stator_model::schema::KeySchema;
use stator_model::write::{PreparedWrite, prepare_batch};
use stator_model::{EncodedItem, Error, ErrorKind, Result};
use stator_storage::partition::read::ReadError;
use stator_storage::partition::{PartitionOutcome, PartitionRequest, get};

use super::CallContext;
use super::here::{Freshness, throttled, write_outcome};
use super::item::{other_answer, unwrap};
use super::route::{Attempt, Attempts, Way};
use crate::catalog::records::PartitionRecord;
use crate::node::Inner;
use crate::node::intake::AnswerRoom;
use crate::replicas::Replica;
use crate::tables::Table;

/// What deleting an item takes in an entry: its key, of which every byte may take two, and an end of each part.
const KEY_BYTES_MAX: usize = 2 * (PARTITION_KEY_BYTES_MAX + SORT_KEY_BYTES_MAX) + 4;
/// How many items of a batch are read on the caller's own task.
const INLINE_MAX: usize = 8;

/// The part of a batch that falls into one partition.
struct Share<T> {
    /// The table's name, as the request has it.
    name: String,
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
        let (mut failure, mut done, mut bytes) = (None, 0, 0);
        // What was found has its room until all of it is the answer.
        let mut rooms = Vec::new();
        let mut waiting = request.request_items;
        let mut attempts = Attempts::new(cx);
        while !waiting.is_empty() {
            let shares = async {
                attempts.rest_between(self).await?;
                self.shares_to_get(&waiting, cx).await
            };
            let shares = match shares.await {
                Ok(shares) => shares,
                Err(error) if is_passing(&error) => {
                    failure.get_or_insert(error);
                    for (name, wanted) in waiting {
                        add_keys(&mut answer.unprocessed_keys, name, wanted);
                    }
                    break;
                }
                Err(error) => return Err(error),
            };
            waiting.clear();
            let reads = shares.iter().map(|share| self.get_share(share, cx));
            let results = join_all(reads).await;
            for (Share { name, part, .. }, result) in shares.into_iter().zip(results) {
                let (items, mut left) = match result {
                    Ok(Some(found)) => {
                        if found.is_short {
                            self.metrics.throttled();
                            failure.get_or_insert_with(throttled);
                        }
                        rooms.push(found.room);
                        (found.items, found.left.keys(&part.keys))
                    }
                    Ok(None) => {
                        add_keys(&mut waiting, name, part);
                        continue;
                    }
                    Err(error) if is_passing(&error) => {
                        failure.get_or_insert(error);
                        (Vec::new(), part.keys.clone())
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
                    left.clone_from(&part.keys);
                }
                done += part.keys.len().saturating_sub(left.len());
                add_keys(
                    &mut answer.unprocessed_keys,
                    name,
                    KeysAndAttributes { keys: left, ..part },
                );
            }
        }
        match failure {
            // As DynamoDB: an error only if nothing at all could be read.
            Some(error) if done == 0 => Err(error),
            _ => Ok(answer),
        }
    }

    /// What a batch reads, by partition.
    async fn shares_to_get(
        &self,
        request_items: &BTreeMap<String, KeysAndAttributes>,
        cx: &CallContext,
    ) -> Result<Vec<Share<KeysAndAttributes>>> {
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
                shares.push(Share { name: name.clone(), table: table.clone(), index, part });
            }
        }
        Ok(shares)
    }

    /// Reads one partition's share of a batch. `None` if what was known of the table has proved stale.
    async fn get_share(
        &self,
        share: &Share<KeysAndAttributes>,
        cx: &CallContext,
    ) -> Result<Option<Found>> {
        let Share { name, table, part, .. } = share;
        let partition = share.partition();
        let freshness = Freshness::of(part.consistent_read);
        let prepared = Arc::new(part.prepare(table.schema())?);
        let mut attempts = Attempts::new(cx);
        loop {
            let attempt = match self.way_to_read(&mut attempts, partition, freshness) {
                Way::Here(replica) => {
                    let found = self.read_here(&replica, freshness, cx, || {
                        let (engine, spec) = (self.engine.clone(), replica.spec.clone());
                        let (prepared, room) = (prepared.clone(), self.answer_room());
                        let gets = move || {
                            Found::read(&prepared, room, |key| get(engine.as_ref(), &spec, key))
                        };
                        self.read_many(part.keys.len(), gets, cx)
                    });
                    found.await
                }
                Way::There(node) => {
                    let part =
                        BatchGetItem { request_items: [(name.clone(), part.clone())].into() };
                    let answer = self.forward(node, partition, part.into(), cx).await;
                    unwrap::<BatchGetItem>(answer).then(|mut answer| {
                        let items = answer.responses.remove(name).unwrap_or_default();
                        let left = answer.unprocessed_keys.remove(name);
                        Ok(Found::sent(items, left.map(|left| left.keys), self.answer_room()))
                    })
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if self.is_outdated(table, &attempt, cx) {
                return Ok(None);
            }
            if let Some(read) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(Some(read));
            }
        }
    }

    /// A few items are read at once, as single ones are; many on the threads for long reads.
    async fn read_many<T: Send + 'static>(
        &self,
        count: usize,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
        cx: &CallContext,
    ) -> Result<T, ReadError> {
        if count <= INLINE_MAX { read() } else { self.pooled(cx, read).await }
    }

    /// Puts and deletes items.
    pub(crate) async fn batch_write_item(
        &self,
        request: BatchWriteItem,
        cx: &CallContext,
    ) -> Result<BatchWriteItemAnswer> {
        let mut answer = BatchWriteItemAnswer::default();
        let (mut failure, mut done) = (None, 0);
        // An error of one share answers for all: nothing was applied only if that is so of each.
        let mut none_applied = true;
        let for_all = |none_applied: bool, error: Error| match none_applied {
            true => error,
            false => error.with_applied(Applied::Unknown),
        };
        let mut waiting = request.request_items;
        let mut attempts = Attempts::new(cx);
        while !waiting.is_empty() {
            let shares = async {
                attempts.rest_between(self).await?;
                self.shares_to_write(&waiting, cx).await
            };
            let shares = match shares.await {
                Ok(shares) => shares,
                Err(error) if is_passing(&error) => {
                    failure.get_or_insert(error);
                    for (name, writes) in waiting {
                        add_writes(&mut answer.unprocessed_items, name, writes);
                    }
                    break;
                }
                Err(error) => return Err(for_all(none_applied, error)),
            };
            waiting.clear();
            let writes = shares.iter().map(|share| self.write_share(share, cx));
            let results = join_all(writes).await;
            none_applied &= results.iter().zip(&shares).all(|(result, share)| match result {
                Ok(left) => left.as_ref().is_none_or(|left| left.len() == share.part.len()),
                Err(error) => error.applied() == Applied::No,
            });
            for (share, result) in shares.into_iter().zip(results) {
                match result {
                    Ok(Some(left)) => {
                        done += share.part.len() - left.len();
                        add_writes(&mut answer.unprocessed_items, share.name, left);
                    }
                    Ok(None) => add_writes(&mut waiting, share.name, share.part),
                    // What may have been applied is not handed back as if it had not been: the caller is told.
                    Err(error) if is_passing(&error) && error.applied() == Applied::No => {
                        failure.get_or_insert(error);
                        add_writes(&mut answer.unprocessed_items, share.name, share.part);
                    }
                    Err(error) => return Err(for_all(none_applied, error)),
                }
            }
        }
        match failure {
            Some(error) if done == 0 => Err(error),
            _ => Ok(answer),
        }
    }

    /// What a batch writes, by partition.
    async fn shares_to_write(
        &self,
        request_items: &BTreeMap<String, Vec<WriteRequest>>,
        cx: &CallContext,
    ) -> Result<Vec<Share<Vec<WriteRequest>>>> {
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
                shares.push(Share { name: name.clone(), table: table.clone(), index, part });
            }
        }
        Ok(shares)
    }

    /// Writes one partition's share of a batch; answers what was not written. `None`, and nothing written, if what was known of the
    /// table has proved stale.
    async fn write_share(
        &self,
        share: &Share<Vec<WriteRequest>>,
        cx: &CallContext,
    ) -> Result<Option<Vec<WriteRequest>>> {
        let Share { name, table, part: writes, .. } = share;
        let partition = share.partition();
        let mut attempts = Attempts::new(cx);
        loop {
            let attempt = match attempts.way(self, partition) {
                Way::Here(replica) => self.write_share_here(&replica, table, writes, cx).await,
                Way::There(node) => {
                    let part =
                        BatchWriteItem { request_items: [(name.clone(), writes.clone())].into() };
                    let answer = self.forward(node, partition, part.into(), cx).await;
                    unwrap::<BatchWriteItem>(answer).then(|mut answer| {
                        Ok(answer.unprocessed_items.remove(name).unwrap_or_default())
                    })
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if self.is_outdated(table, &attempt, cx) {
                return Ok(None);
            }
            if let Some(left) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(Some(left));
            }
        }
    }
}

/// Adds keys, and what goes for all of them, to what is to be read of a table.
fn add_keys(
    to: &mut BTreeMap<String, KeysAndAttributes>,
    name: String,
    mut wanted: KeysAndAttributes,
) {
    if !wanted.keys.is_empty() {
        match to.entry(name) {
            Entry::Vacant(entry) => _ = entry.insert(wanted),
            Entry::Occupied(mut entry) => entry.get_mut().keys.append(&mut wanted.keys),
        }
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

impl Inner {
    /// Writes one partition's share of a batch on this node, in pieces: an entry of the log has a bound, and a batch's writes
    /// stand each on its own anyway.
    async fn write_share_here(
        &self,
        replica: &Replica,
        table: &Table,
        writes: &[WriteRequest],
        cx: &CallContext,
    ) -> Attempt<Vec<WriteRequest>> {
        let bytes_max = self.config.entry_bytes_max();
        let (mut undone, mut rest) = (Vec::new(), writes);
        while !rest.is_empty() {
            let is_first = rest.len() == writes.len();
            let (piece, behind) = rest.split_at(piece_len(rest, bytes_max));
            let prepared: Vec<PreparedWrite> = match prepare_batch(piece, table.schema()) {
                Ok(prepared) => prepared,
                Err(error) => return Attempt::Done(Err(error)),
            };
            let written = self.write_here(replica, PartitionRequest::Writes(prepared), cx).await;
            let written = written.and_then(|outcome| match outcome {
                PartitionOutcome::Writes(outcomes) => all_done(outcomes),
                PartitionOutcome::Write(_) => Attempt::Done(Err(other_answer())),
            });
            match written {
                Attempt::Done(Ok(left)) => undone.extend(left),
                Attempt::Done(Err(error)) if error.applied() == Applied::Unknown => {
                    return Attempt::Done(Err(error));
                }
                refused if is_first => return refused,
                // What is written stands; the rest surely is not, and is the caller's to send again.
                _ => {
                    undone.extend_from_slice(rest);
                    break;
                }
            }
            rest = behind;
        }
        Attempt::Done(Ok(undone))
    }
}

/// How many writes, from the first on, one entry may carry: one at least.
fn piece_len(writes: &[WriteRequest], bytes_max: usize) -> usize {
    let mut bytes = 0usize;
    let fits = writes.iter().take_while(|write| {
        bytes = bytes.saturating_add(match write {
            WriteRequest::Put(item) => item.as_bytes().len(),
            WriteRequest::Delete(_) => KEY_BYTES_MAX,
        });
        bytes <= bytes_max
    });
    fits.count().max(1)
}

/// What was found of a share.
struct Found {
    items: Vec<EncodedItem>,
    left: Left,
    /// Whether the node had no room for more.
    is_short: bool,
    room: AnswerRoom,
}

/// The keys of a share that were not read.
#[derive(Debug, PartialEq)]
enum Left {
    /// Those from this one on.
    From(usize),
    /// These, says another node.
    Keys(Vec<stator_model::Item>),
}

impl Left {
    fn keys(self, of: &[stator_model::Item]) -> Vec<stator_model::Item> {
        match self {
            Self::From(first) => of.get(first..).unwrap_or_default().to_vec(),
            Self::Keys(keys) => keys,
        }
    }
}

impl Found {
    /// Reads one item after another, as many as one partition gives and there is room for. The last one is that which makes it the
    /// most that it gives, as with a page.
    fn read(
        prepared: &PreparedGets,
        room: AnswerRoom,
        get: impl Fn(&Key) -> Result<Option<EncodedItem>, ReadError>,
    ) -> Result<Self, ReadError> {
        let mut found = Self { items: Vec::new(), left: Left::From(0), is_short: false, room };
        let mut bytes = 0;
        for (at, key) in prepared.keys.iter().enumerate() {
            found.left = Left::From(at);
            if bytes >= BATCH_GET_PARTITION_BYTES_MAX {
                return Ok(found);
            }
            if let Some(item) = get(key)? {
                bytes += stored_size(&item)?;
                let item = prepared.answer(item).map_err(ReadError::Refused)?;
                if !found.room.take(item.as_bytes().len()) {
                    found.is_short = true;
                    return Ok(found);
                }
                found.items.push(item);
            }
        }
        found.left = Left::From(prepared.keys.len());
        Ok(found)
    }

    /// What another node has found: none of it, if there is no room for it here.
    fn sent(
        items: Vec<EncodedItem>,
        left: Option<Vec<stator_model::Item>>,
        mut room: AnswerRoom,
    ) -> Self {
        if room.take(items.iter().map(|item| item.as_bytes().len()).sum()) {
            Self { items, left: Left::Keys(left.unwrap_or_default()), is_short: false, room }
        } else {
            Self { items: Vec::new(), left: Left::From(0), is_short: true, room }
        }
    }
}

/// The size of a stored item, as DynamoDB accounts it.
fn stored_size(item: &EncodedItem) -> Result<usize, ReadError> {
    let not_stored = |error: Error| {
        let what = format!("A stored item cannot be read: {}", error.message());
        ReadError::Refused(Error::internal(what))
    };
    item.check().map(|checked| checked.size).map_err(not_stored)
}

/// The outcomes of a share: puts and deletes without conditions either all are done or meet an error. What met one after others
/// were done is not sent again: the caller is told that some may have been applied.
fn all_done(outcomes: Vec<stator_storage::partition::WriteOutcome>) -> Attempt<Vec<WriteRequest>> {
    let any_done = outcomes.iter().any(std::result::Result::is_ok);
    let failed = outcomes.into_iter().find(std::result::Result::is_err).map(write_outcome);
    match failed {
        None | Some(Attempt::Done(Ok(_))) => Attempt::Done(Ok(Vec::new())),
        Some(Attempt::Done(Err(error))) if any_done => {
            Attempt::Done(Err(error.with_applied(Applied::Unknown)))
        }
        Some(_) if any_done => {
            Attempt::Done(Err(Error::uncertain("some of the writes were done, and some were not")))
        }
        Some(failed) => failed.then(|_| Ok(Vec::new())),
    }
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

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
