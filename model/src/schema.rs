//! Key schemas and table descriptions.

use crate::value::AttributeType;

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// String, ordered by its UTF-8 bytes.
    S,
    /// Number, ordered by value.
    N,
    /// Binary, ordered by its unsigned bytes.
    B,
}

impl KeyType {
    /// The attribute type that a key of this type has.
    #[must_use]
    pub const fn attribute_type(self) -> AttributeType {
        match self {
            Self::S => AttributeType::S,
            Self::N => AttributeType::N,
            Self::B => AttributeType::B,
        }
    }
}

/// A key attribute: its name and type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyAttribute {
    /// The attribute's name, of 1 to 255 bytes.
    pub name: String,
    /// The attribute's type.
    pub key_type: KeyType,
}

/// The primary key of a table: a partition key, and perhaps a sort key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySchema {
    /// The attribute whose hash places an item in a partition (DynamoDB's `HASH` key).
    pub partition: KeyAttribute,
    /// The attribute that orders the items of one partition key (DynamoDB's `RANGE` key).
    pub sort: Option<KeyAttribute>,
}

/// Where a table is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TableStatus {
    /// Its partitions are being made; it takes no requests yet.
    Creating,
    /// It takes requests.
    Active,
    /// A setting is being changed; it takes requests.
    Updating,
    /// It takes no requests any more, and its items are being removed.
    Deleting,
}

impl TableStatus {
    /// DynamoDB's name of the status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// What DescribeTable tells of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// The table's name.
    pub table_name: String,
    /// The table's id, never used again for another table.
    pub table_id: u32,
    /// Where the table is in its life.
    pub status: TableStatus,
    /// Its primary key.
    pub key_schema: KeySchema,
    /// Into how many partitions its key-hash space is cut.
    pub partitions: u32,
    /// When it was created: milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// How many items it held when its partitions were last counted.
    pub item_count: u64,
    /// The sum of the sizes of those items, in bytes.
    pub size_bytes: u64,
    /// Whether DeleteTable is refused.
    pub deletion_protection: bool,
}
