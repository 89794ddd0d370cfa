//! The table that callers work on, its partitions, and how an item's content is written and read.

use std::sync::Arc;

use bytes::Bytes;
use stator_consensus::{GroupId, GroupSpec, Member, NodeId, ReplicaId};
use stator_model::api::{DeleteItem, PutItem, ReturnValues, UpdateItem};
use stator_model::error::ErrorKind;
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::write::PreparedWrite;
use stator_model::{AttributeValue, EncodedItem, Item, Number};
use stator_storage::item::Region;
use stator_storage::partition::{self, PartitionSpec, WriteAnswer, WriteError};

use crate::catalog::records::{CATALOG_GROUP, CATALOG_NAME, CATALOG_TABLE, catalog_schema};
use crate::history::{Content, Input, Output};
use crate::rng::Rng;

const TABLE: &str = "items";
/// Beyond what the catalog of a run gives.
const TABLE_ID: u32 = 1_000_000;
/// The attribute with the id of the last write.
const LAST: &str = "last";
/// The attribute that updates add to.
const SUM: &str = "sum";

/// The nodes of a run.
pub(crate) const NODES: usize = 3;
/// The partitions of the table.
pub(crate) const GROUPS: u64 = 4;

/// On which nodes the table's groups are. In most runs each is on all of them, from the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shape {
    /// One group is on one node alone, and one on two.
    pub(crate) small: bool,
    /// One replica of a group begins late, with nothing, when the group has run for a while.
    pub(crate) late: bool,
    /// What the order of each group's members comes from.
    pub(crate) ranks: u64,
}

impl Shape {
    /// The nodes that a group is on, by rank: another order in each run and group (R23). It stays over restarts, as it does in a
    /// cluster, where a group's record has it: nodes that disagreed on it could have equal ranks.
    pub(crate) fn members(self, group: GroupId) -> Vec<usize> {
        let count = match (self.small, group.0) {
            (true, GROUPS) => 1,
            (true, 3) => 2,
            _ => NODES,
        };
        let mut draw = Rng::new(self.ranks.wrapping_add(group.0));
        let mut nodes: Vec<usize> = (0..NODES).collect();
        for last in (1..NODES).rev() {
            nodes.swap(last, draw.index(last + 1));
        }
        nodes.truncate(count);
        nodes
    }

    /// The replica that begins late.
    pub(crate) fn late(self) -> Option<(GroupId, usize)> {
        let group = GroupId(2);
        self.late.then(|| self.members(group).last().map(|node| (group, *node))).flatten()
    }
}

/// The table's groups.
pub(crate) fn groups() -> impl Iterator<Item = GroupId> {
    (1..=GROUPS).map(GroupId)
}

/// All groups that a run begins with: the catalog's, and the table's.
pub(crate) fn founded() -> impl Iterator<Item = GroupId> {
    std::iter::once(CATALOG_GROUP).chain(groups())
}

pub(crate) const fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// The place of a node in the run.
pub(crate) const fn node_at(id: NodeId) -> usize {
    id.0 as usize - 1
}

pub(crate) fn key_schema() -> KeySchema {
    let partition = KeyAttribute { name: "pk".to_owned(), key_type: KeyType::S };
    KeySchema { partition, sort: None }
}

/// A partition as one of the nodes knows it.
pub(crate) fn partition_spec(group: GroupId, node: usize, shape: Shape) -> PartitionSpec {
    if group == CATALOG_GROUP {
        return catalog_spec(node, shape);
    }
    let width = u64::MAX / GROUPS;
    let at = group.0 - 1;
    let is_last = group.0 == GROUPS;
    PartitionSpec {
        group,
        table_id: TABLE_ID,
        table_name: TABLE.to_owned(),
        generation: 1,
        hash_start: at * width,
        hash_end: if is_last { u64::MAX } else { (at + 1) * width - 1 },
        key_schema: key_schema(),
        region: Region::default(),
        members: members_of(group, shape),
        replica: replica_id(group, node).0,
    }
}

fn members_of(group: GroupId, shape: Shape) -> Vec<partition::Member> {
    let members = shape.members(group).into_iter();
    let member =
        |node| partition::Member { replica: replica_id(group, node).0, node: node_id(node).0 };
    members.map(member).collect()
}

pub(crate) fn catalog_spec(node: usize, shape: Shape) -> PartitionSpec {
    PartitionSpec {
        group: CATALOG_GROUP,
        table_id: CATALOG_TABLE,
        table_name: CATALOG_NAME.to_owned(),
        generation: 1,
        hash_start: 0,
        hash_end: u64::MAX,
        key_schema: catalog_schema(),
        region: Region::default(),
        members: members_of(CATALOG_GROUP, shape),
        replica: replica_id(CATALOG_GROUP, node).0,
    }
}

/// Replica ids tell nothing of nodes, so that mixing them up shows.
pub(crate) const fn replica_id(group: GroupId, node: usize) -> ReplicaId {
    ReplicaId(group.0 * 10 + node as u64 + 1)
}

/// What consensus knows of a partition.
pub(crate) fn group_spec(spec: &PartitionSpec) -> GroupSpec {
    let members = spec
        .members
        .iter()
        .map(|member| Member { replica: ReplicaId(member.replica), node: NodeId(member.node) });
    GroupSpec { group: spec.group, replica: ReplicaId(spec.replica), members: members.collect() }
}

/// An item: its name, its key and its partition.
#[derive(Clone, Debug)]
pub(crate) struct ItemName {
    pub(crate) name: Arc<str>,
    pub(crate) key: Key,
    pub(crate) group: GroupId,
}

impl ItemName {
    pub(crate) fn new(name: &str) -> Self {
        let attributes = Item::from([("pk".to_owned(), AttributeValue::from(name))]);
        let key = Key::of_key_attributes(&key_schema(), &attributes).expect("a name is a key");
        let width = u64::MAX / GROUPS;
        let group = GroupId((key.hash() / width).min(GROUPS - 1) + 1);
        Self { name: name.into(), key, group }
    }

    fn attributes(&self) -> Item {
        Item::from([("pk".to_owned(), AttributeValue::from(&*self.name))])
    }

    /// The write that an input stands for; `None` for a read. `pad` makes a put larger.
    pub(crate) fn write(&self, input: Input, pad: usize) -> Option<PreparedWrite> {
        let schema = key_schema();
        let names = || [("#last".to_owned(), LAST.to_owned())].into();
        let condition = |expected: Option<u64>| match expected {
            Some(_) => "#last = :expected",
            None => "attribute_not_exists(#last)",
        };
        let expected_value = |expected: Option<u64>| {
            expected.map(|id| (":expected".to_owned(), number(id))).into_iter().collect()
        };
        let returning = |old| if old { ReturnValues::AllOld } else { ReturnValues::None };
        let table_name = TABLE.to_owned();
        let prepared = match input {
            Input::Get => return None,
            Input::Put { id, old } => PutItem {
                table_name,
                item: self.content(id, pad),
                return_values: returning(old),
                ..PutItem::default()
            }
            .prepare(&schema),
            Input::PutIf { id, expected } => PutItem {
                table_name,
                item: self.content(id, pad),
                condition_expression: Some(condition(expected).to_owned()),
                expression_attribute_names: names(),
                expression_attribute_values: expected_value(expected),
                return_old_on_condition_failure: true,
                ..PutItem::default()
            }
            .prepare(&schema),
            Input::Add { id, amount } => UpdateItem {
                table_name,
                key: self.attributes(),
                update_expression: Some("SET #last = :id ADD #sum :amount".to_owned()),
                expression_attribute_names: [
                    ("#last".to_owned(), LAST.to_owned()),
                    ("#sum".to_owned(), SUM.to_owned()),
                ]
                .into(),
                expression_attribute_values: [
                    (":id".to_owned(), number(id)),
                    (":amount".to_owned(), amount.into()),
                ]
                .into(),
                return_values: ReturnValues::AllNew,
                ..UpdateItem::default()
            }
            .prepare(&schema),
            Input::Delete { old } => DeleteItem {
                table_name,
                key: self.attributes(),
                return_values: returning(old),
                ..DeleteItem::default()
            }
            .prepare(&schema),
            Input::DeleteIf { expected } => DeleteItem {
                table_name,
                key: self.attributes(),
                condition_expression: Some(condition(expected).to_owned()),
                expression_attribute_names: names(),
                expression_attribute_values: expected_value(expected),
                return_old_on_condition_failure: true,
                ..DeleteItem::default()
            }
            .prepare(&schema),
        };
        Some(prepared.expect("the simulator's own requests are well-formed"))
    }

    fn content(&self, id: u64, pad: usize) -> EncodedItem {
        let mut item = self.attributes();
        item.insert(LAST.to_owned(), number(id));
        if pad > 0 {
            item.insert("pad".to_owned(), "x".repeat(pad).into());
        }
        EncodedItem::encode(&item)
    }
}

fn number(id: u64) -> AttributeValue {
    Number::from(id).into()
}

/// The id of the write that left an item so, if it has one.
pub(crate) fn last_write(item: &EncodedItem) -> Option<u64> {
    item.attribute(LAST).ok()??.as_n()?.to_u64()
}

/// What is stored, as a history has it.
pub(crate) fn content_of(item: Option<&EncodedItem>) -> Result<Option<Content>, String> {
    let Some(item) = item else { return Ok(None) };
    let last = last_write(item).ok_or("an item without the id of its last write")?;
    let sum = item.attribute(SUM).map_err(|error| error.to_string())?;
    let sum = sum.and_then(|sum| sum.as_n()?.to_i64()).unwrap_or(0);
    Ok(Some(Content { last, sum }))
}

/// A write's outcome, as a history has it.
pub(crate) fn output_of(
    input: Input,
    outcome: &Result<WriteAnswer, WriteError>,
) -> Result<Output, String> {
    match outcome {
        Ok(answer) => {
            let content = content_of(answer.attributes.as_ref());
            Ok(match input {
                Input::Get => return Err("a read has the outcome of a write".to_owned()),
                Input::Put { old: true, .. } | Input::Delete { old: true } => Output::Old(content?),
                Input::Add { .. } => Output::Now(content?),
                Input::Put { .. }
                | Input::PutIf { .. }
                | Input::Delete { .. }
                | Input::DeleteIf { .. } => Output::Done,
            })
        }
        Err(WriteError::Refused(error)) if error.kind() == ErrorKind::ConditionalCheckFailed => {
            Ok(Output::Failed(content_of(error.item())?))
        }
        Err(error) => Err(format!("a write came to {error:?}")),
    }
}

/// The id that a write leaves in its item, if it leaves one.
pub(crate) const fn id_of(input: Input) -> Option<u64> {
    match input {
        Input::Put { id, .. } | Input::PutIf { id, .. } | Input::Add { id, .. } => Some(id),
        Input::Get | Input::Delete { .. } | Input::DeleteIf { .. } => None,
    }
}

/// A short name for the trace.
pub(crate) fn short(bytes: &Bytes) -> u64 {
    stator_model::key::hash64(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_group_meets_every_order_of_its_members() {
        for group in founded() {
            let orders = (0..100).map(|ranks| Shape { ranks, ..Shape::default() }.members(group));
            assert_eq!(orders.collect::<BTreeSet<_>>().len(), 6, "{group:?}");
        }
        let orders =
            |ranks| founded().map(move |group| Shape { ranks, ..Shape::default() }.members(group));
        assert!((0..10).any(|ranks| orders(ranks).collect::<BTreeSet<_>>().len() > 1));
    }
}
