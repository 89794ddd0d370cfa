//! CreateTable, DescribeTable, ListTables, UpdateTable and DeleteTable: writes and reads of the catalog's records.

use stator_model::api::{
    CreateTable, CreateTableAnswer, DeleteTable, DeleteTableAnswer, DescribeTable,
    DescribeTableAnswer, ListTables, ListTablesAnswer, UpdateTable, UpdateTableAnswer,
};
use stator_model::limits::{LIST_TABLES_MAX, TABLES_MAX};
use stator_model::schema::{TableDescription, TableStatus};
use stator_model::{AttributeValue, Error, ErrorKind, Result};

use super::CallContext;
use crate::catalog::placement::{Candidate, loads, place};
use crate::catalog::records::TableRecord;
use crate::node::Inner;

/// Replicas of a partition, where there are as many nodes.
const REPLICATION_FACTOR: usize = 3;

impl Inner {
    pub(crate) async fn create_table(
        &self,
        request: CreateTable,
        cx: &CallContext,
    ) -> Result<CreateTableAnswer> {
        let exists = || {
            let what = format!("Table already exists: {}", request.table_name);
            Error::new(ErrorKind::ResourceInUse, what)
        };
        if self.table_record(&request.table_name, cx).await?.is_some() {
            return Err(exists());
        }
        let tables = self.table_records(cx).await?;
        if tables.len() >= TABLES_MAX {
            let what = format!(
                "Subscriber limit exceeded: There is a limit of {TABLES_MAX} tables per subscriber"
            );
            return Err(Error::new(ErrorKind::LimitExceeded, what));
        }
        let id = self.catalog_next_id("table", cx).await?;
        let id = u32::try_from(id).map_err(|_| Error::internal("the table ids are used up"))?;
        let candidates = self.candidates(&tables, cx).await?;
        let partitions = request.partitions.unwrap_or(self.config.table_partitions);
        let factor = REPLICATION_FACTOR.min(self.founders());
        let record = TableRecord {
            name: request.table_name.clone(),
            id,
            status: TableStatus::Creating,
            key_schema: request.key_schema.clone(),
            created_ms: self.clock.wall_ms(),
            deletion_protection: request.deletion_protection,
            partitions: place(id, partitions, factor, candidates),
        };
        if !self.catalog_create(&record.to_item(), cx).await? {
            return Err(exists());
        }
        Ok(CreateTableAnswer { table: record.describe() })
    }

    /// The nodes that replicas may be placed on, with what they hold.
    async fn candidates(&self, tables: &[TableRecord], cx: &CallContext) -> Result<Vec<Candidate>> {
        let loads = loads(tables.iter().flat_map(|table| &table.partitions));
        let nodes = self.node_records(cx).await?;
        let answering = self.answering(nodes.iter().map(|node| node.id)).await;
        let candidates = nodes.into_iter().map(|node| {
            let (replicas, first_ranked) = loads.get(&node.id).copied().unwrap_or_default();
            let answers = answering.contains(&node.id);
            Candidate { node: node.id, zone: node.zone, answers, replicas, first_ranked }
        });
        let candidates: Vec<Candidate> = candidates.collect();
        if candidates.len() < REPLICATION_FACTOR.min(self.founders()) {
            let what = "Not all founding nodes have joined the cluster yet";
            return Err(Error::new(ErrorKind::LimitExceeded, what));
        }
        Ok(candidates)
    }

    pub(crate) async fn describe_table(
        &self,
        request: DescribeTable,
        cx: &CallContext,
    ) -> Result<DescribeTableAnswer> {
        let record = self.existing(&request.table_name, cx).await?;
        Ok(DescribeTableAnswer { table: self.described(&record).await })
    }

    pub(crate) async fn list_tables(
        &self,
        request: ListTables,
        cx: &CallContext,
    ) -> Result<ListTablesAnswer> {
        let limit = request.limit.map_or(LIST_TABLES_MAX, |limit| limit as usize);
        let after = request.exclusive_start_table_name.as_deref();
        // One more than asked for tells whether there is a next page.
        let items = self.catalog_list("table", after, Some(limit + 1), cx).await?;
        let mut table_names: Vec<String> = items
            .iter()
            .filter_map(|item| item.get("id").and_then(AttributeValue::as_s))
            .map(str::to_owned)
            .collect();
        let more = table_names.len() > limit;
        table_names.truncate(limit);
        let last_evaluated_table_name = table_names.last().filter(|_| more).cloned();
        Ok(ListTablesAnswer { table_names, last_evaluated_table_name })
    }

    pub(crate) async fn update_table(
        &self,
        request: UpdateTable,
        cx: &CallContext,
    ) -> Result<UpdateTableAnswer> {
        let mut record = self.existing(&request.table_name, cx).await?;
        if record.status != TableStatus::Active {
            return Err(busy(&record, "updated"));
        }
        if let Some(protection) = request.deletion_protection {
            let (from, to) = (record.deletion_protection.into(), protection.into());
            if !self.catalog_change(&record, "deletion_protection", from, to, cx).await? {
                return Err(busy(&record, "updated"));
            }
            record.deletion_protection = protection;
        }
        Ok(UpdateTableAnswer { table: self.described(&record).await })
    }

    pub(crate) async fn delete_table(
        &self,
        request: DeleteTable,
        cx: &CallContext,
    ) -> Result<DeleteTableAnswer> {
        let mut record = self.existing(&request.table_name, cx).await?;
        match record.status {
            // As the service has it, that is no error.
            TableStatus::Deleting => {}
            TableStatus::Active => {
                if record.deletion_protection {
                    return Err(Error::validation(format!(
                        "Resource cannot be deleted as it is currently protected against deletion. Disable deletion \
                         protection first. Table: {}",
                        record.name
                    )));
                }
                let (from, to) = (record.status.name().into(), TableStatus::Deleting.name().into());
                if !self.catalog_change(&record, "status", from, to, cx).await? {
                    return Err(busy(&record, "deleted"));
                }
                record.status = TableStatus::Deleting;
            }
            _ => return Err(busy(&record, "deleted")),
        }
        // The rest is the controller's, whatever becomes of this caller: nothing may fail from here on.
        let table = self.described(&record).await;
        self.tables.forget(&record.name);
        Ok(DeleteTableAnswer { table })
    }

    /// What a table is, with what is in it now.
    async fn described(&self, record: &TableRecord) -> TableDescription {
        let mut table = record.describe();
        (table.item_count, table.size_bytes) = self.count_items(record).await;
        table
    }

    async fn existing(&self, name: &str, cx: &CallContext) -> Result<TableRecord> {
        let record = self.table_record(name, cx).await?;
        record.ok_or_else(|| {
            let what = format!("Requested resource not found: Table: {name} not found");
            Error::new(ErrorKind::ResourceNotFound, what)
        })
    }
}

fn busy(record: &TableRecord, done: &str) -> Error {
    let what = format!(
        "Attempt to change a resource which is still in use: Table is being {}: {}",
        match record.status {
            TableStatus::Creating => "created",
            TableStatus::Deleting => "deleted",
            _ => done,
        },
        record.name
    );
    Error::new(ErrorKind::ResourceInUse, what)
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
