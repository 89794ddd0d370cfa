//! What is found in an engine with damage in it.

use stator_consensus::group::FIRST_MARK;
use stator_storage::engine::memory::MemoryEngine;
use stator_storage::engine::{Batch, Reader};
use stator_storage::key::EngineKey;
use stator_storage::machine::AppliedMark;
use stator_storage::partition::initialise_all;

use super::*;
use crate::node::replica_life::tests::{group, spec};

#[test]
fn a_damaged_record_stops_its_replica_and_no_other() {
    let engine = MemoryEngine::new();
    let (index, term) = FIRST_MARK;
    let first = AppliedMark { index, term, voters: vec![1] };
    let specs: Vec<_> = (1..=4).map(|number| (spec(number), Some(first.clone()))).collect();
    initialise_all(&engine, &specs).expect("written");
    let mut damage = Batch::default();
    let keys = [
        EngineKey::Replica { group: group(1) }.encode(),
        EngineKey::Applied { group: group(3) }.encode(),
    ];
    for key in keys {
        let mut value = engine.get(&key).expect("read").expect("it is there").to_vec();
        value[6] ^= 4;
        damage.put(key, value);
    }
    damage.delete(EngineKey::Applied { group: group(4) }.encode());
    engine.write(&damage).expect("written");

    let mut recovery = Recovery::default();
    recovery.groups.extend((1..=4).map(|number| (group(number), GroupRecovery::default())));
    let census =
        census(&engine, &recovery).expect("the node starts").whole().expect("it holds all");
    let started: Vec<_> = census.start.iter().map(|found| found.spec.group).collect();
    assert_eq!(started, [group(2)]);
    let failed: Vec<_> = census.failed.keys().copied().collect();
    assert_eq!(failed, [1, 3, 4].map(group), "{:?}", census.failed);
    assert!(census.delete.is_empty());
}
