//! The names of the metadata that goes with calls and answers, and the bounds that both sides of a door keep.

/// With a call: the caller's name for the request, for logs; the same when it is sent again.
pub const REQUEST_ID: &str = "stator-request-id";
/// With a call: how many bytes of error detail the caller's headers can hold.
pub const DETAIL_BYTES_MAX: &str = "stator-detail-bytes-max";
/// With an error: the exception's name.
pub const EXCEPTION: &str = "stator-exception";
/// With an answer: the endpoint of the node that served the request, if that was not the one asked.
pub const FORWARDED_TO: &str = "stator-forwarded-to";

/// The longest message of a call or an answer, in bytes: a batch of 16 MB, and room for what is around the items.
pub const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
