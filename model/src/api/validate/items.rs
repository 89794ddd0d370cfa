//! The operations on one item.

use super::constraints::{TABLE_NAME, Violations};
use super::expressions::check_placeholders;
use crate::api::{DeleteItem, GetItem, PutItem, ReturnValues, UpdateItem, Values};
use crate::error::{Error, Result};

/// Refuses what only UpdateItem can return.
fn check_return_values(return_values: ReturnValues) -> Result<()> {
    match return_values {
        ReturnValues::None | ReturnValues::AllOld => Ok(()),
        ReturnValues::UpdatedOld | ReturnValues::AllNew | ReturnValues::UpdatedNew => {
            Err(Error::validation("Return values set to invalid value"))
        }
    }
}

impl PutItem {
    /// Checks all that can be judged from the request alone, but the item, which [`prepare`](Self::prepare) checks.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        Violations::default().text("tableName", &self.table_name, &TABLE_NAME).finish()?;
        check_placeholders(
            &[("ConditionExpression", self.condition_expression.is_some())],
            false,
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        check_return_values(self.return_values)
    }
}

impl GetItem {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        Violations::default().text("tableName", &self.table_name, &TABLE_NAME).finish()?;
        let projection = self.projection_expression.is_some();
        check_placeholders(&[], projection, &self.expression_attribute_names, &Values::new())
    }
}

impl UpdateItem {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        Violations::default().text("tableName", &self.table_name, &TABLE_NAME).finish()?;
        check_placeholders(
            &[
                ("UpdateExpression", self.update_expression.is_some()),
                ("ConditionExpression", self.condition_expression.is_some()),
            ],
            false,
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )
    }
}

impl DeleteItem {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        Violations::default().text("tableName", &self.table_name, &TABLE_NAME).finish()?;
        check_placeholders(
            &[("ConditionExpression", self.condition_expression.is_some())],
            false,
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        check_return_values(self.return_values)
    }
}
