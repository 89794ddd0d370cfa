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

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1_000_000;

    /// How long it takes until so many bytes may leave, and all that were let go before them are gone.
    async fn time_for(pace: &Pace, frames: usize, bytes: usize) -> Duration {
        let begun = Instant::now();
        for _ in 0..frames {
            pace.take(bytes).await;
        }
        // A frame leaves when its time comes, and the time that it takes is waited for by the next one.
        pace.take(0).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_take_the_time_that_the_rate_gives_them() {
        let pace = Pace::new(RATE);
        assert_eq!(time_for(&pace, 1, 0).await, Duration::ZERO);
        for (frames, bytes) in [(1, 500_000), (20, 100_000), (1, 3_000_000)] {
            let wanted = Duration::from_micros((frames * bytes) as u64);
            let took = time_for(&pace, frames, bytes).await;
            // Timers go by whole milliseconds.
            assert!(took >= wanted && took <= wanted + Duration::from_millis(1), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_share_the_rate_and_save_nothing_up() {
        let pace = Pace::new(RATE);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        let all = std::iter::repeat_with(|| time_for(&pace, 10, 100_000)).take(4);
        futures::future::join_all(all).await;
        let (took, wanted) = (begun.elapsed(), Duration::from_secs(4));
        assert!(took >= wanted && took <= wanted + Duration::from_millis(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_rate_is_one_byte_in_a_second() {
        let pace = Pace::new(0);
        assert_eq!(time_for(&pace, 3, 1).await, Duration::from_secs(3));
    }
}
