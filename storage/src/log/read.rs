//! Reads entries back from where they are.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::log::LogEntry;
use crate::log::core::SegmentFile;
use crate::log::files::Files;
use crate::log::format::{Body, Frame, decode};
use crate::log::index::Place;
use crate::machine::GroupId;

/// Other groups' records between two entries that are read over rather than read around, in bytes.
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
        match read_all(files, group, &sources) {
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

/// Reads entries of several groups, which stay where they are meanwhile: nothing is being written.
pub fn read_stranded(files: &Files, stranded: &[(GroupId, Source)]) -> Result<Vec<LogEntry>> {
    let mut entries = Vec::with_capacity(stranded.len());
    for of_group in stranded.chunk_by(|before, after| before.0 == after.0) {
        let sources: Vec<Source> = of_group.iter().map(|(_, source)| *source).collect();
        entries.extend(read_all(files, of_group[0].0, &sources)?);
    }
    Ok(entries)
}

fn read_all(files: &Files, group: GroupId, sources: &[Source]) -> Result<Vec<LogEntry>> {
    let mut entries = Vec::with_capacity(sources.len());
    let mut rest = sources;
    while let Some(first) = rest.first() {
        let count = span(rest);
        let (together, behind) = rest.split_at(count);
        let start = u64::from(first.place.offset);
        let end = together.last().map_or(start, |last| last.place.end());
        let bytes = Bytes::from(files.read(first.file, start, (end - start) as usize)?);
        for source in together {
            let at = (u64::from(source.place.offset) - start) as usize;
            let record = bytes.slice(at.min(bytes.len())..);
            entries.push(entry(&record, group, source)?);
        }
        rest = behind;
    }
    Ok(entries)
}

/// How many of the sources are read at once.
fn span(sources: &[Source]) -> usize {
    let near = |pair: &[Source]| {
        let [before, after] = pair else { return false };
        let gap = u64::from(after.place.offset).checked_sub(before.place.end());
        before.place.segment == after.place.segment && gap.is_some_and(|gap| gap <= GAP_BYTES)
    };
    let start = sources.first().map_or(0, |first| u64::from(first.place.offset));
    let fits = |source: &Source| source.place.end().saturating_sub(start) <= SPAN_BYTES;
    1 + sources.windows(2).take_while(|pair| near(pair) && fits(&pair[1])).count()
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
