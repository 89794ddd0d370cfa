//! Opens a log: reads the segments, tells a torn tail from corruption, and gives each group's state.
//!
//! # Which segments count
//! The one of the highest incarnation that is in the chain is the last; each header names the one before and where that
//! ended, back to the first one that the last [`Head`](super::format::Head) calls needed. All else is spare.
//!
//! # Where the log ends
//! In the last segment, at the first bytes that are no record of it, unless some head in it, perhaps behind those bytes, says
//! that they were synced once: that is corruption, as is any bad record in an earlier segment, which was synced whole before
//! the next one's header was written.
//!
//! # Going on
//! Nothing is ever appended behind an end that was found. A last segment at least half full is sealed, and a new one goes on
//! from there. One that is less full is copied into the new one, which takes its place in the chain, so that restarts in a
//! row do not eat the budget; so is a full one if the budget has no room for one more. Until the copy is synced its header
//! says that it is not in the chain; its incarnation is used up all the same.
//!
//! The last segment is synced before it is read: what a killed process left in the page cache may not be believed otherwise.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::core::{DiskOp, Found, LogCore, Segment, SegmentFile, Spare};
use crate::log::files::Files;
use crate::log::format::{Frame, HEAD_BYTES, HEADER_BYTES, Head, Header, decode, seed};
use crate::log::format::{encode_head, reseal};
use crate::log::index::{Index, Place};
use crate::log::{LogOptions, Position, Recovery};

mod scan;
mod survey;

use self::scan::{Scan, scan};
use self::survey::Survey;

/// Opens the log of a directory, or makes one.
///
/// # Errors
/// `Corruption`, `Version`, `LogMisuse` for options that contradict each other, and what the disk answers.
pub fn recover(disk: Arc<dyn Disk>, options: &LogOptions) -> Result<(LogCore, Files, Recovery)> {
    options.validate()?;
    let files = Files::new(disk);
    let (found, recovery) = Opening::begin(&files, options)?.finish()?;
    let mut core = LogCore::new(options.clone(), found);
    // The spare segments are made now, so that there is room from the start; a full disk is no reason not to open.
    while let Some(write) = core.flush() {
        match files.perform_all(&write) {
            Ok(()) => core.completed(write),
            Err(error) => core.failed(&write, &error),
        }
    }
    core.failure().map_or(Ok((core, files, recovery)), Err)
}

/// A log being opened.
struct Opening<'a> {
    files: &'a Files,
    options: &'a LogOptions,
    survey: Survey,
    salt: u64,
    /// The segments that count, oldest first, with their headers.
    chain: VecDeque<(Segment, Header)>,
    /// What the last of them holds.
    last: Scan,
    first_needed: u64,
    index: Index,
}

impl<'a> Opening<'a> {
    /// Finds the segments that count and the end of the last one.
    fn begin(files: &'a Files, options: &'a LogOptions) -> Result<Self> {
        let survey = Survey::take(files)?;
        let last = survey.last();
        let mut opening = Self {
            files,
            options,
            salt: last.map_or(options.salt, |(_, header)| header.salt),
            survey,
            chain: VecDeque::new(),
            last: Scan { end: HEADER_BYTES, ..Scan::default() },
            first_needed: 0,
            index: Index::default(),
        };
        if let Some((file, header)) = last {
            opening.files.perform(&DiskOp::Sync { file })?;
            opening.last = scan(files, file, &header, None)?;
            opening.first_needed = opening.find_first_needed(header)?;
            opening.find_chain(file, header)?;
        }
        Ok(opening)
    }

    /// What the last head of all says. A segment without any was begun just before the end; the one before it has some.
    fn find_first_needed(&self, mut header: Header) -> Result<u64> {
        let mut head = self.last.last_head;
        while head.is_none()
            && let Some((file, before)) = self.survey.of(header.previous.segment)
        {
            head = scan(self.files, file, &before, Some(header.previous.offset))?.last_head;
            header = before;
        }
        Ok(head.map_or(0, |head| head.first_needed))
    }

    fn find_chain(&mut self, file: SegmentFile, header: Header) -> Result<()> {
        self.chain.push_front((segment(file, &header, self.last.end), header));
        let (mut file, mut header) = (file, header);
        while header.previous.segment != 0 && header.previous.segment >= self.first_needed {
            let Position { segment: incarnation, offset } = header.previous;
            let Some(before) = self.survey.of(incarnation) else {
                let message = format!("segment {incarnation}, which comes before it, is missing");
                return Err(Error::corruption(file.to_string(), 0, message));
            };
            (file, header) = before;
            self.chain.push_front((segment(file, &header, offset), header));
        }
        Ok(())
    }

    /// Takes up all records, and only then writes anything: a log that is refused is left as it was found.
    fn finish(mut self) -> Result<(Found, Recovery)> {
        let former = self.chain.pop_back();
        for (segment, header) in &self.chain {
            let bytes = scan(self.files, segment.file, header, Some(segment.end))?.bytes;
            take_up(&mut self.index, segment, segment, header, &bytes)?;
        }
        let is_copied = self.last.end <= self.options.segment_bytes / 2
            || self.chain.len() + 2 > self.options.segments_max()
                && self.last.end <= self.options.segment_bytes;
        let previous = match &former {
            None => Position::default(),
            Some((_, header)) if is_copied => header.previous,
            Some((segment, _)) => Position { segment: segment.incarnation, offset: segment.end },
        };
        let header = Header {
            in_chain: true,
            incarnation: self.survey.next_incarnation(),
            previous,
            file_bytes: self.options.segment_bytes,
            salt: self.salt,
        };
        let (file, exists) = self.spare_file(former.map(|(segment, _)| segment.file));
        let mut new = segment(file, &header, HEADER_BYTES);
        let mut data = Vec::new();
        if is_copied {
            data = self.copy(&header, former.map(|(_, header)| header));
            new.end += data.len() as u64;
            new.zeroed = new.end;
        }
        if let Some((former, former_header)) = former {
            let (at, header) = if is_copied { (&new, &header) } else { (&former, &former_header) };
            let bytes = if is_copied { &data } else { &self.last.bytes };
            take_up(&mut self.index, at, &former, header, bytes)?;
            if !is_copied {
                self.chain.push_back((former, former_header));
            }
        }
        self.settled()?;
        self.write_new(file, exists, header, data)?;
        self.chain.push_back((new, header));
        self.tidy(file, header)
    }

    /// The former last segment's records as the new one will hold them.
    fn copy(&self, new: &Header, former: Option<Header>) -> Vec<u8> {
        let new_seed = seed(new.incarnation, self.salt);
        let old_seed = former.map_or(0, |former| seed(former.incarnation, self.salt));
        let records = reseal(&self.last.bytes, old_seed, new_seed);
        let len = HEAD_BYTES + records.len() as u64;
        let head = Head { synced: new.previous, first_needed: self.first_needed, len };
        let mut data = Vec::with_capacity(len as usize);
        encode_head(&mut data, new_seed, &head);
        data.extend_from_slice(&records);
        data
    }

    /// Whether the groups' logs have no gaps.
    fn settled(&self) -> Result<()> {
        self.index.settled().map_err(|(group, first)| {
            let message = format!("entries of group {} before index {first} are missing", group.0);
            let oldest = self.chain.front().map_or_else(String::new, |(it, _)| it.file.to_string());
            Error::corruption(oldest, HEADER_BYTES, message)
        })
    }

    /// Makes the new last segment durable, and only then a part of the chain.
    fn write_new(
        &self,
        file: SegmentFile,
        exists: bool,
        header: Header,
        data: Vec<u8>,
    ) -> Result<()> {
        if !exists {
            self.files.perform(&DiskOp::Create { file, len: header.file_bytes })?;
            self.files.perform(&DiskOp::SyncDir)?;
        }
        if !data.is_empty() {
            self.write_synced(file, 0, Header { in_chain: false, ..header }.encode())?;
            self.write_synced(file, HEADER_BYTES, data)?;
        }
        self.write_synced(file, 0, header.encode())
    }

    fn write_synced(&self, file: SegmentFile, offset: u64, data: Vec<u8>) -> Result<()> {
        self.files.perform(&DiskOp::Write { file, offset, data })?;
        self.files.perform(&DiskOp::Sync { file })
    }

    /// The files that hold nothing needed and fit the options.
    fn spare_files(&self) -> impl Iterator<Item = SegmentFile> + '_ {
        let fits = |bytes: u64| bytes == self.options.segment_bytes;
        let files = self.survey.files.iter().filter(move |(_, found)| fits(found.bytes));
        files.map(|(file, _)| *file).filter(|file| !self.is_used(*file))
    }

    fn is_used(&self, file: SegmentFile) -> bool {
        self.chain.iter().any(|(segment, _)| segment.file == file)
    }

    /// A file for the new segment, and whether there is such a file already.
    fn spare_file(&self, former: Option<SegmentFile>) -> (SegmentFile, bool) {
        let spare = self.spare_files().find(|file| Some(*file) != former);
        spare.map_or_else(|| (self.survey.next_file(), false), |file| (file, true))
    }

    /// Removes the files that are not wanted any more, and hands over.
    fn tidy(self, new: SegmentFile, header: Header) -> Result<(Found, Recovery)> {
        let most = self.options.segments_max().saturating_sub(self.chain.len());
        let keep = most.min(self.options.spare_segments);
        let spares: Vec<_> = self.spare_files().take(keep).collect();
        let surplus = self.survey.files.keys().copied();
        let surplus: Vec<_> =
            surplus.filter(|file| !self.is_used(*file) && !spares.contains(file)).collect();
        for file in &surplus {
            self.files.perform(&DiskOp::Remove { file: *file })?;
        }
        if !surplus.is_empty() {
            self.files.perform(&DiskOp::SyncDir)?;
        }
        let recovery = Recovery { groups: self.index.recovery(), torn: self.last.torn };
        let found = Found {
            salt: self.salt,
            next_incarnation: header.incarnation + 1,
            next_file: self.survey.next_file().0.max(new.0 + 1),
            index: self.index,
            chain: self.chain.into_iter().map(|(segment, _)| segment).collect(),
            spares: spares.into_iter().map(|file| Spare { file, zeroed: 0 }).collect(),
        };
        Ok((found, recovery))
    }
}

fn segment(file: SegmentFile, header: &Header, end: u64) -> Segment {
    let Header { incarnation, file_bytes, .. } = *header;
    Segment { incarnation, file, file_bytes, end, zeroed: end }
}

/// Takes up the records of a segment, whose checksums were checked. `read` is where they were read.
fn take_up(
    index: &mut Index,
    segment: &Segment,
    read: &Segment,
    header: &Header,
    bytes: &[u8],
) -> Result<()> {
    let seed = seed(header.incarnation, header.salt);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Ok(Frame { len, group, body }) = decode(rest, seed)
    {
        let offset = HEADER_BYTES + at as u64;
        let place = Place { segment: segment.incarnation, offset: offset as u32, len: len as u32 };
        index
            .apply(group, &body, place)
            .map_err(|what| Error::corruption(read.file.to_string(), offset, what))?;
        at += len;
    }
    Ok(())
}
