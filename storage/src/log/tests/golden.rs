//! Golden scripts: commands, `---`, and everything that goes to the disk for them. `UPDATE_GOLDEN=1` writes them anew.
//!
//! ```text
//! open                            opens the log on the disk as it is
//! stage RECORD, RECORD...         g1 entry 11@1 100 | g1 hard 1 0 10 | g1 truncate 11@1 | g1 reset 10@1 | g1 tombstone
//! flush [OPS]                     does all writes; or the first operations of the next one
//! close                           writes the last mark
//! crash MODE [SEED]               lose-all, keep-all, prefix or pages: a power cut; `open` comes next
//! fail OP AFTER KIND              plans a fault: create, write or sync; full or broken
//! damage FILE OFFSET              flips a bit, durably
//! groups | read GROUP FROM TO | pressure | stats
//! ```

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Crash, CrashDisk, Fault, FaultOp};
use crate::error::Result;
use crate::log::tests::node::Node;
use crate::log::tests::trace::TraceDisk;
use crate::log::tests::{entry, hard, reset, small, tombstone, truncate};
use crate::log::{Record, Recovery};

struct Script {
    disk: CrashDisk,
    door: TraceDisk,
    node: Option<Node>,
    found: Recovery,
}

impl Script {
    fn new() -> Self {
        let disk = CrashDisk::new();
        let door = TraceDisk::new(&disk);
        Self { disk, door, node: None, found: Recovery::default() }
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("the log is open")
    }

    fn run(&mut self, command: &str) -> Vec<String> {
        let result = self.command(command);
        let mut lines = self.door.take();
        match result {
            Ok(more) => lines.extend(more),
            Err(error) => lines.push(format!("error: {error}")),
        }
        lines
    }

    fn command(&mut self, command: &str) -> Result<Vec<String>> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words: Vec<_> = rest.split(' ').collect();
        let number = |at: usize| words.get(at).map_or(0, |word| word.parse().unwrap());
        match verb {
            "open" => {
                self.node = None;
                let door = Arc::new(self.door.clone());
                let (node, found) = Node::open_on(&self.disk, door, &small())?;
                (self.node, self.found) = (Some(node), found);
                let torn = if self.found.torn { ", torn" } else { "" };
                Ok(vec![format!("opened{torn}")])
            }
            "stage" => {
                let batch: Vec<_> = rest.split(", ").map(record).collect();
                let node = self.node();
                node.core.stage(&batch)?;
                Ok(vec![format!("staged for write {}", node.core.staging())])
            }
            "flush" if rest.is_empty() => self.node().flush().map(|()| vec!["flushed".to_owned()]),
            "flush" => {
                let done = self.node().flush_part(number(0) as usize)?;
                Ok(vec![format!("did {done} operations")])
            }
            "close" => {
                let node = self.node();
                if let Some(write) = node.core.flush_mark() {
                    node.files.perform_all(&write)?;
                    node.core.completed(write);
                }
                self.node = None;
                Ok(vec![])
            }
            "crash" => {
                self.disk = self.disk.crash(match words[0] {
                    "lose-all" => Crash::LoseAll,
                    "keep-all" => Crash::KeepAll,
                    "prefix" => Crash::Prefix(number(1)),
                    "pages" => Crash::Pages(number(1)),
                    other => panic!("{other}"),
                });
                (self.door, self.node) = (TraceDisk::new(&self.disk), None);
                Ok(vec![])
            }
            "fail" => {
                let op = match words[0] {
                    "create" => FaultOp::Create,
                    "write" => FaultOp::Write,
                    "sync" => FaultOp::Sync,
                    other => panic!("{other}"),
                };
                let full = words[2] == "full";
                let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Other };
                self.disk.fail(Fault { op, after: number(1), times: 1, kind });
                Ok(vec![])
            }
            "damage" => {
                assert!(self.disk.damage(words[0], number(1), |byte| byte ^ 4), "no such byte");
                Ok(vec![])
            }
            "groups" => Ok(self.groups()),
            "read" => {
                let read = self.node().entries(number(0), number(1)..number(2))?;
                let text = |it: &crate::log::LogEntry| {
                    format!("{}@{} {} B", it.index, it.term, it.data.len())
                };
                Ok(read.iter().map(text).collect())
            }
            "pressure" => {
                let pressure = self.node().core.pressure();
                let text =
                    pressure.iter().map(|it| format!("g{} through {}", it.group.0, it.truncate_to));
                Ok(text.collect())
            }
            "stats" => {
                let it = self.node().core.stats();
                Ok(vec![format!(
                    "{} B in files, {} B live, {} segments, {} spare, {} rewritten",
                    it.file_bytes, it.live_bytes, it.segments, it.spares, it.rewritten
                )])
            }
            other => panic!("no such command: {other}"),
        }
    }

    fn groups(&self) -> Vec<String> {
        let groups = self.found.groups.iter();
        let text = groups.map(|(id, it)| {
            if it.tombstone {
                return format!("g{} removed", id.0);
            }
            let (hard, mark) = (it.hard_state, it.mark);
            format!(
                "g{} hard {} {} {}, mark {}@{}, terms {:?}",
                id.0, hard.term, hard.vote, hard.commit, mark.index, mark.term, it.terms
            )
        });
        text.collect()
    }
}

fn record(text: &str) -> Record {
    let words: Vec<_> = text.split([' ', '@']).collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let group = words[0].strip_prefix('g').unwrap().parse().unwrap();
    match words[1] {
        "entry" => entry(group, number(2), number(3), vec![7; number(4) as usize]),
        "hard" => hard(group, number(2), number(3), number(4)),
        "truncate" => truncate(group, number(2), number(3)),
        "reset" => reset(group, number(2), number(3)),
        "tombstone" => tombstone(group),
        other => panic!("no such record: {other}"),
    }
}

/// Runs a script and gives it back with what happened.
fn replay(script: &str) -> String {
    let mut run = Script::new();
    let mut out = String::new();
    for block in script.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let commands = block.split("\n---").next().unwrap_or_default();
        let mut happened = Vec::new();
        for line in commands.lines() {
            out.push_str(line);
            out.push('\n');
            if !line.starts_with('#') {
                happened.extend(run.run(line));
            }
        }
        if commands.lines().any(|line| !line.starts_with('#')) {
            out.push_str("---\n");
        }
        for line in happened {
            out.push_str(&line);
            out.push('\n');
        }
        out.push('\n');
    }
    out.trim_end().to_owned() + "\n"
}

fn golden(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/log/tests/scripts");
    let path = folder.join(name);
    let script = std::fs::read_to_string(&path).unwrap();
    let happened = replay(&script);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, happened).unwrap();
    } else {
        assert_eq!(script, happened, "{name}: another trace");
    }
}

#[test]
fn a_log_is_made_written_and_opened_again() {
    golden("life.txt");
}

#[test]
fn a_torn_tail_is_cut_and_corruption_is_refused() {
    golden("damage.txt");
}

#[test]
fn segments_are_released_and_recycled() {
    golden("segments.txt");
}

#[test]
fn a_full_log_takes_what_makes_room() {
    golden("full.txt");
}

#[test]
fn a_failed_sync_stops_the_log() {
    golden("faults.txt");
}
