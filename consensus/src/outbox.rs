//! What a replica may let out only once the log has synced it (R6).
//!
//! Every ready is numbered, and what it lets out leaves strictly in that order: a ready with nothing to write can carry an
//! acknowledgement of what an earlier one is still writing. raft-rs hears that a ready is persisted before anything of it leaves.

use std::collections::VecDeque;

/// A ready that waits for the log. `L` is what leaves with it.
#[derive(Debug)]
pub(crate) struct Held<L> {
    /// Its number, for raft-rs.
    pub(crate) number: u64,
    /// The turn whose log write covers it.
    pub(crate) turn: u64,
    /// The last entry it wrote, if it wrote any.
    pub(crate) last_index: Option<u64>,
    /// Whether it changed the term or the vote: until that is on disk, nothing of the new term may be said.
    pub(crate) votes: bool,
    /// What leaves.
    pub(crate) leaves: L,
}

#[derive(Debug)]
pub(crate) struct Outbox<L> {
    held: VecDeque<Held<L>>,
}

impl<L> Outbox<L> {
    pub(crate) const fn new() -> Self {
        Self { held: VecDeque::new() }
    }

    /// The turn that a ready which writes nothing has to wait for: that of the last one that waits.
    pub(crate) fn last_turn(&self) -> Option<u64> {
        self.held.back().map(|held| held.turn)
    }

    /// Whether no write is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a term or a vote waits to be synced.
    pub(crate) fn holds_vote(&self) -> bool {
        self.held.iter().any(|held| held.votes)
    }

    pub(crate) fn hold(&mut self, held: Held<L>) {
        self.held.push_back(held);
    }

    /// The entries from this index on are written anew in this turn. What an earlier ready wrote there is not on disk for as
    /// long as the overwriting may be half done, so those readies wait for it too: else a leader that sends the first
    /// entries once more would have them taken for synced.
    pub(crate) fn overwrite(&mut self, from_index: u64, turn: u64) {
        let wrote = |held: &Held<L>| held.last_index.is_some_and(|last| last >= from_index);
        if let Some(first) = self.held.iter().position(wrote) {
            self.held.iter_mut().skip(first).for_each(|held| held.turn = turn);
        }
    }

    /// The next ready that the log has synced, now that it has synced `turn`.
    pub(crate) fn release(&mut self, turn: u64) -> Option<Held<L>> {
        if self.held.front()?.turn <= turn { self.held.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests;
