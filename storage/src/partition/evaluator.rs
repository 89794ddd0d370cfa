//! The leader's half: from requests to absolute writes and outcomes.
//!
//! Every request is judged against the newest image of its item, be that on its way (overlay) or applied (engine). What
//! it changes goes into the entry of this turn as stored values, and into the overlay as images.
//!
//! # The hybrid clock
//! Every write gets a stamp: the turn's wall clock in milliseconds, shifted up by 16 bits, or one more than the partition's
//! highest stamp if that is greater. So stamps grow strictly within a partition, over changes of its leader, too: the highest
//! stamp stands in every entry and in the applied record, and a leader begins behind it. A refused entry's stamps are
//! not given out again.
//!
//! # Counters
//! Items and bytes are counted through the overlay (R10): an entry says what they are after it. Each entry on its way
//! remembers what they were before, for the case that it is refused.
//!
//! # Invariants
//! - A request that changes nothing writes nothing: not a byte, not a stamp.
//! - What an outcome rests on is the newest entry that it read an image of, or its own (R4).
//! - Entries are sealed in the order of their indexes, and refused newest first: a later entry was evaluated on top of an
//!   earlier one, so it goes with it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use stator_model::EncodedItem;
use stator_model::error::Error as RequestError;
use stator_model::write::{Action, Decision, PreparedWrite};

use super::entry::{self, EntryHeader};
use super::overlay::{Image, Overlay};
use super::record::{AppliedRecord, Counters};
use super::spec::PartitionSpec;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::item::{Stamp, StoredItem};
use crate::key::{ITEM_PREFIX_BYTES, hex, item_key};
use crate::machine::{Draft, Evaluated, Evaluator};
use crate::mutation::{Mutation, planted};

/// What an update is taken to add to an entry, in bytes, besides its key, unless its item is on its way already: its
/// image is not known before it is evaluated.
pub const UPDATE_WEIGHT_BYTES: usize = 4 * 1024;

/// What is asked of a partition's leader.
#[derive(Clone, Debug, PartialEq)]
pub enum PartitionRequest {
    /// One write.
    Write(PreparedWrite),
    /// Writes that do not depend on each other: those of one BatchWriteItem that fall into this partition. They
    /// share an entry.
    Writes(Vec<PreparedWrite>),
}

/// What the leader answers.
#[derive(Clone, Debug, PartialEq)]
pub enum PartitionOutcome {
    /// Of one write.
    Write(WriteOutcome),
    /// Of several, in their order.
    Writes(Vec<WriteOutcome>),
}

/// What became of a write.
pub type WriteOutcome = Result<WriteAnswer, WriteError>;

/// A write that was done, or changed nothing because there was nothing to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteAnswer {
    /// What its `return_values` asked for.
    pub attributes: Option<EncodedItem>,
}

/// A write that was not done.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteError {
    /// The key is not of this partition's range: the caller came by an old route and looks for a newer one than that of
    /// this generation.
    Moved {
        /// The partition's generation here.
        generation: u64,
    },
    /// What the caller gets instead of an answer: a condition that did not hold, an expression that does not fit the item.
    Refused(RequestError),
}

impl From<RequestError> for WriteError {
    fn from(error: RequestError) -> Self {
        Self::Refused(error)
    }
}

/// Evaluates requests while its replica leads.
pub struct PartitionEvaluator {
    engine: Arc<dyn Engine>,
    spec: Arc<PartitionSpec>,
    overlay: Overlay,
    /// The highest stamp seen or given out.
    highest_stamp: u64,
    /// The term led, if any.
    term: Option<u64>,
    /// After all entries on their way.
    counters: Counters,
    /// Oldest first.
    on_their_way: VecDeque<OnItsWay>,
}

/// An entry that is being filled, or proposed and not yet applied.
#[derive(Debug)]
struct OnItsWay {
    index: u64,
    writes: u32,
    before: Counters,
    /// What stands in its header.
    after: Counters,
    highest_stamp: u64,
}

/// The newest image of an item, and where it was found.
struct Found {
    item: Option<EncodedItem>,
    /// Its size in bytes, where that is known without a look.
    size: Option<u64>,
    /// The index of the entry that leaves the image; zero if it is applied.
    index: u64,
}

impl PartitionEvaluator {
    /// The evaluator of a replica on this engine. It leads nothing yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, spec: Arc<PartitionSpec>) -> Self {
        Self {
            engine,
            spec,
            overlay: Overlay::new(),
            highest_stamp: 0,
            term: None,
            counters: Counters::default(),
            on_their_way: VecDeque::new(),
        }
    }

    /// What the partition holds once all entries on their way are applied.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many items have an image in the overlay.
    #[must_use]
    pub fn overlay_len(&self) -> usize {
        self.overlay.len()
    }

    fn write_weight(&self, write: &PreparedWrite) -> usize {
        let value = match &write.action {
            Action::Put(item) => item.as_bytes().len(),
            Action::Delete => 0,
            Action::Update(_) => {
                match self.overlay.get(&item_key(self.spec.table_id, &write.key)) {
                    Some(Image { item: Some((item, _)), .. }) => item.as_bytes().len(),
                    _ => UPDATE_WEIGHT_BYTES,
                }
            }
        };
        let key = ITEM_PREFIX_BYTES + write.key.bytes().len();
        entry::WRITE_BYTES + key + STORED_HEADER_BYTES + value
    }

    /// The outcome of one write, and what it rests on.
    fn write(&mut self, write: &PreparedWrite, draft: &mut Draft) -> Result<(WriteOutcome, u64)> {
        if !self.spec.owns(write.key.hash()) {
            return Ok((Err(WriteError::Moved { generation: self.spec.generation }), 0));
        }
        let key = item_key(self.spec.table_id, &write.key);
        let old = self.find(&key)?;
        let decision = match write.evaluate(&self.spec.key_schema, old.item.as_ref()) {
            Ok(decision) => decision,
            Err(error) => return Ok((Err(error.into()), old.index)),
        };
        let (image, attributes) = match decision {
            Decision::Put { image, attributes } => (Some(image), attributes),
            Decision::Delete { attributes } => (None, attributes),
            Decision::Unchanged { attributes } => {
                return Ok((Ok(WriteAnswer { attributes }), old.index));
            }
            Decision::ConditionFailed { item } => {
                let error = RequestError::conditional_check_failed(item);
                return Ok((Err(error.into()), old.index));
            }
        };
        self.change(key, &old, image, draft)?;
        Ok((Ok(WriteAnswer { attributes }), draft.index))
    }

    /// The newest image of an item.
    fn find(&self, key: &Bytes) -> Result<Found> {
        if let Some(Image { index, item }) = self.overlay.get(key) {
            let size = item.as_ref().map(|(_, size)| *size);
            let item = item.as_ref().map(|(item, _)| item.clone());
            return Ok(Found { item, size, index: *index });
        }
        let stored = self.engine.get(key)?;
        let item = stored.map(|value| StoredItem::open(&value, key)).transpose()?;
        Ok(Found { item: item.map(|stored| stored.item), size: None, index: 0 })
    }

    /// Puts a changed item into the draft, the counters and the overlay.
    fn change(
        &mut self,
        key: Bytes,
        old: &Found,
        image: Option<EncodedItem>,
        draft: &mut Draft,
    ) -> Result<()> {
        let old_size = match (&old.item, old.size) {
            (None, _) => None,
            (Some(_), Some(size)) => Some(size),
            (Some(item), None) => Some(size_of(item, &key)?),
        };
        let item =
            image.map(|image| size_of(&image, &key).map(|size| (image, size))).transpose()?;
        let counters = self.counters.after(old_size, item.as_ref().map(|(_, size)| *size));
        let counters = counters.ok_or_else(|| {
            let place = format!("the counters of group {}", self.spec.group.0);
            Error::corruption(place, 0, "they are less than what the partition holds")
        })?;
        match &item {
            Some((item, _)) => {
                let stamp =
                    Stamp { time: self.next_stamp(draft.wall_ms)?, region: self.spec.region };
                let stored = StoredItem { stamp, serialized: None, item: item.clone() };
                entry::push(&mut draft.payload, &key, Some(&stored.seal(&key)));
            }
            None => {
                self.next_stamp(draft.wall_ms)?;
                entry::push(&mut draft.payload, &key, None);
            }
        }
        self.count(draft.index, counters);
        self.overlay.put(key, Image { index: draft.index, item });
        Ok(())
    }

    /// The stamp of the next write.
    fn next_stamp(&mut self, wall_ms: u64) -> Result<u64> {
        let wall = wall_ms.min(u64::MAX >> STAMP_SHIFT) << STAMP_SHIFT;
        let next = self.highest_stamp.checked_add(1).ok_or_else(|| {
            let place = format!("the highest stamp of group {}", self.spec.group.0);
            Error::corruption(place, 0, "no time is left after it")
        })?;
        let is_behind = planted(Mutation::StampOfTheClock);
        self.highest_stamp = if is_behind { wall } else { next.max(wall) };
        Ok(self.highest_stamp)
    }

    /// Notes a write of the entry at this index, and what the counters are after it.
    fn count(&mut self, index: u64, counters: Counters) {
        match self.on_their_way.back_mut() {
            Some(entry) if entry.index == index => {
                entry.writes += 1;
                entry.after = counters;
                entry.highest_stamp = self.highest_stamp;
            }
            newest => {
                assert!(
                    newest.is_none_or(|newest| newest.index < index),
                    "an entry is filled after a later one"
                );
                self.on_their_way.push_back(OnItsWay {
                    index,
                    writes: 1,
                    before: self.counters,
                    after: counters,
                    highest_stamp: self.highest_stamp,
                });
            }
        }
        self.counters = counters;
    }
}

/// How far the wall clock's milliseconds are shifted up in a stamp: leaves room for 65,536 writes in each before the
/// stamps run ahead of the clock.
const STAMP_SHIFT: u32 = 16;

/// What a stored value has before its item, about: a region's name may add to it.
const STORED_HEADER_BYTES: usize = 14;

fn size_of(item: &EncodedItem, key: &Bytes) -> Result<u64> {
    match item.check() {
        Ok(checked) => Ok(checked.size as u64),
        Err(error) => {
            Err(Error::corruption(format!("item {}", hex(key)), 0, error.message().to_owned()))
        }
    }
}

impl Counters {
    /// The counters once an item of one size takes the place of one of another. `None` if they were too small before.
    #[must_use]
    pub fn after(self, old_size: Option<u64>, new_size: Option<u64>) -> Option<Self> {
        let item_count = self.item_count.checked_sub(u64::from(old_size.is_some()))?;
        let size_bytes = self.size_bytes.checked_sub(old_size.unwrap_or_default())?;
        Some(Self {
            item_count: item_count.checked_add(u64::from(new_size.is_some()))?,
            size_bytes: size_bytes.checked_add(new_size.unwrap_or_default())?,
        })
    }
}

impl Evaluator for PartitionEvaluator {
    type Request = PartitionRequest;
    type Outcome = PartitionOutcome;

    /// The bytes of the keys and whole items in the request. An update's image is not known yet: it counts as the newest one in
    /// the overlay, or [`UPDATE_WEIGHT_BYTES`], and may come to more, by the size of an item at most.
    fn weight(&self, request: &PartitionRequest) -> usize {
        match request {
            PartitionRequest::Write(write) => self.write_weight(write),
            PartitionRequest::Writes(writes) => {
                writes.iter().map(|write| self.write_weight(write)).sum()
            }
        }
    }

    fn outcome_bytes(&self, outcome: &PartitionOutcome) -> usize {
        let bytes = |outcome: &WriteOutcome| {
            let item = match outcome {
                Ok(answer) => answer.attributes.as_ref(),
                Err(WriteError::Refused(error)) => error.item(),
                Err(WriteError::Moved { .. }) => None,
            };
            item.map_or(0, |item| item.as_bytes().len())
        };
        match outcome {
            PartitionOutcome::Write(outcome) => bytes(outcome),
            PartitionOutcome::Writes(outcomes) => outcomes.iter().map(bytes).sum(),
        }
    }

    fn begin_leading(&mut self, term: u64) -> Result<()> {
        let record = AppliedRecord::expect(self.engine.as_ref(), self.spec.group)?;
        if !record.is_complete() || record.generation != self.spec.generation {
            let place = format!("the applied record of group {}", self.spec.group.0);
            return Err(Error::corruption(place, 0, "it is no record to lead from"));
        }
        self.stop_leading();
        self.counters = record.counters;
        self.highest_stamp = self.highest_stamp.max(record.highest_stamp);
        self.term = Some(term);
        Ok(())
    }

    fn evaluate(
        &mut self,
        request: PartitionRequest,
        draft: &mut Draft,
    ) -> Result<Evaluated<PartitionOutcome>> {
        assert_eq!(self.term, Some(draft.term), "evaluates in a term that it does not lead");
        let filled = draft.payload.len();
        let evaluated = match request {
            PartitionRequest::Write(write) => {
                let (outcome, rests_on) = self.write(&write, draft)?;
                Evaluated { outcome: PartitionOutcome::Write(outcome), rests_on }
            }
            PartitionRequest::Writes(writes) => {
                let mut outcomes = Vec::with_capacity(writes.len());
                let mut rests_on = 0;
                for write in &writes {
                    let (outcome, index) = self.write(write, draft)?;
                    outcomes.push(outcome);
                    rests_on = rests_on.max(index);
                }
                Evaluated { outcome: PartitionOutcome::Writes(outcomes), rests_on }
            }
        };
        draft.writes += u32::from(draft.payload.len() > filled);
        Ok(evaluated)
    }

    fn seal(&mut self, draft: Draft) -> Bytes {
        let mut newest_first = self.on_their_way.iter().rev();
        let (writes, counters, highest_stamp) =
            match newest_first.find(|entry| entry.index == draft.index) {
                Some(entry) => (entry.writes, entry.after, entry.highest_stamp),
                None => (0, self.counters, self.highest_stamp),
            };
        let header = EntryHeader {
            term: draft.term,
            generation: self.spec.generation,
            highest_stamp,
            counters,
        };
        entry::seal(draft.payload, &header, writes)
    }

    fn applied(&mut self, index: u64) {
        self.overlay.applied(index);
        while self.on_their_way.front().is_some_and(|entry| entry.index <= index) {
            self.on_their_way.pop_front();
        }
    }

    /// With the entry go all that were evaluated after it.
    fn refused(&mut self, index: u64) {
        self.overlay.refused(index);
        while let Some(entry) = self.on_their_way.back()
            && entry.index >= index
        {
            self.counters = entry.before;
            self.on_their_way.pop_back();
        }
    }

    fn stop_leading(&mut self) {
        self.overlay.clear();
        self.on_their_way.clear();
        self.term = None;
    }
}

#[cfg(test)]
mod tests;
