//! Query: one partition key, and of its items those with sort keys in one range.

use bytes::Bytes;

use super::page::{PageBuilder, Selection};
use crate::api::Query;
use crate::error::{Error, Result};
use crate::expr::{Condition, ExpressionKind, KeyCondition, Projection, Substitutions};
use crate::key::{Key, KeyRange, hash64, partition_prefix, sort_range};
use crate::schema::KeySchema;
use crate::value::Item;

/// A Query that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedQuery {
    /// [`hash64`] of the partition key, which all keys in the range share.
    pub hash: u64,
    /// The bytes of the keys to read; the exclusive start key is cut off already. Its start is never after its end,
    /// but they may be equal.
    pub range: KeyRange,
    /// Whether to read the range upwards.
    pub forward: bool,
    /// Whether the page must see every write that was answered before it.
    pub consistent_read: bool,
    selection: Selection,
}

impl Query {
    /// Prepares the read.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: an expression that does not parse; a key condition that does not fit the
    /// schema; a filter that names a key attribute; a starting key that is none, or is not in the range; a placeholder that
    /// no expression uses.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedQuery> {
        let mut substitutions = Substitutions::new(
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
        let condition =
            KeyCondition::parse(&self.key_condition_expression, &mut substitutions, schema)?;
        let filter = self
            .filter_expression
            .as_deref()
            .map(|text| Condition::parse(ExpressionKind::Filter, text, &mut substitutions))
            .transpose()?;
        let projection = self
            .projection_expression
            .as_deref()
            .map(|text| Projection::parse(text, &mut substitutions))
            .transpose()?;
        substitutions.finish()?;
        let prefix = partition_prefix(schema, &condition.partition)?;
        let mut range = sort_range(schema, &prefix, condition.sort.as_ref())?;
        if let Some(start) = &self.exclusive_start_key {
            let start = start_key(schema, start, &prefix, &condition)?;
            cut(&mut range, &start, self.scan_index_forward);
        }
        if let Some(filter) = &filter {
            refuse_key_attributes(filter, schema)?;
        }
        Ok(PreparedQuery {
            hash: hash64(&prefix),
            range,
            forward: self.scan_index_forward,
            consistent_read: self.consistent_read,
            selection: Selection {
                schema: schema.clone(),
                filter,
                projection,
                count_only: Selection::counts_only(self.select),
                limit: self.limit,
            },
        })
    }
}

impl PreparedQuery {
    /// An empty page, to be fed with what is read.
    #[must_use]
    pub const fn page(&self) -> PageBuilder<'_> {
        PageBuilder::new(&self.selection)
    }
}

/// The key after which to read, which must meet the key condition.
fn start_key(
    schema: &KeySchema,
    start: &Item,
    prefix: &[u8],
    condition: &KeyCondition,
) -> Result<Key> {
    // DynamoDB does not tell a Query what is wrong with its starting key.
    let start = Key::of_key_attributes(schema, start)
        .map_err(|_| Error::validation("The provided starting key is invalid"))?;
    let in_partition = start.partition_bytes() == prefix;
    let Some(sort) = &condition.sort else {
        return if in_partition {
            Ok(start)
        } else {
            Err(Error::validation(
                "The provided starting key is outside query boundaries based on provided conditions",
            ))
        };
    };
    // The sort key is judged first, within whatever partition key it comes with.
    let range = sort_range(schema, start.partition_bytes(), Some(sort))?;
    if !range.contains(start.bytes()) {
        return Err(Error::validation(
            "The provided starting key does not match the range key predicate",
        ));
    }
    if !in_partition {
        // The text is the service's, for want of a better one there.
        return Err(Error::validation(
            "The query can return at most one row and cannot be restarted",
        ));
    }
    Ok(start)
}

/// Cuts a range that holds a key down to what comes after it in reading order.
fn cut(range: &mut KeyRange, key: &Key, forward: bool) {
    if forward {
        range.start = after(key.bytes());
    } else {
        range.end = Some(key.bytes().clone());
    }
}

/// The first bytes after these.
pub(super) fn after(bytes: &[u8]) -> Bytes {
    [bytes, &[0]].concat().into()
}

fn refuse_key_attributes(filter: &Condition, schema: &KeySchema) -> Result<()> {
    for attribute in std::iter::once(&schema.partition).chain(&schema.sort) {
        if filter.names_attribute(&attribute.name) {
            return Err(Error::validation(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {}",
                attribute.name
            )));
        }
    }
    Ok(())
}
