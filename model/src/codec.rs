//! The bytes of an item: the protobuf encoding of `stator.v1.Item`, read and written by hand. (skeleton)
use crate::error::Result;
use crate::value::Item;
use bytes::Bytes;

/// An item as protobuf bytes of `stator.v1.Item`; not necessarily checked, nor canonical.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncodedItem(Bytes);
impl EncodedItem {
    /// Takes bytes as they are, unchecked.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }
    /// Encodes, canonically.
    pub fn encode(_item: &Item) -> Self {
        todo!()
    }
    /// Decodes, whatever order the names stand in; bounded in depth.
    pub fn decode(&self) -> Result<Item> {
        todo!()
    }
    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
    /// The bytes.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}
