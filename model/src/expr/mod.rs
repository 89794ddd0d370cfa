//! The expression language. (skeleton)
use crate::api::{Names, Values};
use crate::error::Result;
use crate::schema::KeySchema;
use crate::value::{AttributeValue, Item};

/// Which of a request's expressions a text is: error texts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpressionKind {
    /// ConditionExpression
    Condition,
    /// FilterExpression
    Filter,
}
/// A request's placeholders, and which of them its expressions have used.
#[derive(Debug)]
pub struct Substitutions<'a> {
    _names: &'a Names,
    _values: &'a Values,
}
impl<'a> Substitutions<'a> {
    /// Checks syntax and sizes of the placeholders themselves.
    pub fn new(_names: &'a Names, _values: &'a Values) -> Result<Self> {
        todo!()
    }
    /// Refuses placeholders that no expression used; to be called after the last expression was parsed.
    pub fn finish(self) -> Result<()> {
        todo!()
    }
}
/// A condition or filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {}
impl Condition {
    /// Parses.
    pub fn parse(_kind: ExpressionKind, _text: &str, _subs: &mut Substitutions<'_>) -> Result<Self> {
        todo!()
    }
    /// Whether it holds for an item (an absent item has no attributes).
    pub fn holds(&self, _item: &Item) -> Result<bool> {
        todo!()
    }
    /// Whether it names this attribute at the top level (a filter may not name key attributes).
    pub fn names_attribute(&self, _name: &str) -> bool {
        todo!()
    }
}
/// An update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {}
impl Update {
    /// Parses.
    pub fn parse(_text: &str, _subs: &mut Substitutions<'_>) -> Result<Self> {
        todo!()
    }
    /// Whether it would change this top-level attribute (key attributes may not be).
    pub fn names_attribute(&self, _name: &str) -> bool {
        todo!()
    }
    /// The item after the update (the old one, or only the key attributes of an absent one, given).
    pub fn apply(&self, _old: &Item) -> Result<Item> {
        todo!()
    }
    /// For UPDATED_OLD / UPDATED_NEW: of this image, what the update's paths name.
    pub fn touched(&self, _image: &Item) -> Item {
        todo!()
    }
}
/// A projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {}
impl Projection {
    /// Parses.
    pub fn parse(_text: &str, _subs: &mut Substitutions<'_>) -> Result<Self> {
        todo!()
    }
    /// What it names of an item.
    pub fn project(&self, _item: &Item) -> Item {
        todo!()
    }
}
/// A key condition, checked against the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyCondition {
    /// The partition key's value.
    pub partition: AttributeValue,
    /// What the sort key must be.
    pub sort: Option<SortCondition>,
}
/// What a sort key must be.
#[derive(Clone, Debug, PartialEq)]
pub enum SortCondition {
    /// =
    Equal(AttributeValue),
    /// <
    Less(AttributeValue),
    /// <=
    LessOrEqual(AttributeValue),
    /// >
    Greater(AttributeValue),
    /// >=
    GreaterOrEqual(AttributeValue),
    /// BETWEEN, both ends included
    Between(AttributeValue, AttributeValue),
    /// begins_with
    BeginsWith(AttributeValue),
}
impl KeyCondition {
    /// Parses, and checks against the schema.
    pub fn parse(_text: &str, _subs: &mut Substitutions<'_>, _schema: &KeySchema) -> Result<Self> {
        todo!()
    }
}
