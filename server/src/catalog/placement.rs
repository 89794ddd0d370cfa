//! Where the replicas of a new table go: pure.
//!
//! Each partition gets replicas on distinct nodes, in distinct zones as far as there are such, those that hold fewest first; nodes
//! that do not answer only where there are not enough others, for nobody else would take their replicas over. And the first-ranked replica, which is the likeliest leader, is the one whose node leads fewest so far.

use std::collections::{BTreeMap, BTreeSet};

use stator_consensus::{GroupId, Member, NodeId, ReplicaId};

use super::records::PartitionRecord;

/// A node that replicas may be placed on, and what it holds already.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: NodeId,
    pub(crate) zone: String,
    /// Whether it has just been heard of.
    pub(crate) answers: bool,
    pub(crate) replicas: usize,
    pub(crate) first_ranked: usize,
}

/// Cuts the hash space into `partitions` equal ranges and places `factor` replicas of each, or as many as there are nodes.
pub(crate) fn place(
    table_id: u32,
    partitions: u32,
    factor: usize,
    mut candidates: Vec<Candidate>,
) -> Vec<PartitionRecord> {
    let count = u128::from(partitions.max(1));
    let first_of = |index: u128| ((1u128 << 64) * index).div_ceil(count);
    let mut placed = Vec::new();
    for index in 0..count {
        let members = choose(factor, &mut candidates);
        placed.push(PartitionRecord {
            group: GroupId(u64::from(table_id) << 32 | u64::try_from(index).unwrap_or(u64::MAX)),
            generation: 1,
            first_hash: u64::try_from(first_of(index)).unwrap_or(u64::MAX),
            last_hash: u64::try_from(first_of(index + 1) - 1).unwrap_or(u64::MAX),
            members,
        });
    }
    placed
}

fn choose(factor: usize, candidates: &mut [Candidate]) -> Vec<Member> {
    candidates.sort_by_key(|candidate| (!candidate.answers, candidate.replicas, candidate.node));
    let mut zones = BTreeSet::new();
    let mut chosen: Vec<usize> = Vec::new();
    // A node without a zone is a zone of its own.
    for (index, candidate) in candidates.iter().enumerate().filter(|(_, found)| found.answers) {
        if chosen.len() < factor && (candidate.zone.is_empty() || zones.insert(&candidate.zone)) {
            chosen.push(index);
        }
    }
    // Those that answer come first here, too.
    for index in 0..candidates.len() {
        if chosen.len() < factor && !chosen.contains(&index) {
            chosen.push(index);
        }
    }
    chosen.sort_by_key(|index| (candidates[*index].first_ranked, candidates[*index].node));
    if let Some(first) = chosen.first() {
        candidates[*first].first_ranked += 1;
    }
    (1..)
        .zip(chosen)
        .map(|(replica, index)| {
            candidates[index].replicas += 1;
            Member { replica: ReplicaId(replica), node: candidates[index].node }
        })
        .collect()
}

/// What each node holds, from the partitions that there are.
pub(crate) fn loads<'a>(
    partitions: impl Iterator<Item = &'a PartitionRecord>,
) -> BTreeMap<NodeId, (usize, usize)> {
    let mut loads: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for partition in partitions {
        for (rank, member) in partition.members.iter().enumerate() {
            let load = loads.entry(member.node).or_default();
            load.0 += 1;
            load.1 += usize::from(rank == 0);
        }
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(zones: &[&str]) -> Vec<Candidate> {
        (1..)
            .zip(zones)
            .map(|(id, zone)| Candidate {
                node: NodeId(id),
                zone: (*zone).to_owned(),
                answers: true,
                replicas: 0,
                first_ranked: 0,
            })
            .collect()
    }

    #[test]
    fn ranges_cover_the_hash_space_without_gaps() {
        for count in [1, 3, 4, 4096] {
            let placed = place(7, count, 3, nodes(&["", "", ""]));
            assert_eq!(placed.len(), count as usize);
            assert_eq!(placed[0].first_hash, 0);
            assert_eq!(placed.last().expect("some").last_hash, u64::MAX);
            for pair in placed.windows(2) {
                assert_eq!(pair[0].last_hash + 1, pair[1].first_hash);
            }
        }
    }

    #[test]
    fn leaders_and_replicas_spread_evenly() {
        let placed = place(7, 12, 3, nodes(&["", "", "", ""]));
        let loads = loads(placed.iter());
        assert_eq!(loads.len(), 4);
        assert!(loads.values().all(|load| *load == (9, 3)), "{loads:?}");
    }

    #[test]
    fn zones_are_kept_apart_where_they_can_be() {
        for partition in place(7, 8, 3, nodes(&["a", "a", "b", "b", "c"])) {
            let zones: BTreeSet<u64> =
                partition.members.iter().map(|member| (member.node.0 - 1) / 2).collect();
            assert_eq!(zones.len(), 3);
        }
        assert_eq!(place(7, 1, 3, nodes(&["a", "a"]))[0].members.len(), 2);
    }

    #[test]
    fn who_does_not_answer_is_taken_only_in_need() {
        let with_dead = |dead: u64| {
            let mut all = nodes(&["a", "a", "a", "b"]);
            all.iter_mut().for_each(|node| node.answers = node.node.0 < dead);
            place(7, 6, 3, all)
        };
        for partition in with_dead(4) {
            assert!(partition.members.iter().all(|member| member.node != NodeId(4)));
        }
        // Two answer: each partition has both, and one of the others.
        for partition in with_dead(3) {
            let of_those = partition.members.iter().filter(|member| member.node.0 < 3);
            assert_eq!((partition.members.len(), of_those.count()), (3, 2));
        }
    }
}
