//! Leaders go home: a partition's first-ranked replica is where its leader belongs, so that leaders stay spread as they were placed.
//!
//! After a node was away its leaderships are elsewhere. Now and then each node looks at what it leads; if the first-ranked replica of
//! one is up again and has nearly everything, leadership is handed over. One partition at a time, for a hand-over costs its writers a
//! few milliseconds.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::{Event, NodeId, ReplicaId};
use stator_proto::peer::v1::ReplicaRole;

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
    let follows =
        own.role() == ReplicaRole::Follower && own.leader_replica_id == Some(replica.spec.replica);
    let is_close = own.applied_index + LAG_MAX >= replica.view.applied();
    (follows && is_close).then_some(heir)
}
