//! The one error type of this crate.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use stator_model::error::{Applied, ErrorKind};

/// How the errors begin that tell that no node was reached: they come from the transport alone, and never from a node.
pub(crate) const UNREACHED: &str = "No node can be reached";

/// Whether an attempt's time was over before it reached a node, of which it may not have tried all.
pub(crate) fn is_late(error: &stator_model::Error) -> bool {
    error.kind() == ErrorKind::DeadlineExceeded && error.message().starts_with(UNREACHED)
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong: the model's [`Error`](stator_model::Error), to which it dereferences, with questions that callers ask.
///
/// Two of its facts are not to be mixed up. A request that **failed** has changed nothing and never will. One that is
/// **uncertain** may have been applied, may be applied yet, or may not: read the item, or send a write that is right
/// either way.
///
/// ```
/// use stator_client::Error;
///
/// let refused = Error::from(stator_model::Error::conditional_check_failed(None));
/// assert!(refused.is_conditional_check_failed() && !refused.is_uncertain());
/// let lost = Error::from(stator_model::Error::uncertain("the connection broke"));
/// assert!(lost.is_uncertain());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    error: stator_model::Error,
    request_id: Option<Arc<str>>,
}

impl Error {
    /// That of a request by this name.
    pub(crate) fn of_request(error: stator_model::Error, request_id: Arc<str>) -> Self {
        Self { error, request_id: Some(request_id) }
    }

    /// What the request is called in the logs of the nodes that dealt with it, if it was sent to any.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Whether the request may have been applied all the same.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.applied() == Applied::Unknown
    }

    /// Whether the condition of a write did not hold.
    #[must_use]
    pub fn is_conditional_check_failed(&self) -> bool {
        self.kind() == ErrorKind::ConditionalCheckFailed
    }

    /// Whether there is no such table, or it is not yet ready.
    #[must_use]
    pub fn is_resource_not_found(&self) -> bool {
        self.kind() == ErrorKind::ResourceNotFound
    }

    /// Whether the table exists already, or is busy with another change.
    #[must_use]
    pub fn is_resource_in_use(&self) -> bool {
        self.kind() == ErrorKind::ResourceInUse
    }

    /// Whether the request is malformed, or over a limit.
    #[must_use]
    pub fn is_validation(&self) -> bool {
        self.kind() == ErrorKind::Validation
    }

    /// Whether the database takes no more at the moment.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Throttling
                | ErrorKind::ProvisionedThroughputExceeded
                | ErrorKind::LimitExceeded
        )
    }

    /// Whether nobody could be reached who may serve the request, or not in time.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded)
    }

    /// Whether no node was reached at all: the endpoints are wrong, or nothing runs there. Other errors that
    /// [`is_unavailable`](Self::is_unavailable) is true of come from a cluster that runs, as when too few of its nodes do, or from one that is slow to answer.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.is_unavailable() && self.message().starts_with(UNREACHED)
    }

    /// The model's error.
    #[must_use]
    pub fn into_inner(self) -> stator_model::Error {
        self.error
    }
}

impl Deref for Error {
    type Target = stator_model::Error;

    fn deref(&self) -> &stator_model::Error {
        &self.error
    }
}

impl From<stator_model::Error> for Error {
    fn from(error: stator_model::Error) -> Self {
        Self { error, request_id: None }
    }
}

impl From<Error> for stator_model::Error {
    fn from(error: Error) -> Self {
        error.error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        stator_model::Error::validation(message.to_string()).into()
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        stator_model::Error::validation(message.to_string()).into()
    }
}
