//! What is found in an engine with damage in it.

use stator_consensus::group::FIRST_MARK;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::engine::{Batch, Reader};
use stator_storage::key::EngineKey;
use stator_storage::machine::AppliedMark;
use stator_storage::partition::{Member, initialise_all};

use super::*;

fn spec(group: u64) -> PartitionSpec {
    let id = KeyAttribute { name: "id".to_owned(), key_type: KeyType::S };
    PartitionSpec {
        group: GroupId(group),
        table_id: 9,
        table_name: "films".to_owned(),
        generation: 1,
        hash_start: group * 10,
        hash_end: group * 10 + 9,
        key_schema: KeySchema { partition: id, sort: None },
        region: stator_storage::item::Region::default(),
        members: vec![Member { replica: 1, node: 1 }],
        replica: 1,
    }
}

#[test]
fn a_damaged_record_stops_its_replica_and_no_other() {
    let engine = MemoryEngine::new();
    let (index, term) = FIRST_MARK;
    let first = AppliedMark { index, term, voters: vec![1] };
    let specs: Vec<_> = (1..=4).map(|group| (spec(group), Some(first.clone()))).collect();
    initialise_all(&engine, &specs).expect("written");
    let mut damage = Batch::default();
    let keys = [
        EngineKey::Replica { group: GroupId(1) }.encode(),
        EngineKey::Applied { group: GroupId(3) }.encode(),
    ];
    for key in keys {
        let mut value = engine.get(&key).expect("read").expect("it is there").to_vec();
        value[6] ^= 4;
        damage.put(key, value);
    }
    damage.delete(EngineKey::Applied { group: GroupId(4) }.encode());
    engine.write(&damage).expect("written");

    let mut recovery = Recovery::default();
    recovery.groups.extend((1..=4).map(|group| (GroupId(group), GroupRecovery::default())));
    let census =
        census(&engine, &recovery).expect("the node starts").whole().expect("it holds all");
    let started: Vec<u64> = census.start.iter().map(|found| found.spec.group.0).collect();
    assert_eq!(started, [2]);
    let failed: Vec<u64> = census.failed.keys().map(|group| group.0).collect();
    assert_eq!(failed, [1, 3, 4], "{:?}", census.failed);
    assert!(census.delete.is_empty());
}
