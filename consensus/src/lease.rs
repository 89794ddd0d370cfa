//! The leader's lease: strong reads without asking anybody (R2, R3, R5).
//!
//! `Lease` is the host's side; [`ReplicaView`] is what it shares with readers, who run on their callers' tasks:
//!
//! ```text
//! now := clock, after the request arrived
//! ticket := view.begin(now)?      -- the lease holds, and whose data this is
//! read the engine
//! view.holds(ticket, clock now)?  -- it still holds, of the same term and data; else once more, or by read index
//! ```
//!
//! # Invariants
//! - A lease ends no later than the shortest promise that a quorum gave for it: it counts from before the asking.
//! - It counts only once the replica has applied the read index that granted it.
//! - Once a leadership transfer may have begun, the leader holds no lease for the rest of its term.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use stator_storage::mutation::{Mutation, planted};

use crate::types::NodeId;

/// What readers see of a replica's lease and data.
#[derive(Debug, Default)]
pub struct ReplicaView {
    /// Until when the lease holds, in nanoseconds of the monotonic clock; 0 is never.
    until_ns: AtomicU64,
    /// The term of the lease.
    term: AtomicU64,
    /// Raised before the replica's data stops being what it was: a snapshot is installed, a range is given up.
    generation: AtomicU64,
    /// The index up to which the engine's content is visible.
    applied: AtomicU64,
    /// What an installed snapshot has to be brought to before the replica may be read at all (R18).
    readable_from: AtomicU64,
    /// Whether the engine's content is not whole: it is being replaced or restored.
    broken: AtomicBool,
    /// The node of the leader; 0 is unknown.
    leader: AtomicU64,
    /// Whether this replica leads and evaluates requests.
    serves: AtomicBool,
}

/// What a reader noted before it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTicket {
    term: u64,
    generation: u64,
}

impl ReplicaView {
    /// Begins a strong read under the lease, if it holds at `now_ns`.
    #[must_use]
    pub fn begin(&self, now_ns: u64) -> Option<ReadTicket> {
        let ticket =
            ReadTicket { term: self.term.load(SeqCst), generation: self.generation.load(SeqCst) };
        (now_ns < self.until_ns.load(SeqCst) && self.is_readable()).then_some(ticket)
    }

    /// Whether what was read since [`ReplicaView::begin`] may be answered.
    #[must_use]
    pub fn holds(&self, ticket: ReadTicket, now_ns: u64) -> bool {
        now_ns < self.until_ns.load(SeqCst)
            && self.term.load(SeqCst) == ticket.term
            && self.is_generation(ticket)
            && self.is_readable()
    }

    /// Begins a read that needs no lease: an eventually consistent one, or one that a read index has confirmed. `None` while
    /// the replica's data is being replaced.
    #[must_use]
    pub fn begin_unleased(&self) -> Option<ReadTicket> {
        let ticket = ReadTicket { term: 0, generation: self.generation.load(SeqCst) };
        self.is_readable().then_some(ticket)
    }

    /// Whether what was read since [`ReplicaView::begin_unleased`] is of one generation of the data.
    #[must_use]
    pub fn holds_unleased(&self, ticket: ReadTicket) -> bool {
        self.is_generation(ticket) && self.is_readable()
    }

    fn is_generation(&self, ticket: ReadTicket) -> bool {
        self.generation.load(SeqCst) == ticket.generation || planted(Mutation::GenerationKept)
    }

    fn is_readable(&self) -> bool {
        !self.broken.load(SeqCst) && self.applied.load(SeqCst) >= self.readable_from.load(SeqCst)
    }

    /// The index up to which entries are applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(SeqCst)
    }

    /// The leader's node, if it is known: where to send what this replica cannot serve.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self.leader.load(SeqCst) {
            0 => None,
            node => Some(NodeId(node)),
        }
    }

    /// Whether this replica leads and evaluates requests.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.serves.load(SeqCst)
    }

    pub(crate) fn set_serves(&self, serves: bool) {
        self.serves.store(serves, SeqCst);
    }

    pub(crate) fn set_leader(&self, leader: Option<NodeId>) {
        self.leader.store(leader.map_or(0, |node| node.0), SeqCst);
    }

    pub(crate) fn set_applied(&self, index: u64) {
        self.applied.store(index, SeqCst);
    }

    /// The data is about to be replaced or restored: whoever is reading it now has to begin again, and nobody reads or
    /// evaluates before [`ReplicaView::data_restored`], nor before `readable_from` is applied. For a snapshot that is the
    /// sender's applied index when the last chunk was cut (R18); for an engine that was reopened, what it held before.
    pub fn replace_data(&self, readable_from: u64) {
        self.broken.store(true, SeqCst);
        self.readable_from.fetch_max(readable_from, SeqCst);
        self.generation.fetch_add(1, SeqCst);
    }

    /// The data is whole again.
    pub fn data_restored(&self) {
        self.broken.store(false, SeqCst);
    }

    /// A snapshot that ends at this index will take the place of the data: nobody reads before.
    pub(crate) fn expect_snapshot(&self, index: u64) {
        self.readable_from.fetch_max(index, SeqCst);
        self.generation.fetch_add(1, SeqCst);
    }
}

/// The host's side of a replica's lease.
#[derive(Debug)]
pub(crate) struct Lease {
    view: Arc<ReplicaView>,
    length_ns: u64,
    term: u64,
    until_ns: u64,
    barred: bool,
    enabled: bool,
}

impl Lease {
    pub(crate) fn new(view: Arc<ReplicaView>, length_ns: u64, enabled: bool) -> Self {
        Self { view, length_ns, term: 0, until_ns: 0, barred: false, enabled }
    }

    pub(crate) fn view(&self) -> &Arc<ReplicaView> {
        &self.view
    }

    /// The replica leads this term from now on, without a lease so far.
    pub(crate) fn lead(&mut self, term: u64) {
        self.give_up();
        self.term = term;
        self.barred = false;
        self.view.term.store(term, SeqCst);
    }

    /// A quorum confirmed the leadership of `term`, asked at `asked_ns`, and what it confirmed is applied.
    pub(crate) fn grant(&mut self, term: u64, asked_ns: u64) {
        if self.enabled && !self.barred && term == self.term {
            self.extend(asked_ns.saturating_add(self.length_ns));
        }
    }

    /// The replica votes alone: nobody else can ever lead, so the lease lasts while it leads.
    pub(crate) fn grant_for_good(&mut self, term: u64) {
        if !self.barred && term == self.term {
            self.extend(u64::MAX);
        }
    }

    fn extend(&mut self, until_ns: u64) {
        if until_ns > self.until_ns {
            self.until_ns = until_ns;
            self.view.until_ns.store(until_ns, SeqCst);
        }
    }

    /// No lease for the rest of this term: a transfer is about to begin (R3).
    pub(crate) fn bar(&mut self) {
        self.give_up();
        self.barred = true;
    }

    /// The replica leads no more, or its lease is given up.
    pub(crate) fn give_up(&mut self) {
        self.until_ns = 0;
        self.view.until_ns.store(0, SeqCst);
    }

    pub(crate) fn holds(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Whether it is time to ask for more of it: half is gone.
    pub(crate) fn wants_renewal(&self, now_ns: u64) -> bool {
        self.enabled && !self.barred && now_ns.saturating_add(self.length_ns / 2) >= self.until_ns
    }
}

#[cfg(test)]
mod tests;
