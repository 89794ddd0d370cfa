//! How replicas begin and end on a node that runs, as a node's shell does it (R8): begun ones are in the flushed engine before the
//! log hears of them, removed ones never come back.

use stator_consensus::group::FIRST_MARK;
use stator_consensus::{Event, GroupId};
use stator_storage::engine::Engine as _;
use stator_storage::machine::AppliedMark;
use stator_storage::mutation::{Mutation, planted};
use stator_storage::partition::spec::list_specs;
use stator_storage::partition::{Deletion, PartitionSpec, initialise};

use super::carry::OrderOf;
use super::orders::Done;
use crate::apply::is_engines;
use crate::invariants::Holds;
use crate::invariants::tables::settled;
use crate::node::Work;
use crate::snapshots::forget_all;
use crate::time::{MS, US};
use crate::world::{Step, World};

/// Keys deleted in one step.
const DELETE_STEP: usize = 2;

impl World {
    /// A node is to have a replica, unless it has it already.
    pub(crate) fn ensure_replica(
        &mut self,
        node: usize,
        of: OrderOf,
        spec: PartitionSpec,
        fresh: bool,
    ) {
        let state = &mut self.nodes[node];
        let engine = state.engine();
        let Some(process) = &mut state.process else { return };
        let group = spec.group;
        if process.replicas.contains_key(&group) {
            return self.errand_done(of, Done::Ready);
        }
        let was_here =
            process.removed.contains_key(&group) || process.log.access.core().mark(group).is_some();
        if was_here && !planted(Mutation::RemovedMadeAgain) {
            return self.errand_done(of, Done::Failed("it was removed, or is lost".to_owned()));
        }
        if process.is_making {
            return self.errand_done(of, Done::Failed("one at a time".to_owned()));
        }
        let (index, term) = FIRST_MARK;
        let mark = AppliedMark { index, term, voters: spec.replicas() };
        if let Err(error) = initialise(engine.as_ref(), &spec, Some(&mark)) {
            return self.errand_done(of, Done::Failed(error.to_string()));
        }
        process.is_making = true;
        let delay = self.rng.between(100 * US, 20 * MS);
        self.after(delay, node, Step::Made(of, Box::new(spec), fresh));
    }

    /// The replica is in the engine: it begins.
    pub(crate) fn replica_made(
        &mut self,
        node: usize,
        of: OrderOf,
        spec: &PartitionSpec,
        fresh: bool,
    ) {
        let state = &mut self.nodes[node];
        let Some(process) = &mut state.process else { return };
        process.is_making = false;
        if let Err(error) = state.engine.flush() {
            return self.errand_done(of, Done::Failed(error.to_string()));
        }
        match self.start_replica(node, spec.clone(), None, fresh) {
            Ok(()) => {
                let holds = self.invariants.tables.made(node, spec.group);
                self.check("tables", holds);
                self.reached.one("replicas made");
                self.errand_done(of, Done::Ready);
            }
            Err(why) => self.errand_done(of, Done::Failed(why)),
        }
    }

    /// A node is to be rid of a replica, whether it runs, or was never made.
    pub(crate) fn remove_replica(&mut self, node: usize, of: OrderOf, group: GroupId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.removed.get(&group) == Some(&true) {
            return self.errand_done(of, Done::Ready);
        }
        if process.is_making {
            return self.errand_done(of, Done::Failed("one at a time".to_owned()));
        }
        process.removed.entry(group).or_insert(false);
        self.tell(node, Event::Remove { group });
        self.give_work(node, Work::Remove(group, of));
    }

    /// The log has synced that a replica is removed: whoever waits for that goes on.
    pub(crate) fn removal_synced(&mut self, node: usize, group: GroupId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.tombstones.insert(group);
        for (removed, of) in std::mem::take(&mut process.removing) {
            if removed == group {
                self.give_work(node, Work::Remove(group, of));
            } else if let Some(process) = &mut self.nodes[node].process {
                process.removing.push((removed, of));
            }
        }
    }

    /// The apply thread lets go of a replica, and its data are deleted: the first step says that they are worth nothing. Not before
    /// the log has its tombstone: one that knows a replica which the engine has lost keeps its entries for ever.
    pub(crate) fn remove_applied(&mut self, node: usize, group: GroupId, of: OrderOf) {
        let state = &mut self.nodes[node];
        let engine = state.engine();
        let Some(process) = &mut state.process else { return };
        process.replicas.remove(&group);
        if !process.tombstones.contains(&group) && !planted(Mutation::DeletedBeforeTombstone) {
            process.removing.push((group, of));
            return;
        }
        process.sending.remove(&group);
        forget_all(&state.snapshots, group);
        let deleted = list_specs(engine.as_ref()).and_then(|held| {
            let Some(spec) = held.iter().find(|spec| spec.group == group) else { return Ok(None) };
            let mut deletion = Deletion::new(&held, spec.clone());
            let is_done = deletion.step(engine.as_ref(), DELETE_STEP)?;
            engine.flush()?;
            Ok((!is_done).then_some(deletion))
        });
        match deleted {
            Ok(left) => {
                process.removed.insert(group, true);
                if let Some(left) = left {
                    self.give_work(node, Work::Delete(Box::new(left)));
                }
                self.invariants.tables.removed(node, group);
                self.reached.one("replicas removed");
                self.errand_done(of, Done::Ready);
            }
            Err(error) => self.errand_done(of, Done::Failed(error.to_string())),
        }
    }

    /// Deletes some of what is left of a removed replica.
    pub(crate) fn delete_on(&mut self, node: usize, mut deletion: Box<Deletion>) {
        let engine = self.nodes[node].engine();
        match deletion.step(engine.as_ref(), DELETE_STEP) {
            Ok(true) => {}
            Ok(false) => self.give_work(node, Work::Delete(deletion)),
            Err(error) if is_engines(&error) => {
                self.give_work(node, Work::Delete(deletion));
                self.reopen(node);
            }
            Err(error) => self.fail(format!("node {node} cannot delete: {error}")),
        }
    }

    /// In the end each node holds what the catalog says, and nothing else.
    pub(crate) fn table_holds(&self) -> Holds {
        for node in 0..self.nodes.len() {
            let held = list_specs(self.nodes[node].engine.as_ref());
            let held = held.map_err(|error| error.to_string())?;
            let tables = self.tables_in_the_end(node);
            let tables = tables.map_err(|what| format!("on node {node}: {what}"))?;
            settled(node, self.plan.shape, &held, &tables)?;
        }
        Ok(())
    }
}

/// What a process remembers of the replicas that were removed from its node: true once a crash does not bring them back.
pub(crate) type Removed = std::collections::BTreeMap<GroupId, bool>;
