//! Items, keys and values on the command line, and as they are printed.

use std::fs::File;
use std::io::{self, Read};

use serde_json::Value;
use stator_client::Item;
use stator_proto::json;

use super::output::{Failure, note};

/// More than the largest item, however it is written.
const ARGUMENT_BYTES_MAX: u64 = 32 << 20;

/// Which dialect of JSON items are read and written in.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Dialect {
    /// Items as DynamoDB's JSON, which names types, as in {"year": {"N": "1971"}}. Without it they are plain JSON, in which
    /// sets are written as lists and binaries as base64 text
    #[arg(long)]
    ddb_json: bool,
}

impl Dialect {
    /// DynamoDB's JSON.
    pub(crate) const TYPED: Self = Self { ddb_json: true };

    /// The item that an argument says: text, `@file`, or `-` for standard input.
    pub(crate) fn item(self, flag: &str, argument: &str) -> Result<Item, Failure> {
        let refused = |why: &str| Failure::usage(format!("{flag}: {why}"));
        let value = json::parse(&read(flag, argument)?).map_err(|why| refused(why.message()))?;
        if !self.ddb_json && looks_typed(&value) {
            note(format_args!(
                "{flag} is taken as plain JSON, but looks like DynamoDB's, which names types: that needs --ddb-json"
            ));
        }
        self.item_of_json(&value).map_err(|why| {
            let hint = if self.ddb_json && json::item_from_plain_json(&value).is_ok() {
                ". It is read as DynamoDB's JSON; without --ddb-json it would be read as plain JSON"
            } else {
                ""
            };
            refused(&format!("{why}{hint}"))
        })
    }

    /// The item that a text says.
    pub(crate) fn item_of_text(self, text: &[u8]) -> Result<Item, String> {
        let value = json::parse(text).map_err(|error| error.message().to_owned())?;
        self.item_of_json(&value)
    }

    fn item_of_json(self, value: &Value) -> Result<Item, String> {
        let item = if self.ddb_json {
            json::item_from_dynamodb_json(value)
        } else {
            json::item_from_plain_json(value)
        };
        item.map_err(|error| error.message().to_owned())
    }

    /// An item as it is printed.
    pub(crate) fn json(self, item: &Item) -> Value {
        if self.ddb_json {
            json::item_to_dynamodb_json(item)
        } else {
            json::item_to_plain_json(item)
        }
    }
}

/// Whether this is DynamoDB's JSON, as far as that can be told: it is plain JSON as well.
fn looks_typed(value: &Value) -> bool {
    let some = value.as_object().is_some_and(|members| !members.is_empty());
    some && json::item_from_dynamodb_json(value).is_ok()
}

/// What an argument says: itself, or a file's content, or what standard input holds.
pub(crate) fn read(flag: &str, argument: &str) -> Result<Vec<u8>, Failure> {
    let (from, what): (Box<dyn Read>, _) = match argument.strip_prefix('@') {
        None if argument == "-" => (Box::new(io::stdin().lock()), "standard input"),
        None => return Ok(argument.as_bytes().to_vec()),
        Some(path) => {
            let file = File::open(path).map_err(|error| {
                Failure::usage(format!("{flag} @{path} cannot be read: {error}"))
            })?;
            (Box::new(file), path)
        }
    };
    let mut bytes = Vec::new();
    from.take(ARGUMENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::usage(format!("{flag}: reading {what}: {error}")))?;
    if bytes.len() as u64 > ARGUMENT_BYTES_MAX {
        let what = format!("{flag}: {what} is longer than {ARGUMENT_BYTES_MAX} bytes");
        return Err(Failure::usage(what));
    }
    Ok(bytes)
}

/// What the `#names` and `:values` of expressions stand for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Substitutions {
    /// What #names in expressions stand for, as in '{"#y": "year"}'
    #[arg(long, value_name = "JSON")]
    names: Option<String>,

    /// What :values in expressions stand for, as in '{":y": 1971}'
    #[arg(long, value_name = "JSON")]
    values: Option<String>,
}

impl Substitutions {
    /// Names alone.
    pub(crate) const fn of_names(names: Option<String>) -> Self {
        Self { names, values: None }
    }

    /// The names.
    pub(crate) fn names(&self) -> Result<std::collections::BTreeMap<String, String>, Failure> {
        let Some(argument) = &self.names else { return Ok(Default::default()) };
        let refused = |why: &dyn std::fmt::Display| {
            Failure::usage(format!(
                "--names: it must be an object of texts, as in '{{\"#y\": \"year\"}}': {why}"
            ))
        };
        let value = json::parse(&read("--names", argument)?);
        let value = value.map_err(|error| refused(&error.message()))?;
        serde_json::from_value(value).map_err(|error| refused(&error))
    }

    /// The values.
    pub(crate) fn values(&self, dialect: Dialect) -> Result<Item, Failure> {
        self.values
            .as_ref()
            .map_or_else(|| Ok(Item::new()), |argument| dialect.item("--values", argument))
    }
}
