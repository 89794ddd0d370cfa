use proptest::prelude::*;

use super::*;

fn any_record() -> impl Strategy<Value = AppliedRecord> {
    let state = prop_oneof![
        Just(ReplicaState::Serving),
        Just(ReplicaState::AwaitingSnapshot),
        Just(ReplicaState::Deleting),
    ];
    let voters = prop::collection::vec(any::<u64>(), 0..=MEMBERS_MAX);
    (state, any::<[u64; 8]>(), voters).prop_map(|(state, numbers, voters)| {
        let [index, term, generation, highest_stamp, item_count, size_bytes, from, steps] = numbers;
        AppliedRecord {
            state,
            mark: AppliedMark { index, term, voters },
            generation,
            highest_stamp,
            counters: Counters { item_count, size_bytes },
            complete_from: from,
            install_steps: steps,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes(record in any_record(), at in any::<prop::sample::Index>()) {
        let value = record.encode(GroupId(5));
        prop_assert_eq!(AppliedRecord::decode(GroupId(5), &value), Ok(record));
        prop_assert!(AppliedRecord::decode(GroupId(6), &value).is_err());
        let mut damaged = value.to_vec();
        damaged[at.index(value.len())] ^= 0x10;
        prop_assert!(AppliedRecord::decode(GroupId(5), &damaged.into()).is_err());
    }

    #[test]
    fn decoding_is_total(data in prop::collection::vec(any::<u8>(), 0..120), record in any_record()) {
        fuzz_decode(&data);
        let whole = record.encode(GroupId(7));
        fuzz_decode(&whole[..whole.len() - 4]);
    }
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let record = AppliedRecord::worthless(ReplicaState::Serving, 1);
    let mut value = record.encode(GroupId(1)).to_vec();
    value[0] = FORMAT + 1;
    let error = AppliedRecord::decode(GroupId(1), &value.into()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, known: 1, .. }), "{error}");
}
