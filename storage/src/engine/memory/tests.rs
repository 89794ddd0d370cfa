use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

fn put(engine: &MemoryEngine, key: &'static str, value: &'static str) -> Result<()> {
    let mut batch = Batch::default();
    batch.put(key, value);
    engine.write(&batch)
}

fn everything(reader: &dyn Reader) -> Vec<(Bytes, Bytes)> {
    let mut found = Vec::new();
    let all = KeyRange { start: Bytes::new(), end: None };
    reader
        .scan(&all, Direction::Forward, &mut |key, value| {
            found.push((key, value));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    found
}

fn any_batches() -> impl Strategy<Value = Vec<Option<Batch>>> {
    let change = (0..6u8, prop::option::of(0..100u8)).prop_map(|(key, value)| {
        let key = Bytes::from(vec![key]);
        match value {
            Some(value) => Change::Put(key, vec![value].into()),
            None => Change::Delete(key),
        }
    });
    let batch = prop::collection::vec(change, 0..5).prop_map(|changes| Batch { changes });
    // `None` stands for a flush.
    prop::collection::vec(prop::option::weighted(0.8, batch), 0..12)
}

proptest! {
    #[test]
    fn a_crash_leaves_a_prefix_that_holds_all_flushed(steps in any_batches(), draw in any::<u64>()) {
        let engine = MemoryEngine::new();
        let mut states = vec![everything(&engine)];
        let mut flushed = 0;
        for step in steps {
            match step {
                Some(batch) => {
                    engine.write(&batch).unwrap();
                    states.push(everything(&engine));
                }
                None => {
                    engine.flush().unwrap();
                    flushed = states.len() - 1;
                }
            }
        }
        let written = states.len() - 1;
        prop_assert_eq!(engine.unflushed(), written - flushed);
        let lost = engine.crash(draw);
        prop_assert_eq!(lost as u64, draw % (written - flushed + 1) as u64);
        let left = everything(&engine);
        prop_assert_eq!(&left, &states[written - lost]);
        let bytes: usize = left.iter().map(|(key, value)| key.len() + value.len()).sum();
        prop_assert_eq!(engine.size().buffer_bytes, bytes as u64);
        prop_assert_eq!(engine.crash(draw), 0, "what is up after a crash was durable");
    }
}

#[test]
fn a_fault_lasts_until_the_engine_is_reopened() {
    let engine = MemoryEngine::new();
    put(&engine, "a", "1").unwrap();
    put(&engine, "b", "2").unwrap();
    engine.fail_next_write(Error::Full("test".into()), 1);
    engine.flush().unwrap();
    put(&engine, "c", "3").unwrap_err();

    assert_eq!(put(&engine, "c", "3"), Err(Error::Full("test".into())));
    assert_eq!(engine.flush(), Err(Error::Full("test".into())));
    assert_eq!(everything(&engine).len(), 2, "reads go on");
    engine.reopen().unwrap();
    assert_eq!(everything(&engine).len(), 2, "flushed batches stay");
    put(&engine, "c", "3").unwrap();

    engine.fail_next_write(Error::Engine("test".into()), 1);
    put(&engine, "d", "4").unwrap_err();
    engine.reopen().unwrap();
    assert_eq!(everything(&engine).len(), 2, "the unflushed batch went");
}

#[test]
fn a_plain_scan_sees_half_a_batch_and_a_snapshot_none() {
    for engine in [MemoryEngine::new(), MemoryEngine::without_snapshots()] {
        let mut before = Batch::default();
        before.put("a", "old");
        before.put("b", "old");
        engine.write(&before).unwrap();
        let mut after = Batch::default();
        after.put("a", "new");
        after.put("b", "new");

        let snapshot = engine.snapshot();
        let mut seen = Vec::new();
        let all = KeyRange { start: Bytes::new(), end: None };
        let mut visit = |_, value| {
            seen.push(value);
            engine.write(&after)?;
            Ok(ControlFlow::Continue(()))
        };
        engine.scan(&all, Direction::Forward, &mut visit).unwrap();
        assert_eq!(seen, ["old", "new"]);

        let Some(snapshot) = snapshot else { continue };
        assert!(everything(&*snapshot).iter().all(|(_, value)| value == "old"));
    }
}

#[test]
fn a_volatile_engine_keeps_nothing_to_undo() {
    let engine = MemoryEngine::volatile();
    put(&engine, "a", "1").unwrap();
    assert_eq!((engine.unflushed(), engine.crash(1)), (0, 0));
    assert_eq!(everything(&engine).len(), 1);
}
