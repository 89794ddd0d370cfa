//! Many seeds: none fails, and together they reach everything that a run is for.

use stator_sim::{Reached, run};

/// How many seeds are run unless `STATOR_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 60;

#[test]
fn seeds_pass_and_reach_everything() {
    let count = std::env::var("STATOR_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(SEEDS);
    let mut reached = Reached::default();
    let mut failures = String::new();
    for seed in 0..count {
        let outcome = run(seed, None);
        assert!(
            outcome.reached.count("operations") >= 1000
                && outcome.reached.count("crashes") >= 5
                && outcome.reached.count("network faults") >= 5
                || outcome.failure.is_some(),
            "seed {seed} comes to too little:\n{}",
            outcome.reached
        );
        reached.merge(&outcome.reached);
        if let Some(failure) = outcome.failure {
            failures += &format!(
                "seed {seed} failed {failure}\n  cargo run -p stator-sim -- --seed {seed} --trace\n"
            );
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(reached.missing(), [""; 0], "never reached in {count} seeds:\n{reached}");
}
