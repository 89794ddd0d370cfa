//! PutItem, UpdateItem and DeleteItem.

use stator_model::EncodedItem;
use stator_model::api::{self, ReturnValues};
use stator_model::error::{Error, Result};

use super::{decoded, encoded, item_from_wire, item_to_wire, missing, required_key, unknown_value};
use crate::v1;

impl From<ReturnValues> for v1::ReturnValues {
    fn from(values: ReturnValues) -> Self {
        match values {
            ReturnValues::None => Self::None,
            ReturnValues::AllOld => Self::AllOld,
            ReturnValues::UpdatedOld => Self::UpdatedOld,
            ReturnValues::AllNew => Self::AllNew,
            ReturnValues::UpdatedNew => Self::UpdatedNew,
        }
    }
}

fn return_values(value: i32) -> Result<ReturnValues> {
    Ok(match v1::ReturnValues::try_from(value) {
        Ok(v1::ReturnValues::Unspecified | v1::ReturnValues::None) => ReturnValues::None,
        Ok(v1::ReturnValues::AllOld) => ReturnValues::AllOld,
        Ok(v1::ReturnValues::UpdatedOld) => ReturnValues::UpdatedOld,
        Ok(v1::ReturnValues::AllNew) => ReturnValues::AllNew,
        Ok(v1::ReturnValues::UpdatedNew) => ReturnValues::UpdatedNew,
        Err(_) => {
            let known = "ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW";
            return Err(unknown_value(value, "returnValues", known));
        }
    })
}

impl From<api::PutItem> for v1::PutItemRequest {
    fn from(request: api::PutItem) -> Self {
        Self {
            table_name: request.table_name,
            item: Some(request.item.into_bytes()),
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: encoded(&request.expression_attribute_values),
            return_values: v1::ReturnValues::from(request.return_values).into(),
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        }
    }
}

impl TryFrom<v1::PutItemRequest> for api::PutItem {
    type Error = Error;

    fn try_from(request: v1::PutItemRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            item: EncodedItem::from_bytes(request.item.ok_or_else(|| missing("item"))?),
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: decoded(request.expression_attribute_values)?,
            return_values: return_values(request.return_values)?,
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        })
    }
}

impl From<api::UpdateItem> for v1::UpdateItemRequest {
    fn from(request: api::UpdateItem) -> Self {
        Self {
            table_name: request.table_name,
            key: Some(EncodedItem::encode(&request.key).into_bytes()),
            update_expression: request.update_expression,
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: encoded(&request.expression_attribute_values),
            return_values: v1::ReturnValues::from(request.return_values).into(),
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        }
    }
}

impl TryFrom<v1::UpdateItemRequest> for api::UpdateItem {
    type Error = Error;

    fn try_from(request: v1::UpdateItemRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            key: required_key(request.key, "key")?,
            update_expression: request.update_expression,
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: decoded(request.expression_attribute_values)?,
            return_values: return_values(request.return_values)?,
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        })
    }
}

impl From<api::DeleteItem> for v1::DeleteItemRequest {
    fn from(request: api::DeleteItem) -> Self {
        Self {
            table_name: request.table_name,
            key: Some(EncodedItem::encode(&request.key).into_bytes()),
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: encoded(&request.expression_attribute_values),
            return_values: v1::ReturnValues::from(request.return_values).into(),
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        }
    }
}

impl TryFrom<v1::DeleteItemRequest> for api::DeleteItem {
    type Error = Error;

    fn try_from(request: v1::DeleteItemRequest) -> Result<Self> {
        Ok(Self {
            table_name: request.table_name,
            key: required_key(request.key, "key")?,
            condition_expression: request.condition_expression,
            expression_attribute_names: request.expression_attribute_names,
            expression_attribute_values: decoded(request.expression_attribute_values)?,
            return_values: return_values(request.return_values)?,
            return_old_on_condition_failure: request.return_old_on_condition_failure,
        })
    }
}

/// The three answers that are attributes and nothing else.
macro_rules! attribute_answers {
    ($($answer:ident <-> $response:ident),*) => { $(
        impl From<api::$answer> for v1::$response {
            fn from(answer: api::$answer) -> Self {
                Self { attributes: item_to_wire(answer.attributes) }
            }
        }

        impl TryFrom<v1::$response> for api::$answer {
            type Error = Error;

            fn try_from(answer: v1::$response) -> Result<Self> {
                Ok(Self { attributes: item_from_wire(answer.attributes) })
            }
        }
    )* };
}

attribute_answers! {
    PutItemAnswer <-> PutItemResponse,
    UpdateItemAnswer <-> UpdateItemResponse,
    DeleteItemAnswer <-> DeleteItemResponse
}
