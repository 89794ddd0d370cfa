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
use stator_storage::partition::snapshot::SnapshotFooter;
use stator_storage::partition::{PartitionSpec, SnapshotHeader, SnapshotReader};

use super::Name;
use super::chain::Chain;

/// Files, whole or not, that a node keeps.
const FILES_MAX: usize = 64;
/// How long a file is kept that nobody sends more of.
const IDLE_MAX: Duration = Duration::from_secs(600);

const PART: &str = ".part";
const WHOLE: &str = ".whole";

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
    fn disk(doing: &str) -> impl Fn(io::Error) -> Self + '_ {
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
    fn is(&self, header: &SnapshotHeader) -> bool {
        header.is_of(&self.spec)
            && header.id == self.name.id
            && (header.mark.index, header.mark.term) == self.mark
    }
}

/// All of a node's files.
pub(crate) struct SnapshotFiles {
    disk: Arc<dyn Disk>,
    /// Whether the disk has room for more.
    has_room: Box<dyn Fn() -> bool + Send + Sync>,
    held: Mutex<BTreeMap<Name, Held>>,
}

enum Held {
    Part { part: Arc<Mutex<Part>>, touched: Instant },
    Whole { mark: (u64, u64), since: Instant },
}

/// A snapshot that is not whole yet.
#[derive(Default)]
struct Part {
    /// None before it was opened.
    file: Option<Arc<dyn DiskFile>>,
    chain: Chain,
    /// How many frames are there.
    frames: u64,
    /// Checks what comes; none before the header.
    reader: Option<SnapshotReader>,
    /// Which stream may write; others are out of date.
    stream: u64,
}

/// What [`SnapshotFiles::begin`] finds.
pub(crate) enum Begun {
    /// It has come whole already.
    Whole,
    /// It is to come, or the rest of it.
    Part(Incoming),
}

/// A stream that brings a snapshot.
pub(crate) struct Incoming {
    files: Arc<SnapshotFiles>,
    announced: Announced,
    part: Arc<Mutex<Part>>,
    stream: u64,
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

    fn give_up(&self, name: Name, why: Rejected) -> Rejected {
        self.discard(name);
        why
    }

    /// Whether this is still the snapshot being received under this name, and notes that it goes on.
    fn touch(&self, name: Name, part: &Arc<Mutex<Part>>) -> bool {
        match self.held().get_mut(&name) {
            Some(Held::Part { part: current, touched }) if Arc::ptr_eq(current, part) => {
                *touched = Instant::now();
                true
            }
            _ => false,
        }
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

impl Part {
    /// Opens the file, and reads what is there of it: up to the first frame that is not whole, or not the next one.
    fn open(&mut self, disk: &dyn Disk, name: Name) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let file_name = format!("{name}{PART}");
        let file = match disk.open(&file_name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(&file_name, 0)?,
            Err(error) => return Err(error),
        };
        let mut chain = self.chain;
        while let Some(frame) = chain.next(file.as_ref())? {
            if self.check(&frame).is_err() {
                break;
            }
            (self.chain, self.frames) = (chain, self.frames + 1);
        }
        self.file = Some(file);
        Ok(())
    }

    /// Whether this is the next frame: the header, or the next chunk.
    fn check(&mut self, frame: &Bytes) -> Result<(), Rejected> {
        let wrong = |error: stator_storage::Error| Rejected::Wrong(error.to_string());
        match &mut self.reader {
            None => self.reader = Some(SnapshotReader::new(frame).map_err(wrong)?),
            Some(reader) => drop(reader.chunk(frame).map_err(wrong)?),
        }
        Ok(())
    }

    fn append(&mut self, frame: &Bytes) -> Result<(), Rejected> {
        let failed = Rejected::disk("writing a snapshot");
        let file = self.file.clone().ok_or(Rejected::Superseded)?;
        self.chain.append(file.as_ref(), frame).map_err(failed)?;
        self.frames += 1;
        Ok(())
    }
}

impl Incoming {
    fn locked(&self) -> Result<MutexGuard<'_, Part>, Rejected> {
        let part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.stream != self.stream || !self.files.touch(self.announced.name, &self.part) {
            return Err(Rejected::Superseded);
        }
        Ok(part)
    }

    /// Takes the next frame. Anything else than that ends the snapshot: what came of it is thrown away.
    ///
    /// # Errors
    /// If it is not the next frame of what was announced, or there is no room. Blocks on the disk.
    pub(crate) fn put(&self, number: u64, frame: &Bytes) -> Result<(), Rejected> {
        let mut part = self.locked()?;
        if !(self.files.has_room)() {
            return Err(Rejected::NoRoom("the disk is nearly full".into()));
        }
        if number != part.frames {
            return Err(Rejected::Wrong(format!(
                "frame {number} comes in place of {}",
                part.frames
            )));
        }
        let mut taken = part.check(frame);
        let header = part.reader.as_ref().map(SnapshotReader::header);
        if taken.is_ok() && !header.is_some_and(|header| self.announced.is(header)) {
            taken = Err(Rejected::Wrong("the header is not what was announced".into()));
        }
        // What failed half-way has left the part in a state that is not known.
        taken
            .and_then(|()| part.append(frame))
            .map_err(|why| self.files.give_up(self.announced.name, why))
    }

    /// Makes durable what has come, and says how many frames that is.
    ///
    /// # Errors
    /// A fault of the disk; or another stream has taken over. Blocks on the disk.
    pub(crate) fn sync(&self) -> Result<u64, Rejected> {
        let part = self.locked()?;
        let file = part.file.clone().ok_or(Rejected::Superseded)?;
        let synced = file.sync_data().and_then(|()| self.files.disk.sync_dir());
        let failed = Rejected::disk("syncing a snapshot");
        synced.map_err(|error| self.files.give_up(self.announced.name, failed(error)))?;
        Ok(part.frames)
    }

    /// There are so many frames, and no more: the snapshot is whole, durably. `end_index` is what the sender had applied after
    /// the last one.
    ///
    /// # Errors
    /// If frames are missing, or the disk fails. Blocks on the disk.
    pub(crate) fn finish(&self, frames: u64, end_index: u64) -> Result<(), Rejected> {
        let mut part = self.locked()?;
        if frames != part.frames {
            return Err(Rejected::Wrong(format!("{} of {frames} frames have come", part.frames)));
        }
        let Some(reader) = part.reader.take() else {
            return Err(Rejected::Wrong("it ends before it begins".into()));
        };
        let footer = SnapshotFooter {
            chunks: reader.position().chunks,
            items: reader.position().items,
            end_index,
        };
        let footer = footer.encode(reader.header().id);
        let ended = reader.finish(&footer).map_err(|error| Rejected::Wrong(error.to_string()));
        let whole = ended.and_then(|_| {
            part.append(&footer)?;
            self.make_whole(&part)
        });
        let name = self.announced.name;
        whole.map_err(|why| self.files.give_up(name, why))?;
        // Before another stream gets at the part: it would take the snapshot for one that has not begun.
        self.files
            .held()
            .insert(name, Held::Whole { mark: self.announced.mark, since: Instant::now() });
        drop(part);
        Ok(())
    }

    fn make_whole(&self, part: &Part) -> Result<(), Rejected> {
        let name = self.announced.name;
        let (part_name, whole_name) = (format!("{name}{PART}"), format!("{name}{WHOLE}"));
        let disk = &self.files.disk;
        let file = part.file.as_ref().ok_or(Rejected::Superseded)?;
        // The content first: a whole file is believed to be whole.
        let made = file
            .sync_data()
            .and_then(|()| disk.rename(&part_name, &whole_name))
            .and_then(|()| disk.sync_dir());
        made.map_err(Rejected::disk("making a snapshot whole"))?;
        tracing::info!(%name, bytes = part.chain.bytes(), "a snapshot has come");
        Ok(())
    }
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
