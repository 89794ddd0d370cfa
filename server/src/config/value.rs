//! The types of settings, and one parser for each, whatever the value comes from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stator_storage::engine::EngineKind;

/// A value that can be read from text: of a flag, a variable, or a file.
pub(super) trait Value: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is allowed, as in `it must be true or false`.
    fn parse(text: &str) -> Result<Self, String>;

    /// Reads it from a file's value. A file may say `memory = "1GiB"` as well as `memory = 1073741824`.
    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) => Self::parse(text),
            toml::Value::Integer(number) => Self::parse(&number.to_string()),
            toml::Value::Boolean(flag) => Self::parse(&flag.to_string()),
            _ => Err("it must be one value: text, a whole number, true or false".into()),
        }
    }
}

/// [`Value::parse`] for those outside who take the same values.
macro_rules! from_str {
    ($($type:ty),+) => {$(
        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Value::parse(text)
            }
        }
    )+};
}

from_str!(ByteSize);

/// [`Value::parse`] as a function, for the parser of flags.
#[cfg(feature = "cli")]
pub(super) fn parse<T: Value>(text: &str) -> Result<T, String> {
    T::parse(text)
}

/// A number of bytes. Text gives a unit: `512MiB`, `1GiB`, `4096B`; a bare number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes.saturating_mul(1 << 20))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |&&(_, unit): &&(&str, u64)| self.0 >= unit && self.0.is_multiple_of(unit);
        match SIZE_UNITS.iter().find(fits) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Value for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        with_unit(text, &SIZE_UNITS, Some(1)).map(Self).ok_or_else(|| {
            "it must be a whole number with a unit, B, KiB, MiB, GiB or TiB, as in 512MiB".into()
        })
    }
}

const TIME_UNITS: [(&str, u64); 3] = [("ms", 1), ("s", 1_000), ("m", 60_000)];

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let ms = if text == "0" { Some(0) } else { with_unit(text, &TIME_UNITS, None) };
        ms.map(Self::from_millis).ok_or_else(|| {
            "it must be a whole number with a unit, ms, s or m, as in 250ms or 5s".into()
        })
    }
}

/// A time as settings write it: the largest unit that says it whole.
pub(super) fn show(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let fits = |&&(_, unit): &&(&str, u64)| ms >= unit && ms.is_multiple_of(unit);
    let (name, unit) = TIME_UNITS.iter().rev().find(fits).unwrap_or(&TIME_UNITS[0]);
    format!("{}{name}", ms / unit)
}

/// A whole number and, after at most one space, a unit in any case; without one if `bare` says what that counts.
fn with_unit(text: &str, units: &[(&str, u64)], bare: Option<u64>) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let known = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let factor = match known {
        Some(&(_, factor)) => factor,
        None if unit.is_empty() => bare?,
        None => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// An engine in the files that remember one, by its name: for `#[serde(with)]`.
pub mod engine_name {
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    use super::EngineKind;

    /// Writes the name.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(engine: &EngineKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(engine.name())
    }

    /// Reads the name.
    ///
    /// # Errors
    /// If there is no engine of that name.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EngineKind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// How strong reads are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// By a leader that holds a lease, and else by asking a quorum.
    Lease,
    /// By asking a quorum, each time.
    ReadIndex,
}

/// How what a node says is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Gives an enum its words: shown, and read.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ } $allowed:literal) => {
        impl $type {
            /// The word that settings use for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Value for $type {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($allowed.into()),
                }
            }
        }
    };
}

words!(ReadMode { Lease = "lease", ReadIndex = "read-index" } "it must be lease or read-index");
words!(LogFormat { Text = "text", Json = "json" } "it must be text or json");

impl Value for EngineKind {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be fjall or sled".into())
    }
}

/// Where the admin port listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl Value for AdminListen {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => SocketAddr::parse(text)
                .map(Self::At)
                .map_err(|allowed| format!("{allowed}, or off")),
        }
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "it must be an IP address and a port, as in 127.0.0.1:7400 or [::1]:7400".into()
        })
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("it must be a path".into()) } else { Ok(text.into()) }
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be true or false".into())
    }
}

/// A list; text separates by commas.
impl Value for Vec<String> {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(parts.map(str::to_owned).collect())
    }

    fn from_toml(value: &toml::Value) -> Result<Self, String> {
        match value {
            toml::Value::String(text) => Self::parse(text),
            toml::Value::Array(parts) => parts.iter().map(String::from_toml).collect(),
            _ => Err("it must be a list of texts".into()),
        }
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be a whole number".into())
    }
}

impl Value for usize {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be a whole number".into())
    }
}
