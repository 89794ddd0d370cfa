//! Conversions between the catalog's records and what nodes say to each other.

use stator_consensus::{GroupId, Member, NodeId, ReplicaId};
use stator_model::schema::{KeySchema, TableStatus};
use stator_proto::peer::v1 as wire;

use crate::catalog::records::{PartitionRecord, TableRecord};

/// The replica of a partition that a node is to make.
pub(crate) fn to_replica_spec(
    table: &TableRecord,
    partition: &PartitionRecord,
    node: NodeId,
) -> wire::ReplicaSpec {
    let own = partition.members.iter().find(|member| member.node == node);
    wire::ReplicaSpec {
        group: partition.group.0,
        replica_id: own.map_or(0, |member| member.replica.0),
        table_name: table.name.clone(),
        key_schema: Some(table.key_schema.clone().into()),
        table_id: table.id,
        first_hash: partition.first_hash,
        last_hash: partition.last_hash,
        generation: partition.generation,
        members: (0..)
            .zip(&partition.members)
            .map(|(rank, member)| wire::Member {
                replica_id: member.replica.0,
                node_id: member.node.0,
                rank,
            })
            .collect(),
    }
}

/// The table, as far as the spec tells, and the partition of a replica that is to be made. The error says what the spec lacks.
pub(crate) fn from_replica_spec(
    spec: wire::ReplicaSpec,
) -> Result<(TableRecord, PartitionRecord), String> {
    let schema = spec.key_schema.ok_or("the replica has no key schema")?;
    let key_schema = KeySchema::try_from(schema).map_err(|error| error.to_string())?;
    let mut members = spec.members;
    members.sort_by_key(|member| member.rank);
    if members.is_empty() || members.len() > 64 || spec.first_hash > spec.last_hash {
        return Err("the replica's members or range are out of bounds".to_owned());
    }
    let partition = PartitionRecord {
        group: GroupId(spec.group),
        generation: spec.generation,
        first_hash: spec.first_hash,
        last_hash: spec.last_hash,
        members: members
            .iter()
            .map(|member| Member {
                replica: ReplicaId(member.replica_id),
                node: NodeId(member.node_id),
            })
            .collect(),
    };
    let table = TableRecord {
        name: spec.table_name,
        id: spec.table_id,
        status: TableStatus::Creating,
        key_schema,
        created_ms: 0,
        deletion_protection: false,
        partitions: Vec::new(),
    };
    Ok((table, partition))
}
