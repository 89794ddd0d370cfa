//! The threads of a node: each drives one pure core and waits for nothing but its own mailbox.
//!
//! - [`host`]: the consensus host. Events in, effects carried out; it never waits for the log, the engine or a peer.
//! - [`apply`]: committed entries into the engine (R11). A stalled engine stalls this thread alone.
//! - [`flush`]: makes the engine durable now and then, and tells the hosts what they may cut off their logs.
//!
//! The log's writer is the fourth; it lives with the log, in `storage`.

pub(crate) mod apply;
pub(crate) mod flush;
pub(crate) mod host;
#[cfg(test)]
mod scripted;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use stator_consensus::{Answer, Event};
use stator_storage::partition::{PartitionEvaluator, PartitionOutcome};
use tokio::sync::oneshot;

use crate::mailbox::Mailbox;

/// Told why the node cannot go on.
pub(crate) type Fatal = Arc<dyn Fn(String) + Send + Sync>;

/// A thread that ends by a panic takes the node with it: nobody would do its work.
pub(crate) struct FatalOnPanic(pub(crate) Fatal);

impl Drop for FatalOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("a thread").to_owned();
            (self.0)(format!("{name} panicked"));
        }
    }
}

/// The same for a task: nobody would notice that it is not there any more.
pub(crate) async fn fatal_on_panic(
    fatal: Fatal,
    what: &'static str,
    task: impl Future<Output = ()> + Send,
) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        fatal(format!("{what} panicked"));
    }
}

/// Whom a host answers.
pub(crate) struct Token {
    pub(crate) answer: oneshot::Sender<Answer<PartitionOutcome>>,
    pub(crate) claim: Claim,
}

/// A request, which only one can have: the host that begins with it, or the caller who gives it up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the request was still to be had, and now is the asker's.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// What a node's hosts are told.
pub(crate) type HostEvent = Event<PartitionEvaluator, Token>;
/// A host's mailbox.
pub(crate) type HostMailbox = Mailbox<HostEvent>;
