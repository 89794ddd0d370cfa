//! What the controller works on in a run: its ground, made of orders.

use stator_consensus::{Config, GroupId, NodeId};
use stator_model::api::UpdateItem;
use stator_model::schema::TableStatus;
use stator_model::write::PreparedWrite;
use stator_model::{EncodedItem, Error, Item, Result};
use stator_storage::item::Region;
use stator_storage::partition::WriteError;

use super::look::Ground;
use super::orders::{Done, Order, Orders};
use super::records::{
    CATALOG_GROUP, PartitionRecord, TableRecord, catalog_schema, dropped_from_item,
    dropped_to_item, record_key,
};
use super::requests;
use crate::items::node_at;

/// Somebody's hands: on a node, or a caller's.
#[derive(Clone)]
pub(crate) struct Hands(pub(crate) Orders);

impl Hands {
    /// Writes to the catalog.
    pub(super) async fn write(&self, write: Result<PreparedWrite>) -> Result<Option<EncodedItem>> {
        self.write_to(CATALOG_GROUP, write?).await
    }

    pub(super) async fn write_to(
        &self,
        group: GroupId,
        write: PreparedWrite,
    ) -> Result<Option<EncodedItem>> {
        match self.0.give(Order::Write { group, write: Box::new(write) }).await {
            Done::Written(Ok(answer)) => Ok(answer.attributes),
            Done::Written(Err(WriteError::Refused(error))) => Err(error),
            other => Err(Error::internal(format!("{other:?}"))),
        }
    }

    pub(super) async fn update(&self, update: UpdateItem) -> Result<Option<EncodedItem>> {
        self.write(update.prepare(&catalog_schema())).await
    }

    pub(super) async fn list(&self, kind: &str) -> Result<Vec<Item>> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            // Small pages, so that there is a next one.
            let page = requests::page(kind, start, Some(3)).prepare(&catalog_schema())?;
            match self.0.give(Order::Query(Box::new(page))).await {
                Done::Page(items, next) => {
                    for item in items {
                        found.push(item.decode()?);
                    }
                    start = next;
                }
                other => return Err(Error::internal(format!("{other:?}"))),
            }
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    pub(super) async fn ensure_here(
        &self,
        to: NodeId,
        table: &TableRecord,
        partition: &PartitionRecord,
        fresh: bool,
    ) -> Result<(), String> {
        let spec = table.replica_on(partition, to, Region::default());
        let Some(spec) = spec else { return Ok(()) };
        let spec = Box::new(spec);
        ready(self.0.give(Order::Ensure { to: node_at(to), spec, fresh }).await)
    }
}

impl Ground for Hands {
    async fn tables(&self) -> Result<Vec<TableRecord>> {
        self.list("table").await?.iter().map(TableRecord::from_item).collect()
    }

    async fn dropped(&self) -> Result<Vec<(u32, Vec<PartitionRecord>)>> {
        self.list("dropped").await?.iter().map(dropped_from_item).collect()
    }

    async fn activate(&self, table: &TableRecord) -> Result<bool> {
        let (from, to) = (TableStatus::Creating.name().into(), TableStatus::Active.name().into());
        requests::held(self.update(requests::change(table, "status", from, to)).await)
    }

    async fn note_dropped(&self, table: &TableRecord) -> Result<()> {
        let put = requests::put(&dropped_to_item(table));
        self.write(put.prepare(&catalog_schema())).await.map(|_| ())
    }

    async fn outlast_leases(&self) {
        let length = Config::default().election_timeout();
        self.0.give(Order::Sleep(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))).await;
    }

    async fn free_name(&self, table: &TableRecord) -> Result<()> {
        let delete = requests::free_name(table).prepare(&catalog_schema());
        requests::held(self.write(delete).await).map(|_| ())
    }

    async fn forget_dropped(&self, id: u32) -> Result<()> {
        let delete = requests::delete(record_key("dropped", &id.to_string()));
        self.write(delete.prepare(&catalog_schema())).await.map(|_| ())
    }

    async fn ensure(
        &self,
        to: NodeId,
        table: &TableRecord,
        partitions: &[&PartitionRecord],
    ) -> Result<(), String> {
        // One after another, so that a crash may come between any two.
        for partition in partitions {
            self.ensure_here(to, table, partition, true).await?;
        }
        Ok(())
    }

    async fn remove(&self, at: NodeId, partitions: &[&PartitionRecord]) -> Result<(), String> {
        for partition in partitions {
            ready(self.0.give(Order::Remove { at: node_at(at), group: partition.group }).await)?;
        }
        Ok(())
    }

    async fn served(&self, at: NodeId, groups: &[u64]) -> Vec<GroupId> {
        let order = Order::Served { at: node_at(at), groups: groups.to_vec() };
        match self.0.give(order).await {
            Done::Served(groups) => groups,
            _ => Vec::new(),
        }
    }
}

fn ready(done: Done) -> Result<(), String> {
    match done {
        Done::Ready => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
