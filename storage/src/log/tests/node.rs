//! A log core with a driver in one thread, on a disk that crashes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::{Crash, CrashDisk, Disk};
use crate::error::Result;
use crate::log::{
    Files, LogCore, LogEntry, LogOptions, Recovery, Write, read_entries, read_sources, recover,
};
use crate::machine::GroupId;

pub(crate) struct Node {
    pub(crate) disk: CrashDisk,
    pub(crate) core: LogCore,
    pub(crate) files: Files,
}

impl Node {
    pub(crate) fn open(disk: &CrashDisk, options: &LogOptions) -> Result<(Self, Recovery)> {
        Self::open_on(disk, Arc::new(disk.clone()), options)
    }

    /// Opens through another door to the same disk.
    pub(crate) fn open_on(
        disk: &CrashDisk,
        door: Arc<dyn Disk>,
        options: &LogOptions,
    ) -> Result<(Self, Recovery)> {
        let (core, files, recovery) = recover(door, options)?;
        Ok((Self { disk: disk.clone(), core, files }, recovery))
    }

    /// The next write, with what is to be rewritten ahead.
    pub(crate) fn next_write(&mut self) -> Result<Option<Write>> {
        let stranded = self.core.stranded();
        let entries = read_sources(&self.files, &stranded)?;
        self.core.rewrite(&stranded, &entries);
        Ok(self.core.flush())
    }

    /// Writes all there is to be written.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while let Some(write) = self.next_write()? {
            if let Err(error) = self.files.perform_all(&write) {
                self.core.failed(&write, &error);
                if self.core.failure().is_some() {
                    return Err(error);
                }
                continue;
            }
            self.core.completed(write);
        }
        Ok(())
    }

    /// Does the first operations of the next write of batches, and leaves it at that.
    pub(crate) fn flush_part(&mut self, ops: usize) -> Result<usize> {
        while let Some(write) = self.next_write()? {
            if write.number().is_some() {
                let done = ops.min(write.ops.len());
                write.ops[..done].iter().try_for_each(|op| self.files.perform(op))?;
                return Ok(done);
            }
            self.files.perform_all(&write)?;
            self.core.completed(write);
        }
        Ok(0)
    }

    pub(crate) fn entries(&self, group: u64, range: Range<u64>) -> Result<Vec<LogEntry>> {
        let group = GroupId(group);
        read_entries(&self.files, group, || {
            let located = self.core.locate(group, range.clone(), u64::MAX)?;
            Ok(located.into_iter().filter_map(|at| self.core.source(at)).collect())
        })
    }

    /// All entries that recovery found, read back.
    pub(crate) fn read_all(&self, found: &Recovery) -> Result<BTreeMap<GroupId, Vec<LogEntry>>> {
        let read = |id: &GroupId| {
            let group = &found.groups[id];
            self.entries(id.0, group.mark.index + 1..group.last_index() + 1)
        };
        found.groups.keys().map(|id| Ok((*id, read(id)?))).collect()
    }

    pub(crate) fn crash(&self, crash: Crash) -> CrashDisk {
        self.disk.crash(crash)
    }
}
