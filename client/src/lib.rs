//! The client library of Stator.
//!
//! [`Client`] takes fluent requests and sends them through a [`Transport`]: over gRPC ([`GrpcTransport`]), or into a node
//! inside the process. It sends again what was surely not applied, and reads ([`retry`]); what remains is the caller's, as
//! one [`Error`] that tells *failed* from *uncertain*.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use stator_client::{Client, from_item};
//!
//! #[derive(serde::Deserialize)]
//! struct Song {
//!     artist: String,
//!     plays: u64,
//! }
//!
//! let client = Client::connect("http://127.0.0.1:7400")?;
//! # // Here it is a database in this process.
//! # use stator_client::KeyType;
//! # let client = stator::in_memory().await?.client();
//! # let music = client.create_table().table_name("music");
//! # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
//! # client.wait_until_active("music").await?;
//! let played = client
//!     .update_item()
//!     .table_name("music")
//!     .key("artist", "No One You Know")
//!     .key("song", "Call Me Today")
//!     .update_expression("ADD plays :one")
//!     .expression_attribute_values(":one", 1)
//!     .return_values(stator_client::ReturnValues::AllNew)
//!     .send()
//!     .await;
//! match played {
//!     Ok(output) => {
//!         let song: Song = from_item(output.attributes.unwrap_or_default())?;
//!         assert_eq!((song.artist.as_str(), song.plays), ("No One You Know", 1));
//!     }
//!     Err(error) if error.is_uncertain() => println!("perhaps counted, perhaps not: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`client`]: the client and its call. [`request`]: the fluent requests, pages as streams, batches.
//! - [`api`]: typed requests, for [`Client::execute`] and transports of your own.
//! - [`transport`] and [`grpc`]: how requests travel. [`retry`]: when they travel again.
//! - [`serde_item`]: items from and to your own types.
//!
//! # Caveats
//! - Connections are not encrypted yet.
//! - A pause in which the process is stopped counts against a request's time like any other.

pub mod client;
#[cfg(feature = "grpc")]
mod endpoints;
mod entropy;
pub mod error;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod request;
pub mod retry;
pub mod serde_item;
pub mod transport;

#[doc(inline)]
pub use client::{Client, ClientBuilder};
#[cfg(feature = "grpc")]
pub use endpoints::IntoEndpoints;
#[doc(inline)]
pub use error::{Error, Result};
#[doc(inline)]
#[cfg(feature = "grpc")]
pub use grpc::{GrpcTransport, GrpcTransportBuilder};
pub use request::batch::{delete, put};
pub use retry::RetryPolicy;
pub use serde_item::{
    from_attribute_value, from_item, serde_number, serde_sets, to_attribute_value, to_item,
};
/// The error that a [`Transport`] gives; [`Error`] is made of it.
pub use stator_model::Error as ModelError;
/// The typed requests and answers that [`Client::execute`] and a [`Transport`] take and give.
pub use stator_model::api;
pub use stator_model::api::{Answer, Operation, Request};
pub use stator_model::api::{KeysAndAttributes, ReturnValues, Select, WriteRequest};
pub use stator_model::error::{Applied, ErrorKind, Retry};
pub use stator_model::schema::{KeyType, TableDescription, TableStatus};
pub use stator_model::{AttributeValue, EncodedItem, Item, Number};
pub use transport::{CallOptions, Transport};
