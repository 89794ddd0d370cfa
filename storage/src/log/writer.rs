//! The thread that writes the log: a thin shell around the core.
//!
//! A batch is staged in its caller's thread: it is refused there or gets its place and checksums there. The log's thread
//! takes everything staged as one write, does it, and runs the completions of its batches in order. While it is in the disk,
//! the next batches gather: that is the group commit.
//!
//! # Invariants
//! - No lock is held while the disk works or a completion runs.
//! - A completion runs exactly once if its batch was taken, and never if it was not; with `Ok` only after the sync that
//!   covers its batch.
//! - Between two writes the thread reads what the core calls [`LogCore::stranded`], which is bounded, and no more.
//!
//! # Caveats
//! Completions run on the log's thread: they must be quick and must not wait for the log. One that panics is reported, and
//! the log goes on.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::read::{read_entries, read_sources};
use crate::log::{
    Files, LogCore, LogEntry, LogOptions, LogStats, Mark, Pressure, Record, Recovery, recover,
};
use crate::machine::GroupId;

#[cfg(test)]
mod tests;

/// How long a thread with nothing to write leaves entries alone that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How often one that has something to do passes over them, for it has no clock: a fast disk takes that many writes in about a second.
const PASSED_OVER: u32 = 1024;

type Done = Box<dyn FnOnce(Result<()>) + Send>;

/// A node's log. May be shared by several hosts; every method takes `&self`.
pub struct Log {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    files: Files,
    batches_max: usize,
    /// [`READ_AGAIN`], but in tests.
    read_again: Duration,
}

struct State {
    core: LogCore,
    /// Completions of batches staged and not done, with the numbers of their writes.
    waiting: VecDeque<(u64, Done)>,
    is_closing: bool,
    /// Whether the thread waits to be woken.
    is_idle: bool,
}

impl Log {
    /// Opens the log of a directory, or makes one, and starts its thread.
    ///
    /// # Errors
    /// `Corruption`, `Version`, `LogMisuse` for options that contradict each other, and what the disk answers.
    pub fn open(disk: Arc<dyn Disk>, options: &LogOptions) -> Result<(Self, Recovery)> {
        Self::open_with(disk, options, READ_AGAIN)
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        options: &LogOptions,
        read_again: Duration,
    ) -> Result<(Self, Recovery)> {
        let (core, files, recovery) = recover(disk, options)?;
        let state = State { core, waiting: VecDeque::new(), is_closing: false, is_idle: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            files,
            batches_max: options.pending_batches,
            read_again,
        });
        let thread = std::thread::Builder::new().name("stator-log".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        let thread = thread.map_err(|error| Error::io("start the log's thread", &error))?;
        Ok((Self { shared, thread: Some(thread) }, recovery))
    }

    /// Hands in a batch. `done` runs on the log's thread once the batch is synced, or with the error that stopped the log;
    /// the completions of one log run in the order of its batches.
    ///
    /// # Errors
    /// `LogBusy`, `LogFull`, `LogMisuse` or `LogFailed`: nothing was taken, and `done` is dropped without having run.
    pub fn append(
        &self,
        batch: &[Record],
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) -> Result<()> {
        self.shared.append(Box::new(done), batch)
    }

    /// Reads entries back from the disk: those of the range from its start on that are synced, up to `max_bytes` of records
    /// but at least one. What was appended and is not yet synced is not returned: the caller has it in memory.
    ///
    /// # Errors
    /// `LogTruncated` if the range starts at or below the group's mark, `Corruption`, and what the disk answers.
    pub fn entries(
        &self,
        group: GroupId,
        range: Range<u64>,
        max_bytes: u64,
    ) -> Result<Vec<LogEntry>> {
        read_entries(&self.shared.files, group, || {
            let state = self.shared.state();
            let located = state.core.locate(group, range.clone(), max_bytes)?;
            Ok(located.into_iter().filter_map(|at| state.core.source(at)).collect())
        })
    }

    /// The term of an entry, appended ones included; that of the mark at the mark; `None` for anything else.
    #[must_use]
    pub fn term(&self, group: GroupId, index: u64) -> Option<u64> {
        self.shared.state().core.term(group, index)
    }

    /// What the group's log begins behind; `None` for an unknown or removed group.
    #[must_use]
    pub fn mark(&self, group: GroupId) -> Option<Mark> {
        self.shared.state().core.mark(group)
    }

    /// The index of the group's last entry, appended ones included; that of the mark if there is none.
    #[must_use]
    pub fn last_index(&self, group: GroupId) -> Option<u64> {
        self.shared.state().core.last_index(group)
    }

    /// The groups to truncate, and how far, for the log to get back below its soft limit. Empty while it is.
    #[must_use]
    pub fn pressure(&self) -> Vec<Pressure> {
        self.shared.state().core.pressure()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.shared.state().core.stats()
    }

    /// Writes what waits, then a last mark that vouches for it, and ends the thread. Dropping does the same.
    ///
    /// # Errors
    /// What stopped the log.
    pub fn close(mut self) -> Result<()> {
        self.end();
        let failure = self.shared.state().core.failure();
        failure.map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.shared.state().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &State) {
        if state.is_idle {
            self.wake.notify_one();
        }
    }

    fn append(&self, done: Done, batch: &[Record]) -> Result<()> {
        let mut state = self.state();
        if state.is_closing {
            return Err(Error::LogFailed("the log is closed".to_owned()));
        }
        let waiting = state.waiting.len();
        if waiting >= self.batches_max {
            return Err(Error::LogBusy(format!("{waiting} batches wait")));
        }
        // A refusal wakes the thread too: it may have to make a segment.
        let staged = state.core.stage(batch);
        if staged.is_ok() {
            let number = state.core.staging();
            state.waiting.push_back((number, done));
        }
        self.wake(&state);
        staged
    }

    fn run(&self) {
        let _guard = StopOnPanic(self);
        let mut state = self.state();
        let mut is_marked = false;
        // How often what could not be read is passed over yet: a disk that goes on refusing is not asked for each write, and one that
        // did so once does not keep the log from shrinking.
        let mut pass_over = 0;
        loop {
            if pass_over > 0 {
                pass_over -= 1;
            } else {
                let is_read;
                (state, is_read) = self.rewrite(state);
                pass_over = if is_read { 0 } else { PASSED_OVER };
            }
            let closing = state.is_closing && !is_marked;
            let write = state.core.flush().or_else(|| {
                is_marked |= closing;
                if closing { state.core.flush_mark() } else { None }
            });
            let Some(write) = write else {
                if state.is_closing {
                    let failure = state.core.failure();
                    debug_assert!(failure.is_some() || state.waiting.is_empty());
                    return;
                }
                state.is_idle = true;
                let pause = if pass_over > 0 { self.read_again } else { Duration::MAX };
                let (woken, waited) =
                    self.wake.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if waited.timed_out() {
                    pass_over = 0;
                }
                state.is_idle = false;
                continue;
            };
            drop(state);
            let result = self.files.perform_all(&write);
            state = self.state();
            let done = state.finish(write, result);
            state = self.complete(state, done);
        }
    }

    /// Reads what keeps the log from shrinking, and stages it anew. Answers whether it could be read.
    fn rewrite<'a>(&'a self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let stranded = state.core.stranded();
        if stranded.is_empty() {
            return (state, true);
        }
        drop(state);
        let read = read_sources(&self.files, &stranded);
        state = self.state();
        match read {
            Ok(entries) => {
                state.core.rewrite(&stranded, &entries);
                (state, true)
            }
            Err(error) => {
                tracing::error!(%error, "entries that keep the log from shrinking cannot be read");
                state.core.unreadable(&error);
                let done = state.over(0);
                (self.complete(state, done), false)
            }
        }
    }

    /// Runs completions.
    fn complete<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        done: Vec<Done>,
    ) -> MutexGuard<'a, State> {
        if done.is_empty() {
            return state;
        }
        let outcome = state.core.failure().map_or(Ok(()), Err);
        drop(state);
        for done in done {
            run_done(done, outcome.clone());
        }
        self.state()
    }
}

impl State {
    /// Tells the core, and gives the completions to run.
    fn finish(&mut self, write: crate::log::Write, result: Result<()>) -> Vec<Done> {
        let number = write.number();
        match result {
            Ok(()) => self.core.completed(write),
            Err(error) => {
                tracing::error!(%error, "a write of the log failed");
                self.core.failed(&write, &error);
            }
        }
        self.over(number.unwrap_or(0))
    }

    /// The completions to run: of the batches up to this write, and of all if the log has failed.
    fn over(&mut self, number: u64) -> Vec<Done> {
        let count = if self.core.failure().is_some() {
            self.waiting.len()
        } else {
            self.waiting.partition_point(|(write, _)| *write <= number)
        };
        self.waiting.drain(..count).map(|(_, done)| done).collect()
    }
}

fn run_done(done: Done, outcome: Result<()>) {
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("a completion of the log panicked");
    }
}

/// Stops the log if its thread unwinds, so that nobody waits for it in vain.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state();
            state.is_closing = true;
            for (_, done) in std::mem::take(&mut state.waiting) {
                run_done(done, Err(Error::LogFailed("the log's thread panicked".to_owned())));
            }
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
