//! [`Error`] and [`ErrorDetail`], the message that says of it all that a program can act on.
//!
//! Nodes send the detail to each other as it is; to clients it goes inside a status, see [`crate::status`].

use std::time::Duration;

use stator_model::EncodedItem;
use stator_model::error::{Applied, Error, ErrorKind, Retry};

use crate::v1::{self, ErrorDetail, RouteHint};

const KINDS: [ErrorKind; 13] = [
    ErrorKind::Validation,
    ErrorKind::ConditionalCheckFailed,
    ErrorKind::ResourceNotFound,
    ErrorKind::ResourceInUse,
    ErrorKind::LimitExceeded,
    ErrorKind::ItemCollectionSizeLimitExceeded,
    ErrorKind::ProvisionedThroughputExceeded,
    ErrorKind::Throttling,
    ErrorKind::Unavailable,
    ErrorKind::DeadlineExceeded,
    ErrorKind::Uncertain,
    ErrorKind::UnknownOperation,
    ErrorKind::InternalServerError,
];

/// The kind of error that has this exception name, if there is one.
#[must_use]
pub fn kind_from_name(name: &str) -> Option<ErrorKind> {
    KINDS.into_iter().find(|kind| kind.name() == name)
}

/// An error as a message, with a newer route if there is one to tell.
#[must_use]
pub fn to_detail(error: &Error, route: Option<RouteHint>) -> ErrorDetail {
    let (retry, retry_after_ms) = match error.retry() {
        Retry::Never => (v1::Retry::Never, 0),
        Retry::Now => (v1::Retry::Now, 0),
        Retry::After(pause) => {
            (v1::Retry::After, u32::try_from(pause.as_millis()).unwrap_or(u32::MAX))
        }
        Retry::Elsewhere => (v1::Retry::Elsewhere, 0),
    };
    let applied = match error.applied() {
        Applied::No => v1::Applied::No,
        Applied::Unknown => v1::Applied::Unknown,
    };
    ErrorDetail {
        exception: error.kind().name().to_owned(),
        message: error.message().to_owned(),
        applied: applied.into(),
        retry: retry.into(),
        retry_after_ms,
        item: error.item().map(|item| item.as_bytes().clone()),
        item_omitted: false,
        route,
    }
}

/// The error that a message tells of. What this version does not know is taken for the worst: an unknown exception is a
/// fault of the database, and what does not say that it was not applied may have been.
#[must_use]
pub fn from_detail(detail: &ErrorDetail) -> Error {
    let applied = match detail.applied() {
        v1::Applied::No => Applied::No,
        v1::Applied::Unknown | v1::Applied::Unspecified => Applied::Unknown,
    };
    let retry = match detail.retry() {
        v1::Retry::Now => Retry::Now,
        v1::Retry::After => Retry::After(Duration::from_millis(detail.retry_after_ms.into())),
        v1::Retry::Elsewhere => Retry::Elsewhere,
        v1::Retry::Never | v1::Retry::Unspecified => Retry::Never,
    };
    let error = match kind_from_name(&detail.exception) {
        Some(kind) => Error::new(kind, detail.message.clone()),
        None => Error::internal(format!("{}: {}", detail.exception, detail.message)),
    };
    error
        .with_applied(applied)
        .with_retry(retry)
        .with_item(detail.item.clone().map(EncodedItem::from_bytes))
}
