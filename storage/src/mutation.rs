//! Bugs that can be planted, one at a time, to see that the simulator finds them.
//!
//! Each breaks one of the rules that the design rests on. Without the feature `mutations`, which no other feature brings and which
//! does not compile without debug assertions, [`planted`] is a constant `false`, and nothing of a bug is left in the code.
//!
//! Some of them break a shell, and the simulator has shells of its own: found there, they show that its schedules and invariants see
//! such a bug, and nothing of the node's code. Those name their twin, a test that fails when the node's own code has the bug.
//!
//! That a host never waits for an engine (R11) has no bug here: hosts have no engine to wait for. What they owe to one that stalls is
//! the bound on what it is handed, and what a shell owes to one that fails is to restore it.

#[cfg(all(feature = "mutations", not(debug_assertions)))]
compile_error!(
    "the feature `mutations` plants bugs: a build without debug assertions must not have it"
);

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
    /// Twin: `an_outcome_rests_on_the_newest_entry_it_saw` in `storage/src/partition/evaluator/tests.rs`.
    OutcomeBeforeApplied,
    /// R5: a lease counts before the read index that granted it is applied.
    LeaseBeforeApplied,
    /// R5: the context of a question to the quorum is used again.
    ContextReused,
    /// R5: lease and data generation are not looked at again after the engine was read.
    /// Twin: `what_was_read_while_the_lease_ended_is_no_strong_read` in `server/src/serve/here_tests.rs`.
    NoSecondLook,
    /// R5: an eventually consistent read does not ask whether the replica's data are whole.
    /// Twin: `what_was_read_while_the_data_were_replaced_does_not_count` in `server/src/serve/here_tests.rs`.
    EventualUnchecked,
    /// R6: what a ready acknowledges leaves before the log has synced it.
    AckBeforeSync,
    /// R6: a vote, and what is said in a new term, leaves before the log has synced it.
    VoteBeforeSync,
    /// R7: an image leaves the overlay before the engine shows it.
    /// Twin: `an_applied_entry_leaves_the_images_of_later_ones` in `storage/src/partition/overlay/tests.rs`.
    ImageLeavesEarly,
    /// R11: what is handed to an applier that stalls has no bound.
    BacklogUnbounded,
    /// R11: what an engine that was opened again has lost is not applied again.
    /// Twin: `a_batch_that_failed_is_there_or_not_and_is_applied_once` in `server/src/shell/apply_tests.rs`.
    NotRestored,
    /// R14: a replica without data takes the group's first entries, instead of a snapshot.
    EmptyTakesEntries,
    /// A follower takes entries behind one that it has from another term.
    MatchesAnything,
    /// R12: a restart believes the commit index as it was logged.
    CommitAsLogged,
    /// R13: the log says that a write is synced before it is.
    /// Twin: `no_completion_runs_before_the_sync_that_covers_it` in `storage/src/log/writer/tests.rs`.
    PersistedBeforeSync,
    /// R13: recovery takes damage below the synced position for the end of the log.
    DamageIsTheEnd,
    /// R13: a segment is freed with the last hard state of a group in it.
    HardStateFreed,
    /// R13: a failed sync is tried again, and then believed.
    /// Twin: `a_failed_sync_reaches_every_completion_and_is_not_tried_again` in `storage/src/log/writer/tests.rs`.
    SyncTriedAgain,
    /// R12: the applied index is written in a batch of its own, before the data.
    /// Twin: `data_and_mark_are_one_batch` in `storage/src/partition/applier/tests.rs`.
    AppliedApart,
    /// R18: a replica serves as soon as its snapshot is loaded, though its items are as of different entries.
    /// Twin: `nobody_reads_before_the_senders_end_is_applied` in `storage/src/partition/install/tests.rs`.
    SnapshotServedEarly,
    /// R18: an installation that a crash has cut off is taken for a finished one.
    /// Twin: `an_installation_is_begun_again_after_a_crash_at_any_step` in `server/src/snapshots/tests.rs`.
    InstallNotRedone,
    /// R2: a restart forgets the promise.
    PromiseLostByRestart,
    /// R4: an outcome that changed nothing is answered without a lease and without asking.
    OutcomeWithoutLease,
    /// R5: a lease counts from the answer, not from the asking.
    LeaseFromTheAnswer,
    /// R5: data that is replaced under a reader keeps its generation.
    GenerationKept,
    /// R6: a ready with nothing to write does not wait for those before it.
    ReadyOvertakes,
    /// A new leader evaluates before it has applied its own term's first entry.
    LeadsEarly,
    /// R7: the images of a refused entry stay in the overlay.
    RefusedImageStays,
    /// What was proposed by a leader that is deposed is answered as surely not done.
    UncertainAsFailed,
    /// A write is answered when it is proposed.
    AnswerAtOnce,
    /// R8: a replica that was removed is made again.
    /// Twin: `what_is_removed_leaves_nothing_and_is_never_made_again` in `server/src/node/replica_life_tests.rs`.
    RemovedMadeAgain,
    /// R8: the data of a removed replica are deleted before the log has synced that it is.
    /// Twin: `data_are_kept_until_the_log_knows_that_they_go` in `server/src/node/replica_life_tests.rs`.
    DeletedBeforeTombstone,
    /// R9: raft-rs is not told that a snapshot was lost.
    SnapshotLossUnreported,
    /// R12: in a batch, hard states are written before the entries.
    HardStateFirst,
    /// R13: the checksums of a segment used again are those of its former life.
    RecycledRecords,
    /// R13: new files count before their directory is synced.
    DirectoryNotSynced,
    /// R16: what is applied is said to be durable without a flush of the engine.
    /// Twin: `a_flush_that_fails_makes_nothing_durable` in `server/src/shell/flush_tests.rs`.
    DurableUnflushed,
    /// R18: a snapshot is installed before the log says so.
    InstallBeforeReset,
    /// R21: stamps are what the wall clock says.
    StampOfTheClock,
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
        Self::EventualUnchecked,
        Self::AckBeforeSync,
        Self::VoteBeforeSync,
        Self::ImageLeavesEarly,
        Self::BacklogUnbounded,
        Self::NotRestored,
        Self::EmptyTakesEntries,
        Self::MatchesAnything,
        Self::CommitAsLogged,
        Self::PersistedBeforeSync,
        Self::DamageIsTheEnd,
        Self::HardStateFreed,
        Self::SyncTriedAgain,
        Self::AppliedApart,
        Self::SnapshotServedEarly,
        Self::InstallNotRedone,
        Self::PromiseLostByRestart,
        Self::OutcomeWithoutLease,
        Self::LeaseFromTheAnswer,
        Self::GenerationKept,
        Self::ReadyOvertakes,
        Self::LeadsEarly,
        Self::RefusedImageStays,
        Self::UncertainAsFailed,
        Self::AnswerAtOnce,
        Self::RemovedMadeAgain,
        Self::DeletedBeforeTombstone,
        Self::SnapshotLossUnreported,
        Self::HardStateFirst,
        Self::RecycledRecords,
        Self::DirectoryNotSynced,
        Self::DurableUnflushed,
        Self::InstallBeforeReset,
        Self::StampOfTheClock,
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
