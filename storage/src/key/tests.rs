use proptest::prelude::*;

use super::*;

fn any_key() -> impl Strategy<Value = EngineKey> {
    // Small numbers and short keys, so that neighbours and shared prefixes come up often; and the edges.
    let group = prop_oneof![0..4u64, Just(u64::MAX), any::<u64>()].prop_map(GroupId);
    let hash = prop_oneof![0..4u64, 0xfffe..0x1_0001u64, Just(u64::MAX), any::<u64>()];
    let table = prop_oneof![0..4u32, 0xff..0x101u32, Just(u32::MAX), any::<u32>()];
    let byte = prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()];
    let key = prop::collection::vec(byte, 0..4).prop_map(Bytes::from);
    prop_oneof![
        Just(EngineKey::Node),
        group.clone().prop_map(|group| EngineKey::Replica { group }),
        group.prop_map(|group| EngineKey::Applied { group }),
        (table, hash, key).prop_map(|(table_id, hash, key)| EngineKey::Item {
            table_id,
            hash,
            key
        }),
    ]
}

fn contains(range: &KeyRange, key: &Bytes) -> bool {
    range.start <= *key && range.end.as_ref().is_none_or(|end| key < end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn keys_sort_as_their_parts_do(a in any_key(), b in any_key()) {
        prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
    }

    #[test]
    fn keys_come_back(key in any_key()) {
        let bytes = key.encode();
        prop_assert_eq!(bytes.first().copied(), Some(key.tag()));
        prop_assert_ne!(key.tag(), ENGINE_TAG);
        prop_assert_eq!(EngineKey::decode(&bytes).unwrap(), key);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        fuzz_decode(&bytes);
    }

    #[test]
    fn cut_and_lengthened_keys_are_never_taken_for_the_key(key in any_key(), cut in any::<usize>()) {
        let bytes = key.encode();
        let cut = bytes.slice(..cut % bytes.len());
        if let Ok(other) = EngineKey::decode(&cut) {
            prop_assert_ne!(&other, &key);
        }
        let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
        if let Ok(other) = EngineKey::decode(&longer) {
            prop_assert_ne!(other, key);
        }
    }

    #[test]
    fn ranges_hold_what_they_say(
        key in any_key(),
        table in 0..4u32,
        first in prop_oneof![0..4u64, any::<u64>()],
        last in prop_oneof![0..4u64, Just(u64::MAX), any::<u64>()],
    ) {
        let bytes = key.encode();
        let in_table = matches!(key, EngineKey::Item { table_id, .. } if table_id == table);
        prop_assert_eq!(contains(&table_range(table), &bytes), in_table);
        let in_hashes =
            matches!(key, EngineKey::Item { hash, .. } if in_table && (first..=last).contains(&hash));
        prop_assert_eq!(contains(&hash_range(table, first, last), &bytes), in_hashes);
    }

    #[test]
    fn prefixes_hold_what_begins_with_them(
        prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), Just(7)], 0..4),
        key in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), Just(7)], 0..6),
    ) {
        let begins = key.starts_with(&prefix);
        prop_assert_eq!(contains(&prefix_range(prefix.into()), &key.into()), begins);
    }
}

#[test]
fn the_bytes_on_disk_never_change() {
    assert_eq!(EngineKey::Node.encode().as_ref(), [0x01]);
    let group = GroupId(0x0102_0304_0506_0708);
    assert_eq!(EngineKey::Replica { group }.encode().as_ref(), [2, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(EngineKey::Applied { group }.encode().as_ref(), [3, 1, 2, 3, 4, 5, 6, 7, 8]);
    let item = EngineKey::Item {
        table_id: 0x0a0b_0c0d,
        hash: 0x0102_0304_0506_0708,
        key: Bytes::from_static(b"pk"),
    };
    let bytes = [0x10, 0x0a, 0x0b, 0x0c, 0x0d, 1, 2, 3, 4, 5, 6, 7, 8, b'p', b'k'];
    assert_eq!(item.encode().as_ref(), bytes);
}

#[test]
fn the_last_table_ends_before_the_next_kind() {
    let range = table_range(u32::MAX);
    assert_eq!(range.end.unwrap().as_ref(), [0x11]);
}

#[test]
fn a_refused_key_is_named_in_hexadecimal() {
    let error = EngineKey::decode(&Bytes::from_static(&[0xff, 0x0a])).unwrap_err();
    assert!(matches!(&error, Error::Corruption { place, .. } if place == "key ff0a"), "{error}");
    assert_eq!(hex(&[0xab; 65]), format!("{}...", "ab".repeat(64)));
}
