//! Dice that fall the same way again: splitmix64, from a seed.

/// A source of random numbers. Each caller has one of its own, so that none waits for another's.
#[derive(Clone, Debug)]
pub(super) struct Rng {
    state: u64,
}

impl Rng {
    /// The dice of one of many callers that share a seed.
    pub(super) fn new(seed: u64, caller: u64) -> Self {
        Self { state: mix64(seed ^ mix64(caller)) }
    }

    /// A random number.
    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix64(self.state)
    }

    /// A random number below `end`, which is not 0. The bias is below `end` / 2^64.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A random number from 0 up to, but not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        // 53 bits are what an `f64` holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The finalizer of splitmix64: a bijection whose output looks random, so that distinct numbers stay distinct.
pub(super) const fn mix64(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
