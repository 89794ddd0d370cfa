//! The expression language: conditions and filters, updates, projections and key conditions.
//!
//! An expression is a text and the placeholders that it may use ([`Substitutions`]). It is parsed once, on the
//! caller's task, and evaluated as often as need be. What parsing gives owns all that it needs: the names and
//! values behind the placeholders are shared ([`Arc`](std::sync::Arc)), not copied, so that a text of 4 KB which says
//! `:v` 500 times is not 500 values.
//!
//! A text goes through four stages, and each has a file or folder:
//!
//! - `lexer`: text to tokens, and the one place that words a syntax error.
//! - `syntax` and each expression's own `parse`: tokens to a *raw* form, which still says `#name` and `:value`.
//! - `words` checks of the raw form what needs no placeholders (reserved words, functions and where they stand);
//!   `resolve` puts names and values in the place of placeholders, and checks operands against each other.
//! - `eval`, `apply`, `project`: what it means for an item.
//!
//! # Which error comes first
//! A text can have several faults, and DynamoDB is consistent in which one it tells: too long, empty, syntax,
//! redundant parentheses, then words in the order written (functions, reserved words), and at last placeholders
//! and operands, condition by condition in the order written. The stages above follow that order.
//!
//! # Invariants
//! - No stage recurses over the text: parentheses and nested calls are held on explicit stacks, and a parsed condition
//!   is a flat program with jumps ([`condition`]). A text of 4,096 parentheses is an error, not a deep stack.
//! - What does recurse (document paths as a tree, values) is at most [`NESTING_LEVELS_MAX`] deep.
//! - Every stage takes time linear in the text (paths: times the logarithm of their number).
//!
//! [`NESTING_LEVELS_MAX`]: crate::limits::NESTING_LEVELS_MAX

pub mod condition;
pub mod key_condition;
pub mod path;
pub mod projection;
pub mod substitutions;
pub mod update;

mod lexer;
mod reserved;
mod resolve;
mod syntax;
mod tree;
mod words;

#[cfg(test)]
mod tests;

pub use condition::Condition;
pub use key_condition::{KeyCondition, SortCondition};
pub use projection::Projection;
pub use substitutions::Substitutions;
pub use update::Update;

use crate::error::Error;

/// Which of a request's expressions a text is: error texts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpressionKind {
    /// The condition of a write.
    Condition,
    /// The filter of a Query or Scan.
    Filter,
    /// What UpdateItem changes.
    Update,
    /// Which attributes a read answers.
    Projection,
    /// Which items a Query reads.
    KeyCondition,
}

impl ExpressionKind {
    /// The request's parameter that holds the text, as DynamoDB spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Condition => "ConditionExpression",
            Self::Filter => "FilterExpression",
            Self::Update => "UpdateExpression",
            Self::Projection => "ProjectionExpression",
            Self::KeyCondition => "KeyConditionExpression",
        }
    }

    /// The error that this expression is not valid, and why.
    fn invalid(self, why: impl std::fmt::Display) -> Error {
        Error::validation(format!("Invalid {}: {why}", self.name()))
    }
}
