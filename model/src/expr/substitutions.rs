//! Placeholders: `#name` and `:value`, what they stand for, and which of them a request's expressions use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lexer::is_name_byte;
use crate::api::{Names, Values};
use crate::error::{Error, Result};
use crate::limits::{PLACEHOLDER_BYTES_MAX, SUBSTITUTIONS_BYTES_MAX};
use crate::value::AttributeValue;

/// A request's placeholders, and which of them its expressions have used so far.
///
/// All expressions of a request are parsed with one of these; [`finish`](Self::finish) then refuses those that none
/// of them used. A name or value is copied when it is first used, and shared from then on.
///
/// ```
/// use stator_model::api::{Names, Values};
/// use stator_model::expr::{Condition, ExpressionKind, Substitutions};
///
/// let names = Names::from([("#y".to_owned(), "year".to_owned())]);
/// let values = Values::new();
/// let mut substitutions = Substitutions::new(&names, &values)?;
/// Condition::parse(ExpressionKind::Filter, "attribute_exists(#y)", &mut substitutions)?;
/// substitutions.finish()?;
/// # Ok::<(), stator_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Substitutions<'a> {
    names: BTreeMap<&'a str, Slot<&'a str, Arc<str>>>,
    values: BTreeMap<&'a str, Slot<&'a AttributeValue, Arc<AttributeValue>>>,
}

/// What a placeholder stands for, and its shared copy once an expression has used it.
#[derive(Debug)]
struct Slot<T, S> {
    given: T,
    used: Option<S>,
}

impl<'a> Substitutions<'a> {
    /// Takes a request's placeholders, and checks their own syntax and sizes.
    ///
    /// # Errors
    /// `ValidationException` if a placeholder is misspelt or too long, stands for an empty name, or if all of them
    /// together are over 2 MB.
    pub fn new(names: &'a Names, values: &'a Values) -> Result<Self> {
        let mut bytes_left = SUBSTITUTIONS_BYTES_MAX;
        for (key, name) in names {
            check_key("ExpressionAttributeNames", '#', key)?;
            if name.is_empty() {
                return Err(Error::validation(format!(
                    "ExpressionAttributeNames contains invalid value: Empty attribute name for key {key}"
                )));
            }
            spend(&mut bytes_left, key.len() + name.len())?;
        }
        for (key, value) in values {
            check_key("ExpressionAttributeValues", ':', key)?;
            spend(&mut bytes_left, key.len())?;
            spend_value(&mut bytes_left, value)?;
        }
        Ok(Self {
            names: names.iter().map(|(key, name)| (&**key, Slot::new(&**name))).collect(),
            values: values.iter().map(|(key, value)| (&**key, Slot::new(value))).collect(),
        })
    }

    /// Refuses placeholders that no expression used; to be called after the last expression was parsed.
    ///
    /// # Errors
    /// `ValidationException` that names them.
    pub fn finish(self) -> Result<()> {
        refuse_unused("ExpressionAttributeNames", &self.names)?;
        refuse_unused("ExpressionAttributeValues", &self.values)
    }

    /// What `#name` stands for, which is thereby used.
    pub(super) fn name(&mut self, key: &str) -> Option<Arc<str>> {
        let slot = self.names.get_mut(key)?;
        Some(Arc::clone(slot.used.get_or_insert_with(|| Arc::from(slot.given))))
    }

    /// What `:value` stands for, which is thereby used.
    pub(super) fn value(&mut self, key: &str) -> Option<Arc<AttributeValue>> {
        let slot = self.values.get_mut(key)?;
        Some(Arc::clone(slot.used.get_or_insert_with(|| Arc::new(slot.given.clone()))))
    }
}

impl<T, S> Slot<T, S> {
    const fn new(given: T) -> Self {
        Self { given, used: None }
    }
}

/// A placeholder is its sigil and one or more letters, digits and underscores.
fn check_key(parameter: &str, sigil: char, key: &str) -> Result<()> {
    if key.len() > PLACEHOLDER_BYTES_MAX {
        return Err(Error::validation(format!(
            "{parameter} contains invalid key: The expression attribute map contains a key that is too long; \
             size of key: {}",
            key.len()
        )));
    }
    match key.strip_prefix(sigil) {
        Some(name) if !name.is_empty() && name.bytes().all(is_name_byte) => Ok(()),
        _ => Err(Error::validation(format!(
            "{parameter} contains invalid key: Syntax error; key: \"{key}\""
        ))),
    }
}

fn refuse_unused<T, S>(parameter: &str, slots: &BTreeMap<&str, Slot<T, S>>) -> Result<()> {
    let unused: Vec<&str> =
        slots.iter().filter(|(_, slot)| slot.used.is_none()).map(|(key, _)| *key).collect();
    if unused.is_empty() {
        return Ok(());
    }
    Err(Error::validation(format!(
        "Value provided in {parameter} unused in expressions: keys: {{{}}}",
        unused.join(", ")
    )))
}

/// Takes a value's bytes off the budget. It keeps its own stack, since nobody has judged the value's depth yet.
fn spend_value(bytes_left: &mut usize, value: &AttributeValue) -> Result<()> {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        // Every value takes a byte at the least, so that the stack is bounded by the budget too.
        spend(bytes_left, 1)?;
        match value {
            AttributeValue::S(text) => spend(bytes_left, text.len())?,
            AttributeValue::B(bytes) => spend(bytes_left, bytes.len())?,
            AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => {}
            AttributeValue::Ss(set) => spend(bytes_left, set.iter().map(String::len).sum())?,
            AttributeValue::Bs(set) => spend(bytes_left, set.iter().map(bytes::Bytes::len).sum())?,
            AttributeValue::Ns(set) => spend(bytes_left, set.len())?,
            AttributeValue::L(list) => pending.extend(list),
            AttributeValue::M(map) => {
                spend(bytes_left, map.keys().map(String::len).sum())?;
                pending.extend(map.values());
            }
        }
    }
    Ok(())
}

fn spend(bytes_left: &mut usize, bytes: usize) -> Result<()> {
    *bytes_left = bytes_left
        .checked_sub(bytes)
        .ok_or_else(|| Error::validation("ExpressionAttributeValues exceeds max size"))?;
    Ok(())
}
