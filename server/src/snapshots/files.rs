//! The snapshots that have come to this node, or are coming: one file each, in a folder of the data directory.
//!
//! ```text
//! GROUP-ID.part    on its way: as many frames as have come
//! GROUP-ID.whole   all of it: header, chunks, footer
//! ```
//!
//! A file gets its second name once all of it is synced. It goes once the engine has been flushed with what it holds, or with
//! more; once its replica is gone; or, if it was never whole, once nobody has sent more of it for a while.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use stator_consensus::GroupId;
use stator_storage::disk::{Disk, DiskFile};
use stator_storage::partition::{PartitionSpec, SnapshotHeader};

use super::Name;
use super::chain::Chain;
use super::incoming::{Incoming, Part};

/// Files, whole or not, that a node keeps.
const FILES_MAX: usize = 64;
/// How long a file is kept that nobody sends more of.
const IDLE_MAX: Duration = Duration::from_secs(600);

pub(super) const PART: &str = ".part";
pub(super) const WHOLE: &str = ".whole";

/// Why something is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// There is no room for it now.
    NoRoom(String),
    /// Another stream brings the same snapshot, or another snapshot took its place.
    Superseded,
    /// It is not what was announced, or damaged.
    Wrong(String),
    /// The disk failed.
    Disk(String),
}

impl Rejected {
    pub(super) fn disk(doing: &str) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::Disk(format!("{doing}: {error}"))
    }
}

/// What is announced of a snapshot before it comes.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    pub(crate) name: Name,
    /// The replica here.
    pub(crate) spec: Arc<PartitionSpec>,
    /// Index and term that it stands at.
    pub(crate) mark: (u64, u64),
}

impl Announced {
    pub(super) fn is(&self, header: &SnapshotHeader) -> bool {
        header.is_of(&self.spec)
            && header.id == self.name.id
            && (header.mark.index, header.mark.term) == self.mark
    }
}

/// All of a node's files.
pub(crate) struct SnapshotFiles {
    pub(super) disk: Arc<dyn Disk>,
    /// Whether the disk has room for more.
    pub(super) has_room: Box<dyn Fn() -> bool + Send + Sync>,
    held: Mutex<BTreeMap<Name, Held>>,
}

enum Held {
    Part { part: Arc<Mutex<Part>>, touched: Instant },
    Whole { mark: (u64, u64), since: Instant },
}

/// What [`SnapshotFiles::begin`] finds.
pub(crate) enum Begun {
    /// It has come whole already.
    Whole,
    /// It is to come, or the rest of it.
    Part(Incoming),
}

impl SnapshotFiles {
    /// Opens the folder, and throws away what is nothing.
    ///
    /// # Errors
    /// What the operating system answers.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        has_room: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> io::Result<Self> {
        let mut held = BTreeMap::new();
        for file_name in disk.list()? {
            match found(disk.as_ref(), &file_name)? {
                Some((name, found)) => {
                    held.insert(name, found);
                }
                None => disk.remove(&file_name)?,
            }
        }
        disk.sync_dir()?;
        Ok(Self { disk, has_room, held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Name, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Throws away the files of groups that have no replica here.
    pub(crate) fn retain(&self, is_here: impl Fn(GroupId) -> bool) {
        self.discard_if(|name, _| !is_here(name.group));
    }

    /// The replica of a group has left this node.
    pub(crate) fn forget(&self, group: GroupId) {
        self.discard_if(|name, _| name.group == group);
    }

    /// The engine has been flushed since the replicas had applied so much: what ends there or before is needed no more. After a
    /// while the rest goes, too: what nobody brings to an end, and what is whole and not accepted; `accepted` says where a
    /// group's log begins.
    pub(crate) fn flushed(
        &self,
        applied: &[(GroupId, u64)],
        accepted: impl Fn(GroupId) -> Option<u64>,
    ) {
        let applied: BTreeMap<GroupId, u64> = applied.iter().copied().collect();
        self.discard_if(|name, held| match held {
            Held::Whole { mark: (mark, _), since } => {
                applied.get(&name.group).is_some_and(|index| index >= mark)
                    || since.elapsed() >= IDLE_MAX
                        && accepted(name.group).is_none_or(|accepted| accepted < *mark)
            }
            Held::Part { touched, .. } => touched.elapsed() >= IDLE_MAX,
        });
    }

    fn discard_if(&self, is_over: impl Fn(&Name, &Held) -> bool) {
        let mut held = self.held();
        let over: Vec<Name> =
            held.iter().filter(|(name, held)| is_over(name, held)).map(|(name, _)| *name).collect();
        for name in over {
            self.discard_held(&mut held, name);
        }
    }

    /// Throws away a file.
    pub(crate) fn discard(&self, name: Name) {
        self.discard_held(&mut self.held(), name);
    }

    fn discard_held(&self, held: &mut BTreeMap<Name, Held>, name: Name) {
        let suffix = match held.remove(&name) {
            Some(Held::Whole { .. }) => WHOLE,
            Some(Held::Part { .. }) => PART,
            None => return,
        };
        // Not synced: a name that comes back after a crash is found out at the next start.
        if let Err(error) = self.disk.remove(&format!("{name}{suffix}")) {
            tracing::warn!(%name, %error, "a snapshot's file could not be removed");
        }
    }

    /// How many files there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held().len()
    }

    /// Begins to take a snapshot, or goes on with it: from now on only this stream brings it.
    ///
    /// # Errors
    /// If there is no room, or what is there of it is of another snapshot. Blocks on the disk.
    pub(crate) fn begin(self: &Arc<Self>, announced: Announced) -> Result<Begun, Rejected> {
        let name = announced.name;
        let part = {
            let mut held = self.held();
            match held.get_mut(&name) {
                Some(Held::Whole { mark, .. }) if *mark == announced.mark => {
                    return Ok(Begun::Whole);
                }
                Some(Held::Whole { .. }) => {
                    return Err(Rejected::Wrong("it has another mark".into()));
                }
                Some(Held::Part { part, touched }) => {
                    *touched = Instant::now();
                    part.clone()
                }
                None => self.make_part(&mut held, name)?,
            }
        };
        let mut locked = part.lock().unwrap_or_else(PoisonError::into_inner);
        locked.stream += 1;
        let stream = locked.stream;
        let opened = locked.open(self.disk.as_ref(), name);
        let agrees = locked.reader.as_ref().is_none_or(|reader| announced.is(reader.header()));
        drop(locked);
        opened.map_err(|error| self.give_up(name, Rejected::disk("opening a snapshot")(error)))?;
        if !agrees {
            return Err(self.give_up(name, Rejected::Wrong("what came before is another's".into())));
        }
        Ok(Begun::Part(Incoming { files: self.clone(), announced, part, stream }))
    }

    /// Room for one more; it takes the place of what has come of older snapshots of the group, for a leader sends one at a time.
    fn make_part(
        &self,
        held: &mut BTreeMap<Name, Held>,
        name: Name,
    ) -> Result<Arc<Mutex<Part>>, Rejected> {
        let older = |(other, held): (&Name, &Held)| {
            (other.group == name.group && matches!(held, Held::Part { .. })).then_some(*other)
        };
        for other in held.iter().filter_map(older).collect::<Vec<_>>() {
            self.discard_held(held, other);
        }
        if held.len() >= FILES_MAX {
            return Err(Rejected::NoRoom(format!("{FILES_MAX} snapshots are here already")));
        }
        let part = Arc::new(Mutex::new(Part::default()));
        held.insert(name, Held::Part { part: part.clone(), touched: Instant::now() });
        Ok(part)
    }

    pub(super) fn give_up(&self, name: Name, why: Rejected) -> Rejected {
        self.discard(name);
        why
    }

    /// Whether this is still the snapshot being received under this name, and notes that it goes on.
    pub(super) fn touch(&self, name: Name, part: &Arc<Mutex<Part>>) -> bool {
        match self.held().get_mut(&name) {
            Some(Held::Part { part: current, touched }) if Arc::ptr_eq(current, part) => {
                *touched = Instant::now();
                true
            }
            _ => false,
        }
    }

    /// All of a snapshot has come.
    pub(super) fn is_whole(&self, name: Name, mark: (u64, u64)) {
        self.held().insert(name, Held::Whole { mark, since: Instant::now() });
    }

    /// A whole snapshot of a group that ends at this mark; the one with this id, if one is given.
    pub(crate) fn find(
        &self,
        group: GroupId,
        mark: (u64, u64),
        id: Option<u64>,
    ) -> Option<WholeFile> {
        let held = self.held();
        let (name, _) = held.iter().find(|(name, held)| {
            let is_id = id.is_none_or(|id| id == name.id);
            name.group == group
                && is_id
                && matches!(held, Held::Whole { mark: at, .. } if *at == mark)
        })?;
        let name = *name;
        drop(held);
        match self.disk.open(&format!("{name}{WHOLE}")) {
            Ok(file) => Some(WholeFile { name, file, chain: Chain::default() }),
            Err(error) => {
                tracing::error!(%name, %error, "a snapshot's file could not be opened");
                None
            }
        }
    }
}

/// What lies under a name; `None` if it is nothing.
fn found(disk: &dyn Disk, file_name: &str) -> io::Result<Option<(Name, Held)>> {
    if let Some(name) = file_name.strip_suffix(PART).and_then(Name::parse) {
        let held = Held::Part { part: Arc::default(), touched: Instant::now() };
        return Ok(Some((name, held)));
    }
    let Some(name) = file_name.strip_suffix(WHOLE).and_then(Name::parse) else { return Ok(None) };
    let header = Chain::default().next(disk.open(file_name)?.as_ref())?;
    let header = header.and_then(|frame| SnapshotHeader::decode(&frame).ok());
    Ok(header.filter(|header| (header.group, header.id) == (name.group, name.id)).map(|header| {
        (name, Held::Whole { mark: (header.mark.index, header.mark.term), since: Instant::now() })
    }))
}

/// A whole snapshot, being read.
pub(crate) struct WholeFile {
    pub(crate) name: Name,
    file: Arc<dyn DiskFile>,
    chain: Chain,
}

impl WholeFile {
    /// The next frame.
    ///
    /// # Errors
    /// In words, if there is none: a whole file has a footer, behind which nobody reads.
    pub(crate) fn next(&mut self) -> Result<Bytes, String> {
        match self.chain.next(self.file.as_ref()) {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(format!(
                "snapshot {} is damaged behind {} bytes",
                self.name,
                self.chain.bytes()
            )),
            Err(error) => Err(format!("snapshot {} cannot be read: {error}", self.name)),
        }
    }

    /// Back to the beginning.
    pub(crate) fn rewind(&mut self) {
        self.chain = Chain::default();
    }
}
