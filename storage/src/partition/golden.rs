//! Golden scripts: stories of a partition in text, with all that it writes.
//!
//! A script is blocks of commands, one to a line, then `---`, then the trace that they gave, then an empty line. With
//! `UPDATE_GOLDEN=1` in the environment the traces are written anew; read the difference before you believe it.
//!
//! - `wall MS`: the wall clock of the turns from here on.
//! - `put P S V [if CONDITION [X]]`, `add P S V`, `delete P S`: evaluates a write. `entry`: seals the turn's entry into the
//!   log and shows it. `refuse`: refuses it.
//! - `apply [N]`: applies all of the log, or its next N entries, on the leader's replica. `heard`: tells the evaluator.
//! - `depose`: the leader loses its term, and with it what is not committed; a new term begins.
//! - `stray`: an entry of the term before, put into the log under this one. `counters`, `overlay`, `engine`: show.
//! - `snapshot BYTES`: begins one. `chunk`: reads one of it. `footer`: ends it. `install`: installs all of it on another
//!   replica. `follow`: applies the rest of the log there, and compares.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use stator_model::key::Key;

use super::entry::Entry;
use super::testing::*;
use super::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Change, Engine};
use crate::item::StoredItem;
use crate::key::EngineKey;
use crate::machine::{Applier, Committed, Draft, Evaluator};

/// The state of a script.
struct Script {
    leader: Leader,
    writer: Option<(SnapshotWriter, usize)>,
    frames: Vec<Bytes>,
    follower: Option<(Arc<MemoryEngine>, PartitionApplier)>,
    trace: String,
}

fn show_key(key: &Bytes) -> String {
    match EngineKey::decode(key).unwrap() {
        EngineKey::Item { key, .. } => {
            let attributes = Key::from_encoded(&schema(), key).unwrap().to_attributes(&schema());
            format!("{}/{}", attributes["p"].as_s().unwrap(), attributes["s"].as_n().unwrap())
        }
        other => format!("{other:?}"),
    }
}

fn show_stamp(time: u64) -> String {
    format!("{}ms+{}", time >> 16, time & 0xffff)
}

fn show_value(key: &Bytes, value: &Bytes) -> String {
    let stored = StoredItem::open(value, key).unwrap();
    format!("{} at {}", show_item(&stored.item), show_stamp(stored.stamp.time))
}

fn show_item(item: &stator_model::EncodedItem) -> String {
    let item = item.decode().unwrap();
    item.get("v").map_or("-".into(), |v| v.as_n().unwrap().to_string())
}

fn show_counters(counters: Counters) -> String {
    format!("{} items of {} bytes", counters.item_count, counters.size_bytes)
}

impl Script {
    fn new() -> Self {
        let leader = Leader::new(Arc::new(MemoryEngine::without_snapshots()), &spec());
        Self { leader, writer: None, frames: Vec::new(), follower: None, trace: String::new() }
    }

    fn say(&mut self, text: impl AsRef<str>) {
        writeln!(self.trace, "{}", text.as_ref()).unwrap();
    }

    fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<i64>().unwrap();
        match words[0] {
            "wall" => self.leader.draft.wall_ms = number(1).try_into().unwrap(),
            "put" if words.len() > 4 => {
                let (x, condition) = match words.last().unwrap().parse() {
                    Ok(x) => (Some(x), words[5..words.len() - 1].join(" ")),
                    Err(_) => (None, words[5..].join(" ")),
                };
                self.evaluate(put_if(words[1], number(2), number(3), &condition, x));
            }
            "put" => self.evaluate(put(words[1], number(2), number(3))),
            "add" => self.evaluate(add(words[1], number(2), number(3))),
            "delete" => self.evaluate(delete(words[1], number(2))),
            "entry" => self.entry(),
            "refuse" => self.refuse(),
            "apply" => self.apply(words.get(1).map_or(usize::MAX, |n| n.parse().unwrap())),
            "heard" => {
                let applied = self.leader.applier.mark().unwrap().index;
                self.leader.evaluator.applied(applied);
            }
            "depose" => self.depose(),
            "stray" => self.stray(),
            "counters" => {
                let (ahead, applied) = (
                    self.leader.evaluator.counters(),
                    self.leader.applier.record().unwrap().counters,
                );
                self.say(format!("ahead: {}", show_counters(ahead)));
                self.say(format!("applied: {}", show_counters(applied)));
            }
            "overlay" => self.say(format!("{} keys", self.leader.evaluator.overlay_len())),
            "engine" => self.engine(),
            "snapshot" => {
                let writer = self.leader.applier.begin_snapshot(1).unwrap();
                self.say(format!("S = {}", writer.header().mark.index));
                self.frames = vec![writer.header().encode()];
                self.writer = Some((writer, number(1).try_into().unwrap()));
            }
            "chunk" => self.chunk(),
            "footer" => {
                let (writer, _) = self.writer.take().unwrap();
                self.frames.push(writer.finish(&self.leader.applier).unwrap());
            }
            "install" => self.install(),
            "follow" => self.follow(),
            other => panic!("no command: {other}"),
        }
    }

    fn evaluate(&mut self, write: stator_model::write::PreparedWrite) {
        let (outcome, rests_on) = self.leader.evaluate(write);
        let outcome = match outcome {
            Ok(WriteAnswer { attributes: Some(item) }) => format!("ok {}", show_item(&item)),
            Ok(WriteAnswer { attributes: None }) => "ok".into(),
            Err(WriteError::Refused(error)) => {
                let item = error.item().map_or(String::new(), |it| format!(" {}", show_item(it)));
                format!("{}{item}", error.kind().name())
            }
            Err(WriteError::Moved { generation }) => format!("moved {generation}"),
        };
        self.say(format!("{outcome}, rests on {rests_on}"));
    }

    fn entry(&mut self) {
        let before = self.leader.log.len();
        self.leader.propose();
        if self.leader.log.len() == before {
            return self.say("nothing to propose");
        }
        let Committed { index, term, data } = self.leader.log[before].clone();
        let Entry { header, writes } = Entry::decode(index, &data).unwrap();
        self.say(format!(
            "entry {index} of term {term}, generation {}: after it {}, stamp {}",
            header.generation,
            show_counters(header.counters),
            show_stamp(header.highest_stamp)
        ));
        for write in writes {
            self.say(match &write {
                Change::Put(key, value) => {
                    format!("  put {} = {}", show_key(key), show_value(key, value))
                }
                Change::Delete(key) => format!("  delete {}", show_key(key)),
            });
        }
    }

    fn refuse(&mut self) {
        let draft = &mut self.leader.draft;
        self.leader.evaluator.refused(draft.index);
        *draft = Draft::new(draft.index, draft.term, draft.wall_ms);
    }

    fn apply(&mut self, count: usize) {
        let applied = self.leader.applier.mark().unwrap().index;
        let entries: Vec<_> = self.leader.after(applied).iter().take(count).cloned().collect();
        self.leader.applier.apply(&entries).unwrap();
        let mark = self.leader.applier.mark().unwrap();
        self.say(format!("applied {} of term {}", mark.index, mark.term));
    }

    fn depose(&mut self) {
        let leader = &mut self.leader;
        leader.evaluator.stop_leading();
        let last = leader.applier.mark().unwrap().index;
        leader.log.truncate(usize::try_from(last - FIRST).unwrap());
        let term = leader.draft.term + 1;
        let first = Committed { index: last + 1, term, data: Bytes::new() };
        leader.log.push(first.clone());
        leader.applier.apply(&[first]).unwrap();
        leader.evaluator.begin_leading(term).unwrap();
        leader.draft = Draft::new(last + 2, term, leader.draft.wall_ms);
        self.say(format!("leads term {term} from {}", last + 1));
    }

    fn stray(&mut self) {
        let leader = &mut self.leader;
        let (index, term) = (leader.draft.index, leader.draft.term);
        let mut payload = Vec::new();
        entry::push(&mut payload, &crate::key::item_key(7, &key("stray", 1)), Some(b"stray"));
        let header = entry::EntryHeader { term: term - 1, generation: 3, ..Default::default() };
        let data = entry::seal(payload, &header, 1);
        leader.log.push(Committed { index, term, data });
        leader.draft = Draft::new(index + 1, term, leader.draft.wall_ms);
    }

    fn engine(&mut self) {
        for (key, value) in pairs(self.leader.engine.as_ref(), &spec().items()) {
            self.say(format!("{} = {}", show_key(&key), show_value(&key, &value)));
        }
    }

    fn chunk(&mut self) {
        let (writer, bytes) = self.writer.as_mut().unwrap();
        let Some(chunk) = writer.next_chunk(*bytes).unwrap() else {
            return self.say("no more chunks");
        };
        let mut reader = SnapshotReader::new(&self.frames[0]).unwrap();
        self.frames[1..].iter().for_each(|frame| drop(reader.chunk(frame).unwrap()));
        let items = reader.chunk(&chunk).unwrap();
        self.frames.push(chunk);
        let shown: Vec<_> = items
            .iter()
            .map(|(key, value)| format!("{} = {}", show_key(key), show_value(key, value)))
            .collect();
        self.say(format!("chunk: {}", shown.join("; ")));
    }

    fn install(&mut self) {
        let engine = Arc::<MemoryEngine>::default();
        let mut applier = join(&engine, &spec());
        install(&mut applier, &self.frames).unwrap();
        let record = applier.record().unwrap();
        self.say(format!(
            "applied {} of term {}, complete from {}",
            record.mark.index, record.mark.term, record.complete_from
        ));
        self.follower = Some((engine, applier));
    }

    fn follow(&mut self) {
        let (engine, mut applier) = self.follower.take().unwrap();
        for entry in self.leader.after(applier.mark().unwrap().index) {
            let readable = applier.data_generation().note().is_some();
            applier.apply(std::slice::from_ref(entry)).unwrap();
            let now = applier.data_generation().note().is_some();
            if now != readable {
                writeln!(self.trace, "readable from {}", entry.index).unwrap();
            }
        }
        let sums = [engine.as_ref(), self.leader.engine.as_ref()]
            .map(|engine| checksum(engine as &dyn Engine, &spec()).unwrap().unwrap());
        let counted = sums[0].counted == sums[0].recorded;
        self.say(format!("equal: {}, counted: {counted}", sums[0] == sums[1]));
    }
}

/// Runs a script and gives it back with the traces that it gave.
fn replay(text: &str) -> String {
    let mut script = Script::new();
    let mut out = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let commands = block.split_once("\n---").map_or(block, |(commands, _)| commands);
        for line in commands.lines().filter(|line| !line.starts_with('#')) {
            script.run(line);
        }
        let trace = std::mem::take(&mut script.trace);
        write!(out, "{commands}\n---\n{trace}\n").unwrap();
    }
    out
}

fn check(name: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/partition/golden", name].iter().collect();
    let expected = std::fs::read_to_string(&path).unwrap();
    let actual = replay(&expected);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    for (line, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}, line {}", line + 1);
    }
    assert_eq!(actual, expected, "{name}");
}

#[test]
fn the_way_of_a_write() {
    check("writes.txt");
}

#[test]
fn leaders_come_and_go() {
    check("leaders.txt");
}

#[test]
fn a_snapshot_while_writes_go_on() {
    check("snapshot.txt");
}
