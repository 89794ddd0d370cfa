use proptest::prelude::*;

use super::super::testing::spec;
use super::*;
use crate::engine::Engine as _;
use crate::engine::memory::MemoryEngine;

fn any_spec() -> impl Strategy<Value = PartitionSpec> {
    let attribute = ("[a-z]{1,8}", 0..3u8).prop_map(|(name, kind)| KeyAttribute {
        name,
        key_type: [KeyType::S, KeyType::N, KeyType::B][usize::from(kind)],
    });
    let schema = (attribute.clone(), prop::option::of(attribute))
        .prop_map(|(partition, sort)| KeySchema { partition, sort });
    let members = prop::collection::vec((any::<u64>(), any::<u64>()), 0..=MEMBERS_MAX);
    (any::<[u64; 5]>(), any::<u32>(), "[a-z.]{0,40}", "[!-~]{0,31}", schema, members).prop_map(
        |(
            [group, generation, a, b, replica],
            table_id,
            table_name,
            region,
            key_schema,
            members,
        )| {
            PartitionSpec {
                group: GroupId(group),
                table_id,
                table_name,
                generation,
                hash_start: a.min(b),
                hash_end: a.max(b),
                key_schema,
                region: Region::new(&region).unwrap(),
                members: members
                    .into_iter()
                    .map(|(replica, node)| Member { replica, node })
                    .collect(),
                replica,
            }
        },
    )
}

fn write_spec(engine: &MemoryEngine, spec: &PartitionSpec) -> Result<()> {
    let mut batch = Batch::default();
    put_spec(&mut batch, spec)?;
    engine.write(&batch)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(spec in any_spec(), flip in any::<(prop::sample::Index, u8)>()) {
        let engine = MemoryEngine::new();
        write_spec(&engine, &spec).unwrap();
        prop_assert_eq!(read_spec(&engine, spec.group).unwrap(), Some(spec.clone()));
        let mut damaged = spec.encode().to_vec();
        let (at, by) = (flip.0.index(damaged.len()), flip.1.max(1));
        damaged[at] ^= by;
        prop_assert!(PartitionSpec::decode(spec.group, &damaged.into()).is_err());
        let other = GroupId(spec.group.0 ^ 1);
        prop_assert!(PartitionSpec::decode(other, &spec.encode()).is_err());
    }

    #[test]
    fn decoding_is_total(data in prop::collection::vec(any::<u8>(), 0..200), spec in any_spec()) {
        fuzz_decode(&data);
        let whole = spec.encode();
        fuzz_decode(&whole[..whole.len() - 4]);
    }
}

#[test]
fn records_are_listed_by_group() {
    let engine = MemoryEngine::new();
    for group in [300, 2, 1] {
        write_spec(&engine, &PartitionSpec { group: GroupId(group), ..spec() }).unwrap();
    }
    let groups = || list_specs(&engine).unwrap().iter().map(|it| it.group.0).collect::<Vec<_>>();
    assert_eq!(groups(), [1, 2, 300]);
    assert_eq!(read_spec(&engine, GroupId(3)), Ok(None));
}

#[test]
fn nothing_is_written_that_could_not_be_read() {
    let engine = MemoryEngine::new();
    let backwards = PartitionSpec { hash_start: 2, hash_end: 1, ..spec() };
    let long = PartitionSpec { table_name: "x".repeat(70_000), ..spec() };
    let crowded =
        PartitionSpec { members: vec![Member { replica: 1, node: 1 }; MEMBERS_MAX + 1], ..spec() };
    for bad in [backwards, long, crowded] {
        assert!(write_spec(&engine, &bad).is_err());
    }
    assert_eq!(list_specs(&engine), Ok(vec![]));
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut value = spec().encode().to_vec();
    value[0] = FORMAT + 1;
    let error = PartitionSpec::decode(spec().group, &value.into()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn a_partition_owns_its_range_of_its_table_and_no_more() {
    let spec = PartitionSpec { hash_start: 10, hash_end: 20, ..spec() };
    let key = |table_id, hash| EngineKey::Item { table_id, hash, key: Bytes::new() }.encode();
    for (table_id, hash, owned) in
        [(7, 10, true), (7, 20, true), (7, 9, false), (7, 21, false), (8, 15, false)]
    {
        assert_eq!(spec.owns_key(&key(table_id, hash)), owned, "{table_id} {hash}");
        assert_eq!(spec.items().contains(&key(table_id, hash)), owned, "{table_id} {hash}");
    }
    assert!(!spec.owns_key(&EngineKey::Applied { group: spec.group }.encode()));
    let at = |hash_start, hash_end| PartitionSpec { hash_start, hash_end, ..spec.clone() };
    assert!(spec.overlaps(&at(20, 30)) && spec.overlaps(&at(0, 10)) && spec.overlaps(&at(0, 99)));
    assert!(!spec.overlaps(&at(21, 30)) && !spec.overlaps(&at(0, 9)));
    assert!(!spec.overlaps(&PartitionSpec { table_id: 8, ..spec.clone() }));
}
