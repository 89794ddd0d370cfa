//! A mailbox: many producers, one consumer thread that takes everything at once.
//!
//! A host's thread sleeps here until something happened or its next tick is due, and then takes all that waits as one
//! turn. Two kinds of things come in:
//! - events of the node itself (a write completed, a message of a peer): [`Mailbox::push`], never refused while the mailbox
//!   is open, for a host that misses one is stuck; their number is bounded where they come from;
//! - requests of callers: [`Mailbox::try_push`], refused once as many things wait as the mailbox has room for, so that
//!   overload is answered at once and nothing grows.
//!
//! # How it is cheap
//! Producers and the consumer share one vector behind one lock, which is held for a push or for a swap, never while
//! anything is handled. The consumer gives back the vector that it emptied, so that nothing is allocated in the steady
//! state. A producer rings the bell only if the consumer sleeps, and only the first producer does.
//!
//! # Caveats
//! The order is that of the pushes, whoever made them: nothing overtakes. A bell rung costs a system call, so a consumer
//! that is always asleep when something comes pays one for each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Things for which an emptied vector keeps its room; what a burst took beyond it is given back.
const ROOM_KEPT: usize = 8_192;

/// Makes a mailbox in which callers' requests are refused once `waiting_max` things wait.
#[must_use]
pub fn mailbox<T>(waiting_max: usize) -> (Mailbox<T>, Inbox<T>) {
    let state = State { waiting: Vec::new(), asleep: false, closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), bell: Condvar::new(), waiting_max });
    (Mailbox { shared: Arc::clone(&shared) }, Inbox { shared })
}

struct State<T> {
    waiting: Vec<T>,
    /// Whether the consumer waits for the bell and nobody has rung it yet.
    asleep: bool,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    bell: Condvar,
    waiting_max: usize,
}

impl<T> Shared<T> {
    /// The state is whole whatever a thread that died with the lock did: only whole pushes and swaps happen under it.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a value, and wakes the consumer, after the lock is free, if it sleeps.
    fn add(&self, mut state: MutexGuard<'_, State<T>>, value: T) {
        state.waiting.push(value);
        let ring = std::mem::take(&mut state.asleep);
        drop(state);
        if ring {
            self.bell.notify_one();
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asleep = false;
        drop(state);
        self.bell.notify_one();
    }
}

/// The producers' end of a mailbox. A clone is the same mailbox.
#[derive(Debug)]
pub struct Mailbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// Why a mailbox did not take a request, which is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// As much waits as there is room for.
    Full(T),
    /// The consumer is gone, or about to go.
    Closed(T),
}

impl<T> Mailbox<T> {
    /// Leaves an event of the node itself, however much waits. False, and the event dropped, once the mailbox is closed.
    pub fn push(&self, event: T) -> bool {
        let state = self.shared.lock();
        if state.closed {
            // Dropping the event may run anything, so not under the lock.
            drop(state);
            return false;
        }
        self.shared.add(state, event);
        true
    }

    /// Leaves a caller's request, if there is room for it.
    ///
    /// # Errors
    /// The request, if the mailbox is full or closed.
    pub fn try_push(&self, request: T) -> Result<(), Refused<T>> {
        let state = self.shared.lock();
        if state.closed {
            return Err(Refused::Closed(request));
        }
        if state.waiting.len() >= self.shared.waiting_max {
            return Err(Refused::Full(request));
        }
        self.shared.add(state, request);
        Ok(())
    }

    /// How many things wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the mailbox: nothing more is taken; the consumer still gets what waits, and then [`Drained::Closed`].
    pub fn close(&self) {
        self.shared.close();
    }
}

/// What ended a wait for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Something waited and was taken.
    Events,
    /// Nothing came in time.
    TimedOut,
    /// The mailbox is closed, and everything that it held was taken before.
    Closed,
}

/// The consumer's end of a mailbox, of which there is one. The mailbox closes when it is dropped, and what waits is dropped
/// with it.
#[derive(Debug)]
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Inbox<T> {
    /// Whether the mailbox is closed: for a consumer that is long at something and should know that it is to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Takes everything that waits, in order; if nothing does, sleeps until something comes, at most for `wait_max` (`None`:
    /// for however long). What `events` still held is dropped first; give the same vector each time, for its room is reused.
    pub fn drain(&mut self, events: &mut Vec<T>, wait_max: Option<Duration>) -> Drained {
        events.clear();
        events.shrink_to(ROOM_KEPT);
        let mut state = self.shared.lock();
        // The clock is read only if there is something to wait for.
        let mut deadline = None;
        while state.waiting.is_empty() {
            if state.closed {
                return Drained::Closed;
            }
            let left = match wait_max {
                None => None,
                Some(wait) => {
                    let now = Instant::now();
                    let until = *deadline.get_or_insert_with(|| now.checked_add(wait));
                    let left = until.map(|until| until.saturating_duration_since(now));
                    if left.is_some_and(|left| left.is_zero()) {
                        return Drained::TimedOut;
                    }
                    left
                }
            };
            state = self.sleep(state, left);
        }
        std::mem::swap(&mut state.waiting, events);
        Drained::Events
    }

    /// Takes what waits and is wanted, in order, and leaves the rest: for a consumer that cannot go on with everything.
    pub fn take_if(&self, mut is_wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        self.shared.lock().waiting.extract_if(.., |event| is_wanted(event)).collect()
    }

    /// Waits for the bell; it may come back without one.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        wait_max: Option<Duration>,
    ) -> MutexGuard<'a, State<T>> {
        state.asleep = true;
        let bell = &self.shared.bell;
        let mut state = match wait_max {
            None => bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => bell.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.asleep = false;
        state
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.shared.close();
        // What nobody will take is dropped now, outside the lock: those who wait for its answer learn of it.
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        drop(waiting);
    }
}

impl<T> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting_max", &self.waiting_max).finish_non_exhaustive()
    }
}
