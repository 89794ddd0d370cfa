//! Reads, checked against a table's key schema and ready to run.
//!
//! A request becomes a plan ([`PreparedGet`], [`PreparedGets`], [`PreparedQuery`], [`PreparedScan`]) that says in
//! bytes what to read of the engine. Whoever reads feeds what is found, in order, to the plan's [`PageBuilder`], which
//! filters, projects, counts, and says when the page is full. All of it is pure.
//!
//! - `get`: single items. `query` and `scan`: the ranges to read. `page`: what becomes of what was read.
//!
//! # Invariants
//! - An item that is neither filtered nor projected is answered as the bytes that are stored.
//! - A page reads at most `Limit` items, and stops with the item that makes it 1 MB of items read, before the filter. It
//!   then says where it stopped, even if nothing follows, as DynamoDB does; only a page that found the end says nothing.

mod get;
mod page;
mod query;
mod scan;
#[cfg(test)]
mod tests;

pub use get::{PreparedGet, PreparedGets};
pub use page::{Page, PageBuilder};
pub use query::PreparedQuery;
pub use scan::{Position, PreparedScan, segment_range};

use crate::codec::EncodedItem;
use crate::error::Result;
use crate::expr::Projection;

/// What a projection names of an encoded item; without one, the same bytes.
fn project(projection: Option<&Projection>, item: EncodedItem) -> Result<EncodedItem> {
    match projection {
        None => Ok(item),
        Some(projection) => Ok(EncodedItem::encode(&projection.project(&item.decode_stored()?))),
    }
}
