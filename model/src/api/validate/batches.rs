//! The two batches. That no item is named twice is judged when they are prepared, for it takes the key schema.

use super::constraints::{
    BATCH_GET_KEYS, BATCH_GET_TABLES, BATCH_WRITE_TABLES, BATCH_WRITES, Violations,
};
use super::expressions::check_placeholders;
use crate::api::{BatchGetItem, BatchWriteItem, Values};
use crate::error::{Error, Result};
use crate::limits::{BATCH_GET_KEYS_MAX, BATCH_WRITE_REQUESTS_MAX};

/// Refuses what only all tables together make too much.
fn check_total(lengths: impl Iterator<Item = usize>, max: usize, operation: &str) -> Result<()> {
    if lengths.sum::<usize>() > max {
        return Err(Error::validation(format!(
            "Too many items requested for the {operation} call"
        )));
    }
    Ok(())
}

impl BatchGetItem {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        let lengths = self.request_items.iter().map(|(name, get)| (name.as_str(), get.keys.len()));
        let mut violations =
            Violations::default().tables("requestItems", lengths.clone(), &BATCH_GET_TABLES, None);
        for (name, length) in lengths.clone() {
            let path = || format!("requestItems.{name}.member.keys");
            violations = violations.list(path, length, &BATCH_GET_KEYS);
        }
        violations.finish()?;
        for get in self.request_items.values() {
            let projection = get.projection_expression.is_some();
            check_placeholders(&[], projection, &get.expression_attribute_names, &Values::new())?;
        }
        check_total(lengths.map(|(_, length)| length), BATCH_GET_KEYS_MAX, "BatchGetItem")
    }
}

impl BatchWriteItem {
    /// Checks all that can be judged from the request alone, but the items to put, which
    /// [`prepare`](crate::api::WriteRequest::prepare) checks.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        let lengths = self.request_items.iter().map(|(name, writes)| (name.as_str(), writes.len()));
        Violations::default()
            .tables("requestItems", lengths.clone(), &BATCH_WRITE_TABLES, Some(&BATCH_WRITES))
            .finish()?;
        check_total(lengths.map(|(_, length)| length), BATCH_WRITE_REQUESTS_MAX, "BatchWriteItem")
    }
}
