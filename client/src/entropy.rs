//! Dice for jitter and request names. Nothing here is secret or must be even to the last bit.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers that many tasks share: splitmix64 from a random start.
#[derive(Debug)]
pub(crate) struct Entropy {
    state: AtomicU64,
}

impl Entropy {
    /// Starts from what the standard library draws for its hash maps.
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(RandomState::new().hash_one(0u64)) }
    }

    /// A random number.
    pub(crate) fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random number from 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        // 53 bits are what an `f64` holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A name that no other request has.
    pub(crate) fn request_id(&self) -> Arc<str> {
        format!("{:016x}{:016x}", self.next(), self.next()).into()
    }
}
