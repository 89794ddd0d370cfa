//! Leaders go home: a partition's first-ranked replica is where its leader belongs, so that leaders stay spread as they were placed.
//!
//! After a node was away its leaderships are elsewhere. Now and then each node looks at what it leads; if the first-ranked replica of
//! one is up again and has nearly everything, leadership is handed over. One partition at a time, for a hand-over costs its writers a
//! few milliseconds.
//!
//! A node whose engine waits for room on a full disk cannot apply what is written, and what cannot be applied cannot be read there:
//! it hands what it leads to followers that have applied everything, and nothing is handed to it until there is room.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::{Event, NodeId, ReplicaId};
use stator_proto::peer::v1::{GroupStatus, ReplicaRole};

use super::Inner;
use crate::replicas::Replica;

/// How often to look, and how long another node may take to tell how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// The pause between two hand-overs.
const PAUSE: Duration = Duration::from_millis(200);
/// How many entries an heir may lack: the transfer itself brings the rest.
const LAG_MAX: u64 = 64;

/// Looks for as long as it is let.
pub(crate) async fn run(node: Arc<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if node.room.reads_refusal().is_some() {
            leave_all(&node).await;
            continue;
        }
        let strays: Vec<_> = node
            .replicas
            .all()
            .into_iter()
            .filter(|replica| home(&node, replica).is_some())
            .collect();
        for replica in strays {
            if let Some(heir) = heir(&node, &replica).await {
                let group = replica.spec.group;
                replica.host.push(Event::HandOver { group, to: Some(heir) });
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Hands over what is led here, one partition after another, for as long as nothing can be applied here.
async fn leave_all(node: &Inner) {
    for replica in node.replicas.all() {
        if node.room.reads_refusal().is_none() {
            return;
        }
        if !replica.view.serves() {
            continue;
        }
        let group = replica.spec.group;
        let asked = replica.spec.members.iter().filter(|member| member.node != node.id().0).map(
            |member| async {
                node.replica_statuses(NodeId(member.node), &[group.0], ASK_TIMEOUT).await
            },
        );
        let told = futures::future::join_all(asked).await;
        let told: Vec<_> = told.into_iter().flatten().flatten().collect();
        let committed = node.replicas.state(group).map_or(0, |state| state.committed);
        let needed = committed.max(replica.view.applied());
        if let Some(to) = relief(&told, group.0, replica.spec.replica, needed) {
            tracing::warn!(group = group.0, to = to.0, "the disk is full: another node is to lead");
            replica.host.push(Event::HandOver { group, to: Some(to) });
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Who is to lead in place of a leader that cannot apply: a follower of its that can, and that has applied everything that it
/// knows to be committed.
fn relief(told: &[GroupStatus], group: u64, leader: u64, committed: u64) -> Option<ReplicaId> {
    let able = told.iter().filter(|status| {
        status.group == group
            && follows(status, leader)
            && !status.cannot_apply
            && status.applied_index >= committed
    });
    let best = able.max_by_key(|status| (status.applied_index, status.replica_id))?;
    Some(ReplicaId(best.replica_id))
}

fn follows(status: &GroupStatus, leader: u64) -> bool {
    status.role() == ReplicaRole::Follower && status.leader_replica_id == Some(leader)
}

/// Where a partition's leader belongs, if it is led here and belongs elsewhere.
fn home(node: &Inner, replica: &Replica) -> Option<(NodeId, ReplicaId)> {
    let first = replica.spec.members.first()?;
    let strays = replica.view.serves() && first.node != node.id().0;
    strays.then_some((NodeId(first.node), ReplicaId(first.replica)))
}

/// The first-ranked replica, if it is up and close behind.
async fn heir(node: &Inner, replica: &Replica) -> Option<ReplicaId> {
    let (at, heir) = home(node, replica)?;
    let statuses = node.replica_statuses(at, &[replica.spec.group.0], ASK_TIMEOUT).await.ok()?;
    let own = statuses.iter().find(|status| status.group == replica.spec.group.0)?;
    may_go_home(own, replica.spec.replica, replica.view.applied()).then_some(heir)
}

/// Whether a leader's first-ranked follower may have the leadership back.
fn may_go_home(home: &GroupStatus, leader: u64, applied: u64) -> bool {
    let is_close = home.applied_index.saturating_add(LAG_MAX) >= applied;
    follows(home, leader) && is_close && !home.cannot_apply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(replica_id: u64, applied_index: u64) -> GroupStatus {
        let role = ReplicaRole::Follower.into();
        let leader_replica_id = Some(1);
        GroupStatus {
            group: 7,
            replica_id,
            role,
            leader_replica_id,
            applied_index,
            ..Default::default()
        }
    }

    #[test]
    fn who_relieves_a_leader_has_applied_everything_and_can_go_on() {
        let relief = |told: &[GroupStatus]| relief(told, 7, 1, 100).map(|replica| replica.0);
        assert_eq!(relief(&[]), None);
        assert_eq!(relief(&[follower(2, 99), follower(3, 98)]), None, "they lack something");
        assert_eq!(relief(&[follower(2, 100), follower(3, 99)]), Some(2));
        assert_eq!(relief(&[follower(2, 100), follower(3, 101)]), Some(3), "the one ahead");
        let full = GroupStatus { cannot_apply: true, ..follower(3, 101) };
        assert_eq!(relief(&[follower(2, 100), full]), Some(2));
        assert_eq!(relief(&[full]), None, "it could not apply either");
        let others = GroupStatus { group: 8, ..follower(2, 100) };
        let estranged = GroupStatus { leader_replica_id: Some(3), ..follower(2, 100) };
        let stopped = GroupStatus { role: ReplicaRole::Stopped.into(), ..follower(2, 100) };
        assert_eq!(relief(&[others, estranged, stopped]), None);
    }

    #[test]
    fn nobody_goes_home_to_a_full_disk() {
        let home = follower(2, 100);
        assert!(may_go_home(&home, 1, 100 + LAG_MAX) && !may_go_home(&home, 1, 101 + LAG_MAX));
        assert!(!may_go_home(&home, 3, 100), "it follows another");
        assert!(!may_go_home(&GroupStatus { cannot_apply: true, ..home }, 1, 100));
    }
}
