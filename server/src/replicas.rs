//! The replicas of a node: who holds what, and the ways to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use stator_consensus::{GroupId, GroupStatus, ReplicaView};
use stator_storage::partition::{DataGeneration, PartitionSpec};
use tokio::sync::oneshot;

use crate::shell::{HostEvent, HostMailbox};

/// As many messages and requests waiting for a host are too many.
const HOST_FLOODED: usize = 32 * 1024;

/// A replica on this node. Readers pass two gates, `view` and `data`, because each closes for what the other cannot know. The
/// view's is Raft's, which the host's evaluator asks, too: it closes once a snapshot is accepted, before the applier hears of
/// it; the generation's is the applier's, which snapshot writers ask, too: it closes for what the engine lacks (half a snapshot
/// that a restart found, an engine made anew) and for a replica that is removed.
pub(crate) struct Replica {
    pub(crate) spec: Arc<PartitionSpec>,
    /// The lease, the leader and the applied index, as readers see them.
    pub(crate) view: Arc<ReplicaView>,
    /// Whether the data may be read, and whether it is still the same.
    pub(crate) data: Arc<DataGeneration>,
    /// The mailbox of the host that drives it.
    pub(crate) host: HostMailbox,
}

impl Replica {
    /// Reads, eventually consistently: what was read counts only if it is of one generation of the data (R5).
    pub(crate) fn read<T>(&self, read: impl FnOnce() -> Option<T>) -> Option<T> {
        let (noted, ticket) = (self.data.note()?, self.view.begin_unleased()?);
        let value = read()?;
        (self.data.holds(noted) && self.view.holds_unleased(ticket)).then_some(value)
    }
}

/// All replicas of a node, by group.
#[derive(Default)]
pub(crate) struct Replicas {
    running: RwLock<BTreeMap<GroupId, Arc<Replica>>>,
    /// Those that stopped on a fault, with the reason.
    failed: RwLock<BTreeMap<GroupId, String>>,
    /// Those that were removed from this node, and are never to be made again (R8); true once a crash does not bring them back.
    removed: RwLock<BTreeMap<GroupId, bool>>,
    /// Who waits until the log has synced that a group is removed.
    tombstones: Mutex<BTreeMap<GroupId, Vec<oneshot::Sender<()>>>>,
    hosts: RwLock<Vec<HostMailbox>>,
    /// How many hosts wait for room in the log, which they share.
    log_stalled: AtomicUsize,
    /// The states of the groups, as their hosts last told.
    states: RwLock<BTreeMap<GroupId, GroupStatus>>,
}

impl Replicas {
    /// Resolves once the log has synced that a group is removed.
    pub(crate) fn tombstone(&self, group: GroupId) -> oneshot::Receiver<()> {
        let (synced, wait) = oneshot::channel();
        let mut waiting = self.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.entry(group).or_default();
        // Who has given up waiting makes room.
        waiting.retain(|waiter: &oneshot::Sender<()>| !waiter.is_closed());
        waiting.push(synced);
        wait
    }

    /// The log has synced that a group is removed.
    pub(crate) fn note_tombstone(&self, group: GroupId) {
        let mut waiting = self.tombstones.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiting.remove(&group).unwrap_or_default() {
            let _ = waiter.send(());
        }
    }

    /// A group is being removed from this node for good.
    pub(crate) fn note_removed(&self, group: GroupId) {
        let mut removed = self.removed.write().unwrap_or_else(PoisonError::into_inner);
        removed.entry(group).or_insert(false);
    }

    /// A group is removed: a crash does not bring it back.
    pub(crate) fn note_gone(&self, group: GroupId) {
        self.removed.write().unwrap_or_else(PoisonError::into_inner).insert(group, true);
        self.failed.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
        self.states.write().unwrap_or_else(PoisonError::into_inner).remove(&group);
    }

    pub(crate) fn was_removed(&self, group: GroupId) -> bool {
        self.removed.read().unwrap_or_else(PoisonError::into_inner).contains_key(&group)
    }

    pub(crate) fn is_gone(&self, group: GroupId) -> bool {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        removed.get(&group).copied().unwrap_or(false)
    }

    pub(crate) fn insert(&self, replica: Arc<Replica>) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.insert(replica.spec.group, replica);
    }

    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    pub(crate) fn remove(&self, group: GroupId) -> Option<Arc<Replica>> {
        self.running.write().unwrap_or_else(PoisonError::into_inner).remove(&group)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A replica stopped on a fault: it serves nothing any more.
    pub(crate) fn failed(&self, group: GroupId, reason: String) {
        self.remove(group);
        self.failed.write().unwrap_or_else(PoisonError::into_inner).insert(group, reason);
    }

    /// The replicas that stopped on a fault, with the reasons.
    pub(crate) fn failures(&self) -> Vec<(GroupId, String)> {
        let failed = self.failed.read().unwrap_or_else(PoisonError::into_inner);
        failed.iter().map(|(group, reason)| (*group, reason.clone())).collect()
    }

    pub(crate) fn has_failed(&self, group: GroupId) -> bool {
        self.failed.read().unwrap_or_else(PoisonError::into_inner).contains_key(&group)
    }

    /// One more host waits for room in the log, or one of those that did does not any more. Each tells its own changes.
    pub(crate) fn note_log_stalled(&self, stalled: bool) {
        if stalled {
            self.log_stalled.fetch_add(1, Ordering::Relaxed);
        } else {
            self.log_stalled.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a host waits for room in the log: no more requests are to come meanwhile.
    pub(crate) fn log_stalled(&self) -> bool {
        self.log_stalled.load(Ordering::Relaxed) > 0
    }

    /// The hosts of the node.
    pub(crate) fn set_hosts(&self, hosts: Vec<HostMailbox>) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Tells every host something.
    pub(crate) fn tell_hosts(&self, event: impl Fn() -> HostEvent) {
        for host in self.hosts.read().unwrap_or_else(PoisonError::into_inner).iter() {
            host.push(event());
        }
    }

    /// How far each replica has applied.
    pub(crate) fn applied(&self) -> Vec<(GroupId, u64)> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        running.iter().map(|(group, replica)| (*group, replica.view.applied())).collect()
    }

    /// Whether a host has so much to do that it should not be given more for the moment.
    pub(crate) fn is_flooded(&self) -> bool {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().any(|host| host.len() > HOST_FLOODED)
    }

    /// Tells the host of a group something. What is told of a group that is not here is dropped.
    pub(crate) fn tell(&self, group: GroupId, event: HostEvent) {
        if let Some(replica) = self.get(group) {
            replica.host.push(event);
        }
    }

    /// What a host tells of its groups.
    pub(crate) fn set_states(&self, states: impl Iterator<Item = (GroupId, GroupStatus)>) {
        self.states.write().unwrap_or_else(PoisonError::into_inner).extend(states);
    }

    /// The state of a group, as its host last told.
    pub(crate) fn state(&self, group: GroupId) -> Option<GroupStatus> {
        self.states.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }

    /// How many replicas lead that are not alone in their groups.
    pub(crate) fn led_by(&self, node: stator_consensus::NodeId) -> usize {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let leads = |replica: &&Arc<Replica>| {
            replica.view.leader() == Some(node) && replica.spec.members.len() > 1
        };
        running.values().filter(leads).count()
    }
}
