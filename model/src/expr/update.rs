//! Updates: what UpdateItem changes.
//!
//! All actions of an update read the item as it was before, so that their order does not matter: their paths may not
//! overlap, what they write is worked out first, and then put in its place. Indexes of lists are those of the item
//! before, also when elements are removed in front of them; an index behind the end appends.
//!
//! # Caveats
//! DynamoDB ignores `REMOVE a.b` for an item that does not exist, while for one that exists without `a` it is an error.
//! [`Update::apply`] cannot tell the two apart: callers ask [`Update::makes_item`] first when there is no item, since an
//! update that does not make one changes nothing.

mod apply;
mod check;
mod parse;

use std::sync::Arc;

use super::path::Path;
use super::resolve::{Resolver, Source};
use super::substitutions::Substitutions;
use super::tree::PathTree;
use super::{ExpressionKind, words};
use crate::error::Result;
use crate::value::{AttributeValue, Item};

/// An update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    actions: Vec<Action>,
    /// The paths of the actions.
    tree: PathTree,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
struct Action {
    path: Path,
    change: Change,
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Set(SetValue),
    Remove,
    /// Adds to a number or set.
    Add(Arc<AttributeValue>),
    /// Takes elements out of a set.
    Delete(Arc<AttributeValue>),
}

/// What `SET` puts in a place.
#[derive(Clone, Debug, PartialEq)]
enum SetValue {
    Operand(Operand),
    ListAppend(Operand, Operand),
    Sum(Operand, Operand),
    Difference(Operand, Operand),
}

/// A value: of the first of these places that has one, or else of `last`. So it says `if_not_exists(a, if_not_exists(b,
/// :v))`, however long, without nesting.
#[derive(Clone, Debug, PartialEq)]
struct Operand {
    places: Vec<Path>,
    last: Source,
}

impl Update {
    /// Parses an update.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text, if it is not one.
    pub fn parse(text: &str, substitutions: &mut Substitutions<'_>) -> Result<Self> {
        const KIND: ExpressionKind = ExpressionKind::Update;
        let raw = parse::parse(text)?;
        for action in &raw.actions {
            words::check_path(KIND, &action.path)?;
            words::check_terms(KIND, &action.terms)?;
        }
        raw.refuse_repeated_sections()?;
        check::update(raw, Resolver::new(KIND, substitutions))
    }

    /// Whether it would change this top-level attribute or anything in it (key attributes may not be).
    #[must_use]
    pub fn names_attribute(&self, name: &str) -> bool {
        self.tree.has_root(name)
    }

    /// The document paths that it would change, in the order in which they are written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.actions.iter().map(|action| &action.path)
    }

    /// Whether it makes an item where there is none: it sets or adds something, and does not only remove and delete.
    #[must_use]
    pub fn makes_item(&self) -> bool {
        self.actions.iter().any(|action| matches!(action.change, Change::Set(_) | Change::Add(_)))
    }

    /// The item after the update of `old`: of the item as it is, or of the key attributes alone if there is none.
    ///
    /// # Errors
    /// `ValidationException` if the update does not fit the item: a place in something that is not there, an operand
    /// that is missing or of the wrong type, a number out of range, or values nested too deeply. What is written is
    /// refused early if it alone is over the size of an item; the size of the whole is for the caller to check.
    pub fn apply(&self, old: &Item) -> Result<Item> {
        apply::apply(&self.actions, old)
    }

    /// What the update's paths name of an image, for `UPDATED_OLD` (of the item before) and `UPDATED_NEW` (of the item
    /// after).
    ///
    /// As in DynamoDB, a path means the same in both: of the item after, an element appended behind the end is not
    /// found under its index, and under the index of one that was removed is the one that took its place.
    #[must_use]
    pub fn touched(&self, image: &Item) -> Item {
        self.tree.project(image)
    }
}

impl From<Source> for Operand {
    fn from(source: Source) -> Self {
        Self { places: Vec::new(), last: source }
    }
}
