//! The overlay: the images that entries proposed, but not yet applied, will leave.
//!
//! Evaluation looks here first, and in the engine only for keys that have nothing here. That is safe because a log keeps
//! order: if an entry is committed, so are those before it of the same leader.
//!
//! # Invariants
//! - Of a key there is at most one image per entry, the newest on top.
//! - An image leaves when its entry is applied, or refused, and never for another's sake (R7): a refused entry uncovers the
//!   image of the entry before it, an applied one leaves the images of those after it.
//! - Nothing is left when all entries are applied or refused.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use stator_model::EncodedItem;

/// What an entry will leave of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The index of the entry.
    pub index: u64,
    /// The item with its size in bytes; `None` if it will be absent.
    pub item: Option<(EncodedItem, u64)>,
}

/// The images of entries on their way.
#[derive(Debug, Default)]
pub struct Overlay {
    /// By engine key, a stack of images: older entries' first.
    images: BTreeMap<Bytes, Vec<Image>>,
    /// By entry, oldest first: the keys it has images of.
    entries: VecDeque<(u64, Vec<Bytes>)>,
}

impl Overlay {
    /// An overlay without images.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the newest entry that writes this key will leave of it.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Image> {
        self.images.get(key)?.last()
    }

    /// Takes up an image that an entry leaves of a key. The entry is the newest of all.
    ///
    /// # Panics
    /// If the overlay holds images of a newer entry.
    pub fn put(&mut self, key: Bytes, image: Image) {
        let stack = self.images.entry(key.clone()).or_default();
        match stack.last_mut() {
            Some(top) if top.index == image.index => *top = image,
            _ => {
                match self.entries.back_mut() {
                    Some((newest, keys)) if *newest == image.index => keys.push(key),
                    newest => {
                        assert!(
                            newest.is_none_or(|(newest, _)| *newest < image.index),
                            "an image of an entry before the newest"
                        );
                        self.entries.push_back((image.index, vec![key]));
                    }
                }
                stack.push(image);
            }
        }
    }

    /// The entries up to this index are applied: their images leave.
    pub fn applied(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(entry, _)| *entry <= index) {
            let (entry, keys) = self.entries.pop_front().unwrap_or_default();
            self.remove(entry, &keys);
        }
    }

    /// The entry at this index was refused, and so will be all after it, which were evaluated on top of it: their images leave.
    pub fn refused(&mut self, index: u64) {
        while self.entries.back().is_some_and(|(entry, _)| *entry >= index) {
            let (entry, keys) = self.entries.pop_back().unwrap_or_default();
            self.remove(entry, &keys);
        }
    }

    /// Removes the images that one entry left of these keys.
    fn remove(&mut self, entry: u64, keys: &[Bytes]) {
        for key in keys {
            if let Some(stack) = self.images.get_mut(key) {
                stack.retain(|image| image.index != entry);
                if stack.is_empty() {
                    self.images.remove(key);
                }
            }
        }
    }

    /// All images leave.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many keys have an image.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether no key has an image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

#[cfg(test)]
mod tests;
