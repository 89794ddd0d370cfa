//! The lines of a dump.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};
use stator_client::{KeyType, TableDescription};
use stator_model::schema::{KeyAttribute, KeySchema};

/// The newest format, which is the only one.
const FORMAT: u32 = 1;
/// The longest line: several times what the largest item takes as JSON.
const LINE_BYTES_MAX: u64 = 32 << 20;

/// The first line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Header {
    stator_dump: u32,
    /// The table that was dumped.
    pub(super) table: String,
    key: Key,
    sort: Option<Key>,
    /// Its partitions.
    pub(super) partitions: u32,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Key {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Footer {
    /// How many items there are.
    pub(super) stator_dump_end: u64,
}

impl Header {
    /// That of a dump of this table.
    pub(super) fn of(table: &TableDescription) -> Self {
        let key = |key: &KeyAttribute| Key {
            name: key.name.clone(),
            kind: key.key_type.attribute_type().name().to_owned(),
        };
        Self {
            stator_dump: FORMAT,
            table: table.table_name.clone(),
            key: key(&table.key_schema.partition),
            sort: table.key_schema.sort.as_ref().map(key),
            partitions: table.partitions,
        }
    }

    /// What a dump's first line says.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let header: Self = serde_json::from_slice(line)
            .map_err(|error| format!("it is no dump, for its first line is no header: {error}"))?;
        if header.stator_dump != FORMAT {
            let found = header.stator_dump;
            return Err(format!("it has format {found}, and this version knows {FORMAT}"));
        }
        Ok(header)
    }

    /// The primary key.
    ///
    /// # Errors
    /// If a type in it is none.
    pub(super) fn schema(&self) -> Result<KeySchema, String> {
        let key = |key: &Key| {
            let key_type = match key.kind.as_str() {
                "S" => KeyType::S,
                "N" => KeyType::N,
                "B" => KeyType::B,
                other => return Err(format!("a key's type is {other:?}, not S, N or B")),
            };
            Ok(KeyAttribute { name: key.name.clone(), key_type })
        };
        Ok(KeySchema { partition: key(&self.key)?, sort: self.sort.as_ref().map(key).transpose()? })
    }
}

impl Footer {
    /// What a line says, if it is the last one. An item of DynamoDB's JSON has objects only for values, so it is none.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        line.starts_with(b"{\"stator_dump_end\":").then(|| serde_json::from_slice(line).ok())?
    }
}

/// Reads a line, without its end; `None` at the end of the file.
///
/// # Errors
/// What the operating system answers; or the line is too long, or cut short.
pub(super) fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() as u64 + 1 == LINE_BYTES_MAX => {
            let what = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidData, what))
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "its last line is cut short")),
    }
}
