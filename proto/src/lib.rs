//! The wire format of Stator: the `.proto` files, the code generated from them, and the conversions between that and
//! [`stator_model::api`].
//!
//! - [`v1`] is the door for clients (`stator.v1`), [`peer::v1`] the one between nodes (`stator.peer.v1`).
//! - [`convert`] goes between messages and typed requests, [`operation`] treats all operations alike.
//! - [`error`] and [`status`] carry errors; [`metadata`] names what goes beside the messages.
//! - [`json`] writes and reads items as JSON, for people and for the JSON door.
//! - [`FILE_DESCRIPTOR_SET`] is what reflection shows.
//!
//! Without the feature `grpc` there are messages and their conversions, and nothing that sends them.
//!
//! # Items are bytes
//! In the generated requests and answers a field of type `Item` is `Bytes`: the build turns it into `bytes`, which looks
//! the same on the wire. A node stores those bytes and answers them, without ever decoding an item that it need not
//! look into. A lone one is an `Option`: an absent item and an empty one are the same zero bytes otherwise.
//! The messages [`v1::Item`] and [`v1::AttributeValue`] are generated as well; [`stator_model::codec`] reads and writes
//! the same bytes by hand, and the tests hold one against the other.

pub mod convert;
pub mod error;
pub mod json;
#[cfg(feature = "grpc")]
pub mod metadata;
pub mod operation;
#[cfg(feature = "grpc")]
pub mod status;

/// The descriptors of all `.proto` files, encoded, with items as the messages that they are: for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/stator_descriptor_set.bin"));

/// The door for clients: package `stator.v1`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/stator.v1.rs"));
}

/// The door between nodes.
pub mod peer {
    /// Package `stator.peer.v1`.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
        include!(concat!(env!("OUT_DIR"), "/stator.peer.v1.rs"));
    }
}
