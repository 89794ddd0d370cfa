//! Bugs that can be planted, one at a time, to see that the simulator finds them.
//!
//! Each breaks one of the rules that the design rests on. Without the feature `mutations`, which no release build has,
//! [`planted`] is a constant `false`, and nothing of a bug is left in the code.

/// A bug that can be planted, by the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// R1: proposals of a deposed leader are forwarded, taken and applied.
    NoAuthority,
    /// R2: a follower does not keep its promise.
    NoPromise,
    /// R3: a leader keeps its lease over a transfer.
    LeaseOverTransfer,
    /// R3: a lease is renewed once a transfer was given up.
    LeaseAfterTransfer,
    /// R4: an outcome that changed nothing is answered before what it saw is applied.
    OutcomeBeforeApplied,
    /// R5: a lease counts before the read index that granted it is applied.
    LeaseBeforeApplied,
    /// R5: the context of a question to the quorum is used again.
    ContextReused,
    /// R5: lease and data generation are not looked at again after the engine was read.
    NoSecondLook,
    /// R6: what a ready acknowledges leaves before the log has synced it.
    AckBeforeSync,
    /// R6: a vote, and what is said in a new term, leaves before the log has synced it.
    VoteBeforeSync,
    /// R7: an image leaves the overlay before the engine shows it.
    ImageLeavesEarly,
    /// R12: a restart believes the commit index as it was logged.
    CommitAsLogged,
    /// R13: the log says that a write is synced before it is.
    PersistedBeforeSync,
    /// R13: recovery takes damage below the synced position for the end of the log.
    DamageIsTheEnd,
    /// R13: a segment is freed with the last hard state of a group in it.
    HardStateFreed,
    /// R13: a failed sync is tried again, and then believed.
    SyncTriedAgain,
    /// R12: the applied index is written in a batch of its own, before the data.
    AppliedApart,
    /// R18: a replica serves as soon as its snapshot is loaded, though its items are as of different entries.
    SnapshotServedEarly,
    /// R18: an installation that a crash has cut off is taken for a finished one.
    InstallNotRedone,
}

impl Mutation {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::NoAuthority,
        Self::NoPromise,
        Self::LeaseOverTransfer,
        Self::LeaseAfterTransfer,
        Self::OutcomeBeforeApplied,
        Self::LeaseBeforeApplied,
        Self::ContextReused,
        Self::NoSecondLook,
        Self::AckBeforeSync,
        Self::VoteBeforeSync,
        Self::ImageLeavesEarly,
        Self::CommitAsLogged,
        Self::PersistedBeforeSync,
        Self::DamageIsTheEnd,
        Self::HardStateFreed,
        Self::SyncTriedAgain,
        Self::AppliedApart,
        Self::SnapshotServedEarly,
        Self::InstallNotRedone,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, or none.
#[cfg(feature = "mutations")]
pub fn plant(mutation: Option<Mutation>) {
    PLANTED.set(mutation);
}

/// Whether this bug is planted in this thread.
#[cfg(feature = "mutations")]
#[must_use]
pub fn planted(mutation: Mutation) -> bool {
    PLANTED.get() == Some(mutation)
}

/// Whether this bug is planted in this thread: never, in this build.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
#[must_use]
pub const fn planted(_: Mutation) -> bool {
    false
}
