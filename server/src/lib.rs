//! A Stator node.

#[cfg(feature = "server")]
pub mod admin;
pub mod clock;
pub mod config;
pub mod dir;
pub mod mailbox;
pub mod metrics;
pub mod telemetry;
