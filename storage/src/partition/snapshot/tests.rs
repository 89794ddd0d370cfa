use std::sync::Arc;

use proptest::prelude::*;

use super::super::testing::*;
use super::*;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Batch, Engine, Isolation, Reader};
use crate::key::{EngineKey, item_key};
use crate::machine::Applier;

/// A leader with twelve items, applied.
fn leader_on(engine: Arc<MemoryEngine>) -> Leader {
    let mut leader = Leader::new(engine, &spec());
    leader.propose_each((0..12).map(|s| put(&format!("artist {s}"), s, s)));
    leader.apply_all();
    leader
}

fn leader() -> Leader {
    leader_on(Arc::default())
}

/// Reads frames as a receiver does before it accepts them.
fn read(frames: &[Bytes]) -> Result<(SnapshotHeader, SnapshotFooter, Vec<StoredPair>)> {
    let [header, chunks @ .., footer] = frames else { panic!("too few frames") };
    let mut reader = SnapshotReader::new(header)?;
    let mut items = Vec::new();
    for chunk in chunks {
        items.extend(reader.chunk(chunk)?);
    }
    let (header, footer) = reader.finish(footer)?;
    Ok((header, footer, items))
}

#[test]
fn a_snapshot_holds_the_items_and_nothing_beside_them() {
    let leader = leader();
    let frames = frames(&leader.applier, 5, 200);
    assert!(frames.len() > 4, "{}", frames.len());
    let (header, footer, items) = read(&frames).unwrap();
    assert_eq!(items, pairs(leader.engine.as_ref(), &spec().items()));
    assert!(header.is_of(&spec()));
    let record = leader.applier.record().unwrap();
    assert_eq!((header.mark, header.counters), (record.mark.clone(), record.counters));
    assert_eq!(footer.end_index, record.mark.index);
    assert_eq!(footer.items, 12);
}

#[test]
fn an_empty_partition_has_a_snapshot_too() {
    let frames = frames(&Leader::on_memory().applier, 5, 200);
    assert_eq!(frames.len(), 2);
    assert_eq!(read(&frames).unwrap().2, []);
}

#[test]
fn over_a_view_it_ends_where_it_began_and_over_plain_reads_where_the_sender_is() {
    for engine in engines() {
        let viewed = engine.isolation() == Isolation::Snapshots;
        let mut leader = leader_on(engine);
        let start = leader.applier.mark().unwrap().index;
        let before = pairs(leader.engine.as_ref(), &spec().items());
        let mut writer = leader.applier.begin_snapshot(1).unwrap();
        let mut frames = vec![writer.header().encode()];
        frames.extend(writer.next_chunk(1).unwrap());
        leader.propose_each((0..12).map(|s| add(&format!("artist {s}"), s, 100)));
        leader.apply_all();
        while let Some(chunk) = writer.next_chunk(300).unwrap() {
            frames.push(chunk);
        }
        frames.push(writer.finish(&leader.applier).unwrap());
        let (header, footer, items) = read(&frames).unwrap();
        assert_eq!(header.mark.index, start);
        assert_eq!(footer.end_index, if viewed { start } else { start + 12 });
        assert_eq!(items == before, viewed);
    }
}

#[test]
fn it_is_resumed_behind_what_was_read_and_keeps_its_start() {
    for engine in engines() {
        let mut leader = leader_on(engine);
        let start = leader.applier.mark().unwrap().index;
        let mut writer = leader.applier.begin_snapshot(1).unwrap();
        let mut frames = vec![writer.header().encode()];
        frames.extend(writer.next_chunk(300).unwrap());
        let (header, position) = (writer.header().clone(), writer.position().clone());
        drop(writer);
        leader.propose_each([add("artist 3", 3, 100), put("new", 1, 1)]);
        leader.apply_all();
        let mut writer = leader.applier.resume_snapshot(header.clone(), position.clone()).unwrap();
        while let Some(chunk) = writer.next_chunk(300).unwrap() {
            frames.push(chunk);
        }
        frames.push(writer.finish(&leader.applier).unwrap());
        let (read_header, footer, _) = read(&frames).unwrap();
        assert_eq!(read_header.mark.index, start);
        assert_eq!(footer.end_index, start + 2);

        let ahead = AppliedMark { index: start + 3, ..header.mark.clone() };
        let ahead = SnapshotHeader { mark: ahead, ..header.clone() };
        assert!(leader.applier.resume_snapshot(ahead, position.clone()).is_err());
        let other = SnapshotHeader { generation: 4, ..header };
        assert!(leader.applier.resume_snapshot(other, position).is_err());
    }
}

#[test]
fn what_an_engine_lost_again_still_counts_for_the_end() {
    let mut leader = leader_on(Arc::new(MemoryEngine::without_snapshots()));
    leader.engine.flush().unwrap();
    let mut writer = leader.applier.begin_snapshot(1).unwrap();
    let start = writer.header().mark.index;
    leader.propose_each([put("a", 1, 1), put("b", 1, 1)]);
    leader.apply_all();
    while writer.next_chunk(300).unwrap().is_some() {}
    // The chunks show both entries. The engine loses the second one before the end.
    leader.engine.crash(1);
    let footer = writer.finish(&leader.applier).unwrap();
    let mut cursor = cursor::open(&1u64.to_be_bytes(), &footer, FORMAT, "").unwrap();
    assert_eq!(SnapshotFooter::parse(&mut cursor).unwrap().end_index, start + 2);
}

#[test]
fn a_sender_whose_data_are_replaced_gives_up() {
    let engine = Arc::new(MemoryEngine::without_snapshots());
    let mut leader = leader_on(engine);
    let all = frames(&leader.applier, 1, 300);
    let mut writer = leader.applier.begin_snapshot(2).unwrap();
    install(&mut leader.applier, &all).unwrap();
    assert!(writer.next_chunk(300).is_err());
}

#[test]
fn what_is_not_complete_is_not_sent() {
    for engine in engines() {
        assert!(join(&engine, &spec()).begin_snapshot(1).is_err());
    }
}

#[test]
fn a_damaged_item_is_not_spread() {
    let leader = leader();
    let stored = item_key(7, &key("artist 3", 3));
    let mut value = leader.engine.get(&stored).unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(stored, value);
    leader.engine.write(&batch).unwrap();
    let mut writer = leader.applier.begin_snapshot(1).unwrap();
    assert!(matches!(writer.next_chunk(CHUNK_BYTES), Err(Error::Corruption { .. })));
}

#[test]
fn frames_of_another_order_snapshot_or_range_are_refused() {
    let leader = leader();
    let good = frames(&leader.applier, 1, 200);
    let other = frames(&leader.applier, 2, 200);
    read(&good).unwrap();
    let with = |change: &dyn Fn(&mut Vec<Bytes>)| {
        let mut frames = good.clone();
        change(&mut frames);
        read(&frames).map(|_| ())
    };
    assert!(with(&|frames| frames.swap(1, 2)).is_err());
    assert!(with(&|frames| frames[2] = frames[1].clone()).is_err());
    assert!(with(&|frames| drop(frames.remove(2))).is_err());
    // The last chunk is missing: only the footer can tell.
    assert!(with(&|frames| drop(frames.remove(frames.len() - 2))).is_err());
    assert!(with(&|frames| frames[1] = other[1].clone()).is_err());
    assert!(with(&|frames| *frames.last_mut().unwrap() = other.last().unwrap().clone()).is_err());
    assert!(with(&|frames| frames[1] = frames[0].clone()).is_err());
    let narrow = SnapshotHeader { hash_end: 1, ..read(&good).unwrap().0 };
    assert!(with(&|frames| frames[0] = narrow.encode()).is_err());
}

#[test]
fn keys_beside_the_items_and_keys_out_of_order_are_refused_in_chunks() {
    let header = Leader::on_memory().applier.begin_snapshot(9).unwrap().header().clone();
    let chunk = |number: u32, keys: &[Bytes]| {
        let mut frame = vec![FORMAT, CHUNK];
        frame.put_u32(number);
        frame.put_u32(keys.len().try_into().unwrap());
        for key in keys {
            cursor::put_long(&mut frame, key);
            cursor::put_long(&mut frame, b"value");
        }
        cursor::close(&header.id.to_be_bytes(), frame)
    };
    let items: Vec<Bytes> = (0..3).map(|s| item_key(7, &key("a", s))).collect();
    let read =
        |keys: &[Bytes]| SnapshotReader::new(&header.encode()).unwrap().chunk(&chunk(0, keys));
    assert_eq!(read(&items).unwrap().len(), 3);
    assert!(read(&[items[1].clone(), items[0].clone()]).is_err());
    assert!(read(&[items[1].clone(), items[1].clone()]).is_err());
    assert!(read(&[EngineKey::Applied { group: GroupId(1) }.encode()]).is_err());
    assert!(read(&[item_key(8, &key("a", 1))]).is_err());
    // It sorts among the items, and is too short to be one.
    let stump = Bytes::from([&items[0][..5], &[0xff]].concat());
    assert!(header.items().contains(&stump));
    assert!(read(&[stump]).is_err());
    assert!(read(&[]).is_err());
    // Numbers and keys ascend from one chunk to the next.
    let mut reader = SnapshotReader::new(&header.encode()).unwrap();
    assert!(reader.chunk(&chunk(1, &items[1..2])).is_err());
    reader.chunk(&chunk(0, &items[1..2])).unwrap();
    assert!(reader.chunk(&chunk(1, &items[..1])).is_err());
    reader.chunk(&chunk(1, &items[2..])).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(
        frame in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut frames = frames(&leader().applier, 1, 200);
        let frame = frame.index(frames.len());
        let mut bytes = frames[frame].to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        frames[frame] = bytes.into();
        prop_assert!(read(&frames).is_err());
    }

    #[test]
    fn reading_is_total(data in prop::collection::vec(any::<u8>(), 0..120)) {
        fuzz_frames(&data);
        for kind in [HEADER, CHUNK, FOOTER] {
            fuzz_frames(&[&[FORMAT, kind], &data[..]].concat());
        }
    }
}
