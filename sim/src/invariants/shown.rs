//! An eventually consistent read shows a state that was true: what the item was after some committed entry, nothing that nobody
//! wrote and nothing of a write that came to nothing. And what one process shows of a partition, over all its items, never goes
//! back behind what it had shown when a read looked at the engine. Over a restart it may, and from one node to another.

use std::collections::BTreeMap;

use bytes::Bytes;
use stator_consensus::GroupId;
use stator_model::EncodedItem;

use super::Holds;
use crate::items::short;

/// What items were, and what processes have shown of them.
#[derive(Default)]
pub(crate) struct Shown {
    /// By the engine's key: the entries that changed an item, and a hash of what they left; `None` if they deleted it.
    states: BTreeMap<Bytes, Vec<(u64, Option<u64>)>>,
    /// By node and group: which process it was, and the newest entry that one has shown the effect of.
    newest: BTreeMap<(usize, GroupId), (u64, u64)>,
}

impl Shown {
    /// A committed entry leaves an item like this.
    pub(crate) fn committed(&mut self, index: u64, key: &Bytes, item: Option<&EncodedItem>) {
        let states = self.states.entry(key.clone()).or_default();
        // Of several writes in one entry only the last is ever seen.
        states.pop_if(|(last, _)| *last == index);
        states.push((index, item.map(hash)));
    }

    /// The newest entry that the `life`-th process of a node has shown.
    pub(crate) fn newest(&self, group: GroupId, node: usize, life: u64) -> u64 {
        let newest = self.newest.get(&(node, group));
        newest.filter(|(of, _)| *of == life).map_or(0, |(_, index)| *index)
    }

    /// A process shows an item, as it found it after it had shown entry `floor`.
    pub(crate) fn shows(
        &mut self,
        group: GroupId,
        (node, life): (usize, u64),
        key: &Bytes,
        found: Option<&EncodedItem>,
        floor: u64,
    ) -> Holds {
        let found = found.map(hash);
        let states = self.states.get(key).map_or(&[][..], Vec::as_slice);
        // Before the first entry of the group there was nothing.
        let absent = std::iter::once((0, None));
        let from = absent.chain(states.iter().copied());
        let until = states.iter().map(|(index, _)| *index).chain([u64::MAX]);
        let mut when = from.zip(until).filter(|((_, state), _)| *state == found).peekable();
        if when.peek().is_none() {
            return Err(format!("node {node} shows {key:x} as no committed entry left it"));
        }
        let Some(((from, _), _)) = when.find(|(_, until)| *until > floor) else {
            return Err(format!(
                "node {node} shows {key:x} of group {} as it was before entry {floor}, which it has shown already",
                group.0
            ));
        };
        let newest = self.newest(group, node, life).max(from);
        self.newest.insert((node, group), (life, newest));
        Ok(())
    }
}

fn hash(item: &EncodedItem) -> u64 {
    short(item.as_bytes())
}
