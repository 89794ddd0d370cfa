//! The state machine as consensus sees it: two halves that share no memory but the engine.
//!
//! The [`Evaluator`] lives on the host's thread and runs only while its replica leads: requests in, write sets and outcomes
//! out, judged against *engine + overlay*, where the overlay holds the images that entries proposed but not yet applied will
//! leave. The [`Applier`] lives on the apply thread of every replica: committed entries in, engine batches out, blind to values.
//!
//! Consensus drives them and knows nothing of items:
//!
//! ```text
//!            begin_leading(term)                       apply(entries)
//!   host ──▶ evaluate(request, draft)* ──▶ entry ──▶ Raft ──▶ applier ──▶ engine batch + applied mark
//!            applied(index) | refused(index) | stop_leading()
//! ```
//!
//! # Invariants
//! - An image leaves the overlay only after the engine batch with it is visible, and only if it is still that entry's (R7).
//! - Nothing is read and modified at apply: an entry holds absolute values only (R10).
//! - Apply skips an entry whose Raft term differs from the term it was evaluated under, or whose range generation is not the
//!   replica's (R1): blind to values, never to authority.

use bytes::Bytes;

use crate::error::Result;

/// A replica group: one per partition, never used again for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// The entry that a turn of the leader is filling. Its Raft index is known before it is proposed: one past the last.
#[derive(Debug)]
pub struct Draft {
    /// The index the entry will have.
    pub index: u64,
    /// The term under which it is evaluated.
    pub term: u64,
    /// The wall clock in milliseconds since the Unix epoch, as the shell read it for this turn.
    pub wall_ms: u64,
    /// What the evaluator has put in: opaque to consensus.
    pub payload: Vec<u8>,
    /// How many requests changed something.
    pub writes: u32,
}

impl Draft {
    /// An empty draft.
    #[must_use]
    pub const fn new(index: u64, term: u64, wall_ms: u64) -> Self {
        Self { index, term, wall_ms, payload: Vec::new(), writes: 0 }
    }

    /// Whether there is nothing to propose.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes == 0
    }
}

/// An evaluated request.
#[derive(Debug)]
pub struct Evaluated<O> {
    /// What the caller is to get, once everything it rests on has been applied.
    pub outcome: O,
    /// The highest index of an entry that the outcome rests on: the draft's own if the request wrote, that of an overlay
    /// image if it read one, zero if it saw applied data only (R4).
    pub rests_on: u64,
}

/// The leader's half.
pub trait Evaluator: Send + 'static {
    /// What callers submit.
    type Request: Send + 'static;
    /// What callers get.
    type Outcome: Send + 'static;

    /// About how many bytes the request may add to an entry: reserved before it is evaluated (R7).
    fn weight(&self, request: &Self::Request) -> usize;

    /// About how many bytes an outcome holds, which its entry need not carry: an item as it was before. Known only once it is
    /// evaluated, they count as the entry's do until it is applied.
    fn outcome_bytes(&self, _outcome: &Self::Outcome) -> usize {
        0
    }

    /// This replica leads this term from now on and has applied the term's first entry: take up the counters that the
    /// applied state holds, with an empty overlay.
    ///
    /// # Errors
    /// A fault of the engine: the replica stops.
    fn begin_leading(&mut self, term: u64) -> Result<()>;

    /// Evaluates a request against engine + overlay; what it changes goes into the draft and the overlay.
    ///
    /// # Errors
    /// A fault of the engine: the replica stops. What the caller did wrong is an outcome.
    fn evaluate(
        &mut self,
        request: Self::Request,
        draft: &mut Draft,
    ) -> Result<Evaluated<Self::Outcome>>;

    /// Writes the header that every entry has to the front of the draft's payload, and gives the entry's bytes.
    fn seal(&mut self, draft: Draft) -> Bytes;

    /// The entries up to this index are visible in the engine: their images leave the overlay.
    fn applied(&mut self, index: u64);

    /// The entry at this index was refused, and is certainly never going to be applied: its images leave the overlay, and
    /// counters go back to what they were before it (R7).
    fn refused(&mut self, index: u64);

    /// This replica leads no more: the overlay is dropped.
    fn stop_leading(&mut self);
}

/// A committed entry, on its way to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its index.
    pub index: u64,
    /// The term it was proposed in, as Raft's log says.
    pub term: u64,
    /// What [`Evaluator::seal`] gave; empty for an entry that Raft made itself.
    pub data: Bytes,
}

/// The mark that the engine keeps beside a replica's data, in the same batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedMark {
    /// The index of the last entry applied.
    pub index: u64,
    /// Its term (R12).
    pub term: u64,
    /// The voters of the group, by replica id.
    pub voters: Vec<u64>,
}

/// Every replica's half.
pub trait Applier: Send + 'static {
    /// Applies consecutive entries in one engine batch, together with the applied mark.
    ///
    /// # Errors
    /// `Error::Engine` or `Error::Full`: nothing was applied, the engine is to be reopened and the call made again with what
    /// follows the mark that it then holds. Anything else stops the replica.
    fn apply(&mut self, entries: &[Committed]) -> Result<()>;

    /// The mark as the engine holds it now.
    ///
    /// # Errors
    /// A fault of the engine, or a corrupt mark.
    fn mark(&self) -> Result<AppliedMark>;
}
