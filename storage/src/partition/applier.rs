//! Every replica's half: from committed entries to the engine.
//!
//! A call stages its entries into one batch: their puts and deletes, and the applied record as of the last of them. So the
//! engine holds, whatever of its batches a crash takes, some prefix of the entries and says which.
//!
//! # Invariants
//! - An entry is skipped, but counted as applied, if Raft made it itself (no payload), if its Raft term is not the term it
//!   was evaluated under, or its generation not the replica's (R1). All replicas skip the same ones, because all that it
//!   depends on stands in the log and in the applied record.
//! - Nothing is written outside the replica's own range, and nothing is applied over a gap: either stops the replica.
//! - The applied record is read from the engine by each call and never remembered: an engine that was reopened after a
//!   fault, perhaps another replica's, holds less than it did (R11). Whoever reopens it sees to it that no call into an applier
//!   is under way, and that evaluation waits until what was lost is applied again.

use std::sync::Arc;

use super::entry::Entry;
use super::generation::DataGeneration;
use super::install::Installation;
use super::record::{AppliedRecord, ReplicaState};
use super::spec::PartitionSpec;
use crate::engine::{Batch, Engine};
use crate::error::{Error, Result};
use crate::key::hex;
use crate::machine::{AppliedMark, Applier, Committed};
use crate::mutation::{Mutation, planted};

/// Applies committed entries to a replica's range of an engine.
pub struct PartitionApplier {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) spec: Arc<PartitionSpec>,
    pub(super) generation: Arc<DataGeneration>,
    /// A snapshot that is being installed.
    pub(super) installation: Option<Box<Installation>>,
    /// The highest index that was ever in the engine, or may have been: more than the record says after the engine lost batches.
    pub(super) index_ever: u64,
}

impl PartitionApplier {
    /// The applier of a replica that [`initialise`](super::initialise) has begun on this engine.
    ///
    /// # Errors
    /// `Error::Corruption` if the replica has no sound applied record, or is being deleted; `Error::Version` if that is newer
    /// than this code; a fault of the engine.
    pub fn open(engine: Arc<dyn Engine>, spec: Arc<PartitionSpec>) -> Result<Self> {
        let record = AppliedRecord::expect(engine.as_ref(), spec.group)?;
        let applier = Self {
            engine,
            spec,
            generation: Arc::default(),
            installation: None,
            index_ever: record.mark.index,
        };
        if record.state == ReplicaState::Deleting {
            return Err(applier.fault("the replica is being deleted"));
        }
        if record.generation != applier.spec.generation {
            return Err(applier.fault("the replica's data are of another generation"));
        }
        applier.open_if_complete(&record);
        Ok(applier)
    }

    /// Tells readers whether the replica's range may be read, and whether it still is what it was (R5).
    #[must_use]
    pub fn data_generation(&self) -> Arc<DataGeneration> {
        Arc::clone(&self.generation)
    }

    /// Closes the range to readers: the engine is about to lose batches, because it is opened again. It is open again once the
    /// replica has applied what it had applied before.
    pub fn suspend_reads(&self) {
        self.generation.close();
    }

    /// Opens the range again to readers after [`PartitionApplier::suspend_reads`], if the engine has lost nothing of it, or all
    /// that it lost is applied again.
    ///
    /// # Errors
    /// A fault of the engine, or a corrupt record.
    pub fn resume_reads(&self) -> Result<()> {
        self.open_if_complete(&self.record()?);
        Ok(())
    }

    /// Closes the range to readers until so much is applied: the engine has been made anew, and what it holds now may be older than
    /// what has been read here before.
    ///
    /// # Errors
    /// A fault of the engine, or a corrupt record.
    pub fn hold_reads_until(&mut self, index: u64) -> Result<()> {
        self.suspend_reads();
        self.index_ever = self.index_ever.max(index);
        self.resume_reads()
    }

    /// What the engine holds beside the items now.
    ///
    /// # Errors
    /// A fault of the engine, or a corrupt record.
    pub fn record(&self) -> Result<AppliedRecord> {
        AppliedRecord::expect(self.engine.as_ref(), self.spec.group)
    }

    /// Puts what an entry changes into the batch and the record.
    fn stage(
        &self,
        committed: &Committed,
        record: &mut AppliedRecord,
        batch: &mut Batch,
    ) -> Result<()> {
        let Committed { index, term, data } = committed;
        if *index != record.mark.index + 1 || *term < record.mark.term {
            return Err(self.fault(&format!(
                "entry {index} of term {term} does not follow what is applied, {} of term {}",
                record.mark.index, record.mark.term
            )));
        }
        record.mark.index = *index;
        record.mark.term = *term;
        if data.is_empty() {
            return Ok(());
        }
        let Entry { header, writes } = Entry::decode(*index, data)?;
        let is_entitled = header.term == *term && header.generation == record.generation;
        if !is_entitled && !planted(Mutation::NoAuthority) {
            return Ok(());
        }
        for write in writes {
            if !self.spec.owns_key(write.key()) {
                return Err(self.fault(&format!(
                    "entry {index} writes {}, which is not in the partition",
                    hex(write.key())
                )));
            }
            batch.changes.push(write);
        }
        record.highest_stamp = record.highest_stamp.max(header.highest_stamp);
        record.counters = header.counters;
        Ok(())
    }

    pub(super) fn open_if_complete(&self, record: &AppliedRecord) {
        // What was applied once has been read: while it is being applied again, after the engine lost it, the data are older.
        if record.is_complete() && record.mark.index >= self.index_ever {
            self.generation.open();
        }
    }

    pub(super) fn fault(&self, what: &str) -> Error {
        Error::corruption(format!("the replica of group {}", self.spec.group.0), 0, what)
    }
}

/// Whoever reads the range with this applier's generation reads for nothing from here on: it may be deleted next (R5).
impl Drop for PartitionApplier {
    fn drop(&mut self) {
        self.generation.close();
    }
}

impl Applier for PartitionApplier {
    fn apply(&mut self, entries: &[Committed]) -> Result<()> {
        let Some(last) = entries.last() else { return Ok(()) };
        let mut record = self.record()?;
        if record.state != ReplicaState::Serving {
            return Err(self.fault("entries come before the snapshot that they follow"));
        }
        let mut batch = Batch::default();
        for committed in entries {
            self.stage(committed, &mut record, &mut batch)?;
        }
        record.put(self.spec.group, &mut batch);
        // A batch that fails may be there to be read all the same, and be lost when the engine is opened again.
        self.index_ever = self.index_ever.max(last.index);
        self.engine.write(&batch)?;
        self.open_if_complete(&record);
        Ok(())
    }

    /// Index 0 while the replica waits for a snapshot or is in the middle of installing one.
    fn mark(&self) -> Result<AppliedMark> {
        Ok(self.record()?.mark)
    }
}

#[cfg(test)]
mod tests;
