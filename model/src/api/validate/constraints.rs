//! The bounds of the service model, and the errors of those that a request breaks, reported together.

use crate::error::{Error, Result};
use crate::limits;

/// How many violations are reported at once, as DynamoDB does.
const REPORTED_MAX: usize = 10;

/// How much of a text that broke a bound is shown, in bytes: enough for any name that is a little too long.
const SHOWN_BYTES_MAX: usize = 1024;

/// Bounds of a text.
pub(super) struct Text {
    /// Whether it is a name of `[a-zA-Z0-9_.-]+`.
    pub name: bool,
    pub min: usize,
    pub max: usize,
}

/// Bounds of a number; without an upper one if there is none in the model.
pub(super) struct Range {
    pub min: u32,
    pub max: Option<u32>,
}

/// Bounds of how many members a list or map has.
pub(super) struct Length {
    pub min: usize,
    pub max: usize,
}

pub(super) const TABLE_NAME: Text =
    Text { name: true, min: limits::TABLE_NAME_BYTES_MIN, max: limits::TABLE_NAME_BYTES_MAX };
pub(super) const KEY_ATTRIBUTE_NAME: Text =
    Text { name: false, min: 1, max: limits::KEY_ATTRIBUTE_NAME_BYTES_MAX };
pub(super) const LIMIT: Range = Range { min: 1, max: None };
pub(super) const LIST_TABLES_LIMIT: Range =
    Range { min: 1, max: Some(limits::LIST_TABLES_MAX as u32) };
pub(super) const PARTITIONS: Range = Range { min: 1, max: Some(limits::TABLE_PARTITIONS_MAX) };
pub(super) const SEGMENT: Range = Range { min: 0, max: Some(limits::SCAN_SEGMENTS_MAX - 1) };
pub(super) const TOTAL_SEGMENTS: Range = Range { min: 1, max: Some(limits::SCAN_SEGMENTS_MAX) };
pub(super) const BATCH_GET_TABLES: Length = Length { min: 1, max: limits::BATCH_GET_KEYS_MAX };
pub(super) const BATCH_GET_KEYS: Length = Length { min: 1, max: limits::BATCH_GET_KEYS_MAX };
pub(super) const BATCH_WRITE_TABLES: Length =
    Length { min: 1, max: limits::BATCH_WRITE_REQUESTS_MAX };
pub(super) const BATCH_WRITES: Length = Length { min: 1, max: limits::BATCH_WRITE_REQUESTS_MAX };

const PATTERN: &str = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";

fn at_least(min: usize) -> String {
    format!("Member must have length greater than or equal to {min}")
}

fn at_most(max: usize) -> String {
    format!("Member must have length less than or equal to {max}")
}

impl Text {
    /// Which bounds a text breaks, in DynamoDB's order.
    fn broken_by(&self, text: &str) -> Vec<String> {
        // An empty table name is too short for an ARN already, says DynamoDB, and says no more.
        if text.is_empty() {
            return vec![at_least(1)];
        }
        let length = text.chars().count();
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let mut broken = Vec::new();
        if self.name && !text.chars().all(in_name) {
            broken.push(PATTERN.to_owned());
        }
        if length < self.min {
            broken.push(at_least(self.min));
        }
        if length > self.max {
            broken.push(at_most(self.max));
        }
        broken
    }

    fn admits(&self, text: &str) -> bool {
        self.broken_by(text).is_empty()
    }
}

impl Length {
    /// Which bound a length breaks.
    fn broken_by(&self, length: usize) -> Option<String> {
        if length < self.min {
            Some(at_least(self.min))
        } else if length > self.max {
            Some(at_most(self.max))
        } else {
            None
        }
    }
}

/// Collects what breaks its bounds.
#[derive(Default)]
pub(super) struct Violations(Vec<String>);

impl Violations {
    fn add(&mut self, value: &str, path: &str, constraint: &str) {
        let (shown, rest) = match value.char_indices().find(|(at, _)| *at >= SHOWN_BYTES_MAX) {
            Some((at, _)) => (&value[..at], "..."),
            None => (value, ""),
        };
        self.0.push(format!(
            "Value '{shown}{rest}' at '{path}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Holds a text against its bounds.
    pub(super) fn text(mut self, path: &str, text: &str, bounds: &Text) -> Self {
        for constraint in bounds.broken_by(text) {
            self.add(text, path, &constraint);
        }
        self
    }

    /// Holds a number, if it was given, against its bounds.
    pub(super) fn number(mut self, path: &str, number: Option<u32>, bounds: &Range) -> Self {
        let Some(number) = number else { return self };
        if number < bounds.min {
            let constraint =
                format!("Member must have value greater than or equal to {}", bounds.min);
            self.add(&number.to_string(), path, &constraint);
        }
        if let Some(max) = bounds.max.filter(|max| number > *max) {
            let constraint = format!("Member must have value less than or equal to {max}");
            self.add(&number.to_string(), path, &constraint);
        }
        self
    }

    /// Holds a list against the bounds of its length.
    pub(super) fn list(
        mut self,
        path: impl Fn() -> String,
        length: usize,
        bounds: &Length,
    ) -> Self {
        if let Some(constraint) = bounds.broken_by(length) {
            self.add(if length == 0 { "[]" } else { "[...]" }, &path(), &constraint);
        }
        self
    }

    /// Holds a map from table names to lists against the bounds of its length, of its names, and of the lists' lengths
    /// if they have any here.
    pub(super) fn tables<'a>(
        mut self,
        path: &str,
        entries: impl Iterator<Item = (&'a str, usize)> + Clone,
        bounds: &Length,
        values: Option<&Length>,
    ) -> Self {
        let mut broken = Vec::from_iter(bounds.broken_by(entries.clone().count()));
        if entries.clone().any(|(name, _)| !TABLE_NAME.admits(name)) {
            let (max, min) = (at_most(TABLE_NAME.max), at_least(TABLE_NAME.min));
            broken.push(format!("Map keys must satisfy constraint: [{max}, {min}, {PATTERN}]"));
        }
        if let Some(values) = values
            && entries.clone().any(|(_, length)| values.broken_by(length).is_some())
        {
            let (max, min) = (at_most(values.max), at_least(values.min));
            broken.push(format!("Map value must satisfy constraint: [{max}, {min}]"));
        }
        if !broken.is_empty() {
            let names: Vec<_> = entries.map(|(name, _)| format!("{name}=...")).collect();
            let shown = format!("{{{}}}", names.join(", "));
            for constraint in broken {
                self.add(&shown, path, &constraint);
            }
        }
        self
    }

    /// Reports what was found.
    ///
    /// # Errors
    /// One `ValidationException` for all violations.
    pub(super) fn finish(self) -> Result<()> {
        let mut found = self.0;
        found.truncate(REPORTED_MAX);
        let errors = match found.len() {
            0 => return Ok(()),
            1 => "1 validation error".to_owned(),
            count => format!("{count} validation errors"),
        };
        Err(Error::validation(format!("{errors} detected: {}", found.join("; "))))
    }
}
