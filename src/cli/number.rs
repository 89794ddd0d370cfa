//! Whole numbers on the command line: what is none, or is out of its range, is refused with the range that is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Reads a number of this range.
pub(crate) fn from<T>(
    allowed: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let (first, last) = (allowed.start(), allowed.end());
            Err(format!("it must be a whole number from {first} to {last}"))
        }
    }
}
