//! What a replica starts from (R12, R14).

use std::collections::BTreeSet;
use std::sync::Arc;

use raft::RawNode;
use raft::eraftpb::HardState;
use stator_storage::mutation::{Mutation, planted};

use super::Fault;
use crate::config::Config;
use crate::store::{LogReader, Store};
use crate::types::GroupSpec;

/// The index and term of the made-up first snapshot that every log begins behind, so that an empty replica can only start from a
/// snapshot (R14).
pub const FIRST_MARK: (u64, u64) = (10, 5);

/// What a replica starts from, as recovery found it. The default is an empty replica: it neither votes for itself nor leads
/// before it has been sent a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Raft's hard state: term, vote, commit.
    pub term: u64,
    /// The replica voted for in that term; 0 is none.
    pub vote: u64,
    /// The commit as logged.
    pub commit: u64,
    /// Index and term of the truncation mark. A snapshot that the log was reset to and that the engine does not hold yet is
    /// installed from its files before the replica starts (R18).
    pub mark: (u64, u64),
    /// The terms of the entries after the mark.
    pub terms: Vec<u64>,
    /// What the engine holds: index and term of the last entry applied (R12). Below the mark, if the snapshot that the log was
    /// reset to is lost: such a replica keeps its log and its votes, applies and leads nothing, and asks its leader for another
    /// snapshot.
    pub applied: (u64, u64),
}

impl Recovered {
    /// A replica of a group that was just made.
    #[must_use]
    pub fn fresh() -> Self {
        let (index, term) = FIRST_MARK;
        Self { term, commit: index, mark: FIRST_MARK, applied: FIRST_MARK, ..Self::default() }
    }

    /// Whether it is as [`Recovered::fresh`] made it: the log may never have heard of it.
    pub(crate) fn is_new(&self) -> bool {
        self.mark == FIRST_MARK
            && self.terms.is_empty()
            && self.term == FIRST_MARK.1
            && self.vote == 0
    }

    /// Whether the engine does not hold what the log begins behind.
    pub(super) fn is_lacking(&self) -> bool {
        self.applied.0 < self.mark.0
    }

    fn last(&self) -> u64 {
        self.mark.0 + self.terms.len() as u64
    }

    /// The hard state to start with. An applied index past the logged commit (which is not synced on its own), a commit before the
    /// mark (if the crash came between a reset and the hard state behind it), a commit past the
    /// last entry that survived, and entries of a term that the hard state has not heard of are ordinary after a crash.
    fn hard_state(&self) -> HardState {
        let last_term = self.terms.last().copied().unwrap_or(self.mark.1);
        let mut state = HardState::default();
        state.term = self.term.max(last_term);
        state.vote = if self.term == state.term { self.vote } else { 0 };
        if planted(Mutation::CommitAsLogged) {
            state.commit = self.commit;
            return state;
        }
        state.commit = self.commit.max(self.applied.0).max(self.mark.0).min(self.last());
        state
    }

    /// An applied entry that the log does not have, or has with another term, is no accident of a crash.
    fn check(&self, store: &Store) -> Result<(), Fault> {
        let (applied, term) = self.applied;
        let (mark, last) = (self.mark.0, self.last());
        if !self.is_lacking() && store.term_of(applied) != Some(term) {
            return Err(format!(
                "the engine holds entry {applied} of term {term}, which the log ({mark}..={last}) does not have"
            ));
        }
        Ok(())
    }
}

fn check_spec(spec: &GroupSpec) -> Result<(), Fault> {
    let ids: BTreeSet<u64> = spec.members.iter().map(|member| member.replica.0).collect();
    if ids.len() != spec.members.len() || ids.contains(&0) {
        return Err("the ids of the group's members are not distinct and above zero".to_owned());
    }
    // A leader that is not among its own voters has its every question confirmed by nobody (R8).
    if !ids.contains(&spec.replica.0) {
        return Err(format!("replica {} is not a member of its group", spec.replica.0));
    }
    Ok(())
}

/// Raft's node for a replica, and the commit it starts with.
pub(super) fn raft_node(
    config: &Config,
    spec: &GroupSpec,
    recovered: &Recovered,
    reader: Arc<dyn LogReader>,
) -> Result<(RawNode<Store>, u64), Fault> {
    check_spec(spec)?;
    let first = Recovered::fresh();
    let is_mistaken = planted(Mutation::EmptyTakesEntries) && recovered.mark.0 == 0;
    let recovered = if is_mistaken { &first } else { recovered };
    let voters = spec.members.iter().map(|member| member.replica.0).collect();
    let mut store = Store::new(spec.group, reader, recovered.mark, &recovered.terms, voters);
    recovered.check(&store)?;
    let hard_state = recovered.hard_state();
    let committed = hard_state.commit;
    store.set_hard_state(hard_state);
    let election = config.election_ticks + 2 * spec.rank();
    let raft_config = raft::Config {
        id: spec.replica.0,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        // With an interval of one the draw is constant: ranks decide, and the simulator replays.
        min_election_tick: election,
        max_election_tick: election + 1,
        // What lacks its snapshot is not applied; but raft-rs cannot apply what is not in the log.
        applied: recovered.applied.0.max(recovered.mark.0),
        max_size_per_msg: config.message_bytes_max,
        max_inflight_msgs: config.messages_in_flight_max,
        check_quorum: true,
        pre_vote: true,
        // The host reserves room before it evaluates (R7); raft-rs' own bound is only the backstop behind that.
        max_uncommitted_size: (config.in_flight_bytes_max + 2 * config.entry_bytes_max) as u64,
        max_committed_size_per_ready: config.apply_bytes_max,
        ..raft::Config::default()
    };
    let logger = crate::logger::logger(spec.group, spec.replica);
    let node = RawNode::new(&raft_config, store, &logger).map_err(|error| error.to_string())?;
    Ok((node, committed))
}

#[cfg(test)]
mod tests;
