//! A Stator node: it opens what is on disk, drives the replicas of its partitions, and answers requests, its own or those that
//! come in through its doors.
//!
//! # Map
//! - [`node`]: a node's life, from its sockets to its last flush. [`config`]: what it is told. [`dir`]: what it keeps, and whose it is.
//! - `serve`: how a request is answered: validated, routed, served here or sent on. `tables`, `replicas`: what is known, what is held.
//! - `catalog`: tables, partitions, nodes and ids; a table like any other, and the controller that carries out what it says.
//! - `shell`: the threads that drive the pure cores of `consensus` and `storage`. `peers`: the ways to other nodes.
//! - `snapshots`: whole partitions, on their way to replicas that the log does not reach any more.
//! - `door`: the gRPC door for clients, the one for peers, and the [`admin`] port. [`metrics`] and [`telemetry`]: what can be seen.
//!
//! # Invariants
//! - Only this crate's outermost shell reads clocks, starts threads and opens sockets; several nodes may live in one process.
//! - Only `door`, `peers::grpc` and `snapshots::receive` know gRPC. Without the feature of that name a node is alone.
#![cfg_attr(not(feature = "grpc"), allow(dead_code, reason = "what doors and other nodes ask for"))]

#[cfg(feature = "server")]
pub mod admin;
mod catalog;
pub mod clock;
pub mod config;
pub mod dir;
#[cfg(feature = "grpc")]
mod door;
pub mod mailbox;
pub mod metrics;
pub mod node;
mod peers;
mod replicas;
mod serve;
mod shell;
mod snapshots;
mod tables;
pub mod telemetry;
mod wire;

pub use node::{Node, ReplicaChecksum, Sockets, StartError};
