//! What segment files there are, by their headers.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::log::core::SegmentFile;
use crate::log::files::Files;
use crate::log::format::{HEADER_BYTES, Header, HeaderFound, VERSION};

/// A file as found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) bytes: u64,
    /// `None` for a file never used.
    pub(super) header: Option<Header>,
}

/// The segment files.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) files: BTreeMap<SegmentFile, Found>,
}

impl Survey {
    /// Reads all headers.
    ///
    /// # Errors
    /// `Version` for a header of a newer version, `Corruption` for one that is broken: a header is written whole or not at
    /// all, so that no crash breaks one.
    pub(super) fn take(files: &Files) -> Result<Self> {
        let mut survey = Self::default();
        for file in files.list()? {
            let found = Found { bytes: files.len(file)?, header: read_header(files, file)? };
            let twin = found.header.and_then(|header| survey.of(header.incarnation));
            if let (Some((twin, _)), Some(Header { in_chain: true, .. })) = (twin, found.header) {
                let message = format!("{twin} has the same incarnation");
                return Err(Error::corruption(file.to_string(), 0, message));
            }
            survey.files.insert(file, found);
        }
        Ok(survey)
    }

    fn chained(&self) -> impl Iterator<Item = (SegmentFile, Header)> + '_ {
        let headers = self.files.iter().filter_map(|(file, found)| Some((*file, found.header?)));
        headers.filter(|(_, header)| header.in_chain)
    }

    /// The segment of the highest incarnation.
    pub(super) fn last(&self) -> Option<(SegmentFile, Header)> {
        self.chained().max_by_key(|(_, header)| header.incarnation)
    }

    /// The segment of an incarnation.
    pub(super) fn of(&self, incarnation: u64) -> Option<(SegmentFile, Header)> {
        self.chained().find(|(_, header)| header.incarnation == incarnation)
    }

    /// The lowest incarnation that was never used.
    pub(super) fn next_incarnation(&self) -> u64 {
        let used = self.files.values().filter_map(|found| found.header);
        used.map(|header| header.incarnation).max().unwrap_or(0) + 1
    }

    /// A number that no file has.
    pub(super) fn next_file(&self) -> SegmentFile {
        SegmentFile(self.files.last_key_value().map_or(0, |(file, _)| file.0 + 1))
    }
}

fn read_header(files: &Files, file: SegmentFile) -> Result<Option<Header>> {
    let start = files.read(file, 0, HEADER_BYTES as usize + 64)?;
    match Header::decode(&start) {
        HeaderFound::Header(header) => Ok(Some(header)),
        HeaderFound::Blank => {
            let records = start.get(HEADER_BYTES as usize..).unwrap_or_default();
            if records.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            Err(Error::corruption(file.to_string(), 0, "there are records, and no header"))
        }
        HeaderFound::Version(found) => {
            Err(Error::Version { place: file.to_string(), found, known: VERSION })
        }
        HeaderFound::Broken => {
            Err(Error::corruption(file.to_string(), 0, "the segment's header is broken"))
        }
    }
}
