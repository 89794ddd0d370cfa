//! What becomes of each request: keys taken and checked, expressions parsed, items measured and made canonical.

use std::collections::BTreeSet;

use super::{Action, PreparedWrite};
use crate::api::{DeleteItem, Names, PutItem, ReturnValues, UpdateItem, Values, WriteRequest};
use crate::codec::{EncodedItem, key_attributes_of_encoded};
use crate::error::{Error, Result};
use crate::expr::{Condition, ExpressionKind, Substitutions, Update};
use crate::key::Key;
use crate::limits::ITEM_BYTES_MAX;
use crate::schema::KeySchema;
use crate::value::Item;

impl PutItem {
    /// Prepares the write.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: an item that is none, or too large; a key attribute that is missing or
    /// wrong; a condition that does not parse; a placeholder that it does not use.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite> {
        let condition = parse_condition(
            self.condition_expression.as_deref(),
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        Ok(PreparedWrite {
            condition,
            return_values: self.return_values,
            return_old_on_condition_failure: self.return_old_on_condition_failure,
            ..prepare_put(&self.item, schema, Key::of_item)?
        })
    }
}

impl UpdateItem {
    /// Prepares the write.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: a key that is none; an expression that does not parse, or would change a
    /// key attribute; a placeholder that no expression uses.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite> {
        let mut substitutions = Substitutions::new(
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        let update = self
            .update_expression
            .as_deref()
            .map(|text| Update::parse(text, &mut substitutions))
            .transpose()?;
        let condition = self
            .condition_expression
            .as_deref()
            .map(|text| Condition::parse(ExpressionKind::Condition, text, &mut substitutions))
            .transpose()?;
        substitutions.finish()?;
        let key = Key::of_key_attributes(schema, &self.key)?;
        if let Some(update) = &update {
            refuse_key_changes(update, schema)?;
        }
        Ok(PreparedWrite {
            key,
            action: Action::Update(update),
            condition,
            return_values: self.return_values,
            return_old_on_condition_failure: self.return_old_on_condition_failure,
        })
    }
}

impl DeleteItem {
    /// Prepares the write.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: a key that is none; a condition that does not parse; a placeholder that
    /// it does not use.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite> {
        let condition = parse_condition(
            self.condition_expression.as_deref(),
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        Ok(PreparedWrite {
            condition,
            return_values: self.return_values,
            return_old_on_condition_failure: self.return_old_on_condition_failure,
            ..PreparedWrite::unconditional(
                Key::of_key_attributes(schema, &self.key)?,
                Action::Delete,
            )
        })
    }
}

impl WriteRequest {
    /// Prepares one write of a batch.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: an item or a key that is none, or an item that is too large.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedWrite> {
        match self {
            // Unlike PutItem, a batch tells of an item's key in the words for a key.
            Self::Put(item) => prepare_put(item, schema, Key::of_key_attributes),
            Self::Delete(key) => Ok(PreparedWrite::unconditional(
                Key::of_key_attributes(schema, key)?,
                Action::Delete,
            )),
        }
    }
}

/// Prepares what a batch writes to one table.
///
/// # Errors
/// Those of [`WriteRequest::prepare`], and `Provided list of item keys contains duplicates`.
pub fn prepare_batch(writes: &[WriteRequest], schema: &KeySchema) -> Result<Vec<PreparedWrite>> {
    let prepared: Vec<_> =
        writes.iter().map(|write| write.prepare(schema)).collect::<Result<_>>()?;
    refuse_duplicates(prepared.iter().map(|write| &write.key))?;
    Ok(prepared)
}

/// Refuses a batch that names one item twice.
pub(crate) fn refuse_duplicates<'a>(keys: impl Iterator<Item = &'a Key>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key.bytes()) {
            return Err(Error::validation("Provided list of item keys contains duplicates"));
        }
    }
    Ok(())
}

impl PreparedWrite {
    const fn unconditional(key: Key, action: Action) -> Self {
        Self {
            key,
            action,
            condition: None,
            return_values: ReturnValues::None,
            return_old_on_condition_failure: false,
        }
    }
}

fn prepare_put(
    item: &EncodedItem,
    schema: &KeySchema,
    key_of: fn(&KeySchema, &Item) -> Result<Key>,
) -> Result<PreparedWrite> {
    let (item, size) = item.clone().canonicalize()?;
    if size > ITEM_BYTES_MAX {
        return Err(Error::validation("Item size has exceeded the maximum allowed size"));
    }
    let key = key_of(schema, &key_attributes_of_encoded(schema, &item)?)?;
    Ok(PreparedWrite::unconditional(key, Action::Put(item)))
}

fn parse_condition(
    text: Option<&str>,
    names: &Names,
    values: &Values,
) -> Result<Option<Condition>> {
    let mut substitutions = Substitutions::new(names, values)?;
    let condition = text
        .map(|text| Condition::parse(ExpressionKind::Condition, text, &mut substitutions))
        .transpose()?;
    substitutions.finish()?;
    Ok(condition)
}

fn refuse_key_changes(update: &Update, schema: &KeySchema) -> Result<()> {
    let key_attributes = std::iter::once(&schema.partition).chain(&schema.sort);
    for attribute in key_attributes {
        if update.names_attribute(&attribute.name) {
            return Err(Error::validation(format!(
                "One or more parameter values were invalid: Cannot update attribute {}. This attribute is part of the key",
                attribute.name
            )));
        }
    }
    Ok(())
}
