//! Cutting a journal whose unsynced tail lost a page (R17).
//!
//! fjall reads its newest journal up to the first thing that is not a whole batch. If the file merely ends there, it drops
//! the rest; if there is more, and the batch's checksum does not match, it refuses to open (and with debug assertions it
//! panics). A machine that dies leaves just that: of pages that were never synced some are written and some are not, so
//! whole pages of zeros stand between others. Nothing in that tail was promised: the node's log has it all.
//!
//! How much of the journal is whole is asked of fjall itself, so that nothing here knows the journal's format: prefixes of
//! it are opened as the journal of an empty scratch database, which checks every batch and then finds that it knows none
//! of their keyspaces. Opening is monotone in the length kept, so bisection finds the longest prefix that opens; opening
//! it cuts the half batch at its end. One step a bit of the length, some twenty in all.
//!
//! Only the newest journal is ever cut; the sealed ones were synced, and damage there is refused. Damage in the newest
//! journal's synced part cannot be told from a lost tail here, but is told later: the applied mark that is then found lies
//! before what the node's log still holds. The journal as it was is kept beside the data, the last one of them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::open_database;
use crate::engine::EngineOptions;
use crate::engine::open::{remove, sync_dir};
use crate::error::{Error, Result};

/// A journal, and the part of it that is to stay.
pub(super) struct Cut {
    journal: PathBuf,
    /// The journal as it was, in the engine's directory.
    refused: PathBuf,
    /// The scratch database, whose journal is the part that stays.
    scratch: Scratch,
    before: u64,
    after: u64,
}

impl Cut {
    /// Finds the newest journal's whole batches. `None` if the journal is whole, or there is none.
    pub(super) fn prepare(dir: &Path, data: &Path) -> Result<Option<Self>> {
        let Some(journal) = newest(data)? else { return Ok(None) };
        let before = written(&journal).map_err(|e| context("reading", &journal, &e))?;
        let scratch = Scratch::new(dir)?;
        if scratch.opens(&journal, before)? {
            return Ok(None);
        }
        // The empty journal opens, the whole one does not.
        let (mut opens, mut refused) = (0, before);
        while refused - opens > 1 {
            let middle = opens + (refused - opens) / 2;
            if scratch.opens(&journal, middle)? {
                opens = middle;
            } else {
                refused = middle;
            }
        }
        if !scratch.opens(&journal, opens)? {
            return Ok(None);
        }
        let after = fs::metadata(&scratch.journal)
            .map_err(|e| context("reading", &scratch.journal, &e))?
            .len();
        Ok(Some(Self { journal, refused: dir.join("refused.jnl"), scratch, before, after }))
    }

    /// Puts the part that stays in the journal's place, and keeps the journal.
    pub(super) fn install(&self) -> Result<()> {
        let sync = || File::open(&self.scratch.journal)?.sync_all();
        sync().map_err(|e| context("syncing", &self.scratch.journal, &e))?;
        remove(&self.refused)?;
        fs::hard_link(&self.journal, &self.refused)
            .map_err(|e| context("linking", &self.refused, &e))?;
        self.parent_of(&self.refused)?;
        fs::rename(&self.scratch.journal, &self.journal)
            .map_err(|e| context("replacing", &self.journal, &e))?;
        self.parent_of(&self.journal)
    }

    /// Puts the journal back.
    pub(super) fn undo(&self) -> Result<()> {
        fs::rename(&self.refused, &self.journal)
            .map_err(|e| context("putting back", &self.journal, &e))?;
        self.parent_of(&self.journal)
    }

    /// The journal's path.
    pub(super) fn path(&self) -> &Path {
        &self.journal
    }

    /// How many bytes are cut.
    pub(super) fn bytes(&self) -> u64 {
        self.before.saturating_sub(self.after)
    }

    fn parent_of(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), sync_dir)
    }
}

/// An empty database beside the data, on the same file system. Removed when dropped.
struct Scratch {
    dir: PathBuf,
    journal: PathBuf,
    options: EngineOptions,
}

impl Scratch {
    fn new(dir: &Path) -> Result<Self> {
        let dir = dir.join("scratch");
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| context("clearing", &dir, &e))?;
        }
        let options =
            EngineOptions { threads: 1, ..EngineOptions::within(EngineOptions::MIN_BUDGET_BYTES) };
        drop(open_database(&dir, &options)?);
        let Some(journal) = newest(&dir)? else {
            return Err(Error::Engine("fjall: an empty database has no journal".into()));
        };
        Ok(Self { dir, journal, options })
    }

    /// Whether the first `len` bytes of a journal open as the scratch database's. If so, its journal holds their whole batches.
    fn opens(&self, journal: &Path, len: u64) -> Result<bool> {
        let copy = || {
            let mut to = File::create(&self.journal)?;
            io::copy(&mut File::open(journal)?.take(len), &mut to)
        };
        copy().map_err(|e| context("copying", journal, &e))?;
        match open_database(&self.dir, &self.options) {
            Ok(_) => Ok(true),
            Err(error @ (Error::Io { .. } | Error::Full(_))) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left over, it is cleared by the next one.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The journal with the highest number.
fn newest(data: &Path) -> Result<Option<PathBuf>> {
    let list = || {
        let mut newest = None;
        for entry in fs::read_dir(data)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
            newest = newest.max(number.map(|number| (number, path)));
        }
        Ok(newest.map(|(_, path)| path))
    };
    list().map_err(|e| context("listing", data, &e))
}

/// The length of a file without the zeros at its end, which fjall allocates ahead.
pub(super) fn written(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let zeros = vec![0; 64 << 10];
    let mut buffer = zeros.clone();
    let (mut position, mut end) = (0u64, 0u64);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(end);
        }
        // Compared whole first, for it is nearly all zeros.
        if buffer[..read] != zeros[..read]
            && let Some(last) = buffer[..read].iter().rposition(|&byte| byte != 0)
        {
            end = position + last as u64 + 1;
        }
        position += read as u64;
    }
}

fn context(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("{what} {}", path.display()), error)
}
