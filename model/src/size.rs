//! How large items are, as DynamoDB accounts for it. Limits, pages and capacity are judged by these sizes, not by the
//! bytes of any encoding.
//!
//! | value           | bytes                                                                |
//! |-----------------|----------------------------------------------------------------------|
//! | string          | its UTF-8                                                            |
//! | binary          | its bytes                                                            |
//! | number          | about one for two digits, and one: see [`Number::size`]              |
//! | boolean, null   | 1                                                                    |
//! | set             | its elements                                                         |
//! | list            | 3, and for each element 1 and the element                            |
//! | map             | 3, and for each attribute 1, its name and its value                  |
//!
//! An item is the sum of its attributes' names and values. The 100 bytes that DynamoDB adds to each stored item are
//! its bill's, and count in no limit.
//!
//! [`Number::size`]: crate::number::Number::size

#[cfg(test)]
mod tests;

use crate::value::{AttributeValue, Item};

/// What a list or map costs by itself, in bytes.
pub(crate) const CONTAINER_BYTES: usize = 3;
/// What an element of a list or map costs besides its name and value, in bytes.
pub(crate) const ELEMENT_BYTES: usize = 1;
/// What a boolean or a null counts, in bytes.
pub(crate) const SCALAR_BYTES: usize = 1;

/// The size of an item in bytes: of its attributes' names and values.
#[must_use]
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

/// The size of a value in bytes, without the name of an attribute that holds it. Takes values of any depth.
#[must_use]
pub fn value_size(value: &AttributeValue) -> usize {
    // What is still to be counted waits here, not on the call stack, for values may be nested beyond the limit.
    let mut waiting = Vec::new();
    let mut next = Some(value);
    let mut size = 0;
    while let Some(value) = next {
        size += own_size(value);
        match value {
            AttributeValue::L(list) => waiting.extend(list),
            AttributeValue::M(map) => waiting.extend(map.values()),
            _ => {}
        }
        next = waiting.pop();
    }
    size
}

/// The size of a value without the values inside it.
fn own_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.size(),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Bool(_) | AttributeValue::Null => SCALAR_BYTES,
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => set.iter().map(|number| number.size()).sum(),
        AttributeValue::Bs(set) => set.iter().map(bytes::Bytes::len).sum(),
        AttributeValue::L(list) => CONTAINER_BYTES + ELEMENT_BYTES * list.len(),
        AttributeValue::M(map) => {
            let names: usize = map.keys().map(String::len).sum();
            CONTAINER_BYTES + ELEMENT_BYTES * map.len() + names
        }
    }
}
