//! Query and Scan: pages.
//!
//! A page of Query is of one partition. A page of Scan goes through partitions in the order of their ranges until it is full; each
//! partition's part is read where that partition is, and is told how much of the page is left for it.
//!
//! What pages hold is bounded wherever one waits. While it is read, and until its caller takes it, it has one of the few threads for
//! long reads; what a page of Scan has so far takes room of the node's while the next partition is asked, and it ends where there is
//! none; a page from another node counts there among the answers to this one until it is here; and a page that is done is counted by
//! the door at once.
//!
//! After half of its time a page of Scan ends with the next item that is found; or, where a partition is empty, with a key in it that
//! nobody has: a table of a thousand partitions with next to nothing in them is more than can be read in the time of one page.

use std::sync::Arc;

use stator_model::api::{Query, QueryAnswer, Scan, ScanAnswer};
use stator_model::key::Key;
use stator_model::limits::PAGE_BYTES_MAX;
use stator_model::schema::{KeySchema, KeyType};
use stator_model::{AttributeValue, Error, ErrorKind, Item, Number, Result};
use stator_storage::partition::read::ReadError;
use stator_storage::partition::{Stop, query, scan};

use super::CallContext;
use super::here::Freshness;
use super::item::unwrap;
use super::route::{Attempt, Attempts, Way};
use crate::catalog::records::PartitionRecord;
use crate::node::Inner;
use crate::tables::Table;

impl Inner {
    /// Reads a page of one partition key's items.
    pub(crate) async fn query(&self, request: Query, cx: &CallContext) -> Result<QueryAnswer> {
        let freshness = Freshness::of(request.consistent_read);
        let mut attempts = Attempts::new(cx);
        loop {
            let prepare = |schema: &KeySchema| request.prepare(schema).map(Arc::new);
            let (table, prepared) = self.prepared(&request.table_name, cx, prepare).await?;
            let partition = table.partition_of(prepared.hash);
            let attempt = match self.way_to_read(&mut attempts, partition, freshness) {
                Way::Here(replica) => {
                    let page = self
                        .read_here(&replica, freshness, cx, || {
                            let (engine, spec) = (self.engine.clone(), replica.spec.clone());
                            let prepared = prepared.clone();
                            let mut expired = self.expiry(cx);
                            self.pooled(cx, move || {
                                query(engine.as_ref(), &spec, &prepared, &mut expired)
                            })
                        })
                        .await;
                    page.then(|page| Ok(QueryAnswer::from(page)))
                }
                Way::There(node) => {
                    let request = request.clone().into();
                    unwrap::<Query>(self.forward(node, partition, request, cx).await)
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if let Some(answer) = attempts.judge(self, &table, partition, attempt).await? {
                return Ok(answer);
            }
        }
    }

    /// Reads a page of a table's items.
    pub(crate) async fn scan(&self, request: Scan, cx: &CallContext) -> Result<ScanAnswer> {
        let mut attempts = Attempts::new(cx);
        loop {
            if let Some(answer) = self.scan_partitions(&request, cx, self.expiry(cx)).await? {
                return Ok(answer);
            }
            attempts.rest(self).await?;
        }
    }

    /// Reads a page, from one partition after the other, until it is full or `expired`. `None` if what was known of the table has
    /// proved stale.
    async fn scan_partitions(
        &self,
        request: &Scan,
        cx: &CallContext,
        mut expired: impl FnMut() -> bool + Send,
    ) -> Result<Option<ScanAnswer>> {
        let prepare = |schema: &KeySchema| request.prepare(schema);
        let (table, prepared) = self.prepared(&request.table_name, cx, prepare).await?;
        if let Some(target) = cx.target {
            let partition = table.partitions().iter().find(|known| known.group == target.group);
            let Some(partition) = partition else {
                self.tables.forget(&request.table_name);
                return Err(super::route::not_here(None));
            };
            return self.scan_partition(&table, partition, request, cx).await;
        }
        let mut left = PAGE_BYTES_MAX as u64;
        let mut answer = ScanAnswer::default();
        let mut part = request.clone();
        let first = table.index_of(prepared.start.hash);
        let end = table.partitions().partition_point(|one| one.first_hash <= prepared.last_hash);
        let partitions = &table.partitions()[first..end.max(first)];
        let mut room = self.answer_room();
        for (place, partition) in partitions.iter().enumerate() {
            let next = partitions.get(place + 1);
            part.limit = request.limit.map(|limit| limit.saturating_sub(answer.scanned_count));
            // Not in the first one, so that every page goes on by a partition at least.
            let is_late = place > 0 && expired();
            if is_late {
                part.limit = Some(part.limit.map_or(1, |limit| limit.min(1)));
            }
            let mut page = loop {
                // What came to nothing before has used up nothing of the page.
                let cx = cx.with_a_page(left.max(1));
                let page = self.scan_partition(&table, partition, &part, &cx).await?;
                let Some(page) = page else { return Ok(None) };
                let bytes = page.items.iter().map(|item| item.as_bytes().len()).sum();
                if next.is_none() || page.last_evaluated_key.is_some() || room.take(bytes) {
                    left = cx.page_room();
                    break page;
                }
                // There is nowhere for it to wait for the next partition: read as far once more it says where it ends, and so does
                // the page.
                part.limit = Some(page.scanned_count);
            };
            answer.count += page.count;
            answer.scanned_count += page.scanned_count;
            answer.items.append(&mut page.items);
            if page.last_evaluated_key.is_some() {
                answer.last_evaluated_key = page.last_evaluated_key;
                break;
            }
            if is_late
                && page.scanned_count == 0
                && let Some(next) = next
                && let Some(key) = key_within(table.schema(), partition.first_hash..next.first_hash)
            {
                answer.last_evaluated_key = Some(key);
                break;
            }
        }
        Ok(Some(answer))
    }

    /// Reads a page of the part of a scan that falls into one partition. `None` if what was known of the table has proved stale.
    async fn scan_partition(
        &self,
        table: &Table,
        partition: &PartitionRecord,
        request: &Scan,
        cx: &CallContext,
    ) -> Result<Option<ScanAnswer>> {
        let freshness = Freshness::of(request.consistent_read);
        let prepared = Arc::new(request.prepare(table.schema())?);
        let room = usize::try_from(cx.page_room()).unwrap_or(PAGE_BYTES_MAX);
        let mut attempts = Attempts::new(cx);
        loop {
            let attempt = match self.way_to_read(&mut attempts, partition, freshness) {
                Way::Here(replica) => {
                    let page = self
                        .read_here(&replica, freshness, cx, || {
                            let (engine, spec) = (self.engine.clone(), replica.spec.clone());
                            let prepared = prepared.clone();
                            let mut expired = self.expiry(cx);
                            self.pooled(cx, move || {
                                let mut page = prepared.page().with_bytes_max(room);
                                let stop = scan(
                                    engine.as_ref(),
                                    &spec,
                                    &prepared,
                                    &mut page,
                                    &mut expired,
                                )?;
                                let bytes = page.scanned_bytes();
                                Ok((page.finish(stop == Stop::Expired)?, bytes))
                            })
                        })
                        .await;
                    page.then(|(page, bytes)| {
                        cx.took_of_page(bytes as u64);
                        Ok(ScanAnswer::from(page))
                    })
                }
                Way::There(node) => {
                    let request = request.clone().into();
                    unwrap::<Scan>(self.forward(node, partition, request, cx).await)
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if self.is_outdated(table, &attempt, cx) {
                return Ok(None);
            }
            if let Some(answer) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(Some(answer));
            }
        }
    }

    /// Tells when a page has taken half of what is left of its time: it then ends where it is.
    fn expiry(&self, cx: &CallContext) -> impl FnMut() -> bool + Send + 'static {
        let clock = self.clock.clone();
        let now_ns = clock.monotonic_ns();
        let until_ns = now_ns + cx.deadline_ns.saturating_sub(now_ns) / 2;
        move || clock.monotonic_ns() >= until_ns
    }

    /// Runs a long read on one of the threads for that, of which there are few: the others wait.
    pub(crate) async fn pooled<T: Send + 'static>(
        &self,
        cx: &CallContext,
        read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let refused = |what: &str| ReadError::Refused(Error::internal(what));
        let left = cx.left(self.clock.monotonic_ns());
        let permit = tokio::time::timeout(left, self.pool.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| {
            let what = "The time given for the request was over before a thread was free for it";
            ReadError::Refused(Error::new(ErrorKind::DeadlineExceeded, what))
        })?;
        let permit = permit.map_err(|_| refused("the node is stopping"))?;
        let task = tokio::task::spawn_blocking(move || {
            // The thread is free once somebody has what was read: until then no other read may fill more memory.
            (read(), permit)
        });
        let (result, _permit) = task.await.map_err(|_| refused("a read failed unexpectedly"))?;
        result
    }
}

/// How many keys are tried: enough to find one in the smallest of partitions. What is smaller is a part of a segment of a scan.
const KEYS_TRIED: u64 = 1 << 16;

/// A key with a hash in a range: a place between items that is no item's. Nobody knows a key by its hash, so one key after another is
/// tried; of a thousand partitions each has every thousandth.
fn key_within(schema: &KeySchema, hashes: std::ops::Range<u64>) -> Option<Item> {
    let value = |key_type, number: u64| match key_type {
        KeyType::S => AttributeValue::S(number.to_string()),
        KeyType::N => AttributeValue::N(Number::from(number)),
        KeyType::B => AttributeValue::B(number.to_be_bytes().to_vec().into()),
    };
    let mut key = Item::new();
    if let Some(sort) = &schema.sort {
        key.insert(sort.name.clone(), value(sort.key_type, 0));
    }
    let mut numbers = 0..KEYS_TRIED;
    numbers
        .any(|number| {
            key.insert(schema.partition.name.clone(), value(schema.partition.key_type, number));
            Key::of_key_attributes(schema, &key).is_ok_and(|key| hashes.contains(&key.hash()))
        })
        .then_some(key)
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
