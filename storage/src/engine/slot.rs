//! Where an engine on disk keeps its open database, so that it can be closed and opened again in place (R11).

use std::sync::{Arc, PoisonError, RwLock, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often, and how long each time, a reopening engine waits for its users to finish: ten seconds in all.
const WAITS: u32 = 5_000;
const WAIT: Duration = Duration::from_millis(2);

/// An open database, lent out to each call, or nothing after an attempt to open it again failed.
pub(super) struct Slot<T>(RwLock<Option<Arc<T>>>);

impl<T> Slot<T> {
    pub(super) fn new(open: T) -> Self {
        Self(RwLock::new(Some(Arc::new(open))))
    }

    /// Lends the database for one call. Refuses while it is being reopened: that may take seconds, and callers are threads that
    /// others wait for (a host's, the runtime's).
    pub(super) fn get(&self) -> Result<Arc<T>> {
        let slot = match self.0.try_read() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Only a reopening writes here.
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Engine("it is being opened again".into()));
            }
        };
        slot.clone().ok_or_else(|| Error::Engine("closed after it failed to reopen".into()))
    }

    /// Waits until no call uses the database, closes it, and puts what `open` gives in its place. If somebody holds on to it
    /// too long, it stays as it was.
    pub(super) fn reopen(&self, open: impl FnOnce() -> Result<T>) -> Result<()> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut shared) = slot.take() {
            for waited in 0.. {
                match Arc::try_unwrap(shared) {
                    Ok(last) => {
                        drop(last);
                        break;
                    }
                    Err(busy) if waited == WAITS => {
                        *slot = Some(busy);
                        return Err(Error::Engine("still in use, cannot reopen".into()));
                    }
                    Err(busy) => shared = busy,
                }
                sleep(WAIT);
            }
        }
        *slot = Some(Arc::new(open()?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn nobody_waits_for_a_reopening() {
        let slot = Slot::new(1);
        let (begun, beginning) = mpsc::channel();
        let (go_on, pause) = mpsc::channel::<()>();
        let slot = &slot;
        std::thread::scope(move |scope| {
            let reopening = scope.spawn(move || {
                slot.reopen(move || {
                    begun.send(()).unwrap();
                    pause.recv().unwrap();
                    Ok(2)
                })
            });
            beginning.recv().unwrap();
            let (answer, answered) = mpsc::channel();
            scope.spawn(move || answer.send(slot.get().map(|open| *open)));
            let told = answered.recv_timeout(Duration::from_secs(10));
            assert!(matches!(told, Ok(Err(Error::Engine(_)))), "answered in the midst of it");
            go_on.send(()).unwrap();
            reopening.join().unwrap().unwrap();
        });
        assert_eq!(*slot.get().unwrap(), 2);
    }
}
