//! Where an engine on disk keeps its open database, so that it can be closed and opened again in place (R11).

use std::sync::{Arc, PoisonError, RwLock};
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

    /// Lends the database for one call. Waits while it is being reopened.
    pub(super) fn get(&self) -> Result<Arc<T>> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
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
