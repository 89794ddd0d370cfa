//! Replica groups: Raft by `raft-rs`, and the rules around it that make it safe and cheap to run many groups on one node.
//!
//! Sans-IO: a [`Host`] drives many groups of a node. The shell gives it a batch of [`Event`]s and the time, and carries out the
//! [`Effects`] that one *turn* comes to: one log write, messages, entries to apply, answers. The same host runs under the real
//! shell (in the server crate) and under the simulator. It knows a state machine by the traits of [`stator_storage::machine`],
//! and nothing of items.
//!
//! ```text
//!  events ──▶ Host::turn(now) ──▶ Effects { log records · messages · apply jobs · answers }
//!    ▲   messages, requests, reads, ticks                                │
//!    └────────── Persisted(turn) ◀── log   Applied(group, index) ◀── apply thread
//! ```
//!
//! # Map
//! - [`config`]: times and bounds in one table, checked against each other. [`types`]: ids and group descriptions.
//! - [`host`]: the closed set of events and effects, and the turn. [`group`]: one replica: a `RawNode` and what surrounds it.
//! - `store`: raft-rs' view of the log. `admission`: what a peer's message must be before Raft sees it (R1, R3, hostile bytes).
//! - [`lease`] and `promise`: the leader's lease and the follower's promise behind it (R2, R3, R5). `reads`: read index.
//! - `waiting` and `pending`: requests before they are evaluated and after (R4, R7). `outbox`: what leaves only once the log has
//!   synced (R6). `feed`: what is on its way into the engine (R11, R12).
//! - `sleep`: idle groups that cost nothing (R9).
//!
//! R1 to R23 are the rules that make the design safe with the crates it stands on; each place that keeps one names it.
//!
//! # Invariants
//! - Nothing is sent, answered or applied before what it rests on is durable; every wait is keyed by term and index.
//! - Only `consensus` sees raft-rs types; peers carry messages as opaque bytes.
//! - The host never waits: not for the log, not for the engine, not for a peer.

mod admission;
pub mod config;
mod feed;
pub mod group;
pub mod host;
pub mod lease;
mod logger;
mod outbox;
mod pending;
mod promise;
mod reads;
mod sleep;
mod store;
pub mod types;
mod waiting;

pub use config::Config;
pub use group::{GroupStatus, LogReader, Recovered};
pub use host::{Answer, ApplyJob, Effects, Event, Host, InstallJob, LeaderChange, StartGroup};
pub use lease::{ReadTicket, ReplicaView};
pub use types::{Class, GroupId, GroupSpec, Member, NodeId, PeerMessage, Refusal, ReplicaId};
