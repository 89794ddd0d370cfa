//! Installing a snapshot: clear the range, load the chunks, and only then say that something is applied (R18).
//!
//! The caller has all frames in synced files before it begins, and has noted in its log that the group restarts at the
//! snapshot. Then, on the apply thread, and paced as it likes:
//!
//! ```text
//!   begin_install(header) · clear_some(limit) until true · install_chunk(frame)* · finish_install(footer)
//! ```
//!
//! From the first step to the last the applied record says that the replica awaits a snapshot, and its mark is at index 0. A
//! crash in between, or an engine that lost the last batches, leaves it so, and the caller begins again from its files.
//! That it does not have to any more it knows once the engine has been flushed after the last step. Every step counts itself
//! in the applied record, so that one which finds a batch of the steps before it lost does not go on over the gap.
//!
//! The range is closed to readers before the first step, and opens once the replica has applied as far as the sender had
//! when it read the last chunk: before that, items are as of different entries.

use bytes::Bytes;
use stator_model::key::KeyRange;

use super::applier::PartitionApplier;
use super::lifecycle::stage_deletes;
use super::record::{AppliedRecord, ReplicaState};
use super::snapshot::SnapshotReader;
use crate::engine::{Batch, Change};
use crate::error::Result;
use crate::machine::AppliedMark;

/// A snapshot that is being installed.
pub(super) struct Installation {
    reader: SnapshotReader,
    /// Where in the range there may be something of what was there before; nowhere any more once it is cleared. What was deleted is
    /// not looked at again: an engine may keep that for a while.
    to_clear: Option<KeyRange>,
    /// The count of steps in the applied record after the last step.
    steps: u64,
}

impl PartitionApplier {
    /// Begins to install the snapshot with this header: the replica holds nothing of worth from now on. Drops what an
    /// installation before it had come to.
    ///
    /// # Errors
    /// `Error::Corruption` if the header is none, or is not one of this partition and generation, or is older than what is
    /// applied; a fault of the engine.
    pub fn begin_install(&mut self, header: &Bytes) -> Result<()> {
        let reader = SnapshotReader::new(header)?;
        let record = self.record()?;
        let header = reader.header();
        if !header.is_of(&self.spec) {
            return Err(self.fault("the snapshot is of another partition or generation"));
        }
        if header.mark.index < record.mark.index {
            return Err(self.fault("the snapshot is older than what is applied"));
        }
        self.generation.close();
        let to_clear = Some(self.spec.items());
        let steps = record.install_steps;
        self.installation = Some(Box::new(Installation { reader, to_clear, steps }));
        self.step(Batch::default())
    }

    /// Deletes up to `limit` keys of what was in the range before; true once nothing is left.
    ///
    /// # Errors
    /// A fault of the engine: the installation has to begin again.
    pub fn clear_some(&mut self, limit: usize) -> Result<bool> {
        let limit = limit.max(1);
        let mut batch = Batch::default();
        let Some(installation) = &self.installation else {
            return Err(self.fault("no snapshot is being installed"));
        };
        let Some(mut range) = installation.to_clear.clone() else { return Ok(true) };
        let cleared = stage_deletes(self.engine.as_ref(), &mut range, limit, &mut batch)? < limit;
        self.step(batch)?;
        if let Some(installation) = &mut self.installation {
            installation.to_clear = (!cleared).then_some(range);
        }
        Ok(cleared)
    }

    /// Loads the next chunk.
    ///
    /// # Errors
    /// `Error::Corruption` if it is not the next chunk of this snapshot; a fault of the engine. In either case the installation
    /// has to begin again.
    pub fn install_chunk(&mut self, frame: &Bytes) -> Result<()> {
        let Some(installation) = self.installation.as_mut().filter(|it| it.to_clear.is_none())
        else {
            return Err(self.fault("a chunk comes before the range is cleared"));
        };
        let items = installation.reader.chunk(frame)?;
        let changes = items.into_iter().map(|(key, value)| Change::Put(key, value)).collect();
        self.step(Batch { changes })
    }

    /// Ends the installation: what the snapshot's header says is applied. Gives the replica's mark.
    ///
    /// # Errors
    /// `Error::Corruption` if the footer is not this snapshot's, or chunks are missing; a fault of the engine. In either case
    /// the installation has to begin again.
    pub fn finish_install(&mut self, frame: &Bytes) -> Result<AppliedMark> {
        let Some(Installation { reader, to_clear: None, steps }) =
            self.installation.take().map(|it| *it)
        else {
            return Err(self.fault("a snapshot ends before the range is cleared"));
        };
        self.expect_steps(steps)?;
        let (header, footer) = reader.finish(frame)?;
        let record = AppliedRecord {
            state: ReplicaState::Serving,
            mark: header.mark,
            generation: header.generation,
            highest_stamp: header.highest_stamp,
            counters: header.counters,
            complete_from: footer.end_index,
            install_steps: steps,
        };
        let mut batch = Batch::default();
        record.put(self.spec.group, &mut batch);
        self.engine.write(&batch)?;
        self.index_ever = self.index_ever.max(record.mark.index);
        self.open_if_complete(&record);
        Ok(record.mark)
    }

    /// Writes the batch of one step, with the record that counts it. The installation is over if that fails.
    fn step(&mut self, mut batch: Batch) -> Result<()> {
        let Some(mut installation) = self.installation.take() else {
            return Err(self.fault("no snapshot is being installed"));
        };
        self.expect_steps(installation.steps)?;
        installation.steps += 1;
        let mut record =
            AppliedRecord::worthless(ReplicaState::AwaitingSnapshot, self.spec.generation);
        record.install_steps = installation.steps;
        record.put(self.spec.group, &mut batch);
        self.engine.write(&batch)?;
        self.installation = Some(installation);
        Ok(())
    }

    fn expect_steps(&self, steps: u64) -> Result<()> {
        if self.record()?.install_steps == steps {
            Ok(())
        } else {
            Err(self.fault("the engine has lost a part of the installation"))
        }
    }
}

#[cfg(test)]
mod tests;
