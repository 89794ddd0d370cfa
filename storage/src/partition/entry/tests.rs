use proptest::prelude::*;

use super::*;

fn any_entry() -> impl Strategy<Value = Entry> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from);
    let write = (bytes(), prop::option::of(bytes())).prop_map(|(key, value)| match value {
        Some(value) => Change::Put(key, value),
        None => Change::Delete(key),
    });
    (any::<[u64; 5]>(), prop::collection::vec(write, 0..6)).prop_map(|(numbers, writes)| {
        let [term, generation, highest_stamp, item_count, size_bytes] = numbers;
        let counters = Counters { item_count, size_bytes };
        Entry { header: EntryHeader { term, generation, highest_stamp, counters }, writes }
    })
}

fn encode(entry: &Entry) -> Bytes {
    let mut payload = Vec::new();
    for write in &entry.writes {
        match write {
            Change::Put(key, value) => push(&mut payload, key, Some(value)),
            Change::Delete(key) => push(&mut payload, key, None),
        }
    }
    seal(payload, &entry.header, entry.writes.len().try_into().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_sealed_decodes(entry in any_entry(), cut in any::<prop::sample::Index>()) {
        let data = encode(&entry);
        prop_assert_eq!(Entry::decode(1, &data), Ok(entry));
        let cut = data.slice(..cut.index(data.len()));
        prop_assert!(Entry::decode(1, &cut).is_err());
    }

    #[test]
    fn decoding_is_total(
        data in prop::collection::vec(any::<u8>(), 0..80),
        entry in any_entry(),
        change in any::<(prop::sample::Index, u8)>(),
    ) {
        fuzz_decode(&data);
        let mut data = encode(&entry).to_vec();
        let at = change.0.index(data.len());
        data[at] = change.1;
        fuzz_decode(&data);
    }
}

#[test]
fn decoding_copies_nothing() {
    let mut payload = Vec::new();
    push(&mut payload, b"key", Some(b"value"));
    let data = seal(payload, &EntryHeader::default(), 1);
    let Change::Put(key, value) = Entry::decode(1, &data).unwrap().writes.remove(0) else {
        panic!("a put")
    };
    let inside = data.as_ptr_range();
    assert!(inside.contains(&key.as_ptr()) && inside.contains(&value.as_ptr()));
}

#[test]
fn a_count_that_nothing_backs_reserves_no_memory() {
    let mut data = seal(Vec::new(), &EntryHeader::default(), u32::MAX).to_vec();
    assert!(Entry::decode(1, &Bytes::copy_from_slice(&data)).is_err());
    data[0] = FORMAT + 1;
    let error = Entry::decode(9, &data.into()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}
