//! Stator: a replicated, partitioned key-value database modelled on DynamoDB.
//!
//! This crate is the front: it opens a database *in the process* ([`open`], [`in_memory`], or [`blocking`] for programs without an
//! async runtime), and gives the same [`Client`] that speaks to a cluster. A program moves from one to the other by changing the line
//! that makes the client.
//!
//! ```
//! use stator::{AttributeValue, KeyType};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let database = stator::in_memory().await?;
//! let client = database.client();
//! client.create_table().table_name("music").partition_key("artist", KeyType::S).send().await?;
//! client.wait_until_active("music").await?;
//! client
//!     .put_item()
//!     .table_name("music")
//!     .item("artist", AttributeValue::from("No One You Know"))
//!     .item("year", AttributeValue::from(1971))
//!     .send()
//!     .await?;
//! let found = client
//!     .get_item()
//!     .table_name("music")
//!     .key("artist", AttributeValue::from("No One You Know"))
//!     .send()
//!     .await?;
//! assert_eq!(found.item.as_ref().and_then(|item| item.get("year")), Some(&AttributeValue::from(1971)));
//! drop(client);
//! assert!(database.close().await);
//! # Ok(())
//! # }
//! ```

pub mod blocking;
mod embedded;

pub use embedded::{Database, OpenError, OpenOptions, in_memory, open};
pub use stator_client::*;
