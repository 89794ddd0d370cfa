//! How replicas begin and end on this node.

use std::sync::Arc;
use std::time::Duration;

use stator_consensus::group::FIRST_MARK;
use stator_consensus::{
    Event, GroupSpec, Member, NodeId, Recovered, ReplicaId, ReplicaView, StartGroup,
};
use stator_storage::engine::Engine;
use stator_storage::machine::{AppliedMark, GroupId};
use stator_storage::partition::spec::list_specs;
use stator_storage::partition::{
    Deletion, PartitionApplier, PartitionEvaluator, PartitionSpec, initialise_all,
};
use tokio::sync::oneshot;

use super::Inner;
use crate::catalog::records::{PartitionRecord, TableRecord};
use crate::replicas::Replica;
use crate::shell::apply::ApplyEvent;
use crate::shell::fatal_on_panic;

/// How long a removal waits for what is being applied, and then for the log. It is tried again later.
const APPLY_TIMEOUT: Duration = Duration::from_secs(5);
const TOMBSTONE_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys deleted in one step when a replica's data goes.
const DELETE_STEP: usize = 2000;

impl Inner {
    /// Makes a replica of a partition here, unless there is one. `fresh` says that the group was just made.
    pub(crate) async fn ensure_replica(
        &self,
        table: &TableRecord,
        partition: &PartitionRecord,
        fresh: bool,
    ) -> Result<(), String> {
        self.begin_replicas(vec![self.replica_spec(table, partition)?], fresh).await
    }

    /// What a replica of a partition on this node is.
    pub(crate) fn replica_spec(
        &self,
        table: &TableRecord,
        partition: &PartitionRecord,
    ) -> Result<PartitionSpec, String> {
        let spec = table.replica_on(partition, self.own, self.region());
        spec.ok_or_else(|| "this node is not a member of the partition".to_owned())
    }

    /// Begins those of the replicas that this node has never had, with one flush for all of them. `fresh` says that their groups were
    /// just made.
    ///
    /// # Errors
    /// Why one cannot begin; the others do all the same.
    pub(crate) async fn begin_replicas(
        &self,
        specs: Vec<PartitionSpec>,
        fresh: bool,
    ) -> Result<(), String> {
        let one_at_a_time = self.life.clone().lock_owned().await;
        let mut refusal = None;
        let (mut begun, mut starts) = (Vec::new(), Vec::new());
        for spec in specs {
            match self.may_begin(&spec) {
                Ok(true) => {
                    // Its votes and entries are in the log, and count (R8): it is not fresh to anybody.
                    let known = self.rebuild.recovered(spec.group);
                    let fresh = fresh && known.is_none();
                    let recovered = known.unwrap_or_else(Recovered::fresh);
                    let voters = spec.members.iter().map(|member| member.replica).collect();
                    let (index, term) = FIRST_MARK;
                    let first = AppliedMark { index, term, voters };
                    begun.push((spec.clone(), (recovered.applied == FIRST_MARK).then_some(first)));
                    starts.push((spec, recovered, fresh));
                }
                Ok(false) => {}
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        if !begun.is_empty() {
            let engine = self.engine.clone();
            let made = tokio::task::spawn_blocking(move || {
                let made = initialise_all(engine.as_ref(), &begun);
                // Before the log hears of them: a log that knows a replica which the engine has lost could not be told from lost data.
                (made.and_then(|()| engine.flush()), one_at_a_time)
            });
            // Until it is done, though nobody may wait for it any more: what comes late must not begin anew what runs by then.
            let (made, _one_at_a_time) = made.await.map_err(|_| "the engine failed")?;
            made.map_err(|error| error.to_string())?;
            for (spec, recovered, fresh) in starts {
                let group = spec.group;
                match self.start_replica(spec, recovered, fresh) {
                    Ok(()) => self.rebuild.begun(group),
                    Err(why) => refusal = refusal.or(Some(why)),
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Whether a replica is to begin here; not if it runs already.
    fn may_begin(&self, spec: &PartitionSpec) -> Result<bool, String> {
        if self.replicas.get(spec.group).is_some() {
            return Ok(false);
        }
        if self.replicas.was_removed(spec.group) {
            return Err(format!(
                "the replica of group {} was removed from this node",
                spec.group.0
            ));
        }
        // Whoever has voted or acknowledged anything under this replica's id must not begin anew under it (R8).
        // One whose engine is made anew does not: it goes on with its log.
        let is_known =
            self.log.mark(spec.group).is_some() && self.rebuild.recovered(spec.group).is_none();
        if self.replicas.has_failed(spec.group) || is_known {
            return Err(format!(
                "the replica of group {} was here already, and its data is damaged or lost",
                spec.group.0
            ));
        }
        Ok(true)
    }

    /// Starts a replica that is in the engine.
    pub(crate) fn start_replica(
        &self,
        spec: PartitionSpec,
        recovered: Recovered,
        fresh: bool,
    ) -> Result<(), String> {
        let group = spec.group;
        let group_spec = group_spec(&spec);
        let spec = Arc::new(spec);
        let mut applier = PartitionApplier::open(self.engine.clone(), spec.clone())
            .map_err(|error| error.to_string())?;
        if self.rebuild.is_under_way() {
            let last = recovered.mark.0 + recovered.terms.len() as u64;
            let held = applier.hold_reads_until(recovered.commit.min(last));
            held.map_err(|error| error.to_string())?;
        }
        let view = Arc::new(ReplicaView::default());
        let index = self.host_of(group);
        self.replicas.insert(Arc::new(Replica {
            spec: spec.clone(),
            view: view.clone(),
            data: applier.data_generation(),
            host: self.hosts[index].clone(),
        }));
        let applied = recovered.applied.0;
        self.appliers[index].0.push(ApplyEvent::Add {
            group,
            applier,
            applied,
            view: view.clone(),
        });
        let start = StartGroup {
            spec: group_spec,
            recovered,
            fresh,
            evaluator: PartitionEvaluator::new(self.engine.clone(), spec),
            view,
        };
        self.start_group(index, group, start);
        Ok(())
    }

    /// Starts a replica's group. If its log begins behind a snapshot that the engine does not hold, that is installed first, as
    /// it would have been without the crash (R18); a replica whose snapshot is gone starts without data, and asks for another.
    fn start_group(&self, index: usize, group: GroupId, mut start: StartGroup<PartitionEvaluator>) {
        let host = self.hosts[index].clone();
        let mark = start.recovered.mark;
        if start.recovered.applied.0 >= mark.0 {
            host.push(Event::Start(Box::new(start)));
            return;
        }
        let done = move |restored: Option<(u64, u64)>| {
            start.recovered.applied = restored.unwrap_or(start.recovered.applied);
            host.push(Event::Start(Box::new(start)));
        };
        self.appliers[index].0.push(ApplyEvent::Restore { group, mark, done: Box::new(done) });
    }

    /// Removes replicas from here for good, whether they run, have failed, or were never made: they are never made again. Once this has
    /// answered, a crash does not bring them back. An attempt that was cut short is finished by the next one.
    pub(crate) async fn remove_replicas(&self, mut groups: Vec<GroupId>) -> Result<(), String> {
        let one_at_a_time = self.life.clone().lock_owned().await;
        groups.retain(|group| !self.replicas.is_gone(*group));
        if groups.is_empty() {
            return Ok(());
        }
        let ended: Vec<_> = groups.iter().map(|group| self.end_replica(*group)).collect();
        for (gone, tombstone) in ended {
            let gone = tokio::time::timeout(APPLY_TIMEOUT, gone).await;
            gone.map_err(|_| "nothing is applied just now")?.map_err(|_| "the node is stopping")?;
            // Before their data go: a log that knows a replica which the engine has lost could not be told from lost data, and would
            // keep its entries for ever.
            let synced = tokio::time::timeout(TOMBSTONE_TIMEOUT, tombstone).await;
            synced.map_err(|_| "the log has no room")?.map_err(|_| "the node is stopping")?;
        }
        if let Some(snapshots) = &self.snapshots {
            groups.iter().for_each(|group| snapshots.forget(*group));
        }
        let (engine, removed) = (self.engine.clone(), groups.clone());
        // Until that is done, though nobody may wait for it any more.
        let deleted = tokio::task::spawn_blocking(move || {
            (begin_deletions(engine.as_ref(), removed), one_at_a_time)
        });
        let (left, _one_at_a_time) = deleted.await.map_err(|_| "the engine failed")?;
        for deletion in left.map_err(|error| error.to_string())? {
            self.delete_in_background(deletion);
        }
        groups.iter().for_each(|group| self.replicas.note_gone(*group));
        Ok(())
    }

    /// Ends a replica. The first resolves once nothing is applied to it any more, the second once the log has synced that it is removed.
    fn end_replica(&self, group: GroupId) -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
        self.replicas.note_removed(group);
        if let Some(replica) = self.replicas.remove(group) {
            // The table is no more, though its name may be another's soon.
            self.tables.forget(&replica.spec.table_name);
        }
        let index = self.host_of(group);
        let tombstone = self.replicas.tombstone(group);
        self.hosts[index].push(Event::Remove { group });
        let (done, gone) = oneshot::channel();
        self.appliers[index].0.push(ApplyEvent::Remove {
            group,
            done: Box::new(move || {
                let _ = done.send(());
            }),
        });
        (gone, tombstone)
    }

    /// Deletes what is left of a replica's data, at a pace that leaves room for others: one replica after another, since all of them
    /// write through the lock that what is applied goes through too.
    pub(crate) fn delete_in_background(&self, mut deletion: Deletion) {
        let (engine, turn) = (self.engine.clone(), self.deleting.clone());
        let mut stop = self.stop.subscribe();
        let deleting = async move {
            let mut has_turn = turn.lock().await;
            loop {
                let engine = engine.clone();
                let stepped = tokio::task::spawn_blocking(move || {
                    let deleted = deletion.step(engine.as_ref(), DELETE_STEP);
                    (deletion, deleted)
                });
                let Ok((stepped, deleted)) = stepped.await else { return };
                deletion = stepped;
                match deleted {
                    Ok(false) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Ok(true) => return,
                    Err(error) => {
                        tracing::error!(group = deletion.group().0, %error, "a removed replica's data could not be deleted");
                        // It is not in the way of the others.
                        drop(has_turn);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        has_turn = turn.lock().await;
                    }
                }
            }
        };
        // What is left when the node stops is deleted after its next start.
        tokio::spawn(fatal_on_panic(self.fatal(), "the deletion of a replica", async move {
            tokio::select! {
                () = deleting => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }));
    }
}

/// What consensus knows of a replica.
fn group_spec(spec: &PartitionSpec) -> GroupSpec {
    let members = spec
        .members
        .iter()
        .map(|member| Member { replica: ReplicaId(member.replica), node: NodeId(member.node) });
    GroupSpec { group: spec.group, replica: ReplicaId(spec.replica), members: members.collect() }
}

/// Says of replicas that what the engine holds of them is worth nothing any more, and begins to delete it: what is left to delete.
/// Flushed, that survives a crash, and the next start goes on from there.
fn begin_deletions(
    engine: &dyn Engine,
    removed: Vec<GroupId>,
) -> stator_storage::Result<Vec<Deletion>> {
    let mut held = list_specs(engine)?;
    let mut left = Vec::new();
    for group in removed {
        let Some(place) = held.iter().position(|spec| spec.group == group) else { continue };
        let mut deletion = Deletion::new(&held, held[place].clone());
        if deletion.step(engine, DELETE_STEP)? {
            held.remove(place);
        } else {
            left.push(deletion);
        }
    }
    engine.flush()?;
    Ok(left)
}

#[cfg(test)]
#[path = "replica_life_tests.rs"]
pub(super) mod tests;
