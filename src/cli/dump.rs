//! `stator dump` and `stator load`: a table as lines of JSON.
//!
//! ```text
//! {"stator_dump":1,"table":"music","key":{"name":"artist","type":"S"},"sort":null,"partitions":4}
//! {"artist":{"S":"No One You Know"},"year":{"N":"1971"}}
//! ...
//! {"stator_dump_end":1}
//! ```
//! The first line tells the table's schema, the last one how many items there are: a dump without it was cut short. Between
//! them is an item a line, in DynamoDB's JSON, which says everything that an item can hold.
//!
//! # Going on
//! Beside a file *F* that is being written or read lies *F*`.progress`, which tells how far that came; `--resume` goes on
//! from there. It is removed at the end.
//!
//! # Caveats
//! A dump is not of one moment: writes that go on meanwhile are in it or not, each item on its own.

mod file;
mod progress;
mod read;
mod write;

pub(crate) use self::read::{Load, load};
pub(crate) use self::write::{Dump, dump};
