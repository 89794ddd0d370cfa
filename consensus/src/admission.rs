//! What a peer's message must be before Raft sees it.
//!
//! raft-rs trusts its peers: one heartbeat with a commit beyond the log panics it. Peers are other processes, perhaps of another
//! version, perhaps broken, so a message is checked against the group first, and dropped with a word in the log if it cannot
//! come from a correct replica. Proposals, reads and transfer requests from peers are refused by kind: the absolute write set of
//! a deposed leader would overwrite newer data (R1), and transfers are ordered locally (R3).

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};
use raft::{Raft, StateRole};
use stator_storage::mutation::{Mutation, planted};

use crate::store::Store;
use crate::types::{Class, GroupSpec, PeerMessage, ReplicaId};

/// No index or term of a correct replica gets near this; what does would overflow arithmetic inside raft-rs.
const NUMBER_MAX: u64 = 1 << 62;

/// What raft-rs puts in the context of vote requests that a leadership transfer causes.
const CAMPAIGN_TRANSFER: &[u8] = b"CampaignTransfer";

type Checked = Result<(), &'static str>;

/// Decodes and checks a message. The error says what is wrong with it.
pub(crate) fn admit(
    peer: &PeerMessage,
    spec: &GroupSpec,
    raft: &Raft<Store>,
) -> Result<Message, &'static str> {
    let mut message = Message::default();
    message.merge_from_bytes(&peer.payload).map_err(|_| "it is not a Raft message")?;
    if message.from != peer.from.0 || message.to != spec.replica.0 || peer.to != spec.replica {
        return Err("its sender or receiver is not who carried it");
    }
    if spec.node_of(peer.from).is_none() || peer.from == spec.replica {
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
    if planted(Mutation::NoAuthority) && message.get_msg_type() == MessageType::MsgPropose {
        return Ok(message);
    }
    if message.term == 0 || numbers.iter().any(|number| *number > NUMBER_MAX) {
        return Err("a number in it is out of bounds");
    }
    if !message.entries.is_empty() && message.get_msg_type() != MessageType::MsgAppend {
        return Err("it carries entries that its kind does not have");
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => append(&message, raft)?,
        MessageType::MsgHeartbeat => heartbeat(&message, raft)?,
        MessageType::MsgSnapshot => snapshot(&message, spec, raft)?,
        MessageType::MsgAppendResponse => append_response(&message, raft)?,
        MessageType::MsgRequestVoteResponse => vote(&message, raft)?,
        MessageType::MsgTimeoutNow
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => {}
        _ => return Err("its kind is not taken from peers"),
    }
    Ok(message)
}

/// Entries must follow each other, and may not contradict what is committed here.
fn append(message: &Message, raft: &Raft<Store>) -> Checked {
    let mut term = message.log_term;
    for (expected, entry) in (message.index + 1..).zip(message.entries.iter()) {
        if entry.index != expected {
            return Err("its entries do not follow each other");
        }
        if entry.term < term || entry.term > message.term {
            return Err("the terms of its entries are out of order");
        }
        if entry.get_entry_type() != EntryType::EntryNormal {
            return Err("the kind of an entry in it is not known here");
        }
        term = entry.term;
        contradicts(message, raft, (entry.index, entry.term))?;
    }
    Ok(())
}

/// What is committed here no leader has otherwise; but for one of a former term, whose message comes late and is not looked at.
fn contradicts(message: &Message, raft: &Raft<Store>, (index, term): (u64, u64)) -> Checked {
    if message.term < raft.term {
        return Ok(());
    }
    let log = &raft.raft_log;
    // Below the truncation mark the term is no longer known.
    let known = (log.first_index() - 1..=log.committed).contains(&index);
    if known && log.term(index).is_ok_and(|ours| ours != term) {
        return Err("it contradicts what is committed");
    }
    Ok(())
}

fn heartbeat(message: &Message, raft: &Raft<Store>) -> Checked {
    // Of a former term it is answered and not looked at.
    if message.term >= raft.term && message.commit > raft.raft_log.last_index() {
        return Err("its commit is beyond the log");
    }
    Ok(())
}

fn append_response(message: &Message, raft: &Raft<Store>) -> Checked {
    let is_mine = message.term == raft.term && raft.state == StateRole::Leader;
    let last = raft.raft_log.last_index();
    if message.request_snapshot != 0
        && (!message.reject || is_mine && message.request_snapshot > last)
    {
        return Err("it asks for a snapshot of what was never sent");
    }
    if is_mine && !message.reject && message.index > last {
        return Err("it acknowledges what was never sent");
    }
    Ok(())
}

/// Requests for votes leave only once all entries are synced, so an answer cannot come before that; raft-rs asserts it.
fn vote(message: &Message, raft: &Raft<Store>) -> Checked {
    let log = &raft.raft_log;
    let is_mine = message.term == raft.term && raft.state == StateRole::Candidate;
    if is_mine && log.persisted != log.last_index() {
        return Err("it answers what was never asked");
    }
    Ok(())
}

fn snapshot(message: &Message, spec: &GroupSpec, raft: &Raft<Store>) -> Checked {
    let metadata = message.get_snapshot().get_metadata();
    let conf_state = metadata.get_conf_state();
    let mut voters = conf_state.get_voters().to_vec();
    let mut members: Vec<u64> = spec.members.iter().map(|member| member.replica.0).collect();
    voters.sort_unstable();
    members.sort_unstable();
    let is_plain = conf_state.get_learners().is_empty()
        && conf_state.get_voters_outgoing().is_empty()
        && conf_state.get_learners_next().is_empty()
        && !conf_state.auto_leave;
    if voters != members || !is_plain {
        return Err("its snapshot is not of this group's members");
    }
    if metadata.index == 0 || metadata.term == 0 {
        return Err("its snapshot is empty");
    }
    if metadata.index > NUMBER_MAX || metadata.term > message.term {
        return Err("a number in its snapshot is out of bounds");
    }
    contradicts(message, raft, (metadata.index, metadata.term))
}

/// Whether it asks for this replica's vote, other than by order of the leader itself (a transfer asks without a pre-vote).
pub(crate) fn solicits_vote(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestPreVote => true,
        MessageType::MsgRequestVote => message.context.as_ref() != CAMPAIGN_TRANSFER,
        _ => false,
    }
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
        MessageType::MsgPropose if planted(Mutation::NoAuthority) => Class::Entries,
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
        to: ReplicaId(message.to),
        class,
        payload: Bytes::from(message.write_to_bytes().ok()?),
    })
}
