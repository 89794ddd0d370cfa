//! Between which bytes a query finds its keys.
//!
//! As encodings delimit themselves, no key's bytes begin with those of another, and exactly the keys of one partition
//! key begin with its encoding. Every condition on the sort key is therefore one range of bytes, its ends being an
//! encoding, or the first bytes after one, or after all that begin with it.
//!
//! A condition that no key could meet (a number's beginning, bounds in the wrong order) never comes here: the
//! expression was refused. What is left to refuse are values that the key's type and bounds do not take.

use bytes::Bytes;

use super::encoding::encode_prefix;
use super::{Role, append, check_length, condition_mismatch};
use crate::error::Result;
use crate::expr::SortCondition;
use crate::schema::{KeyAttribute, KeySchema, KeyType};
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
/// whose sort key meets the condition, if the schema has one and there is one: else of all with that partition key.
///
/// # Errors
/// `ValidationException` with DynamoDB's text: a value whose type the schema does not take, or an empty or overlong one.
pub(crate) fn sort_range(
    schema: &KeySchema,
    partition_bytes: &[u8],
    condition: Option<&SortCondition>,
) -> Result<KeyRange> {
    let first = || Bytes::copy_from_slice(partition_bytes);
    let past = || after_prefix(partition_bytes);
    let (Some(attribute), Some(condition)) = (&schema.sort, condition) else {
        return Ok(KeyRange { start: first(), end: past() });
    };
    let at = |value| encoded(attribute, partition_bytes, value);
    let after = |value| at(value).map(just_after);
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
    let (kind, bytes) = match (value, attribute.key_type) {
        (AttributeValue::S(text), KeyType::S) => ("string", text.as_bytes()),
        (AttributeValue::B(bytes), KeyType::B) => ("binary", &bytes[..]),
        _ => return Err(condition_mismatch()),
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
