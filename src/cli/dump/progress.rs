//! How far a dump or a load came: for the next run in a small file, and for whoever watches.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::output::Failure;

/// How far a dump came.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Dumped {
    /// The table's id: another table of the same name is not gone on with.
    pub(super) table_id: u32,
    /// What the file held then, in bytes.
    pub(super) bytes: u64,
    pub(super) items: u64,
    /// Where to go on, in DynamoDB's JSON.
    pub(super) start_key: Value,
}

/// How far a load came.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Loaded {
    /// The table that was loaded into.
    pub(super) table: String,
    pub(super) table_id: u32,
    /// What of the file was loaded, in bytes.
    pub(super) bytes: u64,
    pub(super) items: u64,
}

/// The small file beside a dump.
#[derive(Debug)]
pub(super) struct Memory {
    file: PathBuf,
}

impl Memory {
    /// That beside this file.
    pub(super) fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".progress");
        Self { file: name.into() }
    }

    /// How far it came.
    ///
    /// # Errors
    /// If there is nothing to go on with.
    pub(super) fn recall<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let refused =
            |why: String| Failure::refused(format!("--resume: {}: {why}", self.file.display()));
        let text = fs::read(&self.file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => refused(
                "there is no such file, so nothing was begun there or it was finished".to_owned(),
            ),
            _ => refused(error.to_string()),
        })?;
        serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))
    }

    /// Remembers how far it came, in place of what was remembered.
    ///
    /// # Errors
    /// What the operating system answers.
    pub(super) fn note(&self, progress: &impl Serialize) -> Result<(), Failure> {
        let dir = self.file.parent().filter(|dir| !dir.as_os_str().is_empty());
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))?;
            serde_json::to_writer(&mut file, progress)?;
            file.write_all(b"\n")?;
            file.persist(&self.file)?;
            Ok(())
        };
        write().map_err(|error: io::Error| {
            Failure::refused(format!("writing {}: {error}", self.file.display()))
        })
    }

    /// All is done.
    pub(super) fn forget(&self) {
        // At worst a file is left over that says less than there is.
        let _ = fs::remove_file(&self.file);
    }
}

/// A bar on a terminal, and nothing where standard error is none. `bytes` is what there is to do, where that is known.
pub(super) fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {bytes}/{total_bytes} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg} {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
