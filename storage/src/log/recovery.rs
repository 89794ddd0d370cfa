//! Reads the segments.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::Result;
use crate::log::{Files, LogCore, LogOptions, Recovery};

/// Opens the log of a directory, or makes one.
///
/// # Errors
/// `Corruption`, `Version`, `LogMisuse` for options that contradict each other, and what the disk answers.
pub fn recover(_disk: Arc<dyn Disk>, _options: &LogOptions) -> Result<(LogCore, Files, Recovery)> {
    todo!()
}
