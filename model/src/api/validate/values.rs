//! Attribute values in hand. Those that were decoded are checked already; those that a caller in the process built
//! are not, and types alone do not keep a set from being empty or a tree from being too deep.

use crate::codec::check_name;
use crate::error::{Error, Result};
use crate::limits::{TOP_LEVEL, deeper};
use crate::value::AttributeValue;

/// Refuses a value that is empty where it may not be, or too deep.
///
/// # Errors
/// `ValidationException`, in the words of [`EncodedItem::decode`](crate::EncodedItem::decode).
pub(super) fn check(value: &AttributeValue) -> Result<()> {
    check_at(value, TOP_LEVEL)
}

fn check_at(value: &AttributeValue, level: usize) -> Result<()> {
    let empty = match value {
        AttributeValue::Ss(set) if set.is_empty() => "An string set  may not be empty",
        AttributeValue::Ns(set) if set.is_empty() => "An number set  may not be empty",
        AttributeValue::Bs(set) if set.is_empty() => "Binary sets should not be empty",
        AttributeValue::L(list) => {
            let level = deeper(level)?;
            return list.iter().try_for_each(|value| check_at(value, level));
        }
        AttributeValue::M(map) => {
            let level = deeper(level)?;
            return map.iter().try_for_each(|(name, value)| {
                check_name(name)?;
                check_at(value, level)
            });
        }
        _ => return Ok(()),
    };
    Err(Error::validation(format!("One or more parameter values were invalid: {empty}")))
}
