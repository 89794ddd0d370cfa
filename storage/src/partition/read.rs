//! Reads, straight from the engine: what is applied, and nothing that is on its way.
//!
//! Whether what is applied may be answered is the caller's to judge, before and after: by the lease, the applied index and
//! the [`DataGeneration`](super::DataGeneration) (R5).
//!
//! What reads more than one key does so through a view of the engine where there is one. Where there is none, a page may
//! show an entry's effect on one item and not yet on another, as DynamoDB's may.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};
use stator_model::EncodedItem;
use stator_model::error::Error as RequestError;
use stator_model::key::{Key, KeyRange};
use stator_model::read::{Page, PageBuilder, Position, PreparedQuery, PreparedScan};

use super::spec::PartitionSpec;
use crate::engine::{Direction, Engine, Reader};
use crate::error::Error;
use crate::item::StoredItem;
use crate::key::{ITEM_PREFIX_BYTES, hash_range, item_key};

/// How many items are read between two looks at the deadline.
pub const ITEMS_BETWEEN_LOOKS: u32 = 32;

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadError {
    /// What was asked for is not in the partition's range: the caller came by an old route and looks for a newer one than
    /// that of this generation.
    Moved {
        /// The partition's generation here.
        generation: u64,
    },
    /// What the caller gets instead of an answer: a filter that does not fit an item.
    Refused(RequestError),
    /// A fault of storage.
    Fault(Error),
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

impl From<RequestError> for ReadError {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

/// Why a page takes no more items of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There are no more in this partition's range. A page that may go on does so with the hash after this one.
    End {
        /// The last hash that was read.
        last_hash: u64,
    },
    /// The page is full.
    Full,
    /// The time is up.
    Expired,
}

/// Tells whether the time for a page is up.
pub type Expired<'a> = dyn FnMut() -> bool + 'a;

/// The item with this key, if there is one.
///
/// # Errors
/// `Moved` if the key is not in the partition; `Fault` if the engine fails or the item is corrupt.
pub fn get(
    reader: &dyn Reader,
    spec: &PartitionSpec,
    key: &Key,
) -> Result<Option<EncodedItem>, ReadError> {
    if !spec.owns(key.hash()) {
        return Err(moved(spec));
    }
    let key = item_key(spec.table_id, key);
    match reader.get(&key)? {
        Some(value) => Ok(Some(StoredItem::open(&value, &key)?.item)),
        None => Ok(None),
    }
}

/// A page of a Query. It ends when it is full, or after some items when the time is up; it then says where.
///
/// # Errors
/// `Moved` if the partition key is not in the partition; `Refused` if the filter does not fit an item; `Fault` if the engine
/// fails or an item is corrupt.
pub fn query(
    engine: &dyn Engine,
    spec: &PartitionSpec,
    query: &PreparedQuery,
    expired: &mut Expired<'_>,
) -> Result<Page, ReadError> {
    if !spec.owns(query.hash) {
        return Err(moved(spec));
    }
    let of_hash = hash_range(spec.table_id, query.hash, query.hash);
    let range = KeyRange {
        start: behind(&of_hash.start, &query.range.start),
        end: match &query.range.end {
            Some(end) => Some(behind(&of_hash.start, end)),
            None => of_hash.end,
        },
    };
    let direction = if query.forward { Direction::Forward } else { Direction::Backward };
    let mut page = query.page();
    let stop = fill(engine, &range, direction, &mut page, expired, query.hash)?;
    Ok(page.finish(stop == Stop::Expired)?)
}

/// Adds to a page of a Scan what lies in this partition, and tells why it stopped. The page may have begun in the partition
/// before, and go on in the next.
///
/// # Errors
/// `Moved` if the place to begin at is beyond the partition, or the last one to read before it; `Refused` if the filter does
/// not fit an item; `Fault` if the engine fails or an item is corrupt.
pub fn scan(
    engine: &dyn Engine,
    spec: &PartitionSpec,
    scan: &PreparedScan,
    page: &mut PageBuilder<'_>,
    expired: &mut Expired<'_>,
) -> Result<Stop, ReadError> {
    let Position { hash, key } = &scan.start;
    let last_hash = scan.last_hash.min(spec.hash_end);
    if *hash > spec.hash_end || last_hash < spec.hash_start {
        return Err(moved(spec));
    }
    let mut range = hash_range(spec.table_id, (*hash).max(spec.hash_start), last_hash);
    if *hash >= spec.hash_start {
        range.start = behind(&range.start, key);
    }
    fill(engine, &range, Direction::Forward, page, expired, last_hash)
}

/// Feeds a page from a range of engine keys.
fn fill(
    engine: &dyn Engine,
    range: &KeyRange,
    direction: Direction,
    page: &mut PageBuilder<'_>,
    expired: &mut Expired<'_>,
    last_hash: u64,
) -> Result<Stop, ReadError> {
    if page.is_full() {
        return Ok(Stop::Full);
    }
    let view = engine.snapshot();
    let reader: &dyn Reader = view.as_deref().unwrap_or(engine);
    let mut stop = Stop::End { last_hash };
    let mut refused = None;
    let mut read = 0u32;
    reader.scan(range, direction, &mut |key, value| {
        let item = StoredItem::open(&value, &key)?.item;
        match page.push(key.slice(ITEM_PREFIX_BYTES.min(key.len())..), item) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => {
                stop = Stop::Full;
                return Ok(ControlFlow::Break(()));
            }
            Err(error) => {
                refused = Some(error);
                return Ok(ControlFlow::Break(()));
            }
        }
        read += 1;
        if read.is_multiple_of(ITEMS_BETWEEN_LOOKS) && expired() {
            stop = Stop::Expired;
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    refused.map_or(Ok(stop), |error| Err(error.into()))
}

const fn moved(spec: &PartitionSpec) -> ReadError {
    ReadError::Moved { generation: spec.generation }
}

/// A key's bytes behind the prefix of its engine key.
fn behind(prefix: &[u8], key: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(prefix.len() + key.len());
    bytes.put_slice(prefix);
    bytes.put_slice(key);
    bytes.freeze()
}

#[cfg(test)]
mod tests;
