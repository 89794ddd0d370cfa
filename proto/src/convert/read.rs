//! GetItem, Query and Scan. The wire says `eventually_consistent` where the model says `consistent_read`, so that a client
//! that sets nothing reads strongly.

use stator_model::EncodedItem;
use stator_model::api::{self, Segment, Select};
use stator_model::error::{Error, Result};

use super::{
    answered_key, decoded, encoded, item_from_wire, item_to_wire, required_key, unknown_value,
};
use crate::v1;

fn select_to_wire(select: Option<Select>) -> i32 {
    match select {
        None => v1::Select::Unspecified,
        Some(Select::AllAttributes) => v1::Select::AllAttributes,
        Some(Select::AllProjectedAttributes) => v1::Select::AllProjectedAttributes,
        Some(Select::SpecificAttributes) => v1::Select::SpecificAttributes,
        Some(Select::Count) => v1::Select::Count,
    }
    .into()
}

fn select_from_wire(value: i32) -> Result<Option<Select>> {
    Ok(match v1::Select::try_from(value) {
        Ok(v1::Select::Unspecified) => None,
        Ok(v1::Select::AllAttributes) => Some(Select::AllAttributes),
        Ok(v1::Select::AllProjectedAttributes) => Some(Select::AllProjectedAttributes),
        Ok(v1::Select::SpecificAttributes) => Some(Select::SpecificAttributes),
        Ok(v1::Select::Count) => Some(Select::Count),
        Err(_) => {
            let known = "SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES";
            return Err(unknown_value(value, "select", known));
        }
    })
}

impl From<api::GetItem> for v1::GetItemRequest {
    fn from(request: api::GetItem) -> Self {
        Self {
            table_name: request.table_name,
            key: Some(EncodedItem::encode(&request.key).into_bytes()),
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            eventually_consistent: !request.consistent_read,
        }
    }
}

impl TryFrom<v1::GetItemRequest> for api::GetItem {
    type Error = Error;

    fn try_from(request: v1::GetItemRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            key: required_key(request.key, "key")?,
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            consistent_read: !request.eventually_consistent,
        })
    }
}

impl From<api::GetItemAnswer> for v1::GetItemResponse {
    fn from(answer: api::GetItemAnswer) -> Self {
        Self { item: item_to_wire(answer.item) }
    }
}

impl TryFrom<v1::GetItemResponse> for api::GetItemAnswer {
    type Error = Error;

    fn try_from(answer: v1::GetItemResponse) -> Result<Self> {
        Ok(Self { item: item_from_wire(answer.item) })
    }
}

impl From<api::Query> for v1::QueryRequest {
    fn from(request: api::Query) -> Self {
        Self {
            table_name: request.table_name,
            key_condition_expression: request.key_condition_expression,
            filter_expression: request.filter_expression,
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: encoded(&request.expression_attribute_values),
            select: select_to_wire(request.select),
            limit: request.limit,
            // Kept even if empty: the server is to refuse that, not to begin again at the first item.
            exclusive_start_key: request
                .exclusive_start_key
                .map(|key| EncodedItem::encode(&key).into_bytes()),
            scan_index_forward: (!request.scan_index_forward).then_some(false),
            eventually_consistent: !request.consistent_read,
        }
    }
}

impl TryFrom<v1::QueryRequest> for api::Query {
    type Error = Error;

    fn try_from(request: v1::QueryRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            key_condition_expression: request.key_condition_expression,
            filter_expression: request.filter_expression,
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: decoded(request.expression_attribute_values)?,
            select: select_from_wire(request.select)?,
            limit: request.limit,
            exclusive_start_key: request
                .exclusive_start_key
                .map(|key| EncodedItem::from_bytes(key).decode())
                .transpose()?,
            scan_index_forward: request.scan_index_forward.unwrap_or(true),
            consistent_read: !request.eventually_consistent,
        })
    }
}

impl From<api::Scan> for v1::ScanRequest {
    fn from(request: api::Scan) -> Self {
        let segment = request.segment.unwrap_or_default();
        Self {
            table_name: request.table_name,
            filter_expression: request.filter_expression,
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: encoded(&request.expression_attribute_values),
            select: select_to_wire(request.select),
            limit: request.limit,
            exclusive_start_key: request
                .exclusive_start_key
                .map(|key| EncodedItem::encode(&key).into_bytes()),
            segment: segment.segment,
            total_segments: segment.total_segments,
            eventually_consistent: !request.consistent_read,
        }
    }
}

impl TryFrom<v1::ScanRequest> for api::Scan {
    type Error = Error;

    fn try_from(request: v1::ScanRequest) -> Result<Self> {
        let segment = Segment { segment: request.segment, total_segments: request.total_segments };
        Ok(Self {
            table_name: request.table_name,
            filter_expression: request.filter_expression,
            projection_expression: request.projection_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: decoded(request.expression_attribute_values)?,
            select: select_from_wire(request.select)?,
            limit: request.limit,
            exclusive_start_key: request
                .exclusive_start_key
                .map(|key| EncodedItem::from_bytes(key).decode())
                .transpose()?,
            segment: (segment != Segment::default()).then_some(segment),
            consistent_read: !request.eventually_consistent,
        })
    }
}

/// The two answers that are a page of items.
macro_rules! page_answers {
    ($($answer:ident <-> $response:ident),*) => { $(
        impl From<api::$answer> for v1::$response {
            fn from(answer: api::$answer) -> Self {
                Self {
                    items: answer.items.into_iter().map(EncodedItem::into_bytes).collect(),
                    count: answer.count,
                    scanned_count: answer.scanned_count,
                    last_evaluated_key: answer.last_evaluated_key.as_ref().and_then(encoded),
                }
            }
        }

        impl TryFrom<v1::$response> for api::$answer {
            type Error = Error;

            fn try_from(answer: v1::$response) -> Result<Self> {
                Ok(Self {
                    items: answer.items.into_iter().map(EncodedItem::from_bytes).collect(),
                    count: answer.count,
                    scanned_count: answer.scanned_count,
                    last_evaluated_key: answered_key(answer.last_evaluated_key)?,
                })
            }
        }
    )* };
}

page_answers! { QueryAnswer <-> QueryResponse, ScanAnswer <-> ScanResponse }
