//! Many items: the pages of Query and Scan, and pages as one stream.

use futures::stream::{self, Stream, TryStreamExt as _};
use stator_model::Item;
use stator_model::api::{Query, QueryAnswer, Scan, ScanAnswer, Segment};

use super::{all_decoded, builder, setters};
use crate::Client;
use crate::error::Result;

impl Client {
    /// Reads the items of one partition key, in sort key order.
    pub fn query(&self) -> QueryBuilder {
        QueryBuilder::new(self, Query { consistent_read: true, ..Query::default() })
    }

    /// Reads the items of a table.
    pub fn scan(&self) -> ScanBuilder {
        ScanBuilder::new(self, Scan { consistent_read: true, ..Scan::default() })
    }
}

/// A page of Query or Scan.
///
/// A paginator asks for one after the other; by hand it is done so:
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stator_client::{Item, KeyType};
///
/// # let client = stator::in_memory().await?.client();
/// # client.create_table().table_name("numbers").partition_key("id", KeyType::N).send().await?;
/// # client.wait_until_active("numbers").await?;
/// # let item = |n: i32| Item::from([("id".to_owned(), n.into()), ("half".to_owned(), (n / 2).into())]);
/// # client.write_all("numbers", (0..10).map(item).map(stator_client::put)).await?;
/// let (mut found, mut start) = (0, None);
/// loop {
///     let scan = client.scan().table_name("numbers").limit(4);
///     let page = scan.set_exclusive_start_key(start).send().await?;
///     found += page.items.len();
///     start = page.last_evaluated_key;
///     if start.is_none() {
///         break;
///     }
/// }
/// assert_eq!(found, 10);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The items, unless only their count was asked for.
    pub items: Vec<Item>,
    /// How many items the page answers.
    pub count: u32,
    /// How many items were read, before the filter.
    pub scanned_count: u32,
    /// Where the next page begins; `None` says that this was the last.
    pub last_evaluated_key: Option<Item>,
}

builder! {
    /// Reads the items of one partition key, in sort key order.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::KeyType;
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// # for song in ["Call Me Today", "Scared Of My Shadow", "Somewhere Down The Road"] {
    /// #     let put = client.put_item().table_name("music").item("artist", "No One You Know");
    /// #     put.item("song", song).send().await?;
    /// # }
    /// let page = client
    ///     .query()
    ///     .table_name("music")
    ///     .key_condition_expression("artist = :a AND begins_with(song, :s)")
    ///     .expression_attribute_values(":a", "No One You Know")
    ///     .expression_attribute_values(":s", "S")
    ///     .scan_index_forward(false)
    ///     .send()
    ///     .await?;
    /// let songs: Vec<_> = page.items.iter().map(|item| &item["song"]).collect();
    /// assert_eq!(songs, [&"Somewhere Down The Road".into(), &"Scared Of My Shadow".into()]);
    /// # Ok(())
    /// # }
    /// ```
    QueryBuilder of Query
}

builder! {
    /// Reads the items of a table.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures::TryStreamExt as _;
    /// use stator_client::{Item, KeyType};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # client.create_table().table_name("numbers").partition_key("id", KeyType::N).send().await?;
    /// # client.wait_until_active("numbers").await?;
    /// # let item = |n: i32| Item::from([("id".to_owned(), n.into()), ("half".to_owned(), (n / 2).into())]);
    /// # client.write_all("numbers", (0..10).map(item).map(stator_client::put)).await?;
    /// let scan = client.scan().table_name("numbers");
    /// let small = scan.clone().filter_expression("half < :h").expression_attribute_values(":h", 2);
    /// let page = small.send().await?;
    /// assert_eq!((page.count, page.scanned_count), (4, 10));
    ///
    /// // All of it, in two parts that are read at the same time.
    /// let part = |segment| {
    ///     let part = scan.clone().segment(segment).total_segments(2);
    ///     part.into_paginator().items().send().try_collect::<Vec<_>>()
    /// };
    /// let (one, other) = futures::try_join!(part(0), part(1))?;
    /// assert_eq!(one.len() + other.len(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ScanBuilder of Scan
}

impl QueryBuilder {
    setters! { table_name projection names values page consistent_read }

    /// The partition key's value, and perhaps a condition on the sort key: `artist = :a AND begins_with(song, :s)`.
    pub fn key_condition_expression(mut self, text: impl Into<String>) -> Self {
        self.request.key_condition_expression = text.into();
        self
    }

    /// Whether to go upwards in sort key order: true unless set.
    pub fn scan_index_forward(mut self, forward: bool) -> Self {
        self.request.scan_index_forward = forward;
        self
    }
}

impl ScanBuilder {
    setters! { table_name projection names values page consistent_read }

    /// Of a parallel scan, which part this is, from 0.
    pub fn segment(mut self, segment: u32) -> Self {
        self.request.segment.get_or_insert_with(Segment::default).segment = Some(segment);
        self
    }

    /// Of a parallel scan, how many parts there are: 1 to 1,000,000.
    pub fn total_segments(mut self, segments: u32) -> Self {
        self.request.segment.get_or_insert_with(Segment::default).total_segments = Some(segments);
        self
    }
}

/// Sending, for one page and for all: the same for both requests.
macro_rules! paged {
    ($builder:ident, $answer:ident, $paginator:ident) => {
        impl $builder {
            /// Sends the request for one page.
            ///
            /// # Errors
            /// `ResourceNotFoundException` if there is no such table.
            pub async fn send(self) -> Result<Page> {
                let answer: $answer = self.client.call(self.request, self.settings).await?;
                Ok(Page {
                    items: all_decoded(&answer.items)?,
                    count: answer.count,
                    scanned_count: answer.scanned_count,
                    last_evaluated_key: answer.last_evaluated_key,
                })
            }

            /// All pages, from where the request starts, one asked for when the one before it has been taken.
            pub fn into_paginator(self) -> $paginator {
                $paginator { first: self }
            }
        }

        /// The pages of a request, as a stream.
        #[derive(Clone, Debug)]
        #[must_use = "a paginator does nothing until it is sent"]
        pub struct $paginator {
            first: $builder,
        }

        impl $paginator {
            /// How many items a page reads (before the filter) at most.
            pub fn page_size(mut self, items: u32) -> Self {
                self.first = self.first.limit(items);
                self
            }

            /// The items, page borders gone.
            pub fn items(self) -> Items<Self> {
                Items { pages: self }
            }

            /// The pages as a stream. The timeout is each page's. After an error the stream ends; a new request can go on
            /// from the `last_evaluated_key` of the page before it.
            pub fn send(self) -> impl Stream<Item = Result<Page>> + Send + Unpin {
                Box::pin(stream::try_unfold(Some(self.first), |next| async move {
                    let Some(builder) = next else { return Ok(None) };
                    let page = builder.clone().send().await?;
                    let key = page.last_evaluated_key.clone();
                    let next = key.map(|key| builder.set_exclusive_start_key(Some(key)));
                    Ok(Some((page, next)))
                }))
            }
        }

        impl Items<$paginator> {
            /// The items as a stream, with errors as in the stream of pages.
            pub fn send(self) -> impl Stream<Item = Result<Item>> + Send + Unpin {
                let items = |page: Page| stream::iter(page.items.into_iter().map(Ok));
                Box::pin(self.pages.send().map_ok(items).try_flatten())
            }
        }
    };
}

/// The items of a paginator.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use futures::TryStreamExt as _;
/// use stator_client::KeyType;
///
/// # let client = stator::in_memory().await?.client();
/// # let music = client.create_table().table_name("music");
/// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
/// # client.wait_until_active("music").await?;
/// # for song in ["Call Me Today", "Scared Of My Shadow", "Somewhere Down The Road"] {
/// #     let put = client.put_item().table_name("music").item("artist", "No One You Know");
/// #     put.item("song", song).send().await?;
/// # }
/// let mut songs = client
///     .query()
///     .table_name("music")
///     .key_condition_expression("artist = :a")
///     .expression_attribute_values(":a", "No One You Know")
///     .into_paginator()
///     .page_size(2)
///     .items()
///     .send();
/// let mut found = 0;
/// while let Some(song) = songs.try_next().await? {
///     println!("{:?}", song["song"]);
///     found += 1;
/// }
/// assert_eq!(found, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a paginator does nothing until it is sent"]
pub struct Items<P> {
    pages: P,
}

paged! { QueryBuilder, QueryAnswer, QueryPaginator }
paged! { ScanBuilder, ScanAnswer, ScanPaginator }
