//! Round trips, and what must not be taken for a record.

use bytes::Bytes;
use proptest::prelude::*;

use crate::log::format::{
    Bad, Body, HEAD_BYTES, Head, Header, HeaderFound, decode, encode, encode_head, find_head,
    fuzz_segment, record_bytes, reseal, seed,
};
use crate::log::tests::{entry, hard, reset, tombstone, truncate};
use crate::log::{Position, Record};

fn record() -> impl Strategy<Value = Record> {
    let data = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u64>(), data)
            .prop_map(|(group, index, term, data)| entry(group, index, term, data)),
        any::<[u64; 4]>().prop_map(|[group, term, vote, commit]| hard(group, term, vote, commit)),
        any::<[u64; 3]>().prop_map(|[group, index, term]| truncate(group, index, term)),
        any::<[u64; 3]>().prop_map(|[group, index, term]| reset(group, index, term)),
        any::<u64>().prop_map(tombstone),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    any::<(bool, [u64; 5])>().prop_map(|(in_chain, [incarnation, before, offset, bytes, salt])| {
        let incarnation = incarnation | 1;
        let previous = Position { segment: before % incarnation, offset };
        Header { in_chain, incarnation, previous, file_bytes: bytes, salt }
    })
}

fn encoded(record: &Record, seed: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, seed, record);
    bytes
}

proptest! {
    #[test]
    fn a_record_comes_back(record in record(), seed: u32) {
        let bytes = encoded(&record, seed);
        prop_assert_eq!(bytes.len() as u64, record_bytes(&record));
        let frame = decode(&bytes, seed).unwrap();
        prop_assert_eq!((frame.group, frame.len), (record.group(), bytes.len()));
        prop_assert_eq!(frame.body, Body::of(&record));
    }

    #[test]
    fn a_changed_or_cut_record_is_none(record in record(), seed: u32, at: prop::sample::Index, bit in 0..8_u32) {
        let mut bytes = encoded(&record, seed);
        let at = at.index(bytes.len());
        prop_assert_eq!(decode(&bytes[..at], seed), Err(Bad::Unwritten));
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(decode(&bytes, seed), Err(Bad::Unwritten));
    }

    #[test]
    fn a_record_of_another_incarnation_is_none(record in record(), a: u64, b: u64, salt: u64) {
        prop_assume!(a != b);
        let bytes = encoded(&record, seed(a, salt));
        // Different incarnations may have the same seed once in four billion, successive ones never.
        prop_assume!(seed(a, salt) != seed(b, salt));
        prop_assert_eq!(decode(&bytes, seed(b, salt)), Err(Bad::Unwritten));
    }

    #[test]
    fn near_incarnations_have_different_seeds(a: u64, ahead in 1..u64::from(u32::MAX), salt: u64) {
        let a = a & !u64::from(u32::MAX);
        prop_assert_ne!(seed(a, salt), seed(a + ahead, salt));
    }

    #[test]
    fn a_header_comes_back_and_a_changed_one_does_not(header in header(), at in 0..60_usize, bit in 0..8_u32) {
        let mut page = header.encode();
        prop_assert_eq!(Header::decode(&page), HeaderFound::Header(header));
        page[at] ^= 1_u8 << bit;
        let found = Header::decode(&page);
        let is_refused = matches!(found, HeaderFound::Broken | HeaderFound::Version(_));
        prop_assert!(is_refused, "{:?}", found);
    }

    #[test]
    fn a_head_is_found_wherever_it_is(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        zeros in 0..9000_usize,
        more in prop::collection::vec(any::<u8>(), 0..100),
        words: [u64; 4],
        seed: u32,
    ) {
        let [segment, offset, first_needed, len] = words;
        let head = Head { synced: Position { segment, offset }, first_needed, len };
        let noise = [noise, vec![0; zeros]].concat();
        let mut bytes = noise.clone();
        encode_head(&mut bytes, seed, &head);
        prop_assert_eq!(bytes.len() - noise.len(), HEAD_BYTES as usize);
        bytes.extend(more);
        prop_assert_eq!(find_head(&bytes, 0, seed), Some((noise.len(), head)));
        prop_assert_eq!(find_head(&bytes, noise.len() + 1, seed), None);
    }

    #[test]
    fn records_are_resealed_without_heads(records in prop::collection::vec(record(), 0..10)) {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for record in &records {
            encode_head(&mut old, 1, &Head::default());
            encode(&mut old, 1, record);
            encode(&mut new, 2, record);
        }
        prop_assert_eq!(reseal(&old, 1, 2), new);
    }

    #[test]
    fn any_bytes_may_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_segment(&bytes);
        let _ = decode(&bytes, 0);
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn damaged_records_may_be_decoded(
        records in prop::collection::vec(record(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes: Vec<u8> = records.iter().flat_map(|record| encoded(record, 1)).collect();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_segment(&bytes);
    }
}

/// The bytes on disk must not change without a new version.
#[test]
fn the_format_stays() {
    let record = entry(3, 11, 2, &b"data"[..]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let seed = seed(5, 9);
    assert_eq!(hex(&encoded(&record, seed)), RECORD);
    let previous = Position { segment: 4, offset: 8192 };
    let header = Header { in_chain: true, incarnation: 5, previous, file_bytes: 16384, salt: 9 };
    assert_eq!(hex(&header.encode()[..60]), HEADER);
}

const RECORD: &str = "8a7755201e0000000203000000000000000b0000000000000002000000000000000064617461";
const HEADER: &str = "535454524c4f47000100000001000000050000000000000004000000000000000020000000000000\
                      0040000000000000090000000000000015c08269";
