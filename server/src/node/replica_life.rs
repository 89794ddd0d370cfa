//! How replicas begin and end on this node.

use std::sync::Arc;

use stator_consensus::group::FIRST_MARK;
use stator_consensus::{
    Event, GroupSpec, Member, NodeId, Recovered, ReplicaId, ReplicaView, StartGroup,
};
use stator_storage::machine::{AppliedMark, GroupId};
use stator_storage::partition::spec::list_specs;
use stator_storage::partition::{
    self, PartitionApplier, PartitionEvaluator, PartitionSpec, delete_some, initialise,
};

use super::Inner;
use crate::catalog::records::{PartitionRecord, TableRecord};
use crate::replicas::Replica;
use crate::shell::apply::ApplyEvent;

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
        let own = partition.members.iter().find(|member| member.node == self.own);
        let own = own.ok_or("this node is not a member of the partition")?;
        let spec = PartitionSpec {
            group: partition.group,
            table_id: table.id,
            table_name: table.name.clone(),
            generation: partition.generation,
            hash_start: partition.first_hash,
            hash_end: partition.last_hash,
            key_schema: table.key_schema.clone(),
            region: self.region(),
            members: partition
                .members
                .iter()
                .map(|member| partition::Member { replica: member.replica.0, node: member.node.0 })
                .collect(),
            replica: own.replica.0,
        };
        self.begin_replica(spec, fresh).await
    }

    /// Begins a replica that this node has never had.
    pub(crate) async fn begin_replica(
        &self,
        spec: PartitionSpec,
        fresh: bool,
    ) -> Result<(), String> {
        let _one_at_a_time = self.life.lock().await;
        if self.replicas.get(spec.group).is_some() {
            return Ok(());
        }
        if self.replicas.was_removed(spec.group) {
            return Err(format!(
                "the replica of group {} was removed from this node",
                spec.group.0
            ));
        }
        // Whoever has voted or acknowledged anything under this replica's id must not begin anew under it (R8).
        if self.replicas.has_failed(spec.group) || self.log.mark(spec.group).is_some() {
            return Err(format!(
                "the replica of group {} was here already, and its data is damaged or lost",
                spec.group.0
            ));
        }
        let (index, term) = FIRST_MARK;
        let voters = spec.members.iter().map(|member| member.replica).collect();
        let mark = AppliedMark { index, term, voters };
        let (engine, begun) = (self.engine.clone(), spec.clone());
        let made = tokio::task::spawn_blocking(move || {
            initialise(engine.as_ref(), &begun, Some(&mark))?;
            // Before the log hears of it: a log that knows a replica which the engine has lost could not be told from lost data.
            engine.flush()
        });
        made.await.map_err(|_| "the engine failed")?.map_err(|error| error.to_string())?;
        self.start_replica(spec, Recovered::fresh(), fresh)
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
        let applier = PartitionApplier::open(self.engine.clone(), spec.clone())
            .map_err(|error| error.to_string())?;
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

    /// Removes a replica from here for good, whether it runs, has failed, or was never made: it is never made again. Once this has
    /// answered, a crash does not bring it back. An attempt that was cut short is finished by the next one.
    pub(crate) async fn remove_replica(&self, group: GroupId) -> Result<(), String> {
        let _one_at_a_time = self.life.lock().await;
        if self.replicas.is_gone(group) {
            return Ok(());
        }
        self.replicas.note_removed(group);
        let running = self.replicas.remove(group);
        let index = self.host_of(group);
        self.hosts[index].push(Event::Remove { group });
        let (done, gone) = tokio::sync::oneshot::channel();
        self.appliers[index].0.push(ApplyEvent::Remove {
            group,
            done: Box::new(move || {
                let _ = done.send(());
            }),
        });
        gone.await.map_err(|_| "the node is stopping")?;
        if let Some(snapshots) = &self.snapshots {
            snapshots.forget(group);
        }
        let engine = self.engine.clone();
        let deleted = tokio::task::spawn_blocking(move || {
            let spec = match running {
                Some(replica) => (*replica.spec).clone(),
                None => {
                    let mut held = list_specs(engine.as_ref())?.into_iter();
                    match held.find(|spec| spec.group == group) {
                        Some(spec) => spec,
                        None => return Ok(None),
                    }
                }
            };
            // The first step says that the range is worth nothing any more; flushed, that survives a crash, and the next start
            // goes on from there.
            let finished = delete_some(engine.as_ref(), &spec, DELETE_STEP)?;
            engine.flush()?;
            Ok::<_, stator_storage::Error>((!finished).then_some(spec))
        });
        let left = deleted.await.map_err(|_| "the engine failed")?;
        if let Some(spec) = left.map_err(|error| error.to_string())? {
            self.delete_in_background(spec);
        }
        self.replicas.note_gone(group);
        Ok(())
    }

    /// Deletes what is left of a replica's data, at a pace that leaves room for others.
    pub(crate) fn delete_in_background(&self, spec: PartitionSpec) {
        let engine = self.engine.clone();
        let mut stop = self.stop.subscribe();
        let deleting = async move {
            loop {
                let (engine, step) = (engine.clone(), spec.clone());
                let deleted = tokio::task::spawn_blocking(move || {
                    delete_some(engine.as_ref(), &step, DELETE_STEP)
                });
                match deleted.await {
                    Ok(Ok(false)) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                    Ok(Ok(true)) | Err(_) => return,
                    Ok(Err(error)) => {
                        tracing::error!(group = spec.group.0, %error, "a removed replica's data could not be deleted");
                        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    }
                }
            }
        };
        // What is left when the node stops is deleted after its next start.
        tokio::spawn(async move {
            tokio::select! {
                () = deleting => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
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

#[cfg(test)]
#[path = "replica_life_tests.rs"]
mod tests;
