use super::*;

fn table() -> TableRecord {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    TableRecord {
        name: "music".into(),
        id: 7,
        status: TableStatus::Creating,
        key_schema: KeySchema {
            partition: attribute("artist", KeyType::S),
            sort: Some(attribute("year", KeyType::N)),
        },
        created_ms: 1_700_000_000_000,
        deletion_protection: true,
        partitions: vec![PartitionRecord {
            group: GroupId(7 << 32),
            generation: 1,
            first_hash: 0,
            last_hash: u64::MAX,
            members: vec![Member { replica: ReplicaId(1), node: NodeId(3) }],
        }],
    }
}

#[test]
fn a_table_survives_its_record() {
    assert_eq!(TableRecord::from_item(&table().to_item()), Ok(table()));
    let dropped = dropped_from_item(&dropped_to_item(&table())).expect("a record");
    assert_eq!(dropped, (7, table().partitions));
}

/// A table is one item of the catalog, with all of its partitions, whatever their numbers are by then.
#[test]
fn the_largest_table_fits_into_its_record() {
    use stator_model::limits::{ITEM_BYTES_MAX, TABLE_PARTITIONS_MAX};
    let member = Member { replica: ReplicaId(u64::MAX), node: NodeId(u64::MAX) };
    let partition = PartitionRecord {
        group: GroupId(u64::MAX),
        generation: u64::MAX,
        first_hash: u64::MAX,
        last_hash: u64::MAX,
        members: vec![member; 3],
    };
    let partitions = vec![partition; TABLE_PARTITIONS_MAX as usize];
    let largest = TableRecord { name: "n".repeat(255), partitions, ..table() };
    let size = stator_model::size::item_size(&largest.to_item());
    assert!(size <= ITEM_BYTES_MAX, "{size}");
}

#[test]
fn a_node_survives_its_record() {
    let node = NodeRecord {
        id: NodeId(3),
        address: "127.0.0.1:7400".into(),
        zone: String::new(),
        version: "0.1.0".into(),
        incarnation: u64::MAX,
    };
    assert_eq!(NodeRecord::from_item(&node.to_item()), Ok(node));
}

#[test]
fn a_record_that_lacks_something_is_refused_by_name() {
    for field in ["table_id", "status", "key_schema", "hash", "partitions"] {
        let mut item = table().to_item();
        item.remove(field);
        let error = TableRecord::from_item(&item).expect_err(field);
        assert!(error.message().ends_with(field), "{error}");
    }
}
