//! When to send a request again, and after what pause: a pure function of what failed.
//!
//! Sent again is what was surely not applied, and what only reads. A write whose fate is unknown goes back to the caller,
//! for even a plain put is not idempotent: A's put, B's put, A's put sent again leave A's item where B's should be. Who
//! knows better may opt in.
//!
//! Pauses grow exponentially and are drawn from all of their range ("full jitter"), so that callers who failed together do
//! not come back together. No pause reaches past the deadline: then it is better to answer at once.

use std::time::Duration;

use stator_model::error::{Applied, Error, ErrorKind, Retry};
use stator_proto::operation::Effect;

#[cfg(test)]
mod tests;

/// When to send a request again.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use stator_client::transport::BoxFuture;
/// use stator_client::{
///     Answer, CallOptions, Client, ErrorKind, ModelError, Request, RetryPolicy, Transport,
/// };
///
/// /// A database that has too much to do, and counts how often it is asked.
/// struct Busy(Arc<AtomicU32>);
///
/// impl Transport for Busy {
///     fn call(&self, _: Request, _: CallOptions) -> BoxFuture<'_, Result<Answer, ModelError>> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Box::pin(async { Err(ModelError::new(ErrorKind::Throttling, "Later")) })
///     }
/// }
///
/// let asked = Arc::new(AtomicU32::new(0));
/// let policy = RetryPolicy::default().with_attempts_max(3);
/// let client = Client::builder(Busy(asked.clone())).retry(policy).build();
/// let error = client.list_tables().send().await.expect_err("it never has time");
/// assert!(error.is_throttled() && asked.load(Ordering::Relaxed) == 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often a request is sent, the first time included.
    pub attempts_max: u32,
    /// The longest first pause; each later one may be twice as long.
    pub pause_base: Duration,
    /// No pause is longer, unless the database asked for it.
    pub pause_max: Duration,
    /// How long one attempt of a read may take before another node is asked. Writes get all of their time at once, for
    /// giving up on one makes it uncertain.
    pub read_attempt_timeout: Duration,
    /// Whether a write that may have been applied is sent again. It may then be applied twice.
    pub resend_uncertain_writes: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            pause_base: Duration::from_millis(10),
            pause_max: Duration::from_secs(1),
            read_attempt_timeout: Duration::from_secs(2),
            resend_uncertain_writes: false,
        }
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send the request again after this pause.
    Wait(Duration),
    /// Give the error to the caller.
    Stop,
}

impl RetryPolicy {
    /// Sends nothing twice.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// The same policy with another bound on how often a request is sent.
    #[must_use]
    pub fn with_attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = attempts;
        self
    }

    /// The same policy, sending (or not) writes again that may have been applied.
    #[must_use]
    pub fn with_resend_uncertain_writes(mut self, resend: bool) -> Self {
        self.resend_uncertain_writes = resend;
        self
    }

    /// Decides about a request of this effect that failed with `error` at its attempt number `attempt`, counted from 1,
    /// and has `remaining` of its time left. `jitter` is drawn evenly from 0 to 1.
    #[must_use]
    pub fn decide(
        &self,
        error: &Error,
        effect: Effect,
        attempt: u32,
        remaining: Duration,
        jitter: f64,
    ) -> Decision {
        let reads = effect == Effect::Read;
        let may_resend = error.applied() == Applied::No || reads || self.resend_uncertain_writes;
        if attempt >= self.attempts_max || !may_resend {
            return Decision::Stop;
        }
        let growing = self.backoff(attempt).mul_f64(jitter.clamp(0.0, 1.0));
        // What was asked to wait comes at the earliest after half of that pause.
        let asked = |pause: Duration| pause / 2 + pause.mul_f64(jitter.clamp(0.0, 1.0));
        let pause = match error.retry() {
            // Another node may do better at once; the second time it is time to be patient.
            Retry::Now | Retry::Elsewhere if attempt == 1 => Duration::ZERO,
            Retry::Now | Retry::Elsewhere => growing,
            Retry::After(pause) => asked(pause).max(growing),
            Retry::Never if self.worth_another_node(error, reads) => growing,
            Retry::Never => return Decision::Stop,
        };
        if pause < remaining { Decision::Wait(pause) } else { Decision::Stop }
    }

    /// Errors that say nothing of sending again, for nobody answered at all.
    fn worth_another_node(&self, error: &Error, reads: bool) -> bool {
        match error.kind() {
            ErrorKind::Uncertain => true,
            ErrorKind::DeadlineExceeded => reads,
            _ => error.applied() == Applied::Unknown && !reads,
        }
    }

    /// The longest pause after this attempt.
    fn backoff(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        self.pause_base.saturating_mul(1 << doublings).min(self.pause_max)
    }
}
