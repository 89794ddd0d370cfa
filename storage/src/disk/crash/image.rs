//! One file's bytes: what is visible, what is durable, and what lies between.

use crate::disk::Crash;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What was done to the file since it was synced.
#[derive(Clone, Debug)]
enum Change {
    /// The file was emptied and given a length, all zeros.
    Resize(usize),
    Write {
        offset: usize,
        data: Vec<u8>,
    },
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    visible: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

impl Content {
    pub(super) fn visible(&self) -> &[u8] {
        &self.visible
    }

    pub(super) const fn unsynced(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn resize(&mut self, len: u64) {
        self.change(Change::Resize(usize::try_from(len).unwrap_or(usize::MAX)));
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.change(Change::Write { offset, data: data.to_vec() });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.visible);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// What was not synced never will be.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
    }

    pub(super) fn damage(&mut self, offset: u64, change: impl FnOnce(u8) -> u8) -> bool {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(byte) = self.visible.get_mut(offset) else { return false };
        *byte = change(*byte);
        let byte = *byte;
        if let Some(durable) = self.durable.get_mut(offset) {
            *durable = byte;
        }
        true
    }

    /// The file after a power cut.
    pub(super) fn crash(&self, crash: Crash, dice: &mut Dice) -> Self {
        let mut bytes = self.durable.clone();
        match crash {
            Crash::LoseAll => {}
            Crash::KeepAll => bytes.clone_from(&self.visible),
            Crash::Prefix(_) => self.keep_prefix(&mut bytes, dice),
            Crash::Pages(_) => {
                for change in &self.changes {
                    change.apply_pages(&mut bytes, dice);
                }
            }
        }
        Self { visible: bytes.clone(), durable: bytes, changes: Vec::new() }
    }

    fn keep_prefix(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let keep = dice.below(self.changes.len() as u64 + 1) as usize;
        for change in &self.changes[..keep] {
            change.apply(bytes);
        }
        if let Some(Change::Write { offset, data }) = self.changes.get(keep) {
            // Torn at a sector of the file, wherever the write began.
            let sectors = (offset + data.len()) / SECTOR - offset / SECTOR;
            let cut = (offset / SECTOR + dice.below(sectors as u64 + 1) as usize) * SECTOR;
            let len = cut.saturating_sub(*offset).min(data.len());
            overwrite(bytes, *offset, &data[..len]);
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(len) => {
                bytes.clear();
                bytes.resize(*len, 0);
            }
            Self::Write { offset, data } => overwrite(bytes, *offset, data),
        }
    }

    /// Applies any of the pages that the change touches.
    fn apply_pages(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Resize(_) => {
                if dice.below(2) == 0 {
                    self.apply(bytes);
                }
            }
            Self::Write { offset, data } => {
                let mut at = 0;
                while at < data.len() {
                    let len = (PAGE - (offset + at) % PAGE).min(data.len() - at);
                    if dice.below(2) == 0 {
                        overwrite(bytes, offset + at, &data[at..at + len]);
                    }
                    at += len;
                }
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// A small generator of numbers (`splitmix64`), so that a seed always gives the same image.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, zero if that is zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }
}
