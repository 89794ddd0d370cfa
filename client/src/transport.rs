//! What a client speaks through: gRPC, or a call inside the process.

use std::sync::Arc;
use std::time::Instant;

pub use futures::future::BoxFuture;
use stator_model::{Answer, Request, Result};

/// How one request is to be sent.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// When the caller stops waiting. A request that was not begun by then must not be begun.
    pub deadline: Instant,
    /// The caller's name for the request, for logs; the same when it is sent again.
    pub request_id: Arc<str>,
}

/// A way to a database: one request in, its answer out.
///
/// A transport does not send again what may have been applied; that is the business of [`Client`](crate::Client), which
/// goes by what the error says of [`applied`](stator_model::Error::applied) and [`retry`](stator_model::Error::retry).
///
/// ```
/// use std::sync::Arc;
///
/// use stator_client::transport::BoxFuture;
/// use stator_client::{Answer, CallOptions, Client, ModelError, Request, Transport};
///
/// /// Tells of every request, and has another transport send it.
/// struct Told(Arc<dyn Transport>);
///
/// impl Transport for Told {
///     fn call(
///         &self,
///         request: Request,
///         options: CallOptions,
///     ) -> BoxFuture<'_, Result<Answer, ModelError>> {
///         println!("{} as {}", request.operation(), options.request_id);
///         self.0.call(request, options)
///     }
/// }
///
/// # fn example(transport: Arc<dyn Transport>) -> Client {
/// Client::new(Told(transport))
/// # }
/// ```
pub trait Transport: Send + Sync + 'static {
    /// Sends one request and waits for its answer, until the deadline. The answer is of the request's own operation.
    fn call(&self, request: Request, options: CallOptions) -> BoxFuture<'_, Result<Answer>>;
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn call(&self, request: Request, options: CallOptions) -> BoxFuture<'_, Result<Answer>> {
        (**self).call(request, options)
    }
}
