//! What can be judged of a request without its table's key schema.
//!
//! DynamoDB judges a request in two rounds, and so does this. The first holds every field against the bounds that its
//! service model declares and reports what it finds together, up to ten at once: `2 validation errors detected: Value
//! 'a' at 'tableName' failed to satisfy constraint: Member must ...; ...`. Those bounds stand as data in
//! `constraints`, and fields are looked at in the model's order. The second round looks at fields together (a value
//! without an expression that could use it, a segment beyond the last) and stops at the first thing that is wrong.
//!
//! - `tables`: the operations on tables. `items`: on one item. `reads`: Query and Scan. `batches`: the two batches.
//! - `expressions`: what goes for every operation that takes expressions; `values`: attribute values in hand.
//!
//! # Caveats
//! - A table is called by its name. The service model lets an ARN of up to 1,024 characters stand in its place; there
//!   are no ARNs here, and such a text is refused as a name.
//! - Where DynamoDB shows a map or list that broke a bound, it shows all of it in Java's notation; here its contents
//!   are cut out.
//! - What needs the key schema (is this a key? does the batch name an item twice?) is judged by the `prepare` methods,
//!   and so are the expressions themselves.

mod batches;
mod constraints;
mod expressions;
mod items;
mod reads;
mod tables;
#[cfg(test)]
mod tests;
mod values;
