//! BatchGetItem and BatchWriteItem.

use std::collections::BTreeMap;

use stator_model::EncodedItem;
use stator_model::api::{self, KeysAndAttributes, WriteRequest};
use stator_model::error::{Error, Result};

use super::broken_answer;
use crate::v1;
use crate::v1::write_request::Write;

impl From<KeysAndAttributes> for v1::KeysAndAttributes {
    fn from(wanted: KeysAndAttributes) -> Self {
        Self {
            keys: wanted.keys.iter().map(|key| EncodedItem::encode(key).into_bytes()).collect(),
            projection_expression: wanted.projection_expression,
            expression_attribute_names: wanted.expression_attribute_names,
            eventually_consistent: !wanted.consistent_read,
        }
    }
}

impl TryFrom<v1::KeysAndAttributes> for KeysAndAttributes {
    type Error = Error;

    fn try_from(wanted: v1::KeysAndAttributes) -> Result<Self> {
        Ok(Self {
            keys: wanted
                .keys
                .into_iter()
                .map(|key| EncodedItem::from_bytes(key).decode())
                .collect::<Result<_>>()?,
            projection_expression: wanted.projection_expression,
            expression_attribute_names: wanted.expression_attribute_names,
            consistent_read: !wanted.eventually_consistent,
        })
    }
}

impl From<WriteRequest> for v1::WriteRequest {
    fn from(request: WriteRequest) -> Self {
        Self {
            write: Some(match request {
                WriteRequest::Put(item) => Write::Put(item.into_bytes()),
                WriteRequest::Delete(key) => Write::Delete(EncodedItem::encode(&key).into_bytes()),
            }),
        }
    }
}

impl TryFrom<v1::WriteRequest> for WriteRequest {
    type Error = Error;

    fn try_from(request: v1::WriteRequest) -> Result<Self> {
        match request.write {
            Some(Write::Put(item)) => Ok(Self::Put(EncodedItem::from_bytes(item))),
            Some(Write::Delete(key)) => Ok(Self::Delete(EncodedItem::from_bytes(key).decode()?)),
            None => Err(Error::validation(
                "Supplied WriteRequest is empty, must contain exactly one of put and delete",
            )),
        }
    }
}

type WritesByTable = BTreeMap<String, Vec<WriteRequest>>;
type KeysByTable = BTreeMap<String, KeysAndAttributes>;

fn writes_to_wire(writes: WritesByTable) -> BTreeMap<String, v1::WriteRequests> {
    let table = |requests: Vec<WriteRequest>| v1::WriteRequests {
        requests: requests.into_iter().map(Into::into).collect(),
    };
    writes.into_iter().map(|(name, requests)| (name, table(requests))).collect()
}

fn writes_from_wire(writes: BTreeMap<String, v1::WriteRequests>) -> Result<WritesByTable> {
    let table = |writes: v1::WriteRequests| {
        writes.requests.into_iter().map(TryInto::try_into).collect::<Result<Vec<_>>>()
    };
    writes.into_iter().map(|(name, requests)| Ok((name, table(requests)?))).collect()
}

fn keys_to_wire(keys: KeysByTable) -> BTreeMap<String, v1::KeysAndAttributes> {
    keys.into_iter().map(|(name, wanted)| (name, wanted.into())).collect()
}

fn keys_from_wire(keys: BTreeMap<String, v1::KeysAndAttributes>) -> Result<KeysByTable> {
    keys.into_iter().map(|(name, wanted)| Ok((name, wanted.try_into()?))).collect()
}

impl From<api::BatchGetItem> for v1::BatchGetItemRequest {
    fn from(request: api::BatchGetItem) -> Self {
        Self { request_items: keys_to_wire(request.request_items) }
    }
}

impl TryFrom<v1::BatchGetItemRequest> for api::BatchGetItem {
    type Error = Error;

    fn try_from(request: v1::BatchGetItemRequest) -> Result<Self> {
        Ok(Self { request_items: keys_from_wire(request.request_items)? })
    }
}

impl From<api::BatchGetItemAnswer> for v1::BatchGetItemResponse {
    fn from(answer: api::BatchGetItemAnswer) -> Self {
        let table = |items: Vec<EncodedItem>| v1::Items {
            items: items.into_iter().map(EncodedItem::into_bytes).collect(),
        };
        Self {
            responses: answer
                .responses
                .into_iter()
                .map(|(name, items)| (name, table(items)))
                .collect(),
            unprocessed_keys: keys_to_wire(answer.unprocessed_keys),
        }
    }
}

impl TryFrom<v1::BatchGetItemResponse> for api::BatchGetItemAnswer {
    type Error = Error;

    fn try_from(answer: v1::BatchGetItemResponse) -> Result<Self> {
        let table = |found: v1::Items| -> Vec<EncodedItem> {
            found.items.into_iter().map(EncodedItem::from_bytes).collect()
        };
        Ok(Self {
            responses: answer
                .responses
                .into_iter()
                .map(|(name, items)| (name, table(items)))
                .collect(),
            unprocessed_keys: keys_from_wire(answer.unprocessed_keys)
                .map_err(|error| broken_answer(error.message()))?,
        })
    }
}

impl From<api::BatchWriteItem> for v1::BatchWriteItemRequest {
    fn from(request: api::BatchWriteItem) -> Self {
        Self { request_items: writes_to_wire(request.request_items) }
    }
}

impl TryFrom<v1::BatchWriteItemRequest> for api::BatchWriteItem {
    type Error = Error;

    fn try_from(request: v1::BatchWriteItemRequest) -> Result<Self> {
        Ok(Self { request_items: writes_from_wire(request.request_items)? })
    }
}

impl From<api::BatchWriteItemAnswer> for v1::BatchWriteItemResponse {
    fn from(answer: api::BatchWriteItemAnswer) -> Self {
        Self { unprocessed_items: writes_to_wire(answer.unprocessed_items) }
    }
}

impl TryFrom<v1::BatchWriteItemResponse> for api::BatchWriteItemAnswer {
    type Error = Error;

    fn try_from(answer: v1::BatchWriteItemResponse) -> Result<Self> {
        Ok(Self {
            unprocessed_items: writes_from_wire(answer.unprocessed_items)
                .map_err(|error| broken_answer(error.message()))?,
        })
    }
}
