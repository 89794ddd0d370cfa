//! What goes for the expressions of every operation.

use super::values;
use crate::api::{Names, Values};
use crate::error::{Error, Result};

/// An operation's expressions that take values, by DynamoDB's names, and whether they were given.
pub(super) type Given<'a> = [(&'a str, bool)];

/// Refuses placeholders that no expression could use, and values that are none.
///
/// `projection` tells whether there is a projection, which uses names but no values.
///
/// # Errors
/// `ValidationException`.
pub(super) fn check_placeholders(
    given: &Given<'_>,
    projection: bool,
    names: &Names,
    values: &Values,
) -> Result<()> {
    let any = given.iter().any(|(_, given)| *given);
    if !names.is_empty() && !any && !projection {
        return Err(Error::validation(
            "ExpressionAttributeNames can only be specified when using expressions",
        ));
    }
    if !values.is_empty() && !any {
        let expressions: Vec<_> = given.iter().map(|(name, _)| *name).collect();
        let verb = if expressions.len() > 1 { "are" } else { "is" };
        return Err(Error::validation(format!(
            "ExpressionAttributeValues can only be specified when using expressions: {} {verb} null",
            expressions.join(" and ")
        )));
    }
    for (placeholder, value) in values {
        values::check(value).map_err(|error| {
            Error::validation(format!(
                "ExpressionAttributeValues contains invalid value: {} for key {placeholder}",
                error.message()
            ))
        })?;
    }
    Ok(())
}
