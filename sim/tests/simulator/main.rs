//! The simulator's own tests: seeds that have to pass, a seed that has to replay, and bugs that have to be found.

#![allow(clippy::print_stdout, reason = "what seeds reach and find is worth reading")]

mod arrows;
mod replay;
mod seeds;
mod twins;

#[cfg(feature = "mutations")]
mod mutations;
