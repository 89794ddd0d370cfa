//! The log: one segmented write-ahead log per node, shared by all its replicas.
//!
//! # What it holds
//! [`Record`]s of many groups, in the order they were staged. Consensus hands in the records of a turn as one batch; the
//! batches that wait are written together and synced once (group commit).
//!
//! # The parts
//! - a pure core: batches in, [`DiskOp`]s out, completions in. It knows segments, positions and what is live.
//! - `writer`: the thread that runs the core against a [`Disk`](crate::disk::Disk). The simulator has its own driver instead.
//! - recovery: reads the segments, tells a torn tail from corruption, and gives each group's state.
