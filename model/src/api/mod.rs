//! The typed API: one request and one answer type per operation, the same in process and behind every door.
//!
//! A request is made of what the caller wrote: names, texts of expressions, values. It is checked in two steps.
//! What can be judged from the request alone is judged by `validate` (see [`validate`]); what needs the table's key schema is
//! judged by `prepare`, which gives the form that runs: [`crate::write::PreparedWrite`], [`crate::read::PreparedQuery`] and so on.
//! Doors and the in-process transport do the same two steps, so that they cannot differ.
//!
//! Items travel as [`EncodedItem`]: bytes that the node stores and answers without decoding them.

pub mod validate;

use std::collections::BTreeMap;

use crate::codec::EncodedItem;
use crate::error::Result;
use crate::schema::{KeySchema, TableDescription};
use crate::value::{AttributeValue, Item};

/// `#name` placeholders and what they stand for, keys with their `#`.
pub type Names = BTreeMap<String, String>;
/// `:value` placeholders and what they stand for, keys with their `:`.
pub type Values = BTreeMap<String, AttributeValue>;

/// An operation: its request type, tied to its answer type.
pub trait Operation: Into<Request> + Send + 'static {
    /// What the operation answers.
    type Answer: Send + 'static;
    /// Takes this operation's answer out of the sum of all; `None` if it is another operation's.
    fn answer(answer: Answer) -> Option<Self::Answer>;
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident => $answer:ident,)*) => {
        /// A request of any operation.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Request { $($(#[$doc])* $name($name),)* }

        /// An answer of any operation.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Answer { $($(#[$doc])* $name($answer),)* }

        impl Request {
            /// The operation's name, as DynamoDB spells it.
            #[must_use]
            pub const fn operation(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// Checks all that can be judged without the table's schema.
            ///
            /// # Errors
            /// `ValidationException` with DynamoDB's text.
            pub fn validate(&self) -> Result<()> {
                match self { $(Self::$name(request) => request.validate(),)* }
            }
        }

        $(
            impl From<$name> for Request {
                fn from(request: $name) -> Self { Self::$name(request) }
            }
            impl Operation for $name {
                type Answer = $answer;
                fn answer(answer: Answer) -> Option<$answer> {
                    if let Answer::$name(answer) = answer { Some(answer) } else { None }
                }
            }
        )*
    };
}

operations! {
    /// Makes a table.
    CreateTable => CreateTableAnswer,
    /// Tells what a table is.
    DescribeTable => DescribeTableAnswer,
    /// Lists the names of tables.
    ListTables => ListTablesAnswer,
    /// Changes a table's settings.
    UpdateTable => UpdateTableAnswer,
    /// Removes a table and its items.
    DeleteTable => DeleteTableAnswer,
    /// Writes a whole item.
    PutItem => PutItemAnswer,
    /// Reads an item.
    GetItem => GetItemAnswer,
    /// Changes attributes of an item, or makes it.
    UpdateItem => UpdateItemAnswer,
    /// Deletes an item.
    DeleteItem => DeleteItemAnswer,
    /// Reads the items of one partition key, in sort key order.
    Query => QueryAnswer,
    /// Reads the items of a table.
    Scan => ScanAnswer,
    /// Reads up to 100 items by key.
    BatchGetItem => BatchGetItemAnswer,
    /// Puts and deletes up to 25 items.
    BatchWriteItem => BatchWriteItemAnswer,
}

impl Request {
    /// The table that it is about: the first one of several, and empty if it is about none.
    #[must_use]
    pub fn table_name(&self) -> &str {
        match self {
            Self::CreateTable(request) => &request.table_name,
            Self::DescribeTable(request) => &request.table_name,
            Self::ListTables(_) => "",
            Self::UpdateTable(request) => &request.table_name,
            Self::DeleteTable(request) => &request.table_name,
            Self::PutItem(request) => &request.table_name,
            Self::GetItem(request) => &request.table_name,
            Self::UpdateItem(request) => &request.table_name,
            Self::DeleteItem(request) => &request.table_name,
            Self::Query(request) => &request.table_name,
            Self::Scan(request) => &request.table_name,
            Self::BatchGetItem(request) => {
                request.request_items.keys().next().map_or("", String::as_str)
            }
            Self::BatchWriteItem(request) => {
                request.request_items.keys().next().map_or("", String::as_str)
            }
        }
    }
}

/// What a write answers of the item it touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnValues {
    /// Nothing.
    #[default]
    None,
    /// The whole item as it was before.
    AllOld,
    /// Of the item before, the attributes that the update names.
    UpdatedOld,
    /// The whole item as it is now.
    AllNew,
    /// Of the item now, the attributes that the update names.
    UpdatedNew,
}

impl ReturnValues {
    /// DynamoDB's name: `NONE`, `ALL_OLD`, `UPDATED_OLD`, `ALL_NEW` or `UPDATED_NEW`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::AllOld => "ALL_OLD",
            Self::UpdatedOld => "UPDATED_OLD",
            Self::AllNew => "ALL_NEW",
            Self::UpdatedNew => "UPDATED_NEW",
        }
    }
}

/// What Query and Scan answer of the items that they find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Select {
    /// Whole items.
    AllAttributes,
    /// All that an index holds of them (valid on an index only).
    AllProjectedAttributes,
    /// The attributes that the projection names.
    SpecificAttributes,
    /// Only how many there are.
    Count,
}

/// Makes a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTable {
    /// The table's name: 3 to 255 of `a-z A-Z 0-9 _ . -`.
    pub table_name: String,
    /// Its primary key.
    pub key_schema: KeySchema,
    /// Into how many partitions to cut its key-hash space; `None` takes the node's default.
    pub partitions: Option<u32>,
    /// Whether DeleteTable is to be refused.
    pub deletion_protection: bool,
}

/// CreateTable's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTableAnswer {
    /// The table as it is now: `CREATING` until every partition has a leader.
    pub table: TableDescription,
}

/// Tells what a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTable {
    /// The table's name.
    pub table_name: String,
}

/// DescribeTable's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeTableAnswer {
    /// The table.
    pub table: TableDescription,
}

/// Lists the names of tables, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTables {
    /// Names after this one only.
    pub exclusive_start_table_name: Option<String>,
    /// How many at most: 1 to 100; `None` is 100.
    pub limit: Option<u32>,
}

/// ListTables' answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTablesAnswer {
    /// The names.
    pub table_names: Vec<String>,
    /// Where the next page begins, if there are more.
    pub last_evaluated_table_name: Option<String>,
}

/// Changes a table's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateTable {
    /// The table's name.
    pub table_name: String,
    /// Whether DeleteTable is to be refused; `None` leaves it.
    pub deletion_protection: Option<bool>,
}

/// UpdateTable's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateTableAnswer {
    /// The table as it is now.
    pub table: TableDescription,
}

/// Removes a table and its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTable {
    /// The table's name.
    pub table_name: String,
}

/// DeleteTable's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTableAnswer {
    /// The table as it is now: `DELETING`.
    pub table: TableDescription,
}

/// Writes a whole item, in place of the one with its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutItem {
    /// The table's name.
    pub table_name: String,
    /// The item.
    pub item: EncodedItem,
    /// The condition under which to write.
    pub condition_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// What `:values` stand for.
    pub expression_attribute_values: Values,
    /// What to answer: `None` or `AllOld`.
    pub return_values: ReturnValues,
    /// Whether a failed condition answers the item it was judged on.
    pub return_old_on_condition_failure: bool,
}

/// PutItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PutItemAnswer {
    /// What `return_values` asked for.
    pub attributes: Option<EncodedItem>,
}

/// Reads an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GetItem {
    /// The table's name.
    pub table_name: String,
    /// The item's primary key.
    pub key: Item,
    /// The attributes to answer; `None` is all.
    pub projection_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// Whether the read must see every write that was answered before it.
    pub consistent_read: bool,
}

/// GetItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GetItemAnswer {
    /// The item, if there is one; with a projection that names nothing of it, an empty one.
    pub item: Option<EncodedItem>,
}

/// Changes attributes of an item, or makes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateItem {
    /// The table's name.
    pub table_name: String,
    /// The item's primary key.
    pub key: Item,
    /// What to change; `None` only makes the item if it is absent.
    pub update_expression: Option<String>,
    /// The condition under which to write.
    pub condition_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// What `:values` stand for.
    pub expression_attribute_values: Values,
    /// What to answer.
    pub return_values: ReturnValues,
    /// Whether a failed condition answers the item it was judged on.
    pub return_old_on_condition_failure: bool,
}

/// UpdateItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateItemAnswer {
    /// What `return_values` asked for.
    pub attributes: Option<EncodedItem>,
}

/// Deletes an item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteItem {
    /// The table's name.
    pub table_name: String,
    /// The item's primary key.
    pub key: Item,
    /// The condition under which to delete.
    pub condition_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// What `:values` stand for.
    pub expression_attribute_values: Values,
    /// What to answer: `None` or `AllOld`.
    pub return_values: ReturnValues,
    /// Whether a failed condition answers the item it was judged on.
    pub return_old_on_condition_failure: bool,
}

/// DeleteItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteItemAnswer {
    /// What `return_values` asked for.
    pub attributes: Option<EncodedItem>,
}

/// Reads the items of one partition key, in sort key order.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The table's name.
    pub table_name: String,
    /// The partition key's value, and perhaps a condition on the sort key.
    pub key_condition_expression: String,
    /// Which of the items read to answer.
    pub filter_expression: Option<String>,
    /// The attributes to answer; `None` is all.
    pub projection_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// What `:values` stand for.
    pub expression_attribute_values: Values,
    /// What to answer; `None` follows from the projection.
    pub select: Option<Select>,
    /// How many items to read (before the filter) at most.
    pub limit: Option<u32>,
    /// Where to go on: the last page's `last_evaluated_key`.
    pub exclusive_start_key: Option<Item>,
    /// Whether to go upwards in sort key order; true is DynamoDB's default.
    pub scan_index_forward: bool,
    /// Whether the page must see every write that was answered before it.
    pub consistent_read: bool,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            table_name: String::new(),
            key_condition_expression: String::new(),
            filter_expression: None,
            projection_expression: None,
            expression_attribute_names: Names::new(),
            expression_attribute_values: Values::new(),
            select: None,
            limit: None,
            exclusive_start_key: None,
            scan_index_forward: true,
            consistent_read: false,
        }
    }
}

/// A page of Query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryAnswer {
    /// The items, unless only their count was asked for.
    pub items: Vec<EncodedItem>,
    /// How many items the page answers.
    pub count: u32,
    /// How many items were read, before the filter.
    pub scanned_count: u32,
    /// Where the next page begins; `None` says that this was the last.
    pub last_evaluated_key: Option<Item>,
}

/// Reads the items of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// The table's name.
    pub table_name: String,
    /// Which of the items read to answer.
    pub filter_expression: Option<String>,
    /// The attributes to answer; `None` is all.
    pub projection_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// What `:values` stand for.
    pub expression_attribute_values: Values,
    /// What to answer; `None` follows from the projection.
    pub select: Option<Select>,
    /// How many items to read (before the filter) at most.
    pub limit: Option<u32>,
    /// Where to go on: the last page's `last_evaluated_key`.
    pub exclusive_start_key: Option<Item>,
    /// Of a parallel scan, which segment this is and how many there are.
    pub segment: Option<Segment>,
    /// Whether the page must see every write that was answered before it.
    pub consistent_read: bool,
}

/// One part of a parallel scan. A half-given pair is refused by [`Scan`]'s validation, so both are optional here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Which part, from 0.
    pub segment: Option<u32>,
    /// How many parts: 1 to 1,000,000.
    pub total_segments: Option<u32>,
}

/// A page of Scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanAnswer {
    /// The items, unless only their count was asked for.
    pub items: Vec<EncodedItem>,
    /// How many items the page answers.
    pub count: u32,
    /// How many items were read, before the filter.
    pub scanned_count: u32,
    /// Where the next page begins; `None` says that this was the last.
    pub last_evaluated_key: Option<Item>,
}

/// Reads up to 100 items by key, of one or more tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchGetItem {
    /// What to read of each table.
    pub request_items: BTreeMap<String, KeysAndAttributes>,
}

/// What BatchGetItem reads of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeysAndAttributes {
    /// The items' primary keys.
    pub keys: Vec<Item>,
    /// The attributes to answer; `None` is all.
    pub projection_expression: Option<String>,
    /// What `#names` stand for.
    pub expression_attribute_names: Names,
    /// Whether the reads must see every write that was answered before them.
    pub consistent_read: bool,
}

/// BatchGetItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchGetItemAnswer {
    /// The items found, by table, in no order.
    pub responses: BTreeMap<String, Vec<EncodedItem>>,
    /// What was not read; to be asked again.
    pub unprocessed_keys: BTreeMap<String, KeysAndAttributes>,
}

/// Puts and deletes up to 25 items, of one or more tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchWriteItem {
    /// What to write to each table.
    pub request_items: BTreeMap<String, Vec<WriteRequest>>,
}

/// One write of a BatchWriteItem.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteRequest {
    /// Writes a whole item.
    Put(EncodedItem),
    /// Deletes the item with this primary key.
    Delete(Item),
}

/// BatchWriteItem's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchWriteItemAnswer {
    /// What was not written; to be sent again.
    pub unprocessed_items: BTreeMap<String, Vec<WriteRequest>>,
}
