//! Writes, checked against a table's key schema and ready to run.
//!
//! `PutItem`, `UpdateItem`, `DeleteItem` and the parts of a `BatchWriteItem` all become one [`PreparedWrite`]: which item, under
//! which condition, what to do with it. Preparing parses the expressions, once, on the caller's task; evaluating is what a
//! partition's leader does, one write after another: an image in, a [`Decision`] out. Both are pure.
//!
//! - `prepare`: what becomes of each request. `evaluate`: what becomes of the item.
//!
//! # Invariants
//! - A put without a condition decodes nothing: neither the new item, if its bytes are canonical, nor the old one.
//! - Every evaluation is given the old image, even where it could do without. A write that leaves the item as it is
//!   must be seen to do so, for it is no change in a stream; so a blind put reads too.
//! - An image in a decision is canonical, within the item size limit, and has the key of the write. Images are stored
//!   as decided, which is why equality of bytes is equality of items.

mod evaluate;
mod prepare;
#[cfg(test)]
mod tests;

use crate::api::ReturnValues;
use crate::codec::EncodedItem;
use crate::expr::{Condition, Update};
use crate::key::Key;

pub use prepare::prepare_batch;
pub(crate) use prepare::refuse_duplicates;

/// A write that is ready to be evaluated against the item it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedWrite {
    /// The item's primary key.
    pub key: Key,
    /// What to do.
    pub action: Action,
    /// The condition under which to do it.
    pub condition: Option<Condition>,
    /// What to answer.
    pub return_values: ReturnValues,
    /// Whether a failed condition answers the item it was judged on.
    pub return_old_on_condition_failure: bool,
}

/// What a write does with the item.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Puts this whole item, already in canonical form, in its place.
    Put(EncodedItem),
    /// Changes attributes of it; without an update, only makes it if it is absent.
    Update(Option<Update>),
    /// Deletes it.
    Delete,
}

/// What evaluating a write came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The item is to be this from now on.
    Put {
        /// The item after the write.
        image: EncodedItem,
        /// What `return_values` asked for.
        attributes: Option<EncodedItem>,
    },
    /// The item is to be absent from now on.
    Delete {
        /// What `return_values` asked for.
        attributes: Option<EncodedItem>,
    },
    /// Nothing changes: the item was absent already, or is equal already.
    Unchanged {
        /// What `return_values` asked for.
        attributes: Option<EncodedItem>,
    },
    /// The condition did not hold; nothing changes.
    ConditionFailed {
        /// The item that it was judged on, if that was asked for and there is one.
        item: Option<EncodedItem>,
    },
}
