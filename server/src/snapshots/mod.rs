//! Snapshots of partitions, from one node to another (R9, R14, R18).
//!
//! A follower that is too far behind for the leader's log gets the partition itself. Consensus decides that it needs one and when
//! it is taken; here is how it travels:
//!
//! ```text
//!  leader's node                                         follower's node
//!  host: wanted ─▶ a snapshot is begun                   door: receive ─▶ files, each frame checked
//!  host: MsgSnapshot ─▶ stream ── header, frames, end ──▶ all there, synced ─▶ MsgSnapshot to the host
//!  host: sent, or not  ◀── receipt ◀─────────────────────┘      host: accepted, in the log ─▶ apply: install ─▶ engine flush:
//!                                                               the file goes
//! ```
//!
//! - [`send`]: the transfers of this node, a few at a time. `source`: where a transfer's frames come from. `pace`: how fast.
//! - [`receive`]: the door's side. [`files`]: what has come, and what is whole. `incoming`: what is being written. `chain`:
//!   the form of a file.
//! - [`install`]: a whole file into the engine, step by step, between the jobs of other groups.
//!
//! # Invariants
//! - Every transfer that a host was told is prepared is reported sent or failed, whatever happens to it (R9).
//! - A receipt speaks of what is synced, file and directory; the Raft message goes to the host only once all is.
//! - A whole file stays until the engine has been flushed with what was installed from it, or beyond: until then every crash, and
//!   every engine that has to be opened again, finds it and begins anew.
//! - What comes in is judged against the replica here before it is written: no frame, and no file, is believed.
//!
//! # Caveats
//! - A resumed transfer is read from a newer view of the engine, so that no view is kept for as long as a slow transfer takes; its
//!   items are as of different entries then, and the replica answers no reads before it has applied them all (R18).
//! - A snapshot has to fit on the receiver's disk beside the data that it replaces.

mod chain;
pub(crate) mod files;
mod incoming;
pub(crate) mod install;
mod pace;
#[cfg(feature = "grpc")]
pub(crate) mod receive;
pub(crate) mod send;
mod source;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

use stator_consensus::GroupId;

/// The format of the frames that are sent here, and the newest one taken.
const FORMAT: u32 = 1;
/// The longest frame: what a chunk is filled to, and one item more, with room to spare.
pub(crate) const FRAME_BYTES_MAX: usize = 2 << 20;
/// Streams that are taken at once.
pub(crate) const STREAMS_MAX: usize = 4;

/// What a snapshot is called on every node: the group that it is of, and its id there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) group: GroupId,
    pub(crate) id: u64,
}

impl Name {
    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (group, id) = text.split_once('-')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let name = Self { group: GroupId(number(group)?), id: number(id)? };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.group.0, self.id)
    }
}
