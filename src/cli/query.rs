//! `stator query` and `stator scan`: many items, a line each, as they come in.

use futures::{Stream, TryStreamExt as _};
use serde_json::json;
use stator_client::request::read::Page;
use stator_client::{Item, Select};
use stator_model::limits::SCAN_SEGMENTS_MAX;

use super::endpoints::{Connection, Endpoints};
use super::item::show;
use super::number;
use super::output::{Failure, Format, Output, note, print};
use super::values::{Dialect, Substitutions};

/// Reads the items of one partition key, in sort key order
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    /// The table's name
    table: String,

    /// The partition key's value, and perhaps a condition on the sort key, as in 'artist = :a AND begins_with(song, :s)'
    #[arg(long, value_name = "EXPRESSION")]
    key_condition: String,

    /// Go backwards in sort key order
    #[arg(long)]
    reverse: bool,

    #[command(flatten)]
    read: Read,
}

/// Reads the items of a table
#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    /// The table's name
    table: String,

    /// Of a parallel scan, which part this is, from 0
    #[arg(long, value_name = "NUMBER", requires = "segments", value_parser = number::from(0..=SCAN_SEGMENTS_MAX - 1))]
    segment: Option<u32>,

    /// Of a parallel scan, how many parts there are
    #[arg(long, value_name = "COUNT", requires = "segment", value_parser = number::from(1..=SCAN_SEGMENTS_MAX))]
    segments: Option<u32>,

    #[command(flatten)]
    read: Read,
}

/// What both take.
#[derive(Debug, clap::Args)]
struct Read {
    /// Print only those of the items read for which this holds
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,

    /// The attributes to answer, separated by commas [default: all]
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "count")]
    projection: Option<String>,

    #[command(flatten)]
    substitutions: Substitutions,

    /// Print only how many items there are
    #[arg(long)]
    count: bool,

    /// Read at most so many items, before the filter
    #[arg(long, value_name = "COUNT", value_parser = number::from(1..=u32::MAX))]
    limit: Option<u32>,

    /// Go on behind the item with this key, which a read that met its limit told
    #[arg(long, value_name = "JSON|@FILE|-")]
    start_key: Option<String>,

    /// Take answers that may miss the latest writes
    #[arg(long)]
    eventual: bool,

    #[command(flatten)]
    dialect: Dialect,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Sets on a request what [`Read`] says.
macro_rules! with_read {
    ($read:expr, $request:expr) => {{
        let read = &$read;
        let mut request = $request
            .set_expression_attribute_names(read.substitutions.names()?)
            .set_expression_attribute_values(read.substitutions.values(read.dialect)?)
            .set_exclusive_start_key(read.start_key()?)
            .consistent_read(!read.eventual);
        if let Some(filter) = &read.filter {
            request = request.filter_expression(filter);
        }
        if let Some(projection) = &read.projection {
            request = request.projection_expression(projection);
        }
        if read.count {
            request = request.select(Select::Count);
        }
        request
    }};
}

/// Reads pages until there are no more, or as many items were read as were asked for.
macro_rules! pages {
    ($read:expr, $connection:expr, $request:expr) => {{
        let read = $read;
        let request = with_read!(read, $request);
        let Some(limit) = read.limit else {
            return read.all(&$connection, request.into_paginator().send()).await;
        };
        let mut told = Told::default();
        let mut start = read.start_key()?;
        while told.scanned < u64::from(limit) {
            let left = u64::from(limit) - told.scanned;
            let page = request
                .clone()
                .limit(u32::try_from(left).unwrap_or(limit))
                .set_exclusive_start_key(start.take())
                .send()
                .await
                .map_err(|error| $connection.failure(error))?;
            read.page(&page, &mut told)?;
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        read.end(&told, start)
    }};
}

/// What was printed so far.
#[derive(Default)]
struct Told {
    items: u64,
    scanned: u64,
}

pub(crate) async fn query(query: Query) -> Result<(), Failure> {
    let connection = query.read.endpoints.connect()?;
    let request = connection
        .client
        .query()
        .table_name(&query.table)
        .key_condition_expression(&query.key_condition)
        .scan_index_forward(!query.reverse);
    pages!(query.read, connection, request)
}

pub(crate) async fn scan(scan: Scan) -> Result<(), Failure> {
    let connection = scan.read.endpoints.connect()?;
    let mut request = connection.client.scan().table_name(&scan.table);
    if let (Some(segment), Some(segments)) = (scan.segment, scan.segments) {
        request = request.segment(segment).total_segments(segments);
    }
    pages!(scan.read, connection, request)
}

impl Read {
    fn start_key(&self) -> Result<Option<Item>, Failure> {
        let key = self.start_key.as_ref();
        key.map(|argument| self.dialect.item("--start-key", argument)).transpose()
    }

    /// Prints all pages.
    async fn all(
        &self,
        connection: &Connection,
        mut pages: impl Stream<Item = stator_client::Result<Page>> + Unpin,
    ) -> Result<(), Failure> {
        let mut told = Told::default();
        while let Some(page) = pages.try_next().await.map_err(|error| connection.failure(error))? {
            self.page(&page, &mut told)?;
        }
        self.end(&told, None)
    }

    fn page(&self, page: &Page, told: &mut Told) -> Result<(), Failure> {
        let text = !self.output.json(Format::Json);
        for item in &page.items {
            if text && told.items > 0 {
                print("")?;
            }
            show(&self.dialect.json(item), self.output)?;
            told.items += 1;
        }
        if self.count {
            told.items += u64::from(page.count);
        }
        told.scanned += u64::from(page.scanned_count);
        Ok(())
    }

    /// What there is to say when all is read that was asked for.
    fn end(&self, told: &Told, next: Option<Item>) -> Result<(), Failure> {
        if self.count && self.output.json(Format::Json) {
            print(json!({ "count": told.items, "scanned": told.scanned }))?;
        } else if self.count {
            print(told.items)?;
        }
        if let Some(next) = next {
            note(format_args!("There may be more: --start-key '{}'", self.dialect.json(&next)));
        }
        Ok(())
    }
}
