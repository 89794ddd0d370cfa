use super::super::testing::*;
use super::*;
use crate::engine::Batch;
use crate::key::item_key;

#[test]
fn it_tells_any_difference_in_items() {
    let mut leader = Leader::on_memory();
    leader.propose_each([put("a", 1, 1), put("b", 1, 1)]);
    leader.apply_all();
    let engine = leader.engine.as_ref();
    let sum = || checksum(engine, &spec()).unwrap().unwrap();
    let before = sum();
    assert_eq!(before.counted, before.recorded);
    let (here, there) = (item_key(7, &key("a", 1)), item_key(7, &key("c", 1)));
    let stored = StoredItem::open(&engine.get(&here).unwrap().unwrap(), &here).unwrap();
    let write = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        change(&mut batch);
        engine.write(&batch).unwrap();
    };
    // The same item under another key.
    write(&|batch| {
        batch.delete(here.clone());
        batch.put(there.clone(), stored.seal(&there));
    });
    assert_eq!(sum().counted, before.counted);
    assert_ne!(sum().sum, before.sum);
    // Back again, with another stamp.
    let mut later = stored.clone();
    later.stamp.time += 1;
    write(&|batch| {
        batch.delete(there.clone());
        batch.put(here.clone(), later.seal(&here));
    });
    assert_ne!(sum().sum, before.sum);
    write(&|batch| batch.put(here.clone(), stored.seal(&here)));
    assert_eq!(sum(), before);
}

#[test]
fn the_sum_of_a_partition_is_that_of_its_parts() {
    let mut leader = Leader::on_memory();
    leader.propose_each((0..12).map(|s| put(&format!("artist {s}"), 1, s)));
    leader.apply_all();
    let part = |hash_start, hash_end| {
        let part = PartitionSpec { hash_start, hash_end, ..spec() };
        checksum(leader.engine.as_ref(), &part).unwrap().unwrap()
    };
    let (lower, upper) = (part(0, u64::MAX / 2), part(u64::MAX / 2 + 1, u64::MAX));
    assert!(lower.counted.item_count > 0 && upper.counted.item_count > 0);
    let whole = part(0, u64::MAX);
    assert_eq!(whole.sum, lower.sum.wrapping_add(upper.sum));
    assert_eq!(whole.counted.item_count, 12);
}

#[test]
fn what_is_not_complete_has_none() {
    let [engine, _] = engines();
    join(&engine, &spec());
    assert_eq!(checksum(engine.as_ref(), &spec()), Ok(None));
}
