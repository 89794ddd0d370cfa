//! [`Error`] and [`Status`], both ways: the one page that knows gRPC's codes.
//!
//! | code | exceptions |
//! |---|---|
//! | `INVALID_ARGUMENT` | Validation |
//! | `FAILED_PRECONDITION` | ConditionalCheckFailed |
//! | `NOT_FOUND` | ResourceNotFound |
//! | `ALREADY_EXISTS` | ResourceInUse |
//! | `RESOURCE_EXHAUSTED` | Throttling, ProvisionedThroughputExceeded, LimitExceeded, ItemCollectionSizeLimitExceeded |
//! | `UNAVAILABLE` | Unavailable |
//! | `DEADLINE_EXCEEDED` | DeadlineExceeded |
//! | `UNIMPLEMENTED` | UnknownOperation |
//! | `INTERNAL` | InternalServerError |
//! | `UNKNOWN` | Uncertain, and **every** error of a request that may have been applied |
//!
//! A request whose fate is unknown never gets a code that some proxy or client library resends by itself. A status also
//! carries an [`ErrorDetail`](v1::ErrorDetail), from which the error is read back whole; a status without one was not
//! made by Stator's door, and is judged by its code and by whether the request could have changed anything.

use bytes::Bytes;
use prost::Message as _;
use stator_model::error::{Applied, Error, ErrorKind, Retry};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

use crate::error::{from_detail, to_detail};
use crate::metadata::EXCEPTION;
use crate::operation::Effect;
use crate::v1::{self, RouteHint};

/// How many bytes of error detail a caller's headers hold unless its `stator-detail-bytes-max` says otherwise: within
/// the 8 KB that gRPC libraries allow for all headers together, and that base64 makes a third more of.
pub const DETAIL_BYTES_DEFAULT: usize = 4096;

/// The longest text of an error that goes into headers, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// The code that says this error.
#[must_use]
pub fn code(error: &Error) -> Code {
    if error.applied() == Applied::Unknown {
        return Code::Unknown;
    }
    match error.kind() {
        ErrorKind::Validation => Code::InvalidArgument,
        ErrorKind::ConditionalCheckFailed => Code::FailedPrecondition,
        ErrorKind::ResourceNotFound => Code::NotFound,
        ErrorKind::ResourceInUse => Code::AlreadyExists,
        ErrorKind::LimitExceeded
        | ErrorKind::ItemCollectionSizeLimitExceeded
        | ErrorKind::ProvisionedThroughputExceeded
        | ErrorKind::Throttling => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::UnknownOperation => Code::Unimplemented,
        ErrorKind::InternalServerError => Code::Internal,
        _ => Code::Unknown,
    }
}

/// The status that answers this error. A failed condition's item is left out, and said to be, if the detail would pass
/// `detail_bytes_max`: the caller's `stator-detail-bytes-max`, or [`DETAIL_BYTES_DEFAULT`].
#[must_use]
pub fn to_status(error: &Error, route: Option<RouteHint>, detail_bytes_max: usize) -> Status {
    let mut detail = to_detail(error, route);
    shorten(&mut detail.message);
    if detail.item.is_some() && detail.encoded_len() > detail_bytes_max {
        detail.item = None;
        detail.item_omitted = true;
    }
    let code = code(error);
    let message = detail.message.clone();
    let details = RpcStatus {
        code: code.into(),
        message: message.clone(),
        details: vec![RpcAny {
            type_url: DETAIL_TYPE_URL.to_owned(),
            value: detail.encode_to_vec().into(),
        }],
    };
    let mut metadata = MetadataMap::new();
    metadata.insert(EXCEPTION, MetadataValue::from_static(error.kind().name()));
    Status::with_details_and_metadata(code, message, details.encode_to_vec().into(), metadata)
}

/// What a status says.
#[derive(Clone, Debug)]
pub struct Received {
    /// The error.
    pub error: Error,
    /// A newer route than the one that was taken.
    pub route: Option<RouteHint>,
    /// Whether a node of Stator answered it: else something on the way did, or the caller's own side.
    pub from_stator: bool,
}

/// The error that a status tells of, for a request of this effect. The status may have come from anywhere.
#[must_use]
pub fn from_status(status: &Status, effect: Effect) -> Received {
    match detail_of(status) {
        Some(detail) => {
            Received { error: from_detail(&detail), route: detail.route, from_stator: true }
        }
        None => Received { error: from_code(status, effect), route: None, from_stator: false },
    }
}

/// An error from a status that Stator did not make.
fn from_code(status: &Status, effect: Effect) -> Error {
    let message = format!("{:?}: {}", status.code(), status.message());
    match (status.code(), effect) {
        // Whoever answers these did not run the request.
        (Code::Unimplemented, _) => Error::new(ErrorKind::UnknownOperation, message),
        (Code::InvalidArgument, _) => Error::validation(message),
        (Code::Unauthenticated | Code::PermissionDenied, _) => {
            Error::new(ErrorKind::Unavailable, message).with_retry(Retry::Never)
        }
        (_, Effect::Write) => Error::uncertain(message),
        (Code::ResourceExhausted, Effect::Read) => Error::new(ErrorKind::Throttling, message),
        (Code::DeadlineExceeded | Code::Cancelled, Effect::Read) => {
            Error::new(ErrorKind::DeadlineExceeded, message)
        }
        (Code::Internal | Code::OutOfRange | Code::DataLoss, Effect::Read) => {
            Error::internal(message)
        }
        (_, Effect::Read) => Error::new(ErrorKind::Unavailable, message),
    }
}

/// Whether a call surely never came to be looked at: there was no connection, or the node had said that it takes no more calls on
/// this one, as it does before it stops. What is true of neither may have been served.
#[must_use]
pub fn never_served(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            // A GOAWAY without an error reaches those streams that are beyond the last that the node looked at (RFC 9113, 6.8).
            let going = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (going || refused);
        }
        source = error.source();
    }
    false
}

const DETAIL_TYPE_URL: &str = "type.googleapis.com/stator.v1.ErrorDetail";

/// `google.rpc.Status`, which `grpc-status-details-bin` holds by convention.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

fn detail_of(status: &Status) -> Option<v1::ErrorDetail> {
    let outer = RpcStatus::decode(status.details()).ok()?;
    let any = outer.details.into_iter().find(|any| any.type_url == DETAIL_TYPE_URL)?;
    v1::ErrorDetail::decode(any.value).ok()
}

/// Cuts a text at a character's border, so that it cannot crowd out the rest.
fn shorten(message: &mut String) {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or(0));
        message.push_str("...");
    }
}

#[cfg(test)]
mod tests;
