//! What a replica may let out only once the log has synced it (R6).
//!
//! Every ready is numbered, and its messages leave strictly in that order: a ready with nothing to write can carry an
//! acknowledgement of what an earlier one is still writing. raft-rs hears that a ready is persisted before its messages leave.

use std::collections::VecDeque;

/// A ready that waits for the log.
#[derive(Debug)]
pub(crate) struct Held<M> {
    /// Its number, for raft-rs.
    pub(crate) number: u64,
    /// The turn whose log write covers it.
    turn: u64,
    /// The last entry it wrote, if it wrote any: what is persisted once it leaves.
    pub(crate) last_index: Option<u64>,
    /// What leaves with it.
    pub(crate) messages: Vec<M>,
}

#[derive(Debug)]
pub(crate) struct Outbox<M> {
    held: VecDeque<Held<M>>,
}

impl<M> Outbox<M> {
    pub(crate) const fn new() -> Self {
        Self { held: VecDeque::new() }
    }

    /// The turn that a ready which writes nothing has to wait for: that of the last one that waits.
    pub(crate) fn last_turn(&self) -> Option<u64> {
        self.held.back().map(|held| held.turn)
    }

    /// Whether a write is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn hold(
        &mut self,
        number: u64,
        turn: u64,
        last_index: Option<u64>,
        messages: Vec<M>,
    ) {
        self.held.push_back(Held { number, turn, last_index, messages });
    }

    /// The next ready that the log has synced, now that it has synced `turn`.
    pub(crate) fn release(&mut self, turn: u64) -> Option<Held<M>> {
        if self.held.front()?.turn <= turn { self.held.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readies_leave_in_order_and_only_behind_their_turn() {
        let mut outbox = Outbox::new();
        outbox.hold(1, 7, Some(20), vec!["a"]);
        outbox.hold(2, 7, None, vec!["b"]);
        outbox.hold(3, 8, Some(21), vec!["c"]);
        assert!(outbox.release(6).is_none());
        assert_eq!(outbox.release(7).map(|held| held.number), Some(1));
        assert_eq!(outbox.release(7).map(|held| held.number), Some(2));
        assert!(outbox.release(7).is_none());
        assert_eq!(outbox.last_turn(), Some(8));
    }
}
