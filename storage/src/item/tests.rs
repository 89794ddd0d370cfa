use proptest::prelude::*;

use super::*;

fn any_region() -> impl Strategy<Value = Region> {
    "[!-~]{0,31}".prop_map(|name| Region::new(&name).unwrap())
}

fn any_stored() -> impl Strategy<Value = StoredItem> {
    let item = prop::collection::vec(any::<u8>(), 0..40);
    (any::<u64>(), any_region(), any::<Option<u64>>(), item).prop_map(
        |(time, region, serialized, item)| StoredItem {
            stamp: Stamp { time, region },
            serialized,
            item: EncodedItem::from_bytes(item.into()),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn items_come_back(stored in any_stored(), key in prop::collection::vec(any::<u8>(), 0..20)) {
        let value = stored.seal(&key);
        prop_assert_eq!(StoredItem::open(&value, &key), Ok(stored));
    }

    #[test]
    fn a_flipped_bit_is_caught(stored in any_stored(), at in any::<usize>(), bit in 0..8u32) {
        let mut value = stored.seal(b"key").to_vec();
        let at = at % value.len();
        value[at] ^= 1 << bit;
        prop_assert!(StoredItem::open(&value.into(), b"key").is_err());
    }

    #[test]
    fn a_cut_value_is_caught(stored in any_stored(), cut in any::<usize>()) {
        let value = stored.seal(b"key");
        let cut = cut % value.len();
        prop_assert!(StoredItem::open(&value.slice(..cut), b"key").is_err());
    }

    #[test]
    fn any_bytes_open_or_are_refused(
        version in prop_oneof![Just(FORMAT), any::<u8>()],
        flags in prop_oneof![0..4u8, any::<u8>()],
        rest in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        fuzz_open(&[&[version, flags, 0, 0, 0, 0], rest.as_slice()].concat());
        fuzz_open(&rest);
    }

    #[test]
    fn stamps_order_by_time_then_region(
        a in (0..3u64, "[a-c]{0,3}"),
        b in (0..3u64, "[a-c]{0,3}"),
    ) {
        let stamp = |(time, name): &(u64, String)| {
            Stamp { time: *time, region: Region::new(name).unwrap() }
        };
        prop_assert_eq!(stamp(&a).cmp(&stamp(&b)), a.cmp(&b));
        prop_assert_eq!(stamp(&a).region.as_str().to_owned(), a.1);
    }
}

fn stored() -> StoredItem {
    StoredItem {
        stamp: Stamp::local(0x0102_0304_0506_0708),
        serialized: None,
        item: EncodedItem::from_bytes(Bytes::from_static(b"item")),
    }
}

#[test]
fn the_bytes_on_disk_never_change() {
    let local = stored().seal(b"key");
    let crc = crc32fast::hash(b"key\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08item").to_be_bytes();
    let expected = [&[1, 0], &crc[..], &[1, 2, 3, 4, 5, 6, 7, 8], b"item"].concat();
    assert_eq!(local, expected);

    let mut remote = stored();
    remote.stamp.region = Region::new("eu").unwrap();
    remote.serialized = Some(9);
    let remote = remote.seal(b"key");
    assert_eq!(remote[..2], [1, 3]);
    assert_eq!(remote[6..], *b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\x09\x02euitem");
}

#[test]
fn the_item_is_not_copied() {
    let value = stored().seal(b"key");
    let opened = StoredItem::open(&value, b"key").unwrap();
    assert_eq!(opened.item.as_bytes().as_ptr(), value[SMALLEST..].as_ptr());
}

#[test]
fn a_corrupt_item_is_named_by_its_key() {
    let value = stored().seal(&[0x10, 0xab]);
    let error = StoredItem::open(&value, &[0x10, 0xac]).unwrap_err();
    assert!(matches!(&error, Error::Corruption { place, .. } if place == "item 10ac"), "{error}");
}

#[test]
fn a_newer_format_is_told_apart_from_corruption() {
    let mut value = stored().seal(b"key").to_vec();
    value[0] = FORMAT + 1;
    let error = StoredItem::open(&value.into(), b"key").unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}

#[test]
fn regions_are_short_printable_names() {
    assert!(Region::new("").unwrap().is_local());
    assert_eq!(Region::new(&"x".repeat(31)).unwrap().as_str().len(), 31);
    for bad in [&"x".repeat(32), "a b", "a\0", "ü", "a\n"] {
        assert_eq!(Region::new(bad), None, "{bad:?}");
    }
}
