//! The catalog: tables, their partitions and replicas, nodes and ids. A table like any other, of one partition.
//!
//! Its records are items ([`records`]), written by conditional writes through the same path as everybody's; whoever writes one says
//! what it must have been before, so that two writers never undo each other. The [`controller`], which runs on the node that leads
//! the catalog, carries out what the records say; every step of it may be repeated.

pub(crate) mod controller;
pub(crate) mod placement;
pub(crate) mod records;

use stator_model::api::{
    DeleteItem, GetItem, Names, PutItem, Query, ReturnValues, UpdateItem, Values,
};
use stator_model::{AttributeValue, EncodedItem, Error, ErrorKind, Item, Number, Result};

use self::records::{NodeRecord, TableRecord, record_key};
use crate::node::Inner;
use crate::serve::CallContext;

impl Inner {
    /// Reads a record.
    pub(crate) async fn catalog_get(&self, key: Item, cx: &CallContext) -> Result<Option<Item>> {
        let request = GetItem { key, consistent_read: true, ..GetItem::default() };
        // Boxed, because looking up a table comes back to reading an item.
        let answer = Box::pin(self.get_item(request, &cx.to_catalog())).await?;
        answer.item.map(|item| item.decode()).transpose()
    }

    /// Writes a record that must not exist yet. False if it does.
    pub(crate) async fn catalog_create(&self, item: &Item, cx: &CallContext) -> Result<bool> {
        let request = PutItem {
            item: EncodedItem::encode(item),
            condition_expression: Some("attribute_not_exists(kind)".into()),
            ..PutItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// Writes a record, whatever was there.
    pub(crate) async fn catalog_put(&self, item: &Item, cx: &CallContext) -> Result<()> {
        let request = PutItem { item: EncodedItem::encode(item), ..PutItem::default() };
        Box::pin(self.write(request, &cx.to_catalog())).await.map(|_| ())
    }

    /// Changes an attribute of a record that is what it is expected to be. False if it is not.
    pub(crate) async fn catalog_change(
        &self,
        key: Item,
        expected: &Expected<'_>,
        attribute: &str,
        to: AttributeValue,
        cx: &CallContext,
    ) -> Result<bool> {
        let (condition, mut names, mut values) = as_condition(expected);
        names.insert("#to".to_owned(), attribute.to_owned());
        values.insert(":to".to_owned(), to);
        let request = UpdateItem {
            key,
            update_expression: Some("SET #to = :to".into()),
            condition_expression: Some(condition),
            expression_attribute_names: names,
            expression_attribute_values: values,
            ..UpdateItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// Removes a record that is what it is expected to be. False if it is not.
    pub(crate) async fn catalog_delete(
        &self,
        key: Item,
        expected: &Expected<'_>,
        cx: &CallContext,
    ) -> Result<bool> {
        let (condition, names, values) = as_condition(expected);
        let request = DeleteItem {
            key,
            condition_expression: Some(condition),
            expression_attribute_names: names,
            expression_attribute_values: values,
            ..DeleteItem::default()
        };
        held(Box::pin(self.write(request, &cx.to_catalog())).await)
    }

    /// The next id of a kind: never given twice.
    pub(crate) async fn catalog_next_id(&self, kind: &str, cx: &CallContext) -> Result<u64> {
        let one = Values::from([(":one".to_owned(), AttributeValue::N(Number::from(1u64)))]);
        let request = UpdateItem {
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

/// Attributes that a record must have for a change: what the writer knew when it decided. At least one.
pub(crate) type Expected<'a> = [(&'a str, AttributeValue)];

fn as_condition(expected: &Expected<'_>) -> (String, Names, Values) {
    let (mut terms, mut names, mut values) = (Vec::new(), Names::new(), Values::new());
    for (number, (attribute, value)) in expected.iter().enumerate() {
        terms.push(format!("#a{number} = :v{number}"));
        names.insert(format!("#a{number}"), (*attribute).to_owned());
        values.insert(format!(":v{number}"), value.clone());
    }
    (terms.join(" AND "), names, values)
}

/// Whether a conditional write was done; a condition that did not hold is an answer here, not an error.
fn held<T>(result: Result<T>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::ConditionalCheckFailed => Ok(false),
        Err(error) => Err(error),
    }
}
