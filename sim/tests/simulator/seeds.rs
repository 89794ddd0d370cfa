//! Many seeds: none fails, and together they reach everything that a run is for.

use stator_sim::{Reached, all_cores, run_many};

/// How many seeds are run unless `STATOR_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;

#[test]
fn seeds_pass_and_reach_everything() {
    let count = std::env::var("STATOR_SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    let count = count.unwrap_or(SEEDS);
    let mut reached = Reached::default();
    let mut failures = Vec::new();
    run_many(0..count, all_cores(), |outcome| {
        let seed = outcome.seed;
        reached.merge(&outcome.reached);
        if let Some(failure) = outcome.failure {
            let again = format!("cargo run -p stator-sim -- --seed {seed} --trace");
            failures.push(format!("seed {seed} failed {failure}\n  {again}\n"));
        } else if !comes_to_enough(&outcome.reached) {
            failures.push(format!("seed {seed} comes to too little:\n{}", outcome.reached));
        }
        true
    });
    assert!(failures.is_empty(), "{}", failures.concat());
    assert_eq!(reached.missing(), [""; 0], "never reached in {count} seeds:\n{reached}");
    println!("what {count} seeds have reached:\n{reached}");
}

fn comes_to_enough(reached: &Reached) -> bool {
    reached.count("operations") >= 1000
        && reached.count("crashes") >= 5
        && reached.count("network faults") >= 5
}
