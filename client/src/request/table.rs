//! Tables: to make, describe, list, change and delete them.

use stator_model::api::{
    CreateTable, CreateTableAnswer, DeleteTable, DeleteTableAnswer, DescribeTable,
    DescribeTableAnswer, ListTables, ListTablesAnswer, UpdateTable, UpdateTableAnswer,
};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};

use super::{builder, setters};
use crate::Client;
use crate::error::{Error, Result};

impl Client {
    /// Makes a table.
    pub fn create_table(&self) -> CreateTableBuilder {
        CreateTableBuilder::new(self, TableToBe::default())
    }

    /// Tells what a table is.
    pub fn describe_table(&self) -> DescribeTableBuilder {
        DescribeTableBuilder::new(self, DescribeTable { table_name: String::new() })
    }

    /// Lists the names of tables, in order.
    pub fn list_tables(&self) -> ListTablesBuilder {
        ListTablesBuilder::new(self, ListTables::default())
    }

    /// Changes a table's settings.
    pub fn update_table(&self) -> UpdateTableBuilder {
        let request = UpdateTable { table_name: String::new(), deletion_protection: None };
        UpdateTableBuilder::new(self, request)
    }

    /// Removes a table and its items.
    pub fn delete_table(&self) -> DeleteTableBuilder {
        DeleteTableBuilder::new(self, DeleteTable { table_name: String::new() })
    }
}

/// A CreateTable that may yet lack its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableToBe {
    table_name: String,
    partition: Option<KeyAttribute>,
    sort: Option<KeyAttribute>,
    partitions: Option<u32>,
    deletion_protection: bool,
}

builder! {
    /// Makes a table.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::KeyType;
    ///
    /// # let client = stator::in_memory().await?.client();
    /// let create = client
    ///     .create_table()
    ///     .table_name("music")
    ///     .partition_key("artist", KeyType::S)
    ///     .sort_key("song", KeyType::S)
    ///     .partitions(2);
    /// let made = create.clone().send().await?.table;
    /// assert_eq!((made.table_name.as_str(), made.partitions), ("music", 2));
    /// client.wait_until_active("music").await?;
    /// let refused = create.send().await.expect_err("it is there");
    /// assert!(refused.is_resource_in_use());
    /// # Ok(())
    /// # }
    /// ```
    CreateTableBuilder of TableToBe
}

impl CreateTableBuilder {
    setters! { table_name }

    /// The attribute whose hash places an item in a partition.
    pub fn partition_key(mut self, name: impl Into<String>, key_type: KeyType) -> Self {
        self.request.partition = Some(KeyAttribute { name: name.into(), key_type });
        self
    }

    /// The attribute that orders the items of one partition key; there is none unless set.
    pub fn sort_key(mut self, name: impl Into<String>, key_type: KeyType) -> Self {
        self.request.sort = Some(KeyAttribute { name: name.into(), key_type });
        self
    }

    /// Into how many partitions to cut the table; the database's default unless set.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.request.partitions = Some(partitions);
        self
    }

    /// Whether DeleteTable is to be refused.
    pub fn deletion_protection(mut self, protect: bool) -> Self {
        self.request.deletion_protection = protect;
        self
    }

    /// Sends the request. The table takes requests when it is `ACTIVE`: see [`Client::wait_until_active`].
    ///
    /// # Errors
    /// `ResourceInUseException` if there is such a table.
    pub async fn send(self) -> Result<CreateTableAnswer> {
        let TableToBe { table_name, partition, sort, partitions, deletion_protection } =
            self.request;
        let partition = partition.ok_or_else(|| {
            Error::from(stator_model::Error::validation(
                "1 validation error detected: Value null at 'keySchema' failed to satisfy constraint: Member must not \
                 be null",
            ))
        })?;
        let key_schema = KeySchema { partition, sort };
        let request = CreateTable { table_name, key_schema, partitions, deletion_protection };
        self.client.call(request, self.settings).await
    }
}

builder! {
    /// Tells what a table is.
    DescribeTableBuilder of DescribeTable
}

impl DescribeTableBuilder {
    setters! { table_name }

    /// Sends the request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table.
    pub async fn send(self) -> Result<DescribeTableAnswer> {
        self.client.call(self.request, self.settings).await
    }
}

builder! {
    /// Lists the names of tables, in order.
    ListTablesBuilder of ListTables
}

impl ListTablesBuilder {
    /// Names after this one only.
    pub fn exclusive_start_table_name(mut self, name: impl Into<String>) -> Self {
        self.request.exclusive_start_table_name = Some(name.into());
        self
    }

    /// How many at most: 1 to 100, and 100 unless set.
    pub fn limit(mut self, names: u32) -> Self {
        self.request.limit = Some(names);
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `ValidationException` for a limit out of range.
    pub async fn send(self) -> Result<ListTablesAnswer> {
        self.client.call(self.request, self.settings).await
    }
}

builder! {
    /// Changes a table's settings.
    UpdateTableBuilder of UpdateTable
}

impl UpdateTableBuilder {
    setters! { table_name }

    /// Whether DeleteTable is to be refused.
    pub fn deletion_protection(mut self, protect: bool) -> Self {
        self.request.deletion_protection = Some(protect);
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table.
    pub async fn send(self) -> Result<UpdateTableAnswer> {
        self.client.call(self.request, self.settings).await
    }
}

builder! {
    /// Removes a table and its items.
    DeleteTableBuilder of DeleteTable
}

impl DeleteTableBuilder {
    setters! { table_name }

    /// Sends the request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table.
    pub async fn send(self) -> Result<DeleteTableAnswer> {
        self.client.call(self.request, self.settings).await
    }
}
