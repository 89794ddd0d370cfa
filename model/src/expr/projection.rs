//! Projections: which parts of an item a read answers.

use super::lexer::{Cursor, TokenKind};
use super::resolve::Resolver;
use super::substitutions::Substitutions;
use super::syntax::Syntax;
use super::tree::PathTree;
use super::{ExpressionKind, words};
use crate::error::Result;
use crate::value::Item;

/// A projection: document paths, none of which overlaps another.
///
/// ```
/// use stator_model::api::{Names, Values};
/// use stator_model::expr::{Projection, Substitutions};
/// use stator_model::{AttributeValue, Item};
///
/// let (names, values) = (Names::new(), Values::new());
/// let mut substitutions = Substitutions::new(&names, &values)?;
/// let projection = Projection::parse("tracks[2], tracks[0], label", &mut substitutions)?;
///
/// let tracks = ["one", "two", "three"].map(AttributeValue::from).to_vec();
/// let item = Item::from([("tracks".to_owned(), AttributeValue::L(tracks))]);
/// let tracks = ["one", "three"].map(AttributeValue::from).to_vec();
/// assert_eq!(projection.project(&item), Item::from([("tracks".to_owned(), AttributeValue::L(tracks))]));
/// # Ok::<(), stator_model::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    tree: PathTree,
}

impl Projection {
    /// Parses a projection.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text, if it is not one.
    pub fn parse(text: &str, substitutions: &mut Substitutions<'_>) -> Result<Self> {
        const KIND: ExpressionKind = ExpressionKind::Projection;
        let mut syntax = Syntax::new(Cursor::new(KIND, text)?, &[]);
        let mut raw = vec![syntax.path()?];
        while syntax.cursor.take(TokenKind::Comma) {
            raw.push(syntax.path()?);
        }
        syntax.cursor.expect(TokenKind::End)?;
        raw.iter().try_for_each(|path| words::check_path(KIND, path))?;
        let mut resolver = Resolver::new(KIND, substitutions);
        let paths = raw.iter().map(|path| resolver.path(path)).collect::<Result<Vec<_>>>()?;
        Ok(Self { tree: PathTree::new(KIND, &paths)? })
    }

    /// What it names of an item: maps and lists with the named entries only. Elements of a list keep their order and
    /// close ranks; what is not there is left out.
    #[must_use]
    pub fn project(&self, item: &Item) -> Item {
        self.tree.project(item)
    }

    /// Whether it names this top-level attribute or anything in it.
    #[must_use]
    pub fn names_attribute(&self, name: &str) -> bool {
        self.tree.has_root(name)
    }
}
