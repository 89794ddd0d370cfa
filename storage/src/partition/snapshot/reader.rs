//! The receiver's side: from frames to items.

use bytes::Bytes;

use super::super::cursor::{self, Cursor};
use super::{CHUNK, FORMAT, SnapshotFooter, SnapshotHeader, SnapshotPosition, StoredPair};
use crate::error::{Error, Result};
use crate::key::EngineKey;

/// Checks a snapshot's frames as they come: that each is whole, of this snapshot and the next one, and that items ascend
/// within the range.
pub struct SnapshotReader {
    header: SnapshotHeader,
    position: SnapshotPosition,
}

impl SnapshotReader {
    /// Begins with a snapshot's header.
    ///
    /// # Errors
    /// Those of [`SnapshotHeader::decode`].
    pub fn new(header: &Bytes) -> Result<Self> {
        SnapshotHeader::decode(header).map(Self::behind)
    }

    pub(super) fn behind(header: SnapshotHeader) -> Self {
        Self { header, position: SnapshotPosition::default() }
    }

    /// What the snapshot is of.
    #[must_use]
    pub const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// How far it has been read: where its sender would resume it.
    #[must_use]
    pub const fn position(&self) -> &SnapshotPosition {
        &self.position
    }

    /// The items of the next chunk.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is not that chunk; `Error::Version` if it is newer than this code.
    pub fn chunk(&mut self, frame: &Bytes) -> Result<Vec<StoredPair>> {
        let place = self.place(&format!("chunk {}", self.position.chunks));
        let mut cursor = cursor::open(&self.header.id.to_be_bytes(), frame, FORMAT, &place)?;
        let items = parse_chunk(&mut cursor, self.position.chunks)
            .filter(|_| cursor.is_empty())
            .ok_or_else(|| Error::corruption(&*place, 0, "not this chunk"))?;
        let mut last = self.position.last_key.clone();
        let range = self.header.items();
        for (key, _) in &items {
            let is_item = matches!(EngineKey::decode(key), Ok(EngineKey::Item { .. }));
            if !is_item || !range.contains(key) || last.as_ref().is_some_and(|last| last >= key) {
                return Err(Error::corruption(place, 0, "a key out of range or order"));
            }
            last = Some(key.clone());
        }
        self.position.chunks += 1;
        self.position.items += items.len() as u64;
        self.position.last_key = last;
        Ok(items)
    }

    /// Ends with the snapshot's footer.
    ///
    /// # Errors
    /// `Error::Corruption` if the frame is not the footer of what was read; `Error::Version` if it is newer than this code.
    pub fn finish(self, frame: &Bytes) -> Result<(SnapshotHeader, SnapshotFooter)> {
        let place = self.place("footer");
        let mut cursor = cursor::open(&self.header.id.to_be_bytes(), frame, FORMAT, &place)?;
        let footer = SnapshotFooter::parse(&mut cursor).filter(|footer| {
            cursor.is_empty()
                && (footer.chunks, footer.items) == (self.position.chunks, self.position.items)
                && footer.end_index >= self.header.mark.index
        });
        match footer {
            Some(footer) => Ok((self.header, footer)),
            None => Err(Error::corruption(place, 0, "not the footer of what was read")),
        }
    }

    fn place(&self, part: &str) -> String {
        format!("snapshot {} of group {}, {part}", self.header.id, self.header.group.0)
    }
}

fn parse_chunk(cursor: &mut Cursor, number: u32) -> Option<Vec<StoredPair>> {
    if cursor.u8()? != CHUNK || cursor.u32()? != number {
        return None;
    }
    let count = cursor.u32()?.try_into().ok()?;
    // An item has at least two lengths: what is claimed cannot ask for more memory than what is there.
    if count == 0 || cursor.len() / 8 < count {
        return None;
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push((cursor.long()?, cursor.long()?));
    }
    Some(items)
}
