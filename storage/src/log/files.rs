//! Does [`DiskOp`]s against a [`Disk`], and keeps the segments' files open.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, DiskFile};
use crate::error::{Error, Result};
use crate::log::core::{DiskOp, SegmentFile, Write};
use crate::mutation::{Mutation, planted};

/// The segment files of a log.
pub struct Files {
    disk: Arc<dyn Disk>,
    open: Mutex<BTreeMap<SegmentFile, Arc<dyn DiskFile>>>,
}

impl Files {
    /// The files of a directory, none open yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    /// Does all operations of a write, in order, up to the first that fails.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn perform_all(&self, write: &Write) -> Result<()> {
        write.ops.iter().try_for_each(|op| self.perform(op))
    }

    /// Does one operation.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn perform(&self, op: &DiskOp) -> Result<()> {
        match op {
            DiskOp::Create { file, len } => {
                let opened = self.disk.create(&file.to_string(), *len);
                let opened = opened.map_err(|error| failed("create", *file, &error))?;
                self.open().insert(*file, opened);
                Ok(())
            }
            DiskOp::Write { file, offset, data } => self
                .file(*file)?
                .write_at(data, *offset)
                .map_err(|error| failed("write", *file, &error)),
            DiskOp::Sync { file } => {
                self.file(*file)?.sync_data().map_err(|error| failed("sync", *file, &error))
            }
            DiskOp::SyncDir if planted(Mutation::DirectoryNotSynced) => Ok(()),
            DiskOp::SyncDir => self
                .disk
                .sync_dir()
                .map_err(|error| Error::io("sync the directory of the log", &error)),
            DiskOp::Remove { file } => {
                self.open().remove(file);
                let removed = self.disk.remove(&file.to_string());
                removed.map_err(|error| failed("remove", *file, &error))
            }
        }
    }

    /// An open file.
    ///
    /// # Errors
    /// What the disk answers.
    pub(crate) fn file(&self, file: SegmentFile) -> Result<Arc<dyn DiskFile>> {
        let mut open = self.open();
        if let Some(opened) = open.get(&file) {
            return Ok(Arc::clone(opened));
        }
        let opened = self.disk.open(&file.to_string());
        let opened = opened.map_err(|error| failed("open", file, &error))?;
        open.insert(file, Arc::clone(&opened));
        Ok(opened)
    }

    /// The segment files that there are, in order of their numbers.
    pub(crate) fn list(&self) -> Result<Vec<SegmentFile>> {
        let names = self.disk.list().map_err(|error| Error::io("list the log", &error))?;
        let mut files: Vec<_> = names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
        files.sort_unstable();
        Ok(files)
    }

    /// Reads up to `len` bytes of a file.
    pub(crate) fn read(&self, file: SegmentFile, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let read = self.file(file)?.read_at(&mut bytes, offset);
        bytes.truncate(read.map_err(|error| failed("read", file, &error))?);
        Ok(bytes)
    }

    pub(crate) fn len(&self, file: SegmentFile) -> Result<u64> {
        self.file(file)?.len().map_err(|error| failed("measure", file, &error))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<SegmentFile, Arc<dyn DiskFile>>> {
        // The map is whole after every statement, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(what: &str, file: SegmentFile, error: &io::Error) -> Error {
    Error::io(format!("{what} {file}"), error)
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}
