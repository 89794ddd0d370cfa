//! Reads one segment and finds where its records end.

use crate::error::{Error, Result};
use crate::log::Position;
use crate::log::core::SegmentFile;
use crate::log::files::Files;
use crate::log::format::{Bad, Body, HEADER_BYTES, Head, Header, decode, find_head, seed};
use crate::mutation::{Mutation, planted};

/// A segment as read.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Its records, whole.
    pub(super) bytes: Vec<u8>,
    /// Where they end in the file.
    pub(super) end: u64,
    /// The last write's head.
    pub(super) last_head: Option<Head>,
    /// Whether the last write is not all there.
    pub(super) torn: bool,
}

/// Reads a segment: to its end if the segment after it says where that is, else as far as there are records.
///
/// # Errors
/// `Corruption` for anything bad below a known end, or below what some head of the segment calls synced.
pub(super) fn scan(
    files: &Files,
    file: SegmentFile,
    header: &Header,
    end: Option<u64>,
) -> Result<Scan> {
    let corrupt = |offset: u64, what: &str| Error::corruption(file.to_string(), offset, what);
    let limit = end.unwrap_or(header.file_bytes);
    if limit < HEADER_BYTES || limit > header.file_bytes || limit > files.len(file)? {
        return Err(corrupt(limit, "the segment is shorter than it has to be"));
    }
    let mut bytes = files.read(file, HEADER_BYTES, (limit - HEADER_BYTES) as usize)?;
    let seed = seed(header.incarnation, header.salt);
    let (mut at, mut last_head, mut write_end) = (0, None, 0);
    while at < bytes.len() {
        match decode(&bytes[at..], seed) {
            Ok(frame) => {
                if let Body::Head(head) = frame.body {
                    last_head = Some(head);
                    write_end = (at as u64).saturating_add(head.len);
                }
                at += frame.len;
            }
            Err(Bad::Unwritten) => break,
            Err(Bad::Malformed(what)) => return Err(corrupt(HEADER_BYTES + at as u64, what)),
        }
    }
    let found_end = HEADER_BYTES + at as u64;
    let synced_once = match end {
        Some(end) => found_end != end,
        None => is_below_synced(
            &bytes,
            at,
            seed,
            Position { segment: header.incarnation, offset: found_end },
        ),
    };
    if synced_once && !(end.is_none() && planted(Mutation::DamageIsTheEnd)) {
        return Err(corrupt(found_end, "a record that was synced is not what was written"));
    }
    bytes.truncate(at);
    Ok(Scan { bytes, end: found_end, last_head, torn: write_end > at as u64 })
}

/// Whether any head behind the end found says that more was synced.
fn is_below_synced(bytes: &[u8], mut at: usize, seed: u32, end: Position) -> bool {
    while let Some((found, head)) = find_head(bytes, at, seed) {
        if head.synced > end {
            return true;
        }
        at = found + 1;
    }
    false
}
