//! Reads entries back from where they are.

use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::log::LogEntry;
use crate::log::core::SegmentFile;
use crate::log::files::Files;
use crate::log::format::{Body, Frame, decode};
use crate::log::index::Place;
use crate::machine::GroupId;

/// Other records between two entries that are read over rather than read around, in bytes.
const GAP_BYTES: u64 = 4096;
/// The most that is read at once, unless one entry is larger.
const SPAN_BYTES: u64 = 1 << 20;
/// How often entries may be released or replaced under a reader before it is a fault.
const TRIES: usize = 16;

/// Where an entry is, and how its record is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The entry's index.
    pub index: u64,
    /// The segment's file.
    pub file: SegmentFile,
    /// The record's place.
    pub place: Place,
    /// What its checksum starts from.
    pub seed: u32,
}

/// Reads the entries that `locate` gives.
///
/// Nothing is locked meanwhile, so a segment may be released and written anew under the read. Its records do not match then,
/// for their checksums are another incarnation's: what does not match is located again, and is corrupt only if it is still
/// said to be in the same place.
pub fn read_entries(
    files: &Files,
    group: GroupId,
    mut locate: impl FnMut() -> Result<Vec<Source>>,
) -> Result<Vec<LogEntry>> {
    let mut sources = locate()?;
    for _ in 0..TRIES {
        let of_group: Vec<_> = sources.iter().map(|source| (group, *source)).collect();
        match read_sources(files, &of_group) {
            Ok(entries) => return Ok(entries),
            Err(error) => {
                let again = locate()?;
                if again == sources {
                    return Err(error);
                }
                sources = again;
            }
        }
    }
    Err(Error::LogBusy("the entries were replaced again and again while they were read".to_owned()))
}

/// Reads entries, of one group or several, from where they are: with an answer that may be wrong if they do not stay there meanwhile.
///
/// # Errors
/// `Corruption`, and what the disk answers.
pub fn read_sources(files: &Files, stranded: &[(GroupId, Source)]) -> Result<Vec<LogEntry>> {
    let mut entries = Vec::with_capacity(stranded.len());
    for (near, range) in spans(stranded) {
        let Some((_, first)) = near.first() else { break };
        let len = (range.end - range.start) as usize;
        let bytes = Bytes::from(files.read(first.file, range.start, len)?);
        for (group, source) in near {
            let at = (u64::from(source.place.offset) - range.start) as usize;
            let record = bytes.slice(at.min(bytes.len())..);
            entries.push(entry(&record, *group, source)?);
        }
    }
    Ok(entries)
}

/// How many of these entries are read with no more than so many reads, and no more bytes in all unless the first read has more.
pub(crate) fn read_within(stranded: &[(GroupId, Source)], reads: usize, bytes: u64) -> usize {
    let (mut count, mut read) = (0, 0);
    for (near, range) in spans(stranded).take(reads) {
        read += range.end - range.start;
        if read > bytes && count > 0 {
            break;
        }
        count += near.len();
    }
    count
}

/// What is read at once: entries that lie near each other, and from where to where in their file.
fn spans(
    sources: &[(GroupId, Source)],
) -> impl Iterator<Item = (&[(GroupId, Source)], Range<u64>)> {
    let mut rest = sources;
    std::iter::from_fn(move || {
        let start = u64::from(rest.first()?.1.place.offset);
        let (near, behind) = rest.split_at(span(rest, start));
        rest = behind;
        let end = near.last().map_or(start, |(_, last)| last.place.end());
        Some((near, start..end))
    })
}

/// How many of the sources are read at once, from where the first one is.
fn span(sources: &[(GroupId, Source)], start: u64) -> usize {
    let is_near = |pair: &&[(GroupId, Source)]| {
        let [(_, before), (_, after)] = pair else { return false };
        let gap = u64::from(after.place.offset).checked_sub(before.place.end());
        before.place.segment == after.place.segment
            && gap.is_some_and(|gap| gap <= GAP_BYTES)
            && after.place.end() - start <= SPAN_BYTES
    };
    1 + sources.windows(2).take_while(is_near).count()
}

fn entry(record: &Bytes, group: GroupId, source: &Source) -> Result<LogEntry> {
    if let Ok(Frame { group: of, body: Body::Entry { index, term, kind, data, .. }, len }) =
        decode(record, source.seed)
        && (of, index, len) == (group, source.index, source.place.len as usize)
    {
        return Ok(LogEntry { index, term, kind, data: record.slice_ref(data) });
    }
    let message = format!("entry {} of group {} is not there", source.index, group.0);
    Err(Error::corruption(source.file.to_string(), u64::from(source.place.offset), message))
}
