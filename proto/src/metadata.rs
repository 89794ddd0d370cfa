//! The names of the metadata that goes with calls and answers, and the bounds that both sides of a door keep.

use tonic::metadata::MetadataMap;

use crate::status::DETAIL_BYTES_DEFAULT;

#[cfg(test)]
mod tests;

/// With a call: the caller's name for the request, for logs; the same when it is sent again. With an answer or an error: that name, or
/// the one that the node made because none was given.
pub const REQUEST_ID: &str = "stator-request-id";
/// With a call: how many bytes of error detail the caller's headers can hold.
pub const DETAIL_BYTES_MAX: &str = "stator-detail-bytes-max";
/// With an error: the exception's name.
pub const EXCEPTION: &str = "stator-exception";
/// With an answer: the endpoint of the node that served the request, if that was not the one asked.
pub const FORWARDED_TO: &str = "stator-forwarded-to";

/// Between nodes, with a call: the id of the sender's cluster, once it has one.
pub const PEER_CLUSTER: &str = "stator-peer-cluster";
/// Between nodes, with a call: the sender's number in its cluster; with the answer to a stream of messages: the receiver's.
pub const PEER_NODE: &str = "stator-peer-node";
/// Between nodes, with a call: the incarnation of the sender's data directory, in hexadecimal digits; with the answer to a stream of
/// messages: that of the receiver's.
pub const PEER_INCARNATION: &str = "stator-peer-incarnation";
/// Between nodes, with a call: the addresses of the cluster's founders as the sender knows them, with commas between them.
pub const PEER_FOUNDERS: &str = "stator-peer-founders";
/// Between nodes, with a call: the number of the node that it is for, if the sender knows it. No other serves it: an address may
/// lead to another node than is meant.
pub const PEER_TO: &str = "stator-peer-to";
/// Between nodes, with a call: the incarnation of the data directory that it is for, in hexadecimal digits, if the sender knows it.
pub const PEER_TO_INCARNATION: &str = "stator-peer-to-incarnation";
/// Between nodes, with an error: the sender is not taken for one of the cluster's nodes, or means another than this one, in a word.
pub const PEER_REFUSED: &str = "stator-peer-refused";

/// The longest message of a call or an answer, in bytes: a batch of 16 MB, and room for what is around the items.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;

/// The largest error detail that a door sends, whatever the caller says, in bytes: an item of 400 KB, and room for the way
/// it is encoded.
const DETAIL_BYTES_LIMIT: usize = 1024 * 1024;

/// How many bytes of error detail this call's caller can take: what it says, within bounds, or the default.
#[must_use]
pub fn detail_bytes_max(metadata: &MetadataMap) -> usize {
    let said = metadata.get(DETAIL_BYTES_MAX).and_then(|value| value.to_str().ok()?.parse().ok());
    said.map_or(DETAIL_BYTES_DEFAULT, |bytes: usize| bytes.min(DETAIL_BYTES_LIMIT))
}

/// The caller's name for this request, if it gave one.
#[must_use]
pub fn request_id(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(REQUEST_ID)?.to_str().ok()
}
