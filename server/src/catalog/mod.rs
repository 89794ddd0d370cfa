//! The catalog: tables, their partitions and replicas, nodes and ids. A table like any other, of one partition.
//!
//! Its records are items ([`records`]), written by conditional writes ([`requests`]) through the same path as everybody's; whoever
//! writes one says what it must have been before, so that two writers never undo each other. The [`controller`], which runs on the
//! node that leads the catalog, carries out what the records say ([`look`]); every step of it may be repeated.
//!
//! What is pure here (`look`, `placement`, `records`, `requests`) uses nothing else of this crate: the simulator runs it, too.

pub(crate) mod controller;
pub(crate) mod look;
pub(crate) mod placement;
pub(crate) mod records;
pub(crate) mod requests;

use stator_model::{AttributeValue, Item, Result};

use self::records::{NodeRecord, TableRecord, record_key};
use self::requests::held;
use crate::node::Inner;
use crate::serve::CallContext;

impl Inner {
    /// Reads a record.
    pub(crate) async fn catalog_get(&self, key: Item, cx: &CallContext) -> Result<Option<Item>> {
        // Boxed, because looking up a table comes back to reading an item.
        let answer = Box::pin(self.get_item(requests::get(key), &cx.to_catalog())).await?;
        answer.item.map(|item| item.decode()).transpose()
    }

    /// Writes a record that must not exist yet. False if it does.
    pub(crate) async fn catalog_create(&self, item: &Item, cx: &CallContext) -> Result<bool> {
        held(Box::pin(self.write(requests::create(item), &cx.to_catalog())).await)
    }

    /// Writes a record, whatever was there.
    pub(crate) async fn catalog_put(&self, item: &Item, cx: &CallContext) -> Result<()> {
        Box::pin(self.write(requests::put(item), &cx.to_catalog())).await.map(|_| ())
    }

    /// Changes an attribute of a table's record from one value to another. False if it was not that value, or the record is by
    /// now that of another table of the same name.
    pub(crate) async fn catalog_change(
        &self,
        table: &TableRecord,
        attribute: &str,
        from: AttributeValue,
        to: AttributeValue,
        cx: &CallContext,
    ) -> Result<bool> {
        let request = requests::change(table, attribute, from, to);
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// Removes a table's record, and with it frees the name; not that of another table which has the name by now.
    pub(crate) async fn catalog_free_name(
        &self,
        table: &TableRecord,
        cx: &CallContext,
    ) -> Result<()> {
        held(Box::pin(self.write(requests::free_name(table), &cx.to_catalog())).await).map(|_| ())
    }

    /// Removes a record.
    pub(crate) async fn catalog_delete(&self, key: Item, cx: &CallContext) -> Result<()> {
        Box::pin(self.write(requests::delete(key), &cx.to_catalog())).await.map(|_| ())
    }

    /// The next id of a kind: never given twice.
    pub(crate) async fn catalog_next_id(&self, kind: &str, cx: &CallContext) -> Result<u64> {
        let answer = Box::pin(self.write(requests::next_id(kind), &cx.to_catalog())).await?;
        requests::given(answer.attributes)
    }

    /// All records of a kind, in the order of their ids, from one on.
    pub(crate) async fn catalog_list(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: Option<usize>,
        cx: &CallContext,
    ) -> Result<Vec<Item>> {
        let mut found = Vec::new();
        let mut start = after.map(|id| record_key(kind, id));
        loop {
            let left = limit.map(|limit| limit.saturating_sub(found.len()));
            if left == Some(0) {
                return Ok(found);
            }
            let limit = left.and_then(|left| u32::try_from(left).ok());
            let request = requests::page(kind, start, limit);
            let page = Box::pin(self.query(request, &cx.to_catalog())).await?;
            for item in page.items {
                found.push(item.decode()?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// All tables' records.
    pub(crate) async fn table_records(&self, cx: &CallContext) -> Result<Vec<TableRecord>> {
        let items = self.catalog_list("table", None, None, cx).await?;
        items.iter().map(TableRecord::from_item).collect()
    }

    /// All nodes' records.
    pub(crate) async fn node_records(&self, cx: &CallContext) -> Result<Vec<NodeRecord>> {
        let items = self.catalog_list("node", None, None, cx).await?;
        items.iter().map(NodeRecord::from_item).collect()
    }
}
