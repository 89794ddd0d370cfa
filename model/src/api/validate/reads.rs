//! Query and Scan.

use super::constraints::{LIMIT, SEGMENT, TABLE_NAME, TOTAL_SEGMENTS, Violations};
use super::expressions::check_placeholders;
use crate::api::{Query, Scan, Segment, Select};
use crate::error::{Error, Result};

/// Why a selection does not go with there being a projection or not.
fn bad_select(select: Option<Select>, projection: bool) -> Option<&'static str> {
    match (select?, projection) {
        (Select::AllAttributes, true) => {
            Some("Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES")
        }
        (Select::AllProjectedAttributes, true) => Some(
            "Cannot specify the ProjectionExpression when choosing to get ALL_PROJECTED_ATTRIBUTES",
        ),
        (Select::Count, true) => {
            Some("Cannot specify the ProjectionExpression when choosing to get only the Count")
        }
        (Select::AllProjectedAttributes, false) => {
            Some("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")
        }
        (Select::SpecificAttributes, false) => Some(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
        ),
        (Select::SpecificAttributes, true) | (Select::AllAttributes | Select::Count, false) => None,
    }
}

/// Refuses a half-given pair, and a segment beyond the last.
fn check_segment(segment: Segment) -> Result<()> {
    match (segment.segment, segment.total_segments) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(Error::validation(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is \
             present",
        )),
        (None, Some(_)) => Err(Error::validation(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is \
             present",
        )),
        (Some(segment), Some(total)) if segment >= total => Err(Error::validation(format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {segment} is \
             not less than TotalSegments: {total}"
        ))),
        (Some(_), Some(_)) => Ok(()),
    }
}

impl Query {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        Violations::default()
            .text("tableName", &self.table_name, &TABLE_NAME)
            .number("limit", self.limit, &LIMIT)
            .finish()?;
        if let Some(reason) = bad_select(self.select, self.projection_expression.is_some()) {
            // Of the two operations only Query counts this among the validation errors, says the service.
            return Err(Error::validation(format!("1 validation error detected: {reason}")));
        }
        if self.key_condition_expression.is_empty() {
            return Err(Error::validation(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
            ));
        }
        check_placeholders(
            &[
                ("FilterExpression", self.filter_expression.is_some()),
                ("KeyConditionExpression", true),
            ],
            self.projection_expression.is_some(),
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )
    }
}

impl Scan {
    /// Checks all that can be judged from the request alone.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text.
    pub fn validate(&self) -> Result<()> {
        let segment = self.segment.unwrap_or_default();
        Violations::default()
            .text("tableName", &self.table_name, &TABLE_NAME)
            .number("limit", self.limit, &LIMIT)
            .number("totalSegments", segment.total_segments, &TOTAL_SEGMENTS)
            .number("segment", segment.segment, &SEGMENT)
            .finish()?;
        if let Some(reason) = bad_select(self.select, self.projection_expression.is_some()) {
            return Err(Error::validation(reason));
        }
        check_placeholders(
            &[("FilterExpression", self.filter_expression.is_some())],
            self.projection_expression.is_some(),
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        check_segment(segment)
    }
}
