//! How fast snapshots leave a node: so many bytes in a second, all transfers together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A rate that is shared.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When the next byte may leave.
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may leave. Time that nobody used is not saved up.
    pub(super) async fn take(&self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second;
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_micros(micros);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}
