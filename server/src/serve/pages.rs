//! Query and Scan: pages.
//!
//! A page of Query is of one partition. A page of Scan goes through partitions in the order of their ranges until it is full; each
//! partition's part is read where that partition is.

use std::sync::Arc;

use stator_model::api::{Query, QueryAnswer, Scan, ScanAnswer};
use stator_model::limits::PAGE_BYTES_MAX;
use stator_model::{Error, ErrorKind, Result};
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
            let table = self.table_for(&request.table_name, cx).await?;
            let prepared = Arc::new(request.prepare(table.schema())?);
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
        let table = self.table_for(&request.table_name, cx).await?;
        if let Some(target) = cx.target {
            let partition = table.partitions().iter().find(|known| known.group == target.group);
            let partition = partition.ok_or_else(|| super::route::not_here(None))?;
            return self.scan_partition(&table, partition, &request, cx).await;
        }
        let prepared = request.prepare(table.schema())?;
        let mut answer = ScanAnswer::default();
        let mut bytes = 0;
        let mut part = request.clone();
        let first = table.index_of(prepared.start.hash);
        for partition in &table.partitions()[first..] {
            if partition.first_hash > prepared.last_hash {
                break;
            }
            part.limit = request.limit.map(|limit| limit.saturating_sub(answer.scanned_count));
            let mut page = self.scan_partition(&table, partition, &part, cx).await?;
            bytes += page.items.iter().map(|item| item.as_bytes().len()).sum::<usize>();
            answer.count += page.count;
            answer.scanned_count += page.scanned_count;
            answer.items.append(&mut page.items);
            if page.last_evaluated_key.is_some() {
                answer.last_evaluated_key = page.last_evaluated_key;
                break;
            }
            if bytes >= PAGE_BYTES_MAX && partition.last_hash < prepared.last_hash {
                // This partition is read to its end, and the page is full: the next one begins behind the last item, where
                // that tells its key. Where a projection hides the key, pages are small, and this one goes on.
                if let Some(key) = key_of_last(&table, &answer) {
                    answer.last_evaluated_key = Some(key);
                    break;
                }
            }
        }
        Ok(answer)
    }

    /// Reads a page of the part of a scan that falls into one partition.
    async fn scan_partition(
        &self,
        table: &Table,
        partition: &PartitionRecord,
        request: &Scan,
        cx: &CallContext,
    ) -> Result<ScanAnswer> {
        let freshness = Freshness::of(request.consistent_read);
        let prepared = Arc::new(request.prepare(table.schema())?);
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
                                let mut page = prepared.page();
                                let stop = scan(
                                    engine.as_ref(),
                                    &spec,
                                    &prepared,
                                    &mut page,
                                    &mut expired,
                                )?;
                                Ok(page.finish(stop == Stop::Expired)?)
                            })
                        })
                        .await;
                    page.then(|page| Ok(ScanAnswer::from(page)))
                }
                Way::There(node) => {
                    let request = request.clone().into();
                    unwrap::<Scan>(self.forward(node, partition, request, cx).await)
                }
                Way::Nowhere => Attempt::StaleRoute,
            };
            if let Some(answer) = attempts.judge(self, table, partition, attempt).await? {
                return Ok(answer);
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
            let result = read();
            drop(permit);
            result
        });
        task.await.map_err(|_| refused("a read failed unexpectedly"))?
    }
}

/// The key of the last item of a page, if the item still has its key attributes.
fn key_of_last(table: &Table, answer: &ScanAnswer) -> Option<stator_model::Item> {
    let item = answer.items.last()?.decode().ok()?;
    let key = stator_model::key::Key::of_item(table.schema(), &item).ok()?;
    Some(key.to_attributes(table.schema()))
}
