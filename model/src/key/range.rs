//! Between which bytes a query finds its keys.
//!
//! As encodings delimit themselves, no key's bytes begin with those of another, and exactly the keys of one partition
//! key begin with its encoding. Every condition on the sort key is therefore one range of bytes, its ends being an
//! encoding, or the first bytes after one, or after all that begin with it.
//!
//! Conditions are refused in DynamoDB's order and words: first what no key type could make right (a boolean compared, a
//! number's beginning, bounds in the wrong order), then what does not fit this schema, then empty and overlong values.

use bytes::Bytes;

use super::encoding::encode_prefix;
use super::{Role, append, check_length, condition_mismatch};
use crate::error::{Error, Result};
use crate::expr::SortCondition;
use crate::schema::{KeyAttribute, KeySchema};
use crate::value::AttributeValue;

/// A range of whole [`Key::bytes`](super::Key::bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first bytes in the range.
    pub start: Bytes,
    /// The first bytes after the range; `None` if there are none, which the encoding of a partition key never leads to.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Whether a key with these bytes lies in the range.
    #[must_use]
    pub fn contains(&self, key_bytes: &[u8]) -> bool {
        key_bytes >= &self.start[..] && self.end.as_ref().is_none_or(|end| key_bytes < &end[..])
    }
}

/// The range of the keys whose partition key has this encoding (see [`partition_prefix`](super::partition_prefix)) and
/// whose sort key meets the condition; without one, of all with that partition key.
///
/// # Errors
/// `ValidationException` with DynamoDB's text: a condition on the sort key of a table that has none; a value whose type
/// the operator does not take, or the schema does not; `BETWEEN` bounds in the wrong order; an empty or overlong value.
pub fn sort_range(
    schema: &KeySchema,
    partition_bytes: &[u8],
    condition: Option<&SortCondition>,
) -> Result<KeyRange> {
    let Some(condition) = condition else {
        let start = Bytes::copy_from_slice(partition_bytes);
        return Ok(KeyRange { start, end: after_prefix(partition_bytes) });
    };
    let Some(attribute) = &schema.sort else {
        return Err(Error::validation("Query key condition not supported"));
    };
    check_operands(condition)?;
    let at = |value| encoded(attribute, partition_bytes, value);
    let after = |value| at(value).map(just_after);
    let first = || Bytes::copy_from_slice(partition_bytes);
    let past = || after_prefix(partition_bytes);
    let (start, end) = match condition {
        SortCondition::Equal(value) => (at(value)?.into(), Some(after(value)?)),
        SortCondition::Less(value) => (first(), Some(at(value)?.into())),
        SortCondition::LessOrEqual(value) => (first(), Some(after(value)?)),
        SortCondition::Greater(value) => (after(value)?, past()),
        SortCondition::GreaterOrEqual(value) => (at(value)?.into(), past()),
        SortCondition::Between(lower, upper) => (at(lower)?.into(), Some(after(upper)?)),
        SortCondition::BeginsWith(value) => {
            let prefix = encoded_prefix(attribute, partition_bytes, value)?;
            let end = after_prefix(&prefix);
            (prefix.into(), end)
        }
    };
    Ok(KeyRange { start, end })
}

/// The bytes of the key with this sort key's value.
fn encoded(attribute: &KeyAttribute, partition: &[u8], value: &AttributeValue) -> Result<Vec<u8>> {
    let mut out = partition.to_vec();
    append(attribute, Role::Sort, value, |_, _| condition_mismatch(), &mut out)?;
    Ok(out)
}

/// The bytes that all keys begin with whose sort key begins with this value, a string or a binary.
fn encoded_prefix(
    attribute: &KeyAttribute,
    partition: &[u8],
    value: &AttributeValue,
) -> Result<Vec<u8>> {
    if value.attribute_type() != attribute.key_type.attribute_type() {
        return Err(condition_mismatch());
    }
    let (kind, bytes) = match value {
        AttributeValue::S(text) => ("string", text.as_bytes()),
        AttributeValue::B(bytes) => ("binary", &bytes[..]),
        other => return Err(incorrect_operand("begins_with", other)),
    };
    check_length(attribute, Role::Sort, kind, bytes.len())?;
    let mut out = partition.to_vec();
    encode_prefix(bytes, &mut out);
    Ok(out)
}

/// The first bytes after those of a key: no other key begins with them, so that none lies between.
fn just_after(mut key_bytes: Vec<u8>) -> Bytes {
    key_bytes.push(0);
    key_bytes.into()
}

/// The first bytes after all that begin with `prefix`; `None` if there are none, as after `FF FF`.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after.into())
}

/// What is wrong with a condition whatever the schema.
fn check_operands(condition: &SortCondition) -> Result<()> {
    match condition {
        SortCondition::Equal(_) => Ok(()),
        SortCondition::Less(value) => check_ordered("<", value),
        SortCondition::LessOrEqual(value) => check_ordered("<=", value),
        SortCondition::Greater(value) => check_ordered(">", value),
        SortCondition::GreaterOrEqual(value) => check_ordered(">=", value),
        SortCondition::Between(lower, upper) => check_between(lower, upper),
        SortCondition::BeginsWith(AttributeValue::S(_) | AttributeValue::B(_)) => Ok(()),
        SortCondition::BeginsWith(value) => Err(incorrect_operand("begins_with", value)),
    }
}

fn check_ordered(operator: &str, value: &AttributeValue) -> Result<()> {
    match value {
        AttributeValue::S(_) | AttributeValue::N(_) | AttributeValue::B(_) => Ok(()),
        other => Err(incorrect_operand(operator, other)),
    }
}

fn check_between(lower: &AttributeValue, upper: &AttributeValue) -> Result<()> {
    check_ordered("BETWEEN", lower)?;
    check_ordered("BETWEEN", upper)?;
    let requires = |what: &str| {
        Err(invalid_condition(format_args!(
            "The BETWEEN operator requires {what}; \
             lower bound operand: AttributeValue: {{{}}}, upper bound operand: AttributeValue: {{{}}}",
            shown(lower),
            shown(upper),
        )))
    };
    let ordered = match (lower, upper) {
        (AttributeValue::S(lower), AttributeValue::S(upper)) => lower <= upper,
        (AttributeValue::N(lower), AttributeValue::N(upper)) => lower <= upper,
        (AttributeValue::B(lower), AttributeValue::B(upper)) => lower <= upper,
        _ => return requires("same data type for lower and upper bounds"),
    };
    if ordered {
        Ok(())
    } else {
        requires("upper bound to be greater than or equal to lower bound")
    }
}

/// A bound as DynamoDB's texts show it: a binary as the Java buffer that it is there.
fn shown(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => format!("S:{text}"),
        AttributeValue::N(number) => format!("N:{number}"),
        AttributeValue::B(bytes) => {
            format!("B:java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len())
        }
        other => other.type_name().to_owned(),
    }
}

fn incorrect_operand(operator: &str, value: &AttributeValue) -> Error {
    invalid_condition(format_args!(
        "Incorrect operand type for operator or function; \
         operator or function: {operator}, operand type: {}",
        value.type_name(),
    ))
}

fn invalid_condition(what: std::fmt::Arguments<'_>) -> Error {
    Error::validation(format!("Invalid KeyConditionExpression: {what}"))
}
