//! Random runs with crashes against a model: after every crash the log holds what the records give that were completed, and
//! of those that were not, a prefix.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::disk::Crash;
use crate::error::Error;
use crate::log::tests::node::Node;
use crate::log::tests::{entry, hard, reset, small, tombstone, truncate};
use crate::log::{GroupRecovery, LogEntry, Mark, Record, Recovery};
use crate::machine::GroupId;

/// What a run does next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Append {
        group: u64,
        count: u64,
        size: usize,
    },
    Overwrite {
        group: u64,
        back: u64,
        size: usize,
    },
    HardState {
        group: u64,
        vote: u64,
    },
    Truncate {
        group: u64,
        keep: u64,
    },
    TruncateAll,
    Reset {
        group: u64,
        ahead: u64,
    },
    Remove {
        group: u64,
    },
    Flush,
    /// A write during which the next batches are staged.
    FlushWhile {
        then: Vec<Step>,
    },
    /// Some operations of the write, then a power cut.
    CrashInWrite {
        ops: usize,
        crash: u8,
        seed: u64,
    },
    Crash {
        crash: u8,
        seed: u64,
    },
    /// A power cut in the middle of opening, after so many writes.
    CrashInOpen {
        writes: u64,
        crash: u8,
        seed: u64,
    },
    Close,
}

/// Steps that stage.
fn staging() -> impl Strategy<Value = Step> {
    let group = || 1..5_u64;
    let size = || prop_oneof![4 => 0..200_usize, 1 => 200..2500_usize];
    prop_oneof![
        24 => (group(), 1..5_u64, size())
            .prop_map(|(group, count, size)| Step::Append { group, count, size }),
        4 => (group(), 0..6_u64, size())
            .prop_map(|(group, back, size)| Step::Overwrite { group, back, size }),
        6 => (group(), 0..4_u64).prop_map(|(group, vote)| Step::HardState { group, vote }),
        6 => (group(), 0..6_u64).prop_map(|(group, keep)| Step::Truncate { group, keep }),
        3 => Just(Step::TruncateAll),
        1 => (group(), 0..20_u64).prop_map(|(group, ahead)| Step::Reset { group, ahead }),
        1 => (5..9_u64).prop_map(|group| Step::Remove { group }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        45 => staging(),
        12 => Just(Step::Flush),
        6 => prop::collection::vec(staging(), 1..6).prop_map(|then| Step::FlushWhile { then }),
        2 => (prop_oneof![3 => 0..3_usize, 1 => 3..9_usize], any::<u8>(), any::<u64>())
            .prop_map(|(ops, crash, seed)| Step::CrashInWrite { ops, crash, seed }),
        1 => (any::<u8>(), any::<u64>()).prop_map(|(crash, seed)| Step::Crash { crash, seed }),
        1 => (0..6_u64, any::<u8>(), any::<u64>())
            .prop_map(|(writes, crash, seed)| Step::CrashInOpen { writes, crash, seed }),
        1 => Just(Step::Close),
    ]
}

fn crash_of(kind: u8, seed: u64) -> Crash {
    match kind % 6 {
        0 => Crash::LoseAll,
        1 => Crash::KeepAll,
        2 | 3 => Crash::Prefix(seed),
        _ => Crash::Pages(seed),
    }
}

/// What the records give, entries with their data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model(BTreeMap<GroupId, (GroupRecovery, Vec<LogEntry>)>);

impl Model {
    fn apply(&mut self, record: &Record) {
        let (group, entries) = self.0.entry(record.group()).or_default();
        match record {
            Record::Entry { entry, .. } => {
                entries.retain(|before| before.index < entry.index);
                entries.push(entry.clone());
            }
            Record::HardState { state, .. } => group.hard_state = *state,
            Record::Truncate { mark, .. } if mark.index > group.mark.index => {
                entries.retain(|before| before.index > mark.index);
                group.mark = *mark;
            }
            Record::Truncate { .. } => {}
            Record::Reset { mark, .. } => {
                entries.clear();
                group.mark = *mark;
            }
            Record::Tombstone { .. } => {
                entries.clear();
                *group = GroupRecovery { tombstone: true, ..GroupRecovery::default() };
            }
        }
        group.terms = entries.iter().map(|entry| entry.term).collect();
    }

    fn found(node: &Node, recovery: &Recovery) -> Self {
        let mut entries = node.read_all(recovery).expect("what was found can be read");
        let groups = recovery.groups.iter();
        Self(groups.map(|(id, it)| (*id, (it.clone(), entries.remove(id).unwrap()))).collect())
    }
}

struct Run {
    node: Node,
    /// All records staged since the last opening, in the order they are written; the state before them is `base`.
    base: Model,
    staged: Vec<Record>,
    completed: usize,
    term: u64,
    counter: u64,
    /// Whether a write is under way.
    is_writing: bool,
}

impl Run {
    fn begin() -> Self {
        let disk = crate::disk::CrashDisk::new();
        let (node, recovery) = Node::open(&disk, &small()).unwrap();
        assert_eq!(recovery, Recovery::default());
        let base = Model::default();
        Self {
            node,
            base,
            staged: Vec::new(),
            completed: 0,
            term: 1,
            counter: 0,
            is_writing: false,
        }
    }

    fn state(&self, records: usize) -> Model {
        let mut model = self.base.clone();
        self.staged[..records].iter().for_each(|record| model.apply(record));
        model
    }

    fn data(&mut self, size: usize) -> Bytes {
        self.counter += 1;
        let mut data = vec![self.counter as u8; size];
        data.extend_from_slice(&self.counter.to_le_bytes());
        data.into()
    }

    fn stage(&mut self, batch: &[Record]) {
        match self.node.core.stage(batch) {
            Ok(()) => self.took(batch),
            Err(Error::LogBusy(_) | Error::LogFull(_)) if self.is_writing => {}
            Err(Error::LogBusy(_)) => {
                self.flush();
                // What was busy is not any more; it may be full.
                match self.node.core.stage(batch) {
                    Ok(()) => self.took(batch),
                    Err(Error::LogFull(_)) => self.relieve(),
                    Err(error) => panic!("{error}"),
                }
            }
            Err(Error::LogFull(_)) => self.relieve(),
            Err(error) => panic!("{error}"),
        }
    }

    fn took(&mut self, batch: &[Record]) {
        let is_last = |record: &&Record| matches!(record, Record::HardState { .. });
        self.staged.extend(batch.iter().filter(|record| !is_last(record)).cloned());
        self.staged.extend(batch.iter().filter(is_last).cloned());
    }

    /// The log is full: once its groups are truncated it takes entries again.
    fn relieve(&mut self) {
        self.flush();
        let batch = self.truncate_all();
        self.node.core.stage(&batch).expect("a truncation is taken by a full log");
        self.took(&batch);
        self.flush();
        let data = self.data(1000);
        let batch = [entry(1, self.last(1) + 1, self.term, data)];
        self.node.core.stage(&batch).expect("there is room again");
        self.took(&batch);
    }

    /// Truncates each group to its last entry.
    fn truncate_all(&self) -> Vec<Record> {
        let now = self.state(self.staged.len());
        let marks = now.0.iter().filter(|(_, (group, _))| !group.tombstone);
        marks
            .filter_map(|(id, (_, entries))| {
                let last = entries.last()?;
                let mark = Mark { index: last.index, term: last.term };
                Some(Record::Truncate { group: *id, mark })
            })
            .collect()
    }

    fn last(&self, group: u64) -> u64 {
        self.node.core.last_index(GroupId(group)).unwrap_or(0)
    }

    fn mark(&self, group: u64) -> u64 {
        self.node.core.mark(GroupId(group)).unwrap_or_default().index
    }

    fn flush(&mut self) {
        self.node.flush().expect("a healthy disk");
        self.completed = self.staged.len();
    }

    /// Does the next write, once more has been staged behind it.
    fn flush_while(&mut self, then: &[Step]) {
        let staged = self.staged.len();
        let Some(write) = self.node.next_write().unwrap() else { return };
        self.is_writing = true;
        then.iter().for_each(|step| self.step(step));
        self.is_writing = false;
        self.node.files.perform_all(&write).unwrap();
        if write.number().is_some() {
            self.completed = staged;
        }
        self.node.core.completed(write);
    }

    /// Opens what a power cut left, and compares.
    fn reopen(&mut self, disk: &crate::disk::CrashDisk) {
        let (node, recovery) = Node::open(disk, &small()).expect("a crash is no corruption");
        self.node = node;
        let found = Model::found(&self.node, &recovery);
        let fits = (self.completed..=self.staged.len()).rev().find(|n| self.state(*n) == found);
        let Some(kept) = fits else {
            panic!(
                "found {found:#?}\nafter {} of {:#?}\non {:#?}",
                self.completed, self.staged, self.base
            );
        };
        self.base = self.state(kept);
        self.staged.clear();
        self.completed = 0;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { group, count, size } => {
                let last = self.last(group);
                let batch: Vec<_> = (1..=count.min(6000 / (size as u64 + 100)))
                    .map(|n| {
                        let data = self.data(size);
                        entry(group, last + n, self.term, data)
                    })
                    .collect();
                self.stage(&batch);
            }
            Step::Overwrite { group, back, size } => {
                self.term += 1;
                let index = self.last(group).saturating_sub(back).max(self.mark(group) + 1);
                let data = self.data(size);
                // The hard state is given first, and is written last.
                let batch =
                    [hard(group, self.term, 0, index), entry(group, index, self.term, data)];
                self.stage(&batch);
            }
            Step::HardState { group, vote } => {
                self.term += 1;
                self.stage(&[hard(group, self.term, vote, self.last(group))]);
            }
            Step::Truncate { group, keep } => {
                let index = self.last(group).saturating_sub(keep).max(self.mark(group));
                let term = self.node.core.term(GroupId(group), index).unwrap_or(0);
                self.stage(&[truncate(group, index, term)]);
            }
            Step::TruncateAll => {
                let batch = self.truncate_all();
                self.stage(&batch);
            }
            Step::Reset { group, ahead } => {
                let index = self.last(group) + ahead;
                self.stage(&[reset(group, index, self.term), hard(group, self.term, 0, index)]);
            }
            Step::Remove { group } => self.stage(&[tombstone(group)]),
            Step::Flush => self.flush(),
            Step::FlushWhile { ref then } => self.flush_while(then),
            Step::CrashInWrite { ops, crash, seed } => {
                let last = self.last(1);
                let batch: Vec<_> = (1..=3)
                    .map(|n| {
                        let data = self.data(100 * (seed as usize % 20));
                        entry(1, last + n, self.term, data)
                    })
                    .collect();
                self.stage(&batch);
                self.node.flush_part(ops).unwrap();
                let disk = self.node.crash(crash_of(crash, seed));
                self.reopen(&disk);
            }
            Step::Crash { crash, seed } => {
                let disk = self.node.crash(crash_of(crash, seed));
                self.reopen(&disk);
            }
            Step::CrashInOpen { writes, crash, seed } => self.crash_in_open(writes, crash, seed),
            Step::Close => {
                self.flush();
                if let Some(write) = self.node.core.flush_mark() {
                    self.node.files.perform_all(&write).unwrap();
                    self.node.core.completed(write);
                }
                let disk = self.node.crash(Crash::LoseAll);
                self.reopen(&disk);
            }
        }
    }

    fn crash_in_open(&mut self, writes: u64, crash: u8, seed: u64) {
        use crate::disk::{Fault, FaultOp};
        let disk = self.node.crash(crash_of(crash, seed));
        let op = if writes.is_multiple_of(2) { FaultOp::Write } else { FaultOp::Sync };
        let kind = std::io::ErrorKind::Other;
        disk.fail(Fault { op, after: writes / 2, times: u64::MAX, kind });
        let opened = Node::open(&disk, &small());
        disk.heal();
        if matches!(opened, Err(Error::Corruption { .. } | Error::Version { .. })) {
            panic!("a crash is no corruption: {:?}", opened.err());
        }
        let disk = disk.crash(crash_of(crash / 7, seed.rotate_left(9)));
        self.reopen(&disk);
    }

    fn check(&self) {
        use crate::disk::Disk;
        let names = self.node.disk.list().unwrap();
        let bytes: usize = names.iter().map(|name| self.node.disk.bytes(name).unwrap().len()).sum();
        assert!(bytes as u64 <= small().budget_bytes, "{bytes} bytes of files");
        assert!(self.node.core.stats().file_bytes <= small().budget_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_leaves_what_was_completed_and_a_prefix_of_the_rest(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut run = Run::begin();
        for step in &steps {
            run.step(step);
            run.check();
        }
        let disk = run.node.crash(Crash::LoseAll);
        run.reopen(&disk);
    }
}
