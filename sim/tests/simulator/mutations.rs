//! Planted bugs: each has to be found, soon, by schedules that know nothing of it. A simulator that finds nothing may only be blind.
//!
//! Each test says which seed found its bug and which invariant saw it; `--nocapture` shows the table.

use stator_sim::mutation::{Mutation, plant};
use stator_sim::{Violation, run};

/// In how many seeds a bug has to show.
const SEEDS: u64 = 200;

/// The first seed that fails with a bug planted, and how. A bug is planted in one thread, so tests may run side by side.
fn found(mutation: Mutation) -> Option<(u64, Violation)> {
    plant(Some(mutation));
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, None).failure?)));
    plant(None);
    found
}

macro_rules! mutations {
    ($($name:ident => $mutation:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let Some((seed, violation)) = found(Mutation::$mutation) else {
                    panic!("{SEEDS} seeds see nothing wrong");
                };
                println!(
                    "{:24} found by seed {seed:3}, {:12} {}",
                    stringify!($mutation), violation.invariant, stringify!($name),
                );
            }
        )*

        #[test]
        fn all_are_tried() {
            let tried = [$(Mutation::$mutation),*];
            assert!(Mutation::ALL.iter().all(|mutation| tried.contains(mutation)));
        }
    };
}

mutations! {
    r1_proposals_without_authority => NoAuthority,
    r2_a_promise_that_is_not_kept => NoPromise,
    r2_a_promise_lost_by_a_restart => PromiseLostByRestart,
    r3_a_lease_kept_over_a_transfer => LeaseOverTransfer,
    r3_a_lease_renewed_after_a_transfer_was_given_up => LeaseAfterTransfer,
    r4_an_outcome_before_what_it_saw_is_applied => OutcomeBeforeApplied,
    r4_an_outcome_without_a_lease => OutcomeWithoutLease,
    r5_a_lease_before_its_read_index_is_applied => LeaseBeforeApplied,
    r5_a_lease_from_the_answer_on => LeaseFromTheAnswer,
    r5_a_context_used_again => ContextReused,
    r5_no_second_look_at_the_lease => NoSecondLook,
    r5_data_replaced_under_a_reader => GenerationKept,
    r5_an_eventual_read_of_anything => EventualUnchecked,
    r6_an_acknowledgement_before_the_sync => AckBeforeSync,
    r6_a_vote_before_the_sync => VoteBeforeSync,
    r6_a_ready_that_overtakes_another => ReadyOvertakes,
    r6_a_leader_that_evaluates_too_soon => LeadsEarly,
    r7_an_image_that_leaves_early => ImageLeavesEarly,
    r7_an_image_of_a_refused_entry => RefusedImageStays,
    r8_a_removed_replica_made_again => RemovedMadeAgain,
    r8_data_deleted_before_the_tombstone => DeletedBeforeTombstone,
    r9_a_lost_snapshot_that_nobody_reports => SnapshotLossUnreported,
    r11_a_backlog_without_a_bound => BacklogUnbounded,
    r11_an_engine_that_is_not_restored => NotRestored,
    r14_a_replica_without_data_and_the_first_entries => EmptyTakesEntries,
    entries_behind_one_of_another_term => MatchesAnything,
    r12_the_commit_as_it_was_logged => CommitAsLogged,
    r12_the_applied_index_apart_from_the_data => AppliedApart,
    r12_a_hard_state_before_its_entries => HardStateFirst,
    r13_persisted_before_the_sync => PersistedBeforeSync,
    r13_damage_taken_for_the_end => DamageIsTheEnd,
    r13_a_hard_state_freed_with_its_segment => HardStateFreed,
    r13_a_sync_tried_again => SyncTriedAgain,
    r13_records_of_a_former_life => RecycledRecords,
    r13_a_directory_that_is_not_synced => DirectoryNotSynced,
    r16_durable_without_a_flush => DurableUnflushed,
    r18_a_snapshot_served_early => SnapshotServedEarly,
    r18_an_installation_not_redone => InstallNotRedone,
    r18_an_installation_before_the_log_says_so => InstallBeforeReset,
    r21_stamps_of_the_clock => StampOfTheClock,
    an_answer_before_the_commit => AnswerAtOnce,
    an_uncertain_write_said_to_be_undone => UncertainAsFailed,
}
