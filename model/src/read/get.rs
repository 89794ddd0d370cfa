//! Single items: GetItem, and what BatchGetItem reads of one table.

use super::project;
use crate::api::{GetItem, GetItemAnswer, KeysAndAttributes, Names, Values};
use crate::codec::EncodedItem;
use crate::error::Result;
use crate::expr::{Projection, Substitutions};
use crate::key::Key;
use crate::schema::KeySchema;
use crate::write::refuse_duplicates;

/// A GetItem that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedGet {
    /// The item's primary key.
    pub key: Key,
    /// The attributes to answer; `None` is all.
    pub projection: Option<Projection>,
    /// Whether the read must see every write that was answered before it.
    pub consistent_read: bool,
}

impl GetItem {
    /// Prepares the read.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: a key that is none, or a projection that does not parse.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedGet> {
        let projection = parse_projection(
            self.projection_expression.as_deref(),
            &self.expression_attribute_names,
        )?;
        Ok(PreparedGet {
            key: Key::of_key_attributes(schema, &self.key)?,
            projection,
            consistent_read: self.consistent_read,
        })
    }
}

impl PreparedGet {
    /// The answer, given what is stored under the key.
    ///
    /// # Errors
    /// `InternalServerError` if that is no item.
    pub fn answer(&self, found: Option<EncodedItem>) -> Result<GetItemAnswer> {
        let item = found.map(|item| project(self.projection.as_ref(), item)).transpose()?;
        Ok(GetItemAnswer { item })
    }
}

/// What a BatchGetItem reads of one table, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedGets {
    /// The items' primary keys, in the request's order, all distinct.
    pub keys: Vec<Key>,
    /// The attributes to answer; `None` is all.
    pub projection: Option<Projection>,
    /// Whether the reads must see every write that was answered before them.
    pub consistent_read: bool,
}

impl KeysAndAttributes {
    /// Prepares the reads.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text: a key that is none, or is there twice, or a projection that does not parse.
    pub fn prepare(&self, schema: &KeySchema) -> Result<PreparedGets> {
        let projection = parse_projection(
            self.projection_expression.as_deref(),
            &self.expression_attribute_names,
        )?;
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| Key::of_key_attributes(schema, key))
            .collect::<Result<_>>()?;
        refuse_duplicates(keys.iter())?;
        Ok(PreparedGets { keys, projection, consistent_read: self.consistent_read })
    }
}

impl PreparedGets {
    /// What is answered of an item that is stored under one of the keys.
    ///
    /// # Errors
    /// `InternalServerError` if it is none.
    pub fn answer(&self, found: EncodedItem) -> Result<EncodedItem> {
        project(self.projection.as_ref(), found)
    }
}

fn parse_projection(text: Option<&str>, names: &Names) -> Result<Option<Projection>> {
    let values = Values::new();
    let mut substitutions = Substitutions::new(names, &values)?;
    let projection = text.map(|text| Projection::parse(text, &mut substitutions)).transpose()?;
    substitutions.finish()?;
    Ok(projection)
}
