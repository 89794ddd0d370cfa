//! Many seeds of the simulator.

use std::process::Command;
use std::time::Instant;

use crate::Scale;
use crate::report::{Outcome, seconds};

pub(crate) const CLAIM: &str = "5,000 seeds of the simulator without a violation, and a seed that is replayed gives the same trace hash. (300 seeds \
    and all planted bugs run in `cargo test` and CI.)";

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let count = scale.of(5_000, 20);
    let begun = Instant::now();
    let (ended_well, said) = simulator(&["--seeds", &count.to_string()]);
    outcome.figure(format!("{count} seeds took"), seconds(begun.elapsed()));
    outcome.figure("told", said.lines().last().unwrap_or_default());
    outcome.require(ended_well, format!("a violation: {said}"));
    for seed in ["1", "77"] {
        let (first, second) = (simulator(&["--seed", seed]), simulator(&["--seed", seed]));
        outcome.require(first.0 && first == second, format!("seed {seed} did not replay"));
        let hash = first.1.lines().find(|line| line.contains("hash")).unwrap_or_default();
        outcome.figure(format!("seed {seed}, twice"), hash.trim());
    }
    outcome
}

fn simulator(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--release", "-p", "stator-sim", "--"]).args(arguments);
    let ended = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("it runs");
    (ended.status.success(), String::from_utf8_lossy(&ended.stdout).into_owned())
}
