//! Scan: a whole table in the order of its keys' hashes, or one segment of it.
//!
//! Items lie in the engine by (hash of the partition key, key), and a partition is a range of hashes, so that a scan
//! reads partition after partition and any of them can be cut into segments by hash alone.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::page::{PageBuilder, Selection};
use super::query::after;
use crate::api::{Scan, Segment};
use crate::error::{Error, Result};
use crate::expr::{Condition, ExpressionKind, Projection, Substitutions};
use crate::key::Key;
use crate::schema::KeySchema;
use crate::value::Item;

/// A place in a table's scan order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The hash of the partition key.
    pub hash: u64,
    /// The key's bytes; less than any key's if empty.
    pub key: Bytes,
}

/// A Scan that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedScan {
    /// The first place to read.
    pub start: Position,
    /// The last hash to read.
    pub last_hash: u64,
    /// Whether the page must see every write that was answered before it.
    pub consistent_read: bool,
    selection: Selection,
}

/// The hashes that a segment of a parallel scan covers: `segment` of `total_segments`, counted from 0. The segments of
/// one total cover every hash once, and are equally wide but for one hash.
///
/// A `total_segments` of 0 counts as 1, and a segment beyond the last as the last: validation refuses both.
#[must_use]
pub fn segment_range(segment: u32, total_segments: u32) -> RangeInclusive<u64> {
    let total = u128::from(total_segments.max(1));
    let segment = u128::from(segment).min(total - 1);
    let hashes = 1u128 << 64;
    let first_of = |segment: u128| hashes * segment / total;
    // Both fit: the first hash of a segment is below 2^64, and so is the last one of the last.
    first_of(segment) as u64..=(first_of(segment + 1) - 1) as u64
}

impl Scan {
    /// Prepares the read.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: an expression that does not parse; a starting key that is none, or is not
    /// in the segment; a placeholder that no expression uses.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedScan> {
        let mut substitutions = Substitutions::new(
            &self.expression_attribute_names,
            &self.expression_attribute_values,
        )?;
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
        let (segment, total) = match self.segment {
            Some(Segment { segment: Some(segment), total_segments: Some(total) }) => {
                (segment, total)
            }
            _ => (0, 1),
        };
        let hashes = segment_range(segment, total);
        let start = match &self.exclusive_start_key {
            None => Position { hash: *hashes.start(), key: Bytes::new() },
            Some(start) => {
                let start = start_key(schema, start)?;
                if !hashes.contains(&start.hash()) {
                    return Err(Error::validation(format!(
                        "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey \
                         with correct Segment. TotalSegments: {total} Segment: {segment}"
                    )));
                }
                Position { hash: start.hash(), key: after(start.bytes()) }
            }
        };
        Ok(PreparedScan {
            start,
            last_hash: *hashes.end(),
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

impl PreparedScan {
    /// An empty page, to be fed with what is read.
    #[must_use]
    pub const fn page(&self) -> PageBuilder<'_> {
        PageBuilder::new(&self.selection)
    }
}

fn start_key(schema: &KeySchema, start: &Item) -> Result<Key> {
    Key::of_key_attributes(schema, start).map_err(|error| {
        Error::validation(format!("The provided starting key is invalid: {}", error.message()))
    })
}
