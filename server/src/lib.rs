//! A Stator node.

pub mod clock;
pub mod config;
pub mod dir;
pub mod mailbox;
