//! The one error type of every operation, in process and over the wire.
//!
//! An error says three things that a program can act on: its [`ErrorKind`] (DynamoDB's exception names, and a few
//! that a database of one's own needs besides), whether the write may have been [`Applied`], and what a
//! [`Retry`] could do about it. The text is for people, and is DynamoDB's where DynamoDB has one.

use std::fmt;
use std::time::Duration;

use crate::codec::EncodedItem;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in DynamoDB's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed, or over a limit.
    Validation,
    /// The condition of a write did not hold.
    ConditionalCheckFailed,
    /// There is no such table, or it is not yet ready for use.
    ResourceNotFound,
    /// The table exists already, or is busy with another change.
    ResourceInUse,
    /// Too many tables or control operations at once.
    LimitExceeded,
    /// The items under one partition key would grow past their limit.
    ItemCollectionSizeLimitExceeded,
    /// A partition takes no more at the moment.
    ProvisionedThroughputExceeded,
    /// The node takes no more at the moment: a queue, the memory or the disk is full.
    Throttling,
    /// Nobody could be found who may serve the request: no leader, or no way to it.
    Unavailable,
    /// The time given for the request is over.
    DeadlineExceeded,
    /// The request was on its way when its fate was lost sight of: it may have been applied, or may yet be.
    Uncertain,
    /// The operation is not offered.
    UnknownOperation,
    /// A fault of the database itself.
    InternalServerError,
}

impl ErrorKind {
    /// The exception's name as DynamoDB (or, for the four that it does not have, Stator) spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::ConditionalCheckFailed => "ConditionalCheckFailedException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ItemCollectionSizeLimitExceeded => "ItemCollectionSizeLimitExceededException",
            Self::ProvisionedThroughputExceeded => "ProvisionedThroughputExceededException",
            Self::Throttling => "ThrottlingException",
            Self::Unavailable => "UnavailableException",
            Self::DeadlineExceeded => "DeadlineExceededException",
            Self::Uncertain => "UncertainException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::InternalServerError => "InternalServerError",
        }
    }
}

/// Whether the request that failed may have changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// Certainly not, and it never will.
    No,
    /// Perhaps, now or later: the caller may not assume either.
    Unknown,
}

/// What sending the same request again could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing: it would fail again.
    Never,
    /// Succeed at once.
    Now,
    /// Succeed after a pause of about this length.
    After(Duration),
    /// Succeed at another node.
    Elsewhere,
}

/// An operation's error.
///
/// ```
/// use stator_model::{Error, ErrorKind};
/// use stator_model::error::Applied;
///
/// let error = Error::validation("Item size has exceeded the maximum allowed size");
/// assert_eq!(error.kind(), ErrorKind::Validation);
/// assert_eq!(error.applied(), Applied::No);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    message: String,
    applied: Applied,
    retry: Retry,
    item: Option<EncodedItem>,
}

impl Error {
    /// An error of a kind, with the defaults that the kind implies for [`Applied`] and [`Retry`].
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let applied = match kind {
            ErrorKind::Uncertain => Applied::Unknown,
            _ => Applied::No,
        };
        let retry = match kind {
            ErrorKind::ProvisionedThroughputExceeded | ErrorKind::Throttling => {
                Retry::After(Duration::from_millis(20))
            }
            ErrorKind::LimitExceeded => Retry::After(Duration::from_millis(500)),
            ErrorKind::Unavailable => Retry::Elsewhere,
            _ => Retry::Never,
        };
        Self(Box::new(Inner { kind, message: message.into(), applied, retry, item: None }))
    }

    /// A `ValidationException` with this text.
    #[must_use]
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Validation, message)
    }

    /// The error of a condition that did not hold; `item` is the item it was judged on, if that was asked for.
    #[must_use]
    pub fn conditional_check_failed(item: Option<EncodedItem>) -> Self {
        let mut error =
            Self::new(ErrorKind::ConditionalCheckFailed, "The conditional request failed");
        error.0.item = item;
        error
    }

    /// A write whose fate is not known, with the reason.
    #[must_use]
    pub fn uncertain(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Uncertain, message)
    }

    /// A fault of the database itself.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InternalServerError, message)
    }

    /// The same error with another answer to "was it applied?".
    #[must_use]
    pub fn with_applied(mut self, applied: Applied) -> Self {
        self.0.applied = applied;
        self
    }

    /// The same error with another advice on sending again.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// The same error with the item that a condition was judged on.
    #[must_use]
    pub fn with_item(mut self, item: Option<EncodedItem>) -> Self {
        self.0.item = item;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The text, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the request may have changed anything.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.0.applied
    }

    /// What sending again could do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The item that a failed condition was judged on, if the request asked for it.
    #[must_use]
    pub fn item(&self) -> Option<&EncodedItem> {
        self.0.item.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.name(), self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("applied", &self.0.applied)
            .field("retry", &self.0.retry)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}
