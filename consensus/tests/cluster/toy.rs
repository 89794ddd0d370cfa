//! A state machine of registers: keys and values are numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use stator_consensus::ReplicaView;
use stator_storage::machine::{Committed, Draft, Evaluated, Evaluator};
use stator_storage::{Error, Result};

/// What callers ask.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Put {
        key: u8,
        value: u64,
    },
    /// Puts if the register holds `expected`; answers what it held.
    PutIf {
        key: u8,
        expected: u64,
        value: u64,
    },
    /// A put that says it weighs this much, and does.
    Big {
        key: u8,
        value: u64,
        len: usize,
    },
    /// A put that answers so many bytes.
    Answered {
        key: u8,
        value: u64,
        len: usize,
    },
    /// Nothing but an answer of so many bytes.
    Told {
        len: usize,
    },
    /// A put that comes to far more than it said.
    Grown {
        key: u8,
        value: u64,
        len: usize,
    },
    /// The data is replaced while it is read.
    Disturb,
    /// The engine cannot be read at this moment.
    Unreadable,
    /// The data are damaged, or the evaluator panics.
    Fail {
        panic: bool,
    },
}

/// What they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Done, with an answer of so many bytes.
    Large(usize),
    /// The condition failed: this is what was there.
    Held(u64),
}

/// A replica's data, with the mark in the same batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Data {
    pub(crate) registers: BTreeMap<u8, u64>,
    pub(crate) applied: (u64, u64),
}

/// An engine for one replica: batches become visible at once and durable by a flush.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    pub(crate) data: Data,
    flushed: Data,
    /// The state after each batch since the flush.
    unflushed: Vec<Data>,
}

pub(crate) type SharedEngine = Arc<Mutex<Engine>>;

pub(crate) fn open(engine: &SharedEngine) -> MutexGuard<'_, Engine> {
    engine.lock().expect("no test panics with it")
}

impl Engine {
    pub(crate) fn starting_from(applied: (u64, u64)) -> SharedEngine {
        let data = Data { applied, ..Data::default() };
        Arc::new(Mutex::new(Self { flushed: data.clone(), data, unflushed: Vec::new() }))
    }

    pub(crate) fn flush(&mut self) -> u64 {
        self.flushed = self.data.clone();
        self.unflushed.clear();
        self.data.applied.0
    }

    /// Keeps the first `kept` batches since the last flush.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.unflushed.truncate(kept);
        self.data = self.unflushed.last().unwrap_or(&self.flushed).clone();
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    pub(crate) fn install(&mut self, data: Data) {
        self.data = data;
        self.unflushed.push(self.data.clone());
    }

    /// Applies entries in one batch. Answers how many were skipped because their term is not the one they were made in.
    pub(crate) fn apply(&mut self, entries: &[Committed]) -> usize {
        let mut skipped = 0;
        for entry in entries {
            assert_eq!(entry.index, self.data.applied.0 + 1, "entries are applied without a gap");
            self.data.applied = (entry.index, entry.term);
            if entry.data.is_empty() {
                continue;
            }
            let mut numbers = entry
                .data
                .chunks_exact(8)
                .map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
            let term = numbers.next().expect("a header");
            if term != entry.term {
                skipped += 1;
                continue;
            }
            let count = numbers.next().expect("a count");
            for _ in 0..count {
                let key = numbers.next().expect("a key") as u8;
                let value = numbers.next().expect("a value");
                self.data.registers.insert(key, value);
            }
        }
        self.unflushed.push(self.data.clone());
        skipped
    }
}

/// The leader's half: engine + overlay.
pub(crate) struct Evaluating {
    engine: SharedEngine,
    view: Arc<ReplicaView>,
    /// For each key its images, oldest first, with the index of the entry that will leave it.
    overlay: BTreeMap<u8, Vec<(u64, u64)>>,
    leads: bool,
    padding: usize,
}

impl Evaluating {
    pub(crate) fn new(engine: SharedEngine, view: Arc<ReplicaView>) -> Self {
        Self { engine, view, overlay: BTreeMap::new(), leads: false, padding: 0 }
    }

    fn see(&self, key: u8) -> (u64, u64) {
        match self.overlay.get(&key).and_then(|images| images.last()) {
            Some(&(index, value)) => (index, value),
            None => (0, open(&self.engine).data.registers.get(&key).copied().unwrap_or(0)),
        }
    }

    fn put(&mut self, draft: &mut Draft, key: u8, value: u64) -> Evaluated<Outcome> {
        self.overlay.entry(key).or_default().push((draft.index, value));
        draft.payload.extend(u64::from(key).to_be_bytes());
        draft.payload.extend(value.to_be_bytes());
        draft.writes += 1;
        Evaluated { outcome: Outcome::Done, rests_on: draft.index }
    }

    fn drop_images(&mut self, keep: impl Fn(u64) -> bool) {
        self.overlay.retain(|_, images| {
            images.retain(|(index, _)| keep(*index));
            !images.is_empty()
        });
    }
}

impl Evaluator for Evaluating {
    type Request = Request;
    type Outcome = Outcome;

    fn weight(&self, request: &Request) -> usize {
        if let Request::Big { len, .. } = request { 16 + len } else { 16 }
    }

    fn outcome_bytes(&self, outcome: &Outcome) -> usize {
        if let Outcome::Large(len) = outcome { *len } else { 0 }
    }

    fn begin_leading(&mut self, _term: u64) -> Result<()> {
        self.overlay.clear();
        self.leads = true;
        Ok(())
    }

    fn evaluate(&mut self, request: Request, draft: &mut Draft) -> Result<Evaluated<Outcome>> {
        assert!(self.leads, "only a leader evaluates");
        if draft.payload.is_empty() {
            self.padding = 0;
        }
        match request {
            Request::Put { key, value } => Ok(self.put(draft, key, value)),
            Request::PutIf { key, expected, value } => match self.see(key) {
                (_, held) if held == expected => Ok(self.put(draft, key, value)),
                (index, held) => Ok(Evaluated { outcome: Outcome::Held(held), rests_on: index }),
            },
            Request::Big { key, value, len } => {
                self.padding += len / 8 * 8;
                Ok(self.put(draft, key, value))
            }
            Request::Answered { key, value, len } => {
                let put = self.put(draft, key, value);
                Ok(Evaluated { outcome: Outcome::Large(len), ..put })
            }
            Request::Told { len } => Ok(Evaluated { outcome: Outcome::Large(len), rests_on: 0 }),
            Request::Grown { key, value, len } => {
                (1..len / 16).for_each(|_| {
                    self.put(draft, key, value);
                });
                Ok(self.put(draft, key, value))
            }
            Request::Disturb => {
                self.view.replace_data(0);
                self.view.data_restored();
                Ok(Evaluated { outcome: Outcome::Done, rests_on: 0 })
            }
            Request::Fail { panic: true } => panic!("the evaluator was asked to panic"),
            Request::Fail { panic: false } => Err(Error::corruption("asked to fail", 0, "")),
            Request::Unreadable => Err(Error::Engine("asked to fail".into())),
        }
    }

    fn seal(&mut self, draft: Draft) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend(draft.term.to_be_bytes());
        bytes.extend(u64::from(draft.writes).to_be_bytes());
        bytes.extend(draft.payload);
        bytes.resize(bytes.len() + self.padding, 0);
        self.padding = 0;
        bytes.into()
    }

    fn applied(&mut self, index: u64) {
        self.drop_images(|of| of > index);
    }

    fn refused(&mut self, index: u64) {
        self.drop_images(|of| of != index);
    }

    fn stop_leading(&mut self) {
        self.overlay.clear();
        self.leads = false;
    }
}
