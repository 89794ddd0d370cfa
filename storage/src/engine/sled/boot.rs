//! Whether the machine died while a sled engine was open (R16).
//!
//! A file beside the data holds the boot id of the machine from the opening of the engine to its clean end. Found at an
//! opening with another boot's id, it says that the machine went down in between, and sled's promises with it. That is noted
//! in its place and stays, whoever opens the engine next, until the directory is made anew or an operator trusts it.

use std::fs;
use std::io;
use std::path::Path;

use crate::engine::open::{BOOT, remove, sync_dir, write_file};
use crate::error::{Error, Result};

/// Stands in the file instead of an id.
const NOT_TRUSTED: &str = "not trusted";

/// The note of an open engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot {
    trusted: bool,
}

impl Boot {
    /// Reads the note that the last opening left, and leaves this one's.
    pub(super) fn begin(dir: &Path) -> Result<Self> {
        Self::begin_at(dir, current())
    }

    /// The same in a given boot; `None` where the system does not tell, and then any open end counts as a death.
    pub(super) fn begin_at(dir: &Path, current: Option<String>) -> Result<Self> {
        let path = dir.join(BOOT);
        let trusted = match fs::read_to_string(&path) {
            Ok(noted) => current.as_deref() == Some(noted.trim()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => true,
            Err(e) => return Err(Error::io(format!("reading {}", path.display()), &e)),
        };
        let note = match current {
            _ if !trusted => NOT_TRUSTED.to_owned(),
            Some(id) => id,
            None => "unknown".to_owned(),
        };
        write_file(dir, BOOT, &format!("{note}\n"))?;
        Ok(Self { trusted })
    }

    /// Whether the engine may be believed.
    pub(super) const fn trusted(self) -> bool {
        self.trusted
    }

    /// Notes that all is on the disk, and the engine closed.
    pub(super) fn end(self, dir: &Path) -> Result<()> {
        if !self.trusted {
            return Ok(());
        }
        remove(&dir.join(BOOT))?;
        sync_dir(dir)
    }
}

/// The id of the machine's boot.
fn current() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// Makes everything written to the directory's file system durable, and tells of what could not be written.
#[cfg(target_os = "linux")]
pub(super) fn sync_file_system(dir: &Path) -> Result<()> {
    let sync = || Ok(rustix::fs::syncfs(fs::File::open(dir)?)?);
    sync().map_err(|e: io::Error| Error::io(format!("syncing {}", dir.display()), &e))
}

/// Where a file system cannot be synced as a whole: the files that sled writes.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_file_system(dir: &Path) -> Result<()> {
    let data = dir.join("data");
    let sync = || {
        for entry in fs::read_dir(&data)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::File::open(entry.path())?.sync_all()?;
            }
        }
        fs::File::open(&data)?.sync_all()
    };
    sync().map_err(|e: io::Error| Error::io(format!("syncing {}", data.display()), &e))
}
