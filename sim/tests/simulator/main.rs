//! The simulator's own tests: seeds that have to pass, a seed that has to replay, and bugs that have to be found.

mod replay;
mod seeds;

#[cfg(feature = "mutations")]
mod mutations;
