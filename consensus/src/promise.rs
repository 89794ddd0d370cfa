//! The promise behind a leader's lease, kept in front of raft-rs (R2).
//!
//! A lease is safe because a quorum has promised to elect nobody else for a while. raft-rs forgets that promise on a restart, and
//! on any message of a higher term. So the host keeps it by the monotonic clock: until one election timeout after a leader's
//! message was last let into the replica, and after the process started, vote requests are dropped whatever their term (only
//! those of a leadership transfer pass), and the replica does not campaign. A group of one voter promises nothing to anybody.

/// A replica's promise, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    length_ns: u64,
    until_ns: u64,
}

impl Promise {
    /// A replica that starts at `now_ns`: it may have promised something just before it stopped.
    pub(crate) const fn new(now_ns: u64, length_ns: u64) -> Self {
        Self { length_ns, until_ns: now_ns.saturating_add(length_ns) }
    }

    /// A replica that cannot have promised anything: it was just made, or votes alone.
    pub(crate) const fn none(length_ns: u64) -> Self {
        Self { length_ns, until_ns: 0 }
    }

    /// A leader's message is let in.
    pub(crate) fn renew(&mut self, now_ns: u64) {
        self.until_ns = self.until_ns.max(now_ns.saturating_add(self.length_ns));
    }

    /// Whether the promise binds.
    pub(crate) const fn binds(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }
}

#[cfg(test)]
mod tests;
