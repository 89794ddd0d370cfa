//! What somebody meets who has just heard of Stator: the README's first command, in a fresh clone.
//!
//! It is taken from the README as it stands there. At the small scale there is no clone and no build: the program that the tests have
//! gets what the command hands to it, and free ports besides.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Scale;
use crate::cluster::{connect, create, stator};
use crate::load::{key_per_partition, write_every_partition};
use crate::report::{Outcome, seconds};
use crate::support::{PATIENCE, directory, eventually, lines};

pub(crate) const CLAIM: &str = "A fresh clone: the README's first command, as it stands there, builds with nothing but Rust and a C compiler, and starts \
    a three-node cluster through which a table is made, written and read; Ctrl-C ends it in good order. Its second command, the tests, is CI's.";

const README: &str = include_str!("../../README.md");
const CI: &str = include_str!("../../.ci/run");
/// What the README's first command begins with; the rest is for the program.
const RUN: &str = "cargo run --release -- ";
/// How long a build may take, on a machine much slower than most.
const BUILD_PATIENCE: Duration = Duration::from_secs(60 * 60);
const PARTITIONS: u32 = 4;

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let [(first, about), (second, _)] = commands();
    let dir = directory();
    let begun = Instant::now();
    let command = match scale {
        Scale::Full => in_a_clone(dir.path(), first),
        Scale::Small => given(dir.path(), first),
    };
    outcome.figure("first command", format!("`{first}`"));
    let mut typed = Typed::start(command);
    let endpoints = typed.endpoints(scale.of(BUILD_PATIENCE, PATIENCE));
    outcome
        .figure(scale.of("cloned, built and ready after", "ready after"), seconds(begun.elapsed()));
    outcome.require(endpoints.len() == 3, format!("not three nodes: {endpoints:?}"));
    if scale == Scale::Full {
        let port = |endpoint: &String| {
            endpoint.rsplit(':').next().is_some_and(|port| about.contains(port))
        };
        outcome.require(
            endpoints.iter().all(port),
            format!("other ports than the README says: {endpoints:?}"),
        );
    }

    let (client, _) = connect(&endpoints);
    create(&client, "bars", PARTITIONS).await;
    let keys = key_per_partition(PARTITIONS);
    write_every_partition(&client, "bars", &keys).await;
    for key in &keys {
        let got = client.get_item().table_name("bars").key("id", key.as_str()).send().await;
        outcome.require(got.is_ok_and(|got| got.item.is_some()), format!("{key} cannot be read"));
    }
    outcome.require(typed.interrupt() == Some(0), "Ctrl-C did not end it in good order");
    if scale == Scale::Full {
        let left =
            git(&["-C", &dir.path().join("stator").to_string_lossy(), "status", "--porcelain"]);
        outcome.require(left.is_empty(), format!("what it leaves is in git's way: {left}"));
    }
    let runs_in_ci = CI.lines().any(|line| line.ends_with(&format!(" {second}")));
    outcome.require(runs_in_ci, format!("CI does not run `{second}`"));
    outcome
}

/// The README's two commands, and what it says of each.
fn commands() -> [(&'static str, &'static str); 2] {
    let (_, section) = README.split_once("## Two commands\n").expect("the heading");
    let block = section.split("```\n").nth(1).expect("a block of code");
    let line = |line: &'static str| line.split_once('#').expect("a comment");
    let lines: Vec<_> =
        block.lines().map(line).map(|(command, about)| (command.trim(), about)).collect();
    lines.try_into().expect("two commands")
}

/// The command in a clone of what is committed here, with nothing built.
fn in_a_clone(dir: &Path, command: &str) -> Command {
    let clone = dir.join("stator");
    git(&["clone", "--quiet", env!("CARGO_MANIFEST_DIR"), &clone.to_string_lossy()]);
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATOR_") {
            command.env_remove(name);
        }
    }
    for elsewhere in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_BUILD_DIR"] {
        command.env_remove(elsewhere);
    }
    command.args(words).current_dir(clone);
    command
}

/// What the command does once all is built.
fn given(dir: &Path, command: &str) -> Command {
    let arguments = command.strip_prefix(RUN).expect("the README's way to run the program");
    let mut command = stator(dir, Scale::Small);
    command.args(arguments.split(' ')).args(["--base-port", "0"]);
    command
}

/// What git prints.
fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A command as it runs in a terminal: in a group of processes of its own.
struct Typed(Child);

impl Typed {
    fn start(mut command: Command) -> Self {
        // What it complains about is seen, and how its build goes.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        Self(command.spawn().expect("the command starts"))
    }

    /// Where the nodes are, once it says that all is ready.
    fn endpoints(&mut self, patience: Duration) -> Vec<String> {
        let told = lines(self.0.stdout.take().expect("a pipe"));
        let mut endpoints = Vec::new();
        loop {
            match told.recv_timeout(patience).as_deref() {
                Ok("Ctrl-C ends it") => return endpoints,
                // `node 1: http://127.0.0.1:7400 (process 4711)`
                Ok(line) => endpoints.extend(
                    line.split(' ').find(|word| word.starts_with("http://")).map(str::to_owned),
                ),
                Err(RecvTimeoutError::Timeout) => panic!("it was not ready within {patience:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before it was ready"),
            }
        }
    }

    /// Ends it as Ctrl-C does; answers its exit code.
    fn interrupt(mut self) -> Option<i32> {
        self.signal(Signal::INT);
        let mut ended = None;
        eventually(|| {
            ended = self.0.try_wait().expect("waited");
            ended.is_some()
        });
        ended.and_then(|status| status.code())
    }

    /// Sends a signal to it and to all that it started in its group.
    fn signal(&self, signal: Signal) {
        let group =
            i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process number");
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            self.signal(Signal::KILL);
            let _ = self.0.wait();
        }
    }
}
