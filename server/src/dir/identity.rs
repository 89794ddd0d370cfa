//! `node.toml`: whose directory it is.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::DirError;
use crate::config::{EngineKind, engine_name};

/// The newest format of `node.toml`, and of the directory around it, that this version knows, and the one it writes.
pub const FORMAT: u64 = 1;
/// The file is a handful of lines; one that is longer is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What kind of database a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A node's, which is alone or one of a cluster.
    Cluster,
    /// One opened in a process, which nobody else can reach.
    Embedded,
}

/// A replica of the catalog, as a node remembers it for its next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogMember {
    /// Its node.
    pub node_id: u64,
    /// The replica: its Raft id.
    pub replica_id: u64,
    /// Where others reach the node, `host:port`.
    pub address: String,
    /// The incarnation of its data directory, once it is known: one that comes with another is not the node (R8).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "known_to_hex",
        deserialize_with = "known_from_hex"
    )]
    pub incarnation: Option<u64>,
}

/// What the leases of a cluster rest on: all of its nodes have the same (R2). In microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// For how long a follower keeps its promise to a leader that it has heard from.
    pub election_us: u64,
    /// For how long a lease holds.
    pub lease_us: u64,
}

impl Lengths {
    /// Those of a build.
    pub(crate) fn of(config: &stator_consensus::Config) -> Self {
        let micros = |length: Duration| u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        Self {
            election_us: micros(config.election_timeout()),
            lease_us: micros(config.lease_length()),
        }
    }

    /// With their names, here and in the catalog.
    pub(crate) const fn named(self) -> [(&'static str, u64); 2] {
        [("election_us", self.election_us), ("lease_us", self.lease_us)]
    }

    /// Why `who`, with these lengths, cannot go on where `place` has others, if it has.
    pub(crate) fn refusal(self, who: &str, agreed: Self, place: &str) -> Option<String> {
        let mut both = self.named().into_iter().zip(agreed.named());
        let ((name, own), (_, agreed)) = both.find(|(own, agreed)| own != agreed)?;
        Some(format!(
            "{who} has {name} = {own}, and {place} has {agreed}: leases rest on all nodes having the same"
        ))
    }
}

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The format of this and of the directory.
    pub format: u64,
    /// What kind of database it is.
    pub mode: Mode,
    /// The engine that it was made with, and that it keeps.
    #[serde(with = "engine_name")]
    pub engine: EngineKind,
    /// A random number drawn when the directory was made: a node that lost its directory is not the same node (R8).
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub incarnation: u64,
    /// The cluster, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The node's number in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<u64>,
    /// The lengths of elections and leases in it, if it has several nodes that hold the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Lengths>,
    /// Where the catalog was when last seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalog: Vec<CatalogMember>,
}

impl Identity {
    /// That of a directory opened for the first time.
    pub(super) const fn new(engine: EngineKind, mode: Mode, incarnation: u64) -> Self {
        Self {
            format: FORMAT,
            mode,
            engine,
            incarnation,
            cluster_id: None,
            node_id: None,
            lengths: None,
            catalog: Vec::new(),
        }
    }

    /// The file's text.
    pub(super) fn to_toml(&self) -> Result<String, DirError> {
        let text = toml::to_string(self).map_err(|error| DirError::Damaged {
            file: Path::new(super::IDENTITY).to_owned(),
            reason: error.to_string(),
        })?;
        Ok(format!(
            "# Whose directory this is. Written by Stator; it refuses to start without it.\n{text}"
        ))
    }
}

/// Reads the file, if there is one.
pub(super) fn read(file: &Path) -> Result<Option<Identity>, DirError> {
    let damaged = |reason: String| DirError::Damaged { file: file.to_owned(), reason };
    let text = match fs::metadata(file) {
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            return Err(damaged(format!("it is longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(_) => fs::read_to_string(file).map_err(DirError::io("reading", file))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DirError::io("reading", file)(error)),
    };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| damaged(one_line(error.message())))?;
    // The format first: what a newer one holds besides is not ours to judge.
    match table.get("format").and_then(toml::Value::as_integer) {
        Some(format) if u64::try_from(format).is_ok_and(|format| format > FORMAT) => {
            let format = u64::try_from(format).unwrap_or(u64::MAX);
            return Err(DirError::Newer { file: file.to_owned(), format });
        }
        Some(1) => {}
        Some(other) => return Err(damaged(format!("it has format {other}, and there is none"))),
        None => return Err(damaged("it names no format".into())),
    }
    let identity = table.try_into().map_err(|error| damaged(one_line(error.message())))?;
    Ok(Some(identity))
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// TOML's integers have a sign, so all 64 bits do not fit in one.
fn to_hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{number:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let sixteen = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u64::from_str_radix(&text, 16) {
        Ok(number) if sixteen => Ok(number),
        _ => Err(serde::de::Error::custom(format!(
            "incarnation = {text:?} is not allowed: it must be 16 hexadecimal digits"
        ))),
    }
}

// Written and read only where it is known.

fn known_to_hex<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => to_hex(number, serializer),
        None => serializer.serialize_none(),
    }
}

fn known_from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    from_hex(deserializer).map(Some)
}
