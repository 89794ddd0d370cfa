//! Planted bugs: each has to be found, soon. A simulator that finds nothing may only be blind.

use stator_sim::mutation::{Mutation, plant};
use stator_sim::run;

/// In how many seeds a bug has to show.
const SEEDS: u64 = 200;

/// The first seed that fails with a bug planted, and how.
fn found(mutation: Mutation) -> Option<(u64, String)> {
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
                let found = found(Mutation::$mutation);
                assert!(found.is_some(), "{SEEDS} seeds see nothing wrong");
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
    r3_a_lease_kept_over_a_transfer => LeaseOverTransfer,
    r3_a_lease_renewed_after_a_transfer_was_given_up => LeaseAfterTransfer,
    r4_an_outcome_before_what_it_saw_is_applied => OutcomeBeforeApplied,
    r5_a_lease_before_its_read_index_is_applied => LeaseBeforeApplied,
    r5_a_context_used_again => ContextReused,
    r5_no_second_look_at_the_lease => NoSecondLook,
    r6_an_acknowledgement_before_the_sync => AckBeforeSync,
    r6_a_vote_before_the_sync => VoteBeforeSync,
    r7_an_image_that_leaves_early => ImageLeavesEarly,
    r12_the_commit_as_it_was_logged => CommitAsLogged,
    r12_the_applied_index_apart_from_the_data => AppliedApart,
    r13_persisted_before_the_sync => PersistedBeforeSync,
    r13_damage_taken_for_the_end => DamageIsTheEnd,
    r13_a_hard_state_freed_with_its_segment => HardStateFreed,
    r13_a_sync_tried_again => SyncTriedAgain,
    r18_a_snapshot_served_early => SnapshotServedEarly,
    r18_an_installation_not_redone => InstallNotRedone,
}
