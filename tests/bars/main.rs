//! The bars: what Stator has to reach, measured on real processes.
//!
//! `scripts/bars.sh` runs them in full on a release build and writes `docs/bars.md`; `scripts/bars.sh kills idle` runs some. As a part
//! of `cargo test` they run at a small scale: what must come out is then required all the same, and how long it took is only told.
//!
//! A bar is a function that drives processes of its own and answers an [`Outcome`]: figures, and what was missed. They run one after
//! another, for each wants the machine to itself.

#![allow(clippy::print_stdout)]

mod catch_up;
mod clone;
mod cluster;
mod engines;
mod failover;
mod idle;
mod kills;
mod load;
mod memory;
mod report;
mod seeds;
mod start;
#[allow(dead_code)]
#[path = "../main/support.rs"]
mod support;

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Instant;

use report::{Outcome, Ran};

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As the bar says.
    Full,
    /// So that it is done in seconds, on a build that is not optimized.
    Small,
}

impl Scale {
    /// One of two, by the scale.
    pub(crate) fn of<T>(self, full: T, small: T) -> T {
        match self {
            Self::Full => full,
            Self::Small => small,
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A bar.
struct Bar {
    name: &'static str,
    /// What has to be reached.
    claim: &'static str,
    run: fn(Scale) -> Running,
    /// Whether it has a small scale.
    is_in_tests: bool,
}

const BARS: [Bar; 10] = [
    Bar { name: "clone", claim: clone::CLAIM, run: |s| Box::pin(clone::run(s)), is_in_tests: true },
    Bar { name: "start", claim: start::CLAIM, run: |s| Box::pin(start::run(s)), is_in_tests: true },
    Bar { name: "kills", claim: kills::CLAIM, run: |s| Box::pin(kills::run(s)), is_in_tests: true },
    Bar {
        name: "kills-sled",
        claim: kills::SLED_CLAIM,
        run: |s| Box::pin(kills::run_on_sled(s)),
        is_in_tests: true,
    },
    Bar {
        name: "failover",
        claim: failover::CLAIM,
        run: |s| Box::pin(failover::run(s)),
        is_in_tests: true,
    },
    // The simulator's own tests run its seeds.
    Bar {
        name: "seeds",
        claim: seeds::CLAIM,
        run: |s| Box::pin(seeds::run(s)),
        is_in_tests: false,
    },
    Bar {
        name: "catch-up",
        claim: catch_up::CLAIM,
        run: |s| Box::pin(catch_up::run(s)),
        is_in_tests: true,
    },
    Bar {
        name: "memory",
        claim: memory::CLAIM,
        run: |s| Box::pin(memory::run(s)),
        is_in_tests: true,
    },
    Bar { name: "idle", claim: idle::CLAIM, run: |s| Box::pin(idle::run(s)), is_in_tests: true },
    Bar {
        name: "engines",
        claim: engines::CLAIM,
        run: |s| Box::pin(engines::run(s)),
        is_in_tests: true,
    },
];

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let scale = match arguments.iter().position(|argument| argument == "--full") {
        Some(at) => {
            arguments.remove(at);
            Scale::Full
        }
        None => Scale::Small,
    };
    // What `cargo test` passes on to all test programs is not meant for this one.
    let names: Vec<_> = arguments.iter().filter(|name| !name.starts_with('-')).collect();
    let wanted = |bar: &&Bar| {
        let is_named = names.iter().any(|name| *name == bar.name);
        is_named || names.is_empty() && (scale == Scale::Full || bar.is_in_tests)
    };
    let ran: Vec<Ran> = BARS.iter().filter(wanted).map(|bar| run(bar, scale)).collect();
    if scale == Scale::Full {
        report::keep(&BARS.map(|bar| bar.name), &ran);
    }
    if ran.iter().all(|ran| ran.outcome.misses.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs a bar, and prints how it went.
fn run(bar: &Bar, scale: Scale) -> Ran {
    println!("{}: {}", bar.name, bar.claim);
    let begun = Instant::now();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let task = runtime.spawn((bar.run)(scale));
    // What a bar cannot do is a panic, which has been printed.
    let outcome = runtime.block_on(task).unwrap_or_else(|_| Outcome::panicked());
    let ran = Ran { name: bar.name, claim: bar.claim, outcome, took: begun.elapsed() };
    println!("{ran}\n");
    ran
}
