//! A snapshot that is not whole yet, and the stream that brings it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use stator_storage::disk::{Disk, DiskFile};
use stator_storage::partition::SnapshotReader;
use stator_storage::partition::snapshot::SnapshotFooter;

use super::Name;
use super::chain::Chain;
use super::files::{Announced, PART, Rejected, SnapshotFiles, WHOLE};

/// A snapshot that is not whole yet.
#[derive(Default)]
pub(super) struct Part {
    /// None before it was opened.
    file: Option<Arc<dyn DiskFile>>,
    chain: Chain,
    /// How many frames are there.
    frames: u64,
    /// Checks what comes; none before the header.
    pub(super) reader: Option<SnapshotReader>,
    /// Which stream may write; others are out of date.
    pub(super) stream: u64,
}

/// A stream that brings a snapshot.
pub(crate) struct Incoming {
    pub(super) files: Arc<SnapshotFiles>,
    pub(super) announced: Announced,
    pub(super) part: Arc<Mutex<Part>>,
    pub(super) stream: u64,
}

impl Part {
    /// Opens the file, and reads what is there of it: up to the first frame that is not whole, or not the next one.
    pub(super) fn open(&mut self, disk: &dyn Disk, name: Name) -> io::Result<()> {
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
        self.files.is_whole(name, self.announced.mark);
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
