//! A disk in memory that knows what was synced, for tests and the simulator. Deterministic: the same calls and seeds give
//! the same bytes.
//!
//! Reads see every write at once, as through a page cache. [`CrashDisk::crash`] gives the disk as a power cut would leave it:
//!
//! - of a file, what was synced, and of what was written since, whatever [`Crash`] lets survive: nothing, everything, the
//!   first writes, or any 4 KiB pages of them; the last write may be cut at a 512-byte sector, which is the unit that a
//!   disk writes whole or not at all;
//! - of the directory, the names as of the last [`Disk::sync_dir`], and of what was created, renamed and removed since the
//!   first so many operations, or none: names come and go in the order of the calls, as a journaling file system keeps them.
//!
//! A file's length counts as written data: a file created and never synced may come back empty.
//!
//! [`CrashDisk::fail`] plans faults: the n-th operation of a kind answers an error, and is not done. A sync that fails is worse:
//! what it should have made durable never will be, though reads go on to see it, and the next sync succeeds, as on Linux.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

mod image;
#[cfg(test)]
mod tests;

use self::image::{Content, Dice};

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    LoseAll,
    /// Everything: as if only the process had been killed.
    KeepAll,
    /// The first writes of each file, the last of them perhaps torn, drawn from a seed.
    Prefix(u64),
    /// Any pages of any writes, drawn from a seed.
    Pages(u64),
}

/// A kind of operation that may be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultOp {
    /// [`Disk::create`].
    Create,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync_data`].
    Sync,
    /// [`Disk::sync_dir`].
    SyncDir,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What fails.
    pub op: FaultOp,
    /// How many of these go well before.
    pub after: u64,
    /// How many fail; `u64::MAX` for all from then on.
    pub times: u64,
    /// The error.
    pub kind: io::ErrorKind,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct CrashDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names since the directory was synced: a name, and the file it has then.
    changes: Vec<Vec<(String, Option<u64>)>>,
    faults: Vec<Fault>,
    syncs: u64,
    dir_syncs: u64,
}

impl CrashDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk after a power cut now. This one stays as it is, so that several cuts may be tried.
    #[must_use]
    pub fn crash(&self, crash: Crash) -> Self {
        let state = self.state();
        let mut dice = Dice::new(match crash {
            Crash::LoseAll | Crash::KeepAll => 0,
            Crash::Prefix(seed) | Crash::Pages(seed) => seed,
        });
        let mut after = State { next_file: state.next_file, ..State::default() };
        let keep = match crash {
            Crash::LoseAll => 0,
            Crash::KeepAll => state.changes.len(),
            Crash::Prefix(_) | Crash::Pages(_) => {
                dice.below(state.changes.len() as u64 + 1) as usize
            }
        };
        after.names = state.durable_names.clone();
        for change in state.changes.iter().take(keep) {
            apply(&mut after.names, change);
        }
        after.durable_names = after.names.clone();
        for id in after.names.values() {
            if let Some(content) = state.files.get(id) {
                after.files.insert(*id, content.crash(crash, &mut dice));
            }
        }
        Self(Arc::new(Mutex::new(after)))
    }

    /// Plans a fault. Several may be planned; each counts for itself.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets all faults planned.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How many files were synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How often the directory was synced.
    #[must_use]
    pub fn dir_syncs(&self) -> u64 {
        self.state().dir_syncs
    }

    /// How many writes are not synced.
    #[must_use]
    pub fn unsynced_writes(&self) -> usize {
        self.state().files.values().map(Content::unsynced).sum()
    }

    /// Changes a file's bytes behind everyone's back, durably: damage. False if there is no such byte.
    #[must_use]
    pub fn damage(&self, name: &str, offset: u64, change: impl FnOnce(u8) -> u8) -> bool {
        let mut state = self.state();
        let id = state.names.get(name).copied();
        id.and_then(|id| state.files.get_mut(&id)).is_some_and(|file| file.damage(offset, change))
    }

    /// A file's bytes as reads see them.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.files.get(state.names.get(name)?).map(|content| content.visible().to_vec())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: u64) -> Arc<dyn DiskFile> {
        Arc::new(CrashFile { disk: self.clone(), id })
    }
}

impl State {
    fn judge(&mut self, op: FaultOp) -> io::Result<()> {
        let mut failed = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
                failed = Some(fault.kind);
            }
        }
        failed.map_or(Ok(()), |kind| Err(io::Error::new(kind, "planned fault")))
    }

    fn rename(&mut self, change: Vec<(String, Option<u64>)>) {
        apply(&mut self.names, &change);
        self.changes.push(change);
    }

    fn file(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(missing)
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &[(String, Option<u64>)]) {
    for (name, file) in change {
        match file {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

impl Disk for CrashDisk {
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.judge(FaultOp::Create)?;
        let id = if let Some(id) = state.names.get(name).copied() {
            id
        } else {
            let id = state.next_file;
            state.next_file += 1;
            state.rename(vec![(name.to_owned(), Some(id))]);
            id
        };
        state.files.entry(id).or_default().resize(len);
        drop(state);
        Ok(self.handle(id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.state().names.get(name).copied().ok_or_else(missing)?;
        Ok(self.handle(id))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.get(from).copied().ok_or_else(missing)?;
        state.rename(vec![(from.to_owned(), None), (to.to_owned(), Some(id))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(missing());
        }
        state.rename(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.judge(FaultOp::SyncDir)?;
        state.dir_syncs += 1;
        state.changes.clear();
        state.durable_names = state.names.clone();
        let State { files, durable_names, .. } = &mut *state;
        // What has no name any more is gone once that is durable.
        files.retain(|id, _| durable_names.values().any(|named| named == id));
        Ok(())
    }
}

struct CrashFile {
    disk: CrashDisk,
    id: u64,
}

impl DiskFile for CrashFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.judge(FaultOp::Read)?;
        let bytes = state.file(self.id)?.visible();
        let from = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        let len = buf.len().min(bytes.len() - from);
        buf[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.judge(FaultOp::Write)?;
        state.file(self.id)?.write(data, offset);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(error) = state.judge(FaultOp::Sync) {
            state.file(self.id)?.forget();
            return Err(error);
        }
        state.syncs += 1;
        state.file(self.id)?.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().file(self.id)?.visible().len() as u64)
    }
}

impl fmt::Debug for CrashDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrashDisk").field("names", &self.state().names).finish_non_exhaustive()
    }
}
