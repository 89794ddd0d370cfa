//! Batches of items by key: as DynamoDB answers them, with a remainder that is the caller's to send again, and as most
//! callers want them, with the remainder sent again until there is none.

use std::collections::{BTreeMap, VecDeque};

use stator_model::api::{
    BatchGetItem, BatchWriteItem, BatchWriteItemAnswer, KeysAndAttributes, WriteRequest,
};
use stator_model::limits::{BATCH_GET_KEYS_MAX, BATCH_WRITE_REQUESTS_MAX};
use stator_model::{EncodedItem, Item};

use super::{all_decoded, builder};
use crate::Client;
use crate::error::Result;

#[cfg(test)]
mod tests;

impl Client {
    /// Reads up to 100 items by key.
    pub fn batch_get_item(&self) -> BatchGetItemBuilder {
        BatchGetItemBuilder::new(self, BatchGetItem::default())
    }

    /// Puts and deletes up to 25 items.
    pub fn batch_write_item(&self) -> BatchWriteItemBuilder {
        BatchWriteItemBuilder::new(self, BatchWriteItem::default())
    }

    /// Puts and deletes any number of items of one table, 25 at a time and one batch after the other. What a batch leaves
    /// over goes before the next one, after a pause.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::{Item, KeyType, put};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # client.create_table().table_name("numbers").partition_key("id", KeyType::N).send().await?;
    /// # client.wait_until_active("numbers").await?;
    /// let items = (0..60).map(|n| Item::from([("id".to_owned(), n.into())]));
    /// let left = client.write_all("numbers", items.clone().map(put)).await?;
    /// assert!(left.is_empty(), "the database takes no more at the moment");
    ///
    /// let (found, left) = client.get_all("numbers", items).await?;
    /// assert_eq!((found.len(), left.len()), (60, 0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Answered is what was not written when the policy's attempts were used up: all of it was surely not applied.
    ///
    /// # Errors
    /// Of the first batch that failed: of its items, and of those after it, some may have been written if it is
    /// uncertain, and none otherwise.
    pub async fn write_all(
        &self,
        table_name: impl Into<String>,
        writes: impl IntoIterator<Item = WriteRequest>,
    ) -> Result<Vec<WriteRequest>> {
        let table_name = table_name.into();
        let mut waiting: VecDeque<_> = writes.into_iter().collect();
        let (mut idle, mut left_over) = (0, 0);
        while !waiting.is_empty() {
            let count = next_batch(left_over, waiting.len(), BATCH_WRITE_REQUESTS_MAX);
            let batch: Vec<_> = waiting.drain(..count).collect();
            let request_items = BTreeMap::from([(table_name.clone(), batch)]);
            let answer = self.execute(BatchWriteItem { request_items }).await?;
            let left: Vec<_> = answer.unprocessed_items.into_values().flatten().collect();
            let done = count.saturating_sub(left.len());
            left_over = left.len();
            left.into_iter().rev().for_each(|write| waiting.push_front(write));
            if !self.go_on(done == count, done > 0, &mut idle).await {
                break;
            }
        }
        Ok(waiting.into())
    }

    /// Reads any number of items of one table, 100 keys at a time and one batch after the other, and asks again for what
    /// a batch leaves over, after a pause. Answered are the items found, in no order, and the keys that were still not
    /// read when the policy's attempts were used up.
    ///
    /// # Errors
    /// Of the first batch that failed.
    pub async fn get_all(
        &self,
        table_name: impl Into<String>,
        keys: impl IntoIterator<Item = Item>,
    ) -> Result<(Vec<Item>, Vec<Item>)> {
        let table_name = table_name.into();
        let mut waiting: VecDeque<_> = keys.into_iter().collect();
        let mut found = Vec::new();
        let (mut idle, mut left_over) = (0, 0);
        while !waiting.is_empty() {
            let count = next_batch(left_over, waiting.len(), BATCH_GET_KEYS_MAX);
            let wanted = KeysAndAttributes {
                keys: waiting.drain(..count).collect(),
                consistent_read: true,
                ..KeysAndAttributes::default()
            };
            let request_items = BTreeMap::from([(table_name.clone(), wanted)]);
            let answer = self.execute(BatchGetItem { request_items }).await?;
            for items in answer.responses.values() {
                found.append(&mut all_decoded(items)?);
            }
            let left: Vec<_> =
                answer.unprocessed_keys.into_values().flat_map(|wanted| wanted.keys).collect();
            let done = count.saturating_sub(left.len());
            left_over = left.len();
            left.into_iter().rev().for_each(|key| waiting.push_front(key));
            if !self.go_on(done == count, done > 0, &mut idle).await {
                break;
            }
        }
        Ok((found, waiting.into()))
    }

    /// Pauses after a batch that left something over. Only batches that got nothing done count as attempts: false when
    /// there were enough of them in a row.
    async fn go_on(&self, whole: bool, progress: bool, idle: &mut u32) -> bool {
        if progress {
            *idle = 0;
        }
        if !whole {
            *idle += 1;
            let Some(pause) = self.batch_pause(*idle) else { return false };
            tokio::time::sleep(pause).await;
        }
        true
    }
}

/// How many of those that wait go next. What a batch left over goes alone: what comes behind it may be of the same item, which no
/// batch may have twice, and two writes of one item keep their order.
fn next_batch(left_over: usize, waiting: usize, max: usize) -> usize {
    if left_over > 0 { left_over } else { waiting }.min(max)
}

/// A write of a batch that puts this item.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "so that `map(put)` works on items")]
pub fn put(item: Item) -> WriteRequest {
    WriteRequest::Put(EncodedItem::encode(&item))
}

/// A write of a batch that deletes the item with this primary key.
#[must_use]
pub fn delete(key: Item) -> WriteRequest {
    WriteRequest::Delete(key)
}

builder! {
    /// Reads up to 100 items by key, of one or more tables.
    BatchGetItemBuilder of BatchGetItem
}

/// What BatchGetItem answers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BatchGetItemOutput {
    /// The items found, by table, in no order.
    pub responses: BTreeMap<String, Vec<Item>>,
    /// What was not read, to be asked again.
    pub unprocessed_keys: BTreeMap<String, KeysAndAttributes>,
}

impl BatchGetItemBuilder {
    /// Adds an item of a table to read, by its primary key. Reads are strongly consistent.
    pub fn key(mut self, table_name: impl Into<String>, key: Item) -> Self {
        let strongly = KeysAndAttributes { consistent_read: true, ..KeysAndAttributes::default() };
        let wanted = self.request.request_items.entry(table_name.into()).or_insert(strongly);
        wanted.keys.push(key);
        self
    }

    /// What to read of a table, said in full. It is taken at its word: `KeysAndAttributes::default()` reads eventually, and
    /// `consistent_read: true` asks for strong reads, as [`key`](Self::key) does.
    pub fn request_items(
        mut self,
        table_name: impl Into<String>,
        wanted: KeysAndAttributes,
    ) -> Self {
        self.request.request_items.insert(table_name.into(), wanted);
        self
    }

    /// What to read of each table, such as what the last answer left over.
    pub fn set_request_items(mut self, wanted: BTreeMap<String, KeysAndAttributes>) -> Self {
        self.request.request_items = wanted;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if one of the tables is not there.
    pub async fn send(self) -> Result<BatchGetItemOutput> {
        let answer = self.client.call(self.request, self.settings).await?;
        let mut responses = BTreeMap::new();
        for (table_name, items) in answer.responses {
            responses.insert(table_name, all_decoded(&items)?);
        }
        Ok(BatchGetItemOutput { responses, unprocessed_keys: answer.unprocessed_keys })
    }
}

builder! {
    /// Puts and deletes up to 25 items, of one or more tables.
    BatchWriteItemBuilder of BatchWriteItem
}

impl BatchWriteItemBuilder {
    /// Adds an item to put into a table.
    pub fn put(self, table_name: impl Into<String>, item: Item) -> Self {
        self.request_items(table_name, put(item))
    }

    /// Adds an item to delete from a table, by its primary key.
    pub fn delete(self, table_name: impl Into<String>, key: Item) -> Self {
        self.request_items(table_name, delete(key))
    }

    /// Adds a write to a table.
    pub fn request_items(mut self, table_name: impl Into<String>, write: WriteRequest) -> Self {
        self.request.request_items.entry(table_name.into()).or_default().push(write);
        self
    }

    /// What to write to each table, such as what the last answer left over.
    pub fn set_request_items(mut self, writes: BTreeMap<String, Vec<WriteRequest>>) -> Self {
        self.request.request_items = writes;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// An uncertain one if some of the items may have been written.
    pub async fn send(self) -> Result<BatchWriteItemAnswer> {
        self.client.call(self.request, self.settings).await
    }
}
