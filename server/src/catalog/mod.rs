//! The catalog: tables, their partitions and replicas, nodes and ids. A table like any other, of one partition.
//!
//! Its records are items ([`records`]), written by conditional writes through the same path as everybody's; whoever writes one says
//! what it must have been before, so that two writers never undo each other. The [`controller`], which runs on the node that leads
//! the catalog, carries out what the records say; every step of it may be repeated.

pub(crate) mod controller;
pub(crate) mod placement;
pub(crate) mod records;

use stator_model::api::{DeleteItem, GetItem, PutItem, Query, ReturnValues, UpdateItem, Values};
use stator_model::{AttributeValue, EncodedItem, Error, ErrorKind, Item, Number, Result};

use self::records::{CATALOG_NAME, NodeRecord, TableRecord, record_key};
use crate::node::Inner;
use crate::serve::CallContext;

impl Inner {
    /// Reads a record.
    pub(crate) async fn catalog_get(&self, key: Item, cx: &CallContext) -> Result<Option<Item>> {
        let table_name = CATALOG_NAME.to_owned();
        let request = GetItem { table_name, key, consistent_read: true, ..GetItem::default() };
        // Boxed, because looking up a table comes back to reading an item.
        let answer = Box::pin(self.get_item(request, &cx.to_catalog())).await?;
        answer.item.map(|item| item.decode()).transpose()
    }

    /// Writes a record that must not exist yet. False if it does.
    pub(crate) async fn catalog_create(&self, item: &Item, cx: &CallContext) -> Result<bool> {
        let request = PutItem {
            table_name: CATALOG_NAME.to_owned(),
            item: EncodedItem::encode(item),
            condition_expression: Some("attribute_not_exists(kind)".into()),
            ..PutItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// Writes a record, whatever was there.
    pub(crate) async fn catalog_put(&self, item: &Item, cx: &CallContext) -> Result<()> {
        let table_name = CATALOG_NAME.to_owned();
        let request = PutItem { table_name, item: EncodedItem::encode(item), ..PutItem::default() };
        Box::pin(self.write(request, &cx.to_catalog())).await.map(|_| ())
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
        let names = [("#a", attribute), ("#protected", "deletion_protection")];
        let names = names.map(|(name, of)| (name.to_owned(), of.to_owned()));
        let values = [
            (":from", from),
            (":to", to),
            (":id", table.id_value()),
            (":protected", table.deletion_protection.into()),
        ];
        let request = UpdateItem {
            table_name: CATALOG_NAME.to_owned(),
            key: record_key("table", &table.name),
            update_expression: Some("SET #a = :to".into()),
            condition_expression: Some(
                "#a = :from AND table_id = :id AND #protected = :protected".into(),
            ),
            expression_attribute_names: names.into(),
            expression_attribute_values: values
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            ..UpdateItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// Removes a table's record, and with it frees the name; not that of another table which has the name by now.
    pub(crate) async fn catalog_free_name(
        &self,
        table: &TableRecord,
        cx: &CallContext,
    ) -> Result<()> {
        let request = DeleteItem {
            table_name: CATALOG_NAME.to_owned(),
            key: record_key("table", &table.name),
            condition_expression: Some("table_id = :id".into()),
            expression_attribute_values: [(":id".to_owned(), table.id_value())].into(),
            ..DeleteItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await).map(|_| ())
    }

    /// Removes a record.
    pub(crate) async fn catalog_delete(&self, key: Item, cx: &CallContext) -> Result<()> {
        let table_name = CATALOG_NAME.to_owned();
        let request = DeleteItem { table_name, key, ..DeleteItem::default() };
        Box::pin(self.write(request, &cx.to_catalog())).await.map(|_| ())
    }

    /// The next id of a kind: never given twice.
    pub(crate) async fn catalog_next_id(&self, kind: &str, cx: &CallContext) -> Result<u64> {
        let one = Values::from([(":one".to_owned(), AttributeValue::N(Number::from(1u64)))]);
        let request = UpdateItem {
            table_name: CATALOG_NAME.to_owned(),
            key: record_key("counter", kind),
            update_expression: Some("ADD given :one".into()),
            expression_attribute_values: one,
            return_values: ReturnValues::UpdatedNew,
            ..UpdateItem::default()
        };
        let answer = Box::pin(self.write(request, &cx.to_catalog())).await?;
        let given = answer.attributes.map(|item| item.decode()).transpose()?.unwrap_or_default();
        let given = given.get("given").and_then(AttributeValue::as_n).and_then(Number::to_u64);
        given.ok_or_else(|| Error::internal("the catalog's counter is no number"))
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
            let request = Query {
                table_name: CATALOG_NAME.to_owned(),
                key_condition_expression: "kind = :kind".into(),
                expression_attribute_values: [(":kind".to_owned(), kind.into())].into(),
                exclusive_start_key: start,
                limit: left.and_then(|left| u32::try_from(left).ok()),
                consistent_read: true,
                ..Query::default()
            };
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

/// Whether a conditional write was done; a condition that did not hold is an answer here, not an error.
fn held<T>(result: Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConditionalCheckFailed => Ok(false),
        Err(error) => Err(error),
    }
}
