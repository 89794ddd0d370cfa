//! How bars went: in words on the terminal, and as `docs/bars.md`.
//!
//! The page keeps a section for each bar, so that one can be run anew by itself.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Scale;

/// What came out of a bar.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    figures: Vec<(String, String)>,
    /// What was required and not so.
    pub(crate) misses: Vec<String>,
}

impl Outcome {
    /// That of a bar that did not come to its end.
    pub(crate) fn panicked() -> Self {
        let misses = vec!["it came to no end; see above".to_owned()];
        Self { figures: Vec::new(), misses }
    }

    /// A figure to tell.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: impl Display) {
        let (name, value) = (name.into(), value.to_string());
        println!("  {name}: {value}");
        self.figures.push((name, value));
    }

    /// What must hold at every scale and on every machine.
    pub(crate) fn require(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.misses.push(what.into());
        }
    }

    /// What must hold in full: it takes an optimized build and a machine that does nothing else.
    pub(crate) fn require_in_full(&mut self, scale: Scale, holds: bool, what: impl Into<String>) {
        self.require(holds || scale == Scale::Small, what);
    }
}

/// A bar that was run.
pub(crate) struct Ran {
    pub(crate) name: &'static str,
    pub(crate) claim: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs();
        match self.outcome.misses.as_slice() {
            [] => write!(f, "PASS {} ({seconds} s)", self.name),
            misses => write!(f, "FAIL {} ({seconds} s): {}", self.name, misses.join("; ")),
        }
    }
}

/// Seconds, to the millisecond.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// Bytes, in MiB.
pub(crate) fn mib(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.0} MiB")
}

/// The middle one; the upper of two.
pub(crate) fn median<T: Ord + Copy>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

const HEAD: &str = "# Bars\n\nWhat has to be reached, and what was; written by `scripts/bars.sh`, each section by its last run in full. \
Seconds and shares of a core are those of the machine that is told; nothing else ran on it.\n";

/// Writes the sections of what ran into `docs/bars.md`, in this order, and leaves the others as they are.
pub(crate) fn keep(order: &[&str], ran: &[Ran]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bars.md");
    let before = fs::read_to_string(&file).unwrap_or_default();
    let mut page = HEAD.to_owned();
    for name in order {
        let kept =
            || before.split("\n## ").find(|section| section.starts_with(&format!("{name}\n")));
        let section = match ran.iter().find(|ran| ran.name == *name) {
            Some(ran) => section(ran),
            None => kept().map(|kept| kept.trim_end().to_owned()).unwrap_or_default(),
        };
        if !section.is_empty() {
            page += &format!("\n## {section}\n");
        }
    }
    fs::write(&file, page).expect("docs/bars.md is written");
}

fn section(ran: &Ran) -> String {
    let mut text = format!("{}\n{}\n\n", ran.name, ran.claim);
    text += &format!("**{ran}**, {}\n", machine());
    if !ran.outcome.figures.is_empty() {
        text += "\n| figure | value |\n|---|---|\n";
        for (name, value) in &ran.outcome.figures {
            text += &format!("| {name} | {value} |\n");
        }
    }
    text.trim_end().to_owned()
}

/// What ran, and on what.
fn machine() -> String {
    let version = Command::new(env!("CARGO_BIN_EXE_stator")).arg("--version").output();
    let version = version.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{}, {cores} cores, {}", version.unwrap_or_default(), model.map_or("", |model| model.1))
}
