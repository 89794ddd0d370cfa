//! Runs seeds of the simulator: `stator-sim --seeds 5000 [--from N] [--first]`, or one of them, `stator-sim --seed N [--trace]`.

#![allow(clippy::print_stdout, reason = "this is a program for a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use stator_sim::{Reached, Sink, run};

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments.run(),
        Err(what) => {
            println!(
                "{what}\nusage: stator-sim --seeds COUNT [--from SEED] [--first] | --seed SEED [--trace]"
            );
            ExitCode::FAILURE
        }
    }
}

/// Plants a bug for all runs of this process.
#[cfg(feature = "mutations")]
fn plant(name: &str) -> Result<(), String> {
    use stator_sim::mutation::{Mutation, plant};
    let found = Mutation::ALL.iter().find(|mutation| format!("{mutation:?}") == name);
    let found = found.ok_or(format!("{name}: not one of {:?}", Mutation::ALL))?;
    plant(Some(*found));
    Ok(())
}

#[derive(Debug, Default)]
struct Arguments {
    seed: Option<u64>,
    trace: bool,
    count: u64,
    from: u64,
    /// Whether the first failure ends it.
    first: bool,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut number = || {
                let value = words.next().ok_or(format!("{word} needs a number"))?;
                value.parse().map_err(|_| format!("{word} {value}: not a number"))
            };
            match word.as_str() {
                "--seed" => arguments.seed = Some(number()?),
                "--seeds" => arguments.count = number()?,
                "--from" => arguments.from = number()?,
                "--first" => arguments.first = true,
                "--trace" => arguments.trace = true,
                #[cfg(feature = "mutations")]
                "--mutation" => plant(&words.next().unwrap_or_default())?,
                _ => return Err(format!("{word}: not an option")),
            }
        }
        if arguments.seed.is_none() && arguments.count == 0 {
            return Err("nothing to run".to_owned());
        }
        Ok(arguments)
    }

    fn run(&self) -> ExitCode {
        match self.seed {
            Some(seed) => self.run_one(seed),
            None => self.run_many(),
        }
    }

    fn run_one(&self, seed: u64) -> ExitCode {
        let print: Sink = Box::new(|line| println!("{line}"));
        let outcome = run(seed, self.trace.then_some(print));
        println!("{}", outcome.reached);
        println!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
        match outcome.failure {
            None => ExitCode::SUCCESS,
            Some(failure) => {
                println!("seed {seed} FAILED {failure}");
                ExitCode::FAILURE
            }
        }
    }

    fn run_many(&self) -> ExitCode {
        let begun = Instant::now();
        let mut reached = Reached::default();
        let mut failed = 0;
        let mut fewest = u64::MAX;
        for seed in self.from..self.from + self.count {
            let outcome = run(seed, None);
            reached.merge(&outcome.reached);
            fewest = fewest.min(outcome.reached.count("operations"));
            if let Some(failure) = outcome.failure {
                failed += 1;
                println!(
                    "seed {seed} FAILED {failure}\n  cargo run -p stator-sim -- --seed {seed} --trace"
                );
                if self.first {
                    break;
                }
            }
        }
        println!("{reached}");
        println!(
            "{} seeds of {fewest} operations or more, {failed} failed, {:.1} s; never reached: {:?}",
            self.count,
            begun.elapsed().as_secs_f64(),
            reached.missing()
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
