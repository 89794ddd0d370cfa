//! What a peer's message must be before Raft sees it.
//!
//! raft-rs trusts its peers: one heartbeat with a commit beyond the log panics it. Peers are other processes, perhaps of another
//! version, perhaps broken, so a message is checked against the group first, and dropped with a word in the log if it cannot
//! come from a correct replica. Proposals, reads and transfer requests from peers are refused by kind: the absolute write set of
//! a deposed leader would overwrite newer data (R1), and transfers are ordered locally (R3).

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};

use crate::store::Store;
use crate::types::{Class, GroupSpec, PeerMessage};

/// No index or term of a correct replica gets near this; what does would overflow arithmetic inside raft-rs.
const NUMBER_MAX: u64 = 1 << 62;

/// What raft-rs puts in the context of vote requests that a leadership transfer causes.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

/// What of a group's state a message is checked against.
pub(crate) struct Standing<'a> {
    pub(crate) spec: &'a GroupSpec,
    pub(crate) store: &'a Store,
    /// Including what raft-rs has not handed out yet.
    pub(crate) last_index: u64,
    pub(crate) committed: u64,
    pub(crate) term: u64,
    pub(crate) leader: u64,
}

/// Decodes and checks a message. The error says what is wrong with it.
pub(crate) fn admit(peer: &PeerMessage, standing: &Standing<'_>) -> Result<Message, &'static str> {
    let mut message = Message::default();
    message.merge_from_bytes(&peer.payload).map_err(|_| "it is not a Raft message")?;
    if message.from != peer.from.0 || message.to != standing.spec.replica.0 {
        return Err("its sender or receiver is not who carried it");
    }
    if standing.spec.node_of(peer.from).is_none() || peer.from == standing.spec.replica {
        return Err("its sender is not another member of the group");
    }
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ];
    if message.term == 0 || numbers.iter().any(|number| *number > NUMBER_MAX) {
        return Err("a number in it is out of bounds");
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => append(&message, standing)?,
        MessageType::MsgHeartbeat if message.commit > standing.last_index => {
            return Err("its commit is beyond the log");
        }
        MessageType::MsgAppendResponse
            if message.request_snapshot != 0
                || (!message.reject && message.index > standing.last_index) =>
        {
            return Err("it acknowledges what was never sent");
        }
        MessageType::MsgTimeoutNow
            if message.term != standing.term || message.from != standing.leader =>
        {
            return Err("it is not this term's leader's");
        }
        MessageType::MsgSnapshot => snapshot(&message, standing)?,
        MessageType::MsgHeartbeat
        | MessageType::MsgAppendResponse
        | MessageType::MsgTimeoutNow
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => {}
        _ => return Err("its kind is not taken from peers"),
    }
    if !message.entries.is_empty() && message.get_msg_type() != MessageType::MsgAppend {
        return Err("it carries entries that its kind does not have");
    }
    Ok(message)
}

/// Entries must follow each other, and may not contradict what is committed here.
fn append(message: &Message, standing: &Standing<'_>) -> Result<(), &'static str> {
    let mut term = message.log_term;
    for (expected, entry) in (message.index + 1..).zip(message.entries.iter()) {
        if entry.index != expected {
            return Err("its entries do not follow each other");
        }
        if entry.term < term || entry.term > message.term {
            return Err("the terms of its entries are out of order");
        }
        term = entry.term;
        if entry.index <= standing.committed
            && standing.store.term_of(entry.index).is_some_and(|known| known != entry.term)
        {
            return Err("it contradicts what is committed");
        }
    }
    Ok(())
}

fn snapshot(message: &Message, standing: &Standing<'_>) -> Result<(), &'static str> {
    let metadata = message.get_snapshot().get_metadata();
    let mut voters = metadata.get_conf_state().get_voters().to_vec();
    let mut members: Vec<u64> =
        standing.spec.members.iter().map(|member| member.replica.0).collect();
    voters.sort_unstable();
    members.sort_unstable();
    if voters != members || metadata.index == 0 || metadata.term == 0 {
        return Err("its snapshot is not of this group's members");
    }
    if metadata.index > NUMBER_MAX || metadata.term > message.term {
        return Err("a number in its snapshot is out of bounds");
    }
    Ok(())
}

/// Whether it asks for this replica's vote, other than by order of the leader itself.
pub(crate) fn solicits_vote(message: &Message) -> bool {
    matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
        && message.context.as_ref() != CAMPAIGN_TRANSFER
}

/// Whether only a leader sends it.
pub(crate) fn is_leaders(message: &Message) -> bool {
    matches!(
        message.get_msg_type(),
        MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
    )
}

/// A message of this replica's, ready to be carried; `None` for kinds that do not leave a replica (R1).
pub(crate) fn dispatch(spec: &GroupSpec, message: &Message) -> Option<PeerMessage> {
    let class = match message.get_msg_type() {
        MessageType::MsgAppend | MessageType::MsgAppendResponse => Class::Entries,
        MessageType::MsgSnapshot => Class::Snapshot,
        MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Class::Control,
        _ => return None,
    };
    Some(PeerMessage {
        group: spec.group,
        from: spec.replica,
        to: crate::types::ReplicaId(message.to),
        class,
        payload: Bytes::from(message.write_to_bytes().ok()?),
    })
}
