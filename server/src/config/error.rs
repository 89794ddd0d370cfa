//! A wrong setting, in one line.

use std::error::Error;
use std::fmt;

/// A setting that is not allowed: one line that names its source, key, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// `key = value is not allowed: why`.
    pub(crate) fn new(key: &str, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::text(format!("{key} = {value} is not allowed: {why}"))
    }

    /// Any other line.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text: String = text.into();
        // What was quoted may hold line ends and worse; the promise is one plain line.
        let parts = text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty());
        Self(parts.collect::<Vec<_>>().join(" "))
    }

    /// The same, with the place where the setting was found in front.
    pub(super) fn at(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ConfigError {}
