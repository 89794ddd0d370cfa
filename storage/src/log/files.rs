//! Does [`DiskOp`]s.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Result;
use crate::log::DiskOp;

/// The open segment files of a log.
#[derive(Debug)]
pub struct Files;

impl Files {
    /// No files open yet.
    #[must_use]
    pub fn new(_disk: Arc<dyn Disk>) -> Self {
        todo!()
    }

    /// Does one operation.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn perform(&mut self, _op: &DiskOp) -> Result<()> {
        todo!()
    }
}
