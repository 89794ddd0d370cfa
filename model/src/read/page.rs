//! What becomes of the items that a Query or Scan reads.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::api::{QueryAnswer, ScanAnswer, Select};
use crate::codec::EncodedItem;
use crate::error::{Error, Result};
use crate::expr::{Condition, Projection};
use crate::key::Key;
use crate::limits::PAGE_BYTES_MAX;
use crate::schema::KeySchema;
use crate::value::Item;

/// What a Query or Scan answers of what it reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    pub schema: KeySchema,
    pub filter: Option<Condition>,
    pub projection: Option<Projection>,
    pub count_only: bool,
    pub limit: Option<u32>,
}

impl Selection {
    /// Whether a request asks for the count alone.
    pub(super) fn counts_only(select: Option<Select>) -> bool {
        select == Some(Select::Count)
    }
}

/// A page of Query or Scan, in the making.
#[derive(Debug)]
pub struct PageBuilder<'a> {
    selection: &'a Selection,
    items: Vec<EncodedItem>,
    count: u32,
    scanned_count: u32,
    /// The sum of the sizes of the items read.
    bytes: usize,
    /// How large it may become.
    bytes_max: usize,
    last_key: Option<Bytes>,
    full: bool,
}

/// A page of Query or Scan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The items, unless only their count was asked for.
    pub items: Vec<EncodedItem>,
    /// How many items the page answers.
    pub count: u32,
    /// How many items were read, before the filter.
    pub scanned_count: u32,
    /// Where the next page begins; `None` says that this was the last.
    pub last_evaluated_key: Option<Item>,
}

impl<'a> PageBuilder<'a> {
    pub(super) const fn new(selection: &'a Selection) -> Self {
        Self {
            selection,
            items: Vec::new(),
            count: 0,
            scanned_count: 0,
            bytes: 0,
            bytes_max: PAGE_BYTES_MAX,
            last_key: None,
            full: false,
        }
    }

    /// The same page with another bound on the bytes that it reads: what is left of 1 MB where others have read parts of it.
    #[must_use]
    pub const fn with_bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Takes the next item that was read, with its key's bytes; says whether to read on. A full page takes no more.
    ///
    /// # Errors
    /// `ValidationException` if the filter does not fit the item; `InternalServerError` if it is none.
    pub fn push(&mut self, key: Bytes, item: EncodedItem) -> Result<ControlFlow<()>> {
        if self.full {
            return Ok(ControlFlow::Break(()));
        }
        self.scanned_count += 1;
        self.bytes += item.stored_size()?;
        self.last_key = Some(key);
        self.take(item)?;
        let limit_reached = self.selection.limit.is_some_and(|limit| self.scanned_count >= limit);
        self.full = limit_reached || self.bytes >= self.bytes_max;
        Ok(if self.full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Filters, counts, projects and keeps an item.
    fn take(&mut self, item: EncodedItem) -> Result<()> {
        let Selection { filter, projection, count_only, .. } = self.selection;
        let tree = if filter.is_some() || projection.is_some() {
            item.decode_stored()?
        } else {
            Item::new()
        };
        if let Some(filter) = filter
            && !filter.holds(&tree)
        {
            return Ok(());
        }
        self.count += 1;
        if !count_only {
            self.items.push(match projection {
                Some(projection) => EncodedItem::encode(&projection.project(&tree)),
                None => item,
            });
        }
        Ok(())
    }

    /// Whether the page takes no more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// How many items were taken so far, before the filter.
    #[must_use]
    pub const fn scanned_count(&self) -> u32 {
        self.scanned_count
    }

    /// How many bytes of items were taken so far, before the filter.
    #[must_use]
    pub const fn scanned_bytes(&self) -> usize {
        self.bytes
    }

    /// The page. `more` tells that reading stopped, though the page was not full, before the end was found (a deadline, or
    /// the end of a partition that is not the last): the page then says where it stopped. If nothing was read before
    /// that, it cannot, and the reader has to go on from where it was.
    ///
    /// # Errors
    /// `InternalServerError` if the last key that was given is none of the table's.
    pub fn finish(self, more: bool) -> Result<Page> {
        let last_evaluated_key = match self.last_key {
            Some(bytes) if self.full || more => {
                let key = Key::from_encoded(&self.selection.schema, bytes).ok_or_else(|| {
                    Error::internal("A stored key cannot be read with the table's key schema")
                })?;
                Some(key.to_attributes(&self.selection.schema))
            }
            _ => None,
        };
        Ok(Page {
            items: self.items,
            count: self.count,
            scanned_count: self.scanned_count,
            last_evaluated_key,
        })
    }
}

impl From<Page> for QueryAnswer {
    fn from(page: Page) -> Self {
        let Page { items, count, scanned_count, last_evaluated_key } = page;
        Self { items, count, scanned_count, last_evaluated_key }
    }
}

impl From<Page> for ScanAnswer {
    fn from(page: Page) -> Self {
        let Page { items, count, scanned_count, last_evaluated_key } = page;
        Self { items, count, scanned_count, last_evaluated_key }
    }
}
