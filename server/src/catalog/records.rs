//! The catalog's records: what each is, and the item that stands for it.
//!
//! The catalog is a table like any other, of one partition, and this is its schema, on one page:
//!
//! | `kind` | `id` | the record | written by |
//! |---|---|---|---|
//! | `cluster` | `cluster` | the cluster's id, format version, lengths of elections and leases, number of founders and their list, made once | whoever finds none |
//! | `counter` | `table`, `node` | the last id given | who needs an id, by an update that adds one |
//! | `table` | the table's name | [`TableRecord`] | CreateTable, UpdateTable, DeleteTable, the controller |
//! | `dropped` | the table's id | the replicas of a deleted table that nodes have still to remove | the controller |
//! | `joined` | a data directory's incarnation | the id of the node that joined with it | whoever took it in |
//! | `node` | the node's id | [`NodeRecord`] | the node itself, when it starts |

use std::collections::BTreeMap;

use stator_consensus::{GroupId, Member, NodeId, ReplicaId};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableDescription, TableStatus};
use stator_model::{AttributeValue, Error, Item, Number, Result};
use stator_storage::item::Region;
use stator_storage::partition::{self, PartitionSpec};

/// The id of the catalog's own table.
pub(crate) const CATALOG_TABLE: u32 = 0;
/// What requests for the catalog call it. Whoever asks for a table of that name gets the table, if there is one: the catalog is
/// reached by its group.
pub(crate) const CATALOG_NAME: &str = "stator.catalog";
/// The catalog's only group.
pub(crate) const CATALOG_GROUP: GroupId = GroupId(0);

/// The catalog's key schema.
pub(crate) fn catalog_schema() -> KeySchema {
    let attribute = |name: &str| KeyAttribute { name: name.to_owned(), key_type: KeyType::S };
    KeySchema { partition: attribute("kind"), sort: Some(attribute("id")) }
}

/// The key of a record.
pub(crate) fn record_key(kind: &str, id: &str) -> Item {
    [("kind".to_owned(), kind.into()), ("id".to_owned(), id.into())].into()
}

/// A partition of a table, and where its replicas are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRecord {
    pub(crate) group: GroupId,
    /// Grows with each change of the range (R19).
    pub(crate) generation: u64,
    pub(crate) first_hash: u64,
    /// Included.
    pub(crate) last_hash: u64,
    /// In the order of their ranks.
    pub(crate) members: Vec<Member>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableRecord {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) status: TableStatus,
    pub(crate) key_schema: KeySchema,
    pub(crate) created_ms: u64,
    pub(crate) deletion_protection: bool,
    /// In the order of their ranges, without gaps.
    pub(crate) partitions: Vec<PartitionRecord>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) zone: String,
    pub(crate) version: String,
    /// Random, made with the data directory: another one under the same id is another directory (R8).
    pub(crate) incarnation: u64,
}

impl TableRecord {
    /// What the replica of one of its partitions on a node is; none if the node is not among its members.
    pub(crate) fn replica_on(
        &self,
        partition: &PartitionRecord,
        node: NodeId,
        region: Region,
    ) -> Option<PartitionSpec> {
        let own = partition.members.iter().find(|member| member.node == node)?;
        let members = partition
            .members
            .iter()
            .map(|member| partition::Member { replica: member.replica.0, node: member.node.0 });
        Some(PartitionSpec {
            group: partition.group,
            table_id: self.id,
            table_name: self.name.clone(),
            generation: partition.generation,
            hash_start: partition.first_hash,
            hash_end: partition.last_hash,
            key_schema: self.key_schema.clone(),
            region,
            members: members.collect(),
            replica: own.replica.0,
        })
    }

    pub(crate) fn to_item(&self) -> Item {
        let mut item = record_key("table", &self.name);
        item.insert("table_id".into(), self.id_value());
        item.insert("status".into(), self.status.name().into());
        item.insert("key_schema".into(), schema_to_value(&self.key_schema));
        // A hash of another name would place items elsewhere: the name is kept beside what it placed.
        item.insert("hash".into(), stator_model::key::HASH_NAME.into());
        item.insert("created_ms".into(), number(self.created_ms));
        item.insert("deletion_protection".into(), self.deletion_protection.into());
        let partitions = self.partitions.iter().map(partition_to_value).collect();
        item.insert("partitions".into(), AttributeValue::L(partitions));
        item
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self> {
        let fields = Fields(item);
        let hash = fields.text("hash")?;
        if hash != stator_model::key::HASH_NAME {
            return Err(Error::internal(format!(
                "the catalog names the hash {hash}, which is not known here"
            )));
        }
        Ok(Self {
            name: fields.text("id")?.to_owned(),
            id: u32::try_from(fields.number("table_id")?).map_err(|_| malformed("table_id"))?,
            status: status_from_name(fields.text("status")?)?,
            key_schema: schema_from_fields(&Fields(fields.map("key_schema")?))?,
            created_ms: fields.number("created_ms")?,
            deletion_protection: fields.get("deletion_protection")?.as_bool().unwrap_or(false),
            partitions: partitions_from(&fields)?,
        })
    }

    /// The table's id as the record has it.
    pub(crate) fn id_value(&self) -> AttributeValue {
        number(u64::from(self.id))
    }

    pub(crate) fn describe(&self) -> TableDescription {
        TableDescription {
            table_name: self.name.clone(),
            table_id: self.id,
            status: self.status,
            key_schema: self.key_schema.clone(),
            partitions: u32::try_from(self.partitions.len()).unwrap_or(u32::MAX),
            created_ms: self.created_ms,
            item_count: 0,
            size_bytes: 0,
            deletion_protection: self.deletion_protection,
        }
    }
}

/// The record of a deleted table's replicas: only its partitions matter any more.
pub(crate) fn dropped_to_item(table: &TableRecord) -> Item {
    let mut item = record_key("dropped", &table.id.to_string());
    let partitions = table.partitions.iter().map(partition_to_value).collect();
    item.insert("partitions".into(), AttributeValue::L(partitions));
    item
}

/// The table's id and partitions of a `dropped` record.
pub(crate) fn dropped_from_item(item: &Item) -> Result<(u32, Vec<PartitionRecord>)> {
    let fields = Fields(item);
    let id = fields.text("id")?.parse().map_err(|_| malformed("id"))?;
    Ok((id, partitions_from(&fields)?))
}

impl NodeRecord {
    pub(crate) fn to_item(&self) -> Item {
        let mut item = record_key("node", &self.id.to_string());
        item.insert("address".into(), self.address.as_str().into());
        item.insert("zone".into(), self.zone.as_str().into());
        item.insert("version".into(), self.version.as_str().into());
        item.insert("incarnation".into(), number(self.incarnation));
        item
    }

    pub(crate) fn from_item(item: &Item) -> Result<Self> {
        let fields = Fields(item);
        Ok(Self {
            id: NodeId(fields.text("id")?.parse().map_err(|_| malformed("id"))?),
            address: fields.text("address")?.to_owned(),
            zone: fields.text("zone")?.to_owned(),
            version: fields.text("version")?.to_owned(),
            incarnation: fields.number("incarnation")?,
        })
    }
}

fn partition_to_value(partition: &PartitionRecord) -> AttributeValue {
    let members = partition.members.iter().map(|member| {
        AttributeValue::M(BTreeMap::from([
            ("replica".to_owned(), number(member.replica.0)),
            ("node".to_owned(), number(member.node.0)),
        ]))
    });
    AttributeValue::M(BTreeMap::from([
        ("group".to_owned(), number(partition.group.0)),
        ("generation".to_owned(), number(partition.generation)),
        ("first_hash".to_owned(), number(partition.first_hash)),
        ("last_hash".to_owned(), number(partition.last_hash)),
        ("members".to_owned(), AttributeValue::L(members.collect())),
    ]))
}

fn partitions_from(fields: &Fields<'_>) -> Result<Vec<PartitionRecord>> {
    let partitions = fields.list("partitions")?;
    // A request has to fall into one of them.
    if partitions.is_empty() {
        return Err(malformed("partitions"));
    }
    partitions.iter().map(partition_from_value).collect()
}

fn partition_from_value(value: &AttributeValue) -> Result<PartitionRecord> {
    let fields = Fields(value.as_m().ok_or_else(|| malformed("partitions"))?);
    let members = fields.list("members")?.iter().map(|member| {
        let member = Fields(member.as_m().ok_or_else(|| malformed("members"))?);
        Ok(Member {
            replica: ReplicaId(member.number("replica")?),
            node: NodeId(member.number("node")?),
        })
    });
    Ok(PartitionRecord {
        group: GroupId(fields.number("group")?),
        generation: fields.number("generation")?,
        first_hash: fields.number("first_hash")?,
        last_hash: fields.number("last_hash")?,
        members: members.collect::<Result<_>>()?,
    })
}

fn schema_to_value(schema: &KeySchema) -> AttributeValue {
    let attribute = |attribute: &KeyAttribute| {
        AttributeValue::L(vec![
            attribute.name.as_str().into(),
            attribute.key_type.attribute_type().name().into(),
        ])
    };
    let mut map = BTreeMap::from([("partition".to_owned(), attribute(&schema.partition))]);
    if let Some(sort) = &schema.sort {
        map.insert("sort".to_owned(), attribute(sort));
    }
    AttributeValue::M(map)
}

fn schema_from_fields(fields: &Fields<'_>) -> Result<KeySchema> {
    let attribute = |value: &AttributeValue| {
        let [name, key_type] = value.as_l().unwrap_or_default() else {
            return Err(malformed("key_schema"));
        };
        let key_type = match key_type.as_s() {
            Some("S") => KeyType::S,
            Some("N") => KeyType::N,
            Some("B") => KeyType::B,
            _ => return Err(malformed("key_schema")),
        };
        let name = name.as_s().ok_or_else(|| malformed("key_schema"))?.to_owned();
        Ok(KeyAttribute { name, key_type })
    };
    Ok(KeySchema {
        partition: attribute(fields.get("partition")?)?,
        sort: fields.0.get("sort").map(attribute).transpose()?,
    })
}

fn status_from_name(name: &str) -> Result<TableStatus> {
    [TableStatus::Creating, TableStatus::Active, TableStatus::Updating, TableStatus::Deleting]
        .into_iter()
        .find(|status| status.name() == name)
        .ok_or_else(|| malformed("status"))
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(Number::from(value))
}

fn malformed(field: &str) -> Error {
    Error::internal(format!("a record of the catalog has no valid {field}"))
}

/// Access to a record's attributes, with an error that names the one that is wrong.
struct Fields<'a>(&'a BTreeMap<String, AttributeValue>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Result<&'a AttributeValue> {
        self.0.get(name).ok_or_else(|| malformed(name))
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        self.get(name)?.as_s().ok_or_else(|| malformed(name))
    }

    fn number(&self, name: &str) -> Result<u64> {
        self.get(name)?.as_n().and_then(Number::to_u64).ok_or_else(|| malformed(name))
    }

    fn list(&self, name: &str) -> Result<&'a [AttributeValue]> {
        self.get(name)?.as_l().ok_or_else(|| malformed(name))
    }

    fn map(&self, name: &str) -> Result<&'a BTreeMap<String, AttributeValue>> {
        self.get(name)?.as_m().ok_or_else(|| malformed(name))
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
