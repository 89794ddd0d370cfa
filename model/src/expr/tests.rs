//! Tests of the expression language as a whole.
//!
//! `golden` runs scripts of expressions and what comes of them; `errors` holds the texts of errors, `limits` what is
//! bounded, `laws` what must be true of all expressions.

mod errors;
mod golden;
mod laws;
mod limits;
mod notation;

use crate::api::{Names, Values};
use crate::error::Result;
use crate::expr::{Condition, ExpressionKind, KeyCondition, Projection, Substitutions, Update};
use crate::schema::{KeyAttribute, KeySchema, KeyType};
use crate::value::AttributeValue;

/// The names and values that expressions of a test may use.
#[derive(Clone, Debug, Default)]
struct Given {
    names: Names,
    values: Values,
}

impl Given {
    fn name(mut self, key: &str, name: &str) -> Self {
        self.names.insert(key.to_owned(), name.to_owned());
        self
    }

    fn value(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }

    fn substitutions(&self) -> Substitutions<'_> {
        Substitutions::new(&self.names, &self.values).expect("these placeholders are right")
    }

    fn filter(&self, text: &str) -> Result<Condition> {
        Condition::parse(ExpressionKind::Filter, text, &mut self.substitutions())
    }

    fn update(&self, text: &str) -> Result<Update> {
        Update::parse(text, &mut self.substitutions())
    }

    fn projection(&self, text: &str) -> Result<Projection> {
        Projection::parse(text, &mut self.substitutions())
    }

    fn key_condition(&self, text: &str, schema: &KeySchema) -> Result<KeyCondition> {
        KeyCondition::parse(text, &mut self.substitutions(), schema)
    }
}

fn schema(partition: (&str, KeyType), sort: Option<(&str, KeyType)>) -> KeySchema {
    let attribute =
        |(name, key_type): (&str, KeyType)| KeyAttribute { name: name.to_owned(), key_type };
    KeySchema { partition: attribute(partition), sort: sort.map(attribute) }
}

/// The text of the error that something ends with.
fn error_of<T>(outcome: Result<T>) -> String {
    // Not `expect_err`: what is there instead may be large.
    outcome.err().expect("this is not right, and was taken for it").message().to_owned()
}
