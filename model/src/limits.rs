//! Every limit of the data model, with its reason. Unless said otherwise each is DynamoDB's, and 1 KB is 1,024 bytes.

use crate::error::{Error, Result};

/// An item's size, names included: 400 KB.
pub const ITEM_BYTES_MAX: usize = 400 * 1024;
/// A partition key's value, in bytes.
pub const PARTITION_KEY_BYTES_MAX: usize = 2048;
/// A sort key's value, in bytes.
pub const SORT_KEY_BYTES_MAX: usize = 1024;
/// Levels of values, a top-level attribute's value being level one: DynamoDB takes 31 maps wrapped around a value that
/// is not one, and refuses 32. A list or map on the last level is refused even if it is empty, because gRPC's decoders
/// stop at 100 nested messages, which is exactly 31 maps inside a batch.
pub const NESTING_LEVELS_MAX: usize = 32;
/// The level of a top-level attribute's value.
pub const TOP_LEVEL: usize = 1;
/// An attribute's name, in bytes.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 65_535;
/// A key attribute's name, in bytes.
pub const KEY_ATTRIBUTE_NAME_BYTES_MAX: usize = 255;
/// A table's name, in bytes, at least.
pub const TABLE_NAME_BYTES_MIN: usize = 3;
/// A table's name, in bytes, at most.
pub const TABLE_NAME_BYTES_MAX: usize = 255;
/// An expression's text, in bytes: 4 KB.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// A placeholder's name (`#name`, `:value`), in bytes.
pub const PLACEHOLDER_BYTES_MAX: usize = 255;
/// All names and values given to one request's expressions together: 2 MB.
pub const SUBSTITUTIONS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Operators and functions in one expression.
pub const EXPRESSION_OPERATORS_MAX: usize = 300;
/// Operands of one `IN`.
pub const IN_OPERANDS_MAX: usize = 100;
/// A page of Query or Scan, in bytes of items read, before the filter: 1 MB.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Segments of a parallel scan.
pub const SCAN_SEGMENTS_MAX: u32 = 1_000_000;
/// Keys in one BatchGetItem.
pub const BATCH_GET_KEYS_MAX: usize = 100;
/// Requests in one BatchWriteItem.
pub const BATCH_WRITE_REQUESTS_MAX: usize = 25;
/// What one batch request carries or one batch answer holds, in bytes: 16 MB.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one BatchGetItem reads of one partition, in bytes of items, before the projection: 1 MB.
pub const BATCH_GET_PARTITION_BYTES_MAX: usize = 1024 * 1024;
/// Tables named by one ListTables page.
pub const LIST_TABLES_MAX: usize = 100;
/// Tables in a cluster: DynamoDB's default for an account and region.
pub const TABLES_MAX: usize = 2500;
/// Partitions of one table. Stator's own bound: each costs memory on three nodes, and all of them are one item of the catalog.
pub const TABLE_PARTITIONS_MAX: u32 = 1024;
/// Partitions that a table in a cluster starts with unless told otherwise: DynamoDB's own starting point.
pub const TABLE_PARTITIONS_DEFAULT: u32 = 4;

/// The level of what a list or map at this level holds. Whatever recurses over values asks here before it goes down.
///
/// # Errors
/// `ValidationException` if this is the last level.
pub fn deeper(level: usize) -> Result<usize> {
    if level >= NESTING_LEVELS_MAX {
        return Err(Error::validation(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported \
             limit",
        ));
    }
    Ok(level + 1)
}
