//! The operations on tables.

use super::constraints::{
    KEY_ATTRIBUTE_NAME, LIST_TABLES_LIMIT, PARTITIONS, TABLE_NAME, Violations,
};
use crate::api::{CreateTable, DeleteTable, DescribeTable, ListTables, UpdateTable};
use crate::error::{Error, Result};

/// Holds a table's name against its bounds, for operations that have nothing else to hold.
fn check_table_name(name: &str) -> Result<()> {
    Violations::default().text("tableName", name, &TABLE_NAME).finish()
}

impl CreateTable {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        let partition = &self.key_schema.partition.name;
        let sort = self.key_schema.sort.as_ref().map(|sort| &sort.name);
        let mut violations = Violations::default()
            .text("tableName", &self.table_name, &TABLE_NAME)
            .text("keySchema.1.member.attributeName", partition, &KEY_ATTRIBUTE_NAME);
        if let Some(sort) = sort {
            violations =
                violations.text("keySchema.2.member.attributeName", sort, &KEY_ATTRIBUTE_NAME);
        }
        violations.number("partitions", self.partitions, &PARTITIONS).finish()?;
        if sort == Some(partition) {
            return Err(Error::validation(
                "Both the Hash Key and the Range Key element in the KeySchema have the same name",
            ));
        }
        Ok(())
    }
}

impl DescribeTable {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        check_table_name(&self.table_name)
    }
}

impl ListTables {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        let mut violations = Violations::default();
        if let Some(start) = &self.exclusive_start_table_name {
            violations = violations.text("exclusiveStartTableName", start, &TABLE_NAME);
        }
        violations.number("limit", self.limit, &LIST_TABLES_LIMIT).finish()
    }
}

impl UpdateTable {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        check_table_name(&self.table_name)?;
        if self.deletion_protection.is_none() {
            return Err(Error::validation(
                "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, \
                 GlobalSecondaryIndexUpdates or SSESpecification or ReplicaUpdates is required",
            ));
        }
        Ok(())
    }
}

impl DeleteTable {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        check_table_name(&self.table_name)
    }
}
