//! The data model of Stator, modelled on DynamoDB's: what a value, an item, a key, an expression and a
//! request *are*, and what they mean. Everything here is pure: values in, values out. There is no IO, no clock,
//! no randomness and no async, so that a node, a client, the simulator and a test share one definition.
//!
//! Read it bottom up:
//!
//! - [`number`]: exact decimal numbers of 38 digits. [`value`]: the ten attribute types and items.
//! - [`codec`]: the bytes of an item, on the wire and at rest. [`size`] and [`limits`]: what fits.
//! - [`schema`] and [`key`]: key attributes, their order-preserving encoding, the hash that places them.
//! - [`expr`]: the expression language. [`write`](mod@write) and [`read`]: requests checked against a schema, ready to run.
//! - [`api`]: one request and one answer type per operation. [`error`]: the one error type.
//!
//! # Invariants
//! - A [`value::AttributeValue`] in hand is well-formed by its type alone, except for the bounds that
//!   [`limits`] names; whoever takes one from outside calls the checks of [`api`] first.
//! - Nothing recurses deeper than [`limits::NESTING_LEVELS_MAX`] on input from outside.
//! - Error texts are DynamoDB's own wherever DynamoDB has one: programs match on them.

pub mod api;
pub mod codec;
pub mod error;
pub mod expr;
pub mod key;
pub mod limits;
pub mod number;
pub mod read;
pub mod schema;
pub mod size;
pub mod value;
pub mod write;

pub use api::{Answer, Request};
pub use codec::EncodedItem;
pub use error::{Error, ErrorKind, Result};
pub use number::Number;
pub use value::{AttributeValue, Item};
