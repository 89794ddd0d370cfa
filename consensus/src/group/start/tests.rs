use std::ops::Range;

use stator_storage::log::LogEntry;
use stator_storage::machine::GroupId;

use super::*;
use crate::types::{Member, NodeId, ReplicaId};

struct NoLog;

impl LogReader for NoLog {
    fn entries(
        &self,
        _group: GroupId,
        _range: Range<u64>,
        _bytes_max: u64,
    ) -> stator_storage::Result<Vec<LogEntry>> {
        Ok(Vec::new())
    }
}

fn spec(replica: u64, members: &[u64]) -> GroupSpec {
    let member = |id: &u64| Member { replica: ReplicaId(*id), node: NodeId(*id) };
    GroupSpec {
        group: GroupId(1),
        replica: ReplicaId(replica),
        members: members.iter().map(member).collect(),
    }
}

fn start(recovered: &Recovered) -> Result<(RawNode<Store>, u64), Fault> {
    raft_node(&Config::default(), &spec(1, &[1, 2, 3]), recovered, Arc::new(NoLog))
}

fn recovered(commit: u64, terms: &[u64], applied: (u64, u64)) -> Recovered {
    Recovered { term: 6, vote: 2, commit, mark: (10, 5), terms: terms.to_vec(), applied }
}

#[test]
fn a_commit_behind_what_is_applied_is_raised() {
    let (_, committed) = start(&recovered(10, &[6, 6, 6], (12, 6))).expect("ordinary");
    assert_eq!(committed, 12);
}

#[test]
fn a_commit_past_the_last_entry_is_lowered() {
    let (_, committed) = start(&recovered(99, &[6, 6, 6], (11, 6))).expect("ordinary");
    assert_eq!(committed, 13);
}

#[test]
fn an_entry_knows_a_term_that_the_hard_state_does_not() {
    let (node, _) = start(&recovered(10, &[6, 7], (10, 5))).expect("ordinary");
    assert_eq!((node.raft.term, node.raft.vote), (7, 0), "whoever led that term, it is not known");
    let (node, _) = start(&recovered(10, &[6], (10, 5))).expect("ordinary");
    assert_eq!((node.raft.term, node.raft.vote), (6, 2));
}

#[test]
fn what_the_log_does_not_have_is_refused() {
    let says = |recovered| start(&recovered).err().expect("no accident");
    assert!(says(recovered(10, &[6], (12, 6))).contains("entry 12 of term 6"));
    assert!(says(recovered(10, &[6, 6], (12, 7))).contains("entry 12 of term 7"));
}

#[test]
fn a_log_that_begins_behind_what_is_applied_is_that_of_a_replica_without_data() {
    let (node, committed) = start(&recovered(10, &[6, 6], (8, 5))).expect("it keeps its votes");
    assert_eq!((node.raft.raft_log.last_index(), committed), (12, 10));
}

#[test]
fn a_commit_before_the_mark_is_raised() {
    // The crash came between the reset and the hard state behind it.
    for applied in [(10, 5), (0, 0)] {
        let (_, committed) = start(&recovered(7, &[], applied)).expect("ordinary");
        assert_eq!(committed, 10);
    }
}

#[test]
fn an_empty_replica_starts_and_has_nothing() {
    let (node, committed) = start(&Recovered::default()).expect("it waits for a snapshot");
    assert_eq!((node.raft.raft_log.last_index(), committed), (0, 0));
}

#[test]
fn a_group_without_its_own_replica_is_refused() {
    let says = |replica, members: &[u64]| {
        let spec = spec(replica, members);
        raft_node(&Config::default(), &spec, &Recovered::fresh(), Arc::new(NoLog)).err()
    };
    assert!(says(4, &[1, 2, 3]).expect("refused").contains("not a member"));
    assert!(says(1, &[1, 2, 2]).expect("refused").contains("distinct"));
    assert!(says(0, &[0, 1]).expect("refused").contains("above zero"));
    assert!(says(1, &[1]).is_none());
}
