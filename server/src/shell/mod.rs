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

use stator_consensus::{Answer, Event};
use stator_storage::partition::{PartitionEvaluator, PartitionOutcome};
use tokio::sync::oneshot;

use crate::mailbox::Mailbox;

/// Whom a host answers.
pub(crate) type Token = oneshot::Sender<Answer<PartitionOutcome>>;
/// What a node's hosts are told.
pub(crate) type HostEvent = Event<PartitionEvaluator, Token>;
/// A host's mailbox.
pub(crate) type HostMailbox = Mailbox<HostEvent>;
