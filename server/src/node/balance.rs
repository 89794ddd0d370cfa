//! Leaders go home: a partition's first-ranked replica is where its leader belongs, so that leaders stay spread as they were placed.
//!
//! After a node was away its leaderships are elsewhere. Now and then each node looks at what it leads; if the first-ranked replica of
//! one is up again and has nearly everything, leadership is handed over. One partition at a time, for a hand-over costs its writers a
//! few milliseconds.
//!
//! A node whose engine waits for room on a full disk cannot apply what is written, and what cannot be applied cannot be read there:
//! it hands what it leads to followers that have applied everything, and nothing is handed to it until there is room.
//!
//! A node that does not answer costs a look the time of one question: it is asked no more before the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
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
        let asking = |at: NodeId, group: u64| {
            let node = node.clone();
            async move { node.replica_statuses(at, &[group], ASK_TIMEOUT).await.ok() }.boxed()
        };
        let look = Look { node: &node, asking: &asking, silent: BTreeSet::new() };
        if node.room.reads_refusal().is_some() {
            look.leave_all().await;
        } else {
            look.go_home().await;
        }
    }
}

/// What a node says of its replica of a group; nothing if it does not answer.
type Asking<'a> =
    &'a (dyn Fn(NodeId, u64) -> BoxFuture<'static, Option<Vec<GroupStatus>>> + Send + Sync);

/// One look at what is led here.
struct Look<'a> {
    node: &'a Inner,
    asking: Asking<'a>,
    /// The nodes that have not answered.
    silent: BTreeSet<NodeId>,
}

impl Look<'_> {
    /// Hands over what belongs elsewhere, one partition after another, unless this node has to let go of everything.
    async fn go_home(mut self) {
        for replica in self.node.replicas.all() {
            if self.node.room.reads_refusal().is_some() {
                return;
            }
            let Some((at, heir)) = home(self.node, &replica) else { continue };
            let told = self.told(vec![at], replica.spec.group.0).await;
            let may =
                |own: &GroupStatus| may_go_home(own, replica.spec.replica, replica.view.applied());
            if told.iter().any(|own| own.group == replica.spec.group.0 && may(own)) {
                hand_over(&replica, heir).await;
            }
        }
    }

    /// Hands over what is led here, one partition after another, for as long as nothing can be applied here.
    async fn leave_all(mut self) {
        for replica in self.node.replicas.all() {
            if self.node.room.reads_refusal().is_none() {
                return;
            }
            if !replica.view.serves() {
                continue;
            }
            let group = replica.spec.group;
            let members = replica.spec.members.iter().map(|member| NodeId(member.node));
            let own = self.node.id();
            let told = self.told(members.filter(|node| *node != own).collect(), group.0).await;
            let committed = self.node.replicas.state(group).map_or(0, |state| state.committed);
            let needed = committed.max(replica.view.applied());
            if let Some(to) = relief(&told, group.0, replica.spec.replica, needed) {
                let (group, heir) = (group.0, to.0);
                tracing::warn!(group, to = heir, "the disk is full: another node is to lead");
                hand_over(&replica, to).await;
            }
        }
    }

    /// What these nodes say of their replicas of a group, those that have answered so far.
    async fn told(&mut self, mut nodes: Vec<NodeId>, group: u64) -> Vec<GroupStatus> {
        nodes.retain(|node| !self.silent.contains(node));
        let told = join_all(nodes.iter().map(|node| (self.asking)(*node, group))).await;
        let silent = nodes.iter().zip(&told).filter(|(_, told)| told.is_none());
        self.silent.extend(silent.map(|(node, _)| *node));
        told.into_iter().flatten().flatten().collect()
    }
}

async fn hand_over(replica: &Replica, to: ReplicaId) {
    replica.host.push(Event::HandOver { group: replica.spec.group, to: Some(to) });
    tokio::time::sleep(PAUSE).await;
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

/// Whether a leader's first-ranked follower may have the leadership back.
fn may_go_home(home: &GroupStatus, leader: u64, applied: u64) -> bool {
    let is_close = home.applied_index.saturating_add(LAG_MAX) >= applied;
    follows(home, leader) && is_close && !home.cannot_apply
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use stator_storage::partition::Member;

    use super::*;
    use crate::catalog::records::CATALOG_GROUP;
    use crate::config::NodeConfig;
    use crate::mailbox::{Inbox, mailbox};
    use crate::node::Node;
    use crate::node::replica_life::tests::{group, spec};
    use crate::shell::HostEvent;

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

    /// A node in memory that leads so many partitions of others, as far as it can tell; what their host is told comes there.
    async fn leader_of(homes: &[u64]) -> (Node, Inbox<HostEvent>) {
        let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
        node.wait_ready(Duration::from_secs(30)).await.expect("ready");
        let catalog = node.inner.replicas.get(CATALOG_GROUP).expect("it is there");
        let (host, inbox) = mailbox(1000);
        for (number, home) in (0..).zip(homes) {
            let mut spec = spec(number);
            let members = [(2, *home), (1, 1), (3, 5 - *home)];
            spec.members = members.map(|(replica, node)| Member { replica, node }).to_vec();
            node.inner.replicas.insert(Arc::new(Replica {
                spec: Arc::new(spec),
                view: catalog.view.clone(),
                data: catalog.data.clone(),
                host: host.clone(),
            }));
        }
        (node, inbox)
    }

    fn handed_over(inbox: &mut Inbox<HostEvent>) -> Vec<(u64, u64)> {
        let mut events = Vec::new();
        inbox.drain(&mut events, Some(Duration::ZERO));
        let handed_over = events.iter().filter_map(|event| match event {
            Event::HandOver { group, to: Some(to) } => Some((group.0, to.0)),
            _ => None,
        });
        handed_over.collect()
    }

    /// Whom a look asks, if node 2 does not answer, and what else comes of each question.
    async fn asked(node: &Node, leaves: bool, then: impl Fn() + Send + Sync) -> Vec<u64> {
        let asked = Mutex::new(Vec::new());
        let asking = |at: NodeId, group: u64| {
            asked.lock().expect("no panic").push(at.0);
            then();
            let replica = if leaves { 3 } else { 2 };
            let own = GroupStatus { group, ..follower(replica, u64::MAX) };
            async move { (at.0 != 2).then(|| vec![own]) }.boxed()
        };
        let look = Look { node: &node.inner, asking: &asking, silent: BTreeSet::new() };
        if leaves {
            look.leave_all().await;
        } else {
            look.go_home().await;
        }
        asked.into_inner().expect("no panic")
    }

    #[tokio::test]
    async fn who_does_not_answer_is_asked_once_in_a_look() {
        let homes = [2, 2, 2, 3];
        let (node, mut inbox) = leader_of(&homes).await;
        assert_eq!(asked(&node, false, || {}).await, [2, 3]);
        assert_eq!(handed_over(&mut inbox), [(group(3).0, 2)]);

        node.inner.room.note_waited_for(true);
        let asked = asked(&node, true, || {}).await;
        assert_eq!(asked.iter().filter(|at| **at == 2).count(), 1, "{asked:?}");
        let all: Vec<_> = (0..4).map(|number| (group(number).0, 3)).collect();
        assert_eq!(handed_over(&mut inbox), all, "another one has answered");
    }

    #[tokio::test]
    async fn a_disk_that_is_full_by_now_comes_before_going_home() {
        let (node, mut inbox) = leader_of(&[3, 3, 3]).await;
        let fills = || node.inner.room.note_waited_for(true);
        assert_eq!(asked(&node, false, fills).await, [3]);
        assert_eq!(handed_over(&mut inbox).len(), 1);
        let empties = || node.inner.room.note_waited_for(false);
        assert_eq!(asked(&node, true, empties).await.len(), 2, "of one partition");
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
