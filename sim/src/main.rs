//! Runs seeds of the simulator: `stator-sim --seeds 5000 [--from N] [--threads N] [--first]`, or one of them, `stator-sim --seed N [--trace]`.

#![allow(clippy::print_stdout, reason = "this is a program for a terminal")]

use std::process::ExitCode;
use std::time::Instant;

use stator_sim::{Outcome, Reached, Sink, all_cores, run, run_many};

fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments.run(),
        Err(what) => {
            println!(
                "{what}\nusage: stator-sim --seeds COUNT [--from SEED] [--threads COUNT] [--first] | --seed SEED [--trace]"
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
    /// All cores are used unless it is said how many.
    threads: Option<usize>,
    /// Whether the first failure ends it.
    first: bool,
    planted: bool,
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
                "--threads" => arguments.threads = Some(usize::try_from(number()?).unwrap_or(1)),
                "--first" => arguments.first = true,
                "--trace" => arguments.trace = true,
                #[cfg(feature = "mutations")]
                "--mutation" => {
                    plant(&words.next().unwrap_or_default())?;
                    arguments.planted = true;
                }
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

    #[expect(
        clippy::disallowed_methods,
        reason = "how long the seeds took is for who runs them, and for no seed"
    )]
    fn run_many(&self) -> ExitCode {
        let begun = Instant::now();
        let mut reached = Reached::default();
        let (mut run, mut failed, mut fewest) = (0, 0, u64::MAX);
        let each = |outcome: Outcome| {
            run += 1;
            reached.merge(&outcome.reached);
            fewest = fewest.min(outcome.reached.count("operations"));
            let Some(failure) = outcome.failure else { return true };
            failed += 1;
            let seed = outcome.seed;
            println!("seed {seed} FAILED {failure}");
            println!("  cargo run -p stator-sim -- --seed {seed} --trace");
            !self.first
        };
        // A bug is planted in one thread only.
        let threads = if self.planted { 1 } else { self.threads.unwrap_or_else(all_cores) };
        run_many(self.from..self.from.saturating_add(self.count), threads, each);
        println!("{reached}");
        println!(
            "{run} seeds of {fewest} operations or more, {failed} failed, {:.1} s; never reached: {:?}",
            begun.elapsed().as_secs_f64(),
            reached.missing()
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
