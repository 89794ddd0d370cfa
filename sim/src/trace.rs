//! The trace of a run: a hash of everything that happens, and its text if somebody wants to read it.

use std::fmt::{self, Write as _};

use stator_model::key::hash64;

use crate::time::{MS, Ns, SECOND};

/// Where the lines of a trace go.
pub type Sink = Box<dyn FnMut(&str)>;

/// The trace so far.
pub(crate) struct Trace {
    hash: u64,
    lines: u64,
    line: String,
    /// Where the text goes.
    sink: Option<Sink>,
}

impl Trace {
    pub(crate) fn new(sink: Option<Sink>) -> Self {
        Self { hash: 0, lines: 0, line: String::new(), sink }
    }

    /// Something happened.
    pub(crate) fn note(&mut self, now: Ns, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = write!(self.line, "{:3}.{:06} {what}", now / SECOND, now % SECOND / (MS / 1000));
        self.hash = self.hash.rotate_left(5) ^ hash64(self.line.as_bytes()) ^ now;
        self.hash = self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.lines += 1;
        if let Some(sink) = &mut self.sink {
            sink(&self.line);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }
}
