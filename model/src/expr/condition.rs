//! Conditions and filters.
//!
//! A parsed [`Condition`] is a flat program. Its steps stand in the order of the text; a test sets the outcome, `NOT`
//! turns it round, and `AND` and `OR` skip their right-hand side once the left one has decided:
//!
//! ```text
//! a = :x AND (b = :y OR NOT c = :z)
//!
//!   0  test a = :x
//!   1  if false, go on at 6
//!   2  test b = :y
//!   3  if true, go on at 6
//!   4  test c = :z
//!   5  not
//! ```
//!
//! So evaluating needs no stack, however the text is nested; and it remembers what it found out of large values, however often the
//! text asks.
//!
//! # What comparisons mean
//! - `=` and `<>` compare values of any types, by value; sets have no order. An attribute that is missing is equal
//!   to nothing, not even to another that is missing: `=` is false and `<>` is true.
//! - `<`, `<=`, `>`, `>=` and `BETWEEN` compare two strings (by their UTF-8 bytes), two numbers, or two binaries (by
//!   their unsigned bytes); all else, a missing attribute included, is false.
//! - `size` of a string counts UTF-16 code units, as DynamoDB does; of a binary its bytes; of a set, list or map its
//!   elements. Other types have none, which is like a missing attribute.

mod check;
mod eval;
mod parse;

use super::path::Path;
use super::substitutions::Substitutions;
use super::{ExpressionKind, resolve::Resolver, words};
use crate::error::Result;
use crate::value::{AttributeType, Item};

pub(super) use super::resolve::Source;

/// A condition or filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    steps: Vec<Step>,
}

/// A step of a condition's program.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Sets the outcome.
    Test(Predicate),
    /// Turns the outcome round.
    Not,
    /// Goes on at this step if the outcome is false: `AND`.
    SkipIfFalse(usize),
    /// Goes on at this step if the outcome is true: `OR`.
    SkipIfTrue(usize),
}

/// What can be true or false of an item, without `AND`, `OR` and `NOT`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Predicate {
    Compare(Operand, Comparator, Operand),
    /// The first between the second and the third, both included.
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    HasType(Operand, AttributeType),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Source(Source),
    /// `size` of it.
    Size(Source),
}

impl Condition {
    /// Parses a condition or filter.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text, if it is not one.
    pub fn parse(
        kind: ExpressionKind,
        text: &str,
        substitutions: &mut Substitutions<'_>,
    ) -> Result<Self> {
        let raw = parse::parse(kind, text)?;
        words::check_terms(kind, &raw.terms)?;
        check::condition(raw, Resolver::new(kind, substitutions))
    }

    /// Whether it holds for an item; an absent item is one without attributes. What could be wrong with an operand was
    /// refused by [`parse`](Self::parse), or makes the test false.
    #[must_use]
    pub fn holds(&self, item: &Item) -> bool {
        eval::holds(&self.steps, item, &eval::Memo::default())
    }

    /// Whether it holds, and how many questions about large values had to be answered for that.
    #[cfg(test)]
    pub(super) fn holds_after(&self, item: &Item) -> (bool, usize) {
        let memo = eval::Memo::default();
        (eval::holds(&self.steps, item, &memo), memo.len())
    }

    /// Whether it reads this top-level attribute or anything in it (a filter may not name key attributes).
    #[must_use]
    pub fn names_attribute(&self, name: &str) -> bool {
        self.paths().any(|path| **path.root() == *name)
    }

    /// The document paths that it reads, in the order in which they are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.steps.iter().flat_map(Step::paths)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl Step {
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Test(predicate) => predicate.paths(),
            Self::Not | Self::SkipIfFalse(_) | Self::SkipIfTrue(_) => Vec::new(),
        }
    }
}

impl Predicate {
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Exists(path) | Self::NotExists(path) => vec![path],
            Self::HasType(operand, _) => operand.path().into_iter().collect(),
            Self::Compare(a, _, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => {
                [a, b].into_iter().filter_map(Operand::path).collect()
            }
            Self::Between(a, b, c) => [a, b, c].into_iter().filter_map(Operand::path).collect(),
            Self::In(first, others) => {
                std::iter::once(first).chain(others).filter_map(Operand::path).collect()
            }
        }
    }
}

impl Operand {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Source(Source::Path(path)) | Self::Size(Source::Path(path)) => Some(path),
            Self::Source(Source::Value(_)) | Self::Size(Source::Value(_)) => None,
        }
    }
}
