use std::collections::BTreeMap;

use clap::ValueEnum as _;

use super::*;

const RECORDS: u64 = 1000;

fn generator(workload: Workload) -> (Generator, Arc<Frontier>) {
    let frontier = Arc::new(Frontier::new(RECORDS));
    let chooser = Chooser::new(workload.distribution(), RECORDS);
    (Generator::new(workload, chooser, frontier.clone(), Values::new(8), 1), frontier)
}

#[test]
fn shares_add_up_and_come_out() {
    for workload in Workload::value_variants() {
        assert_eq!(workload.mix().iter().map(|(_, share)| share).sum::<u64>(), 100);
        let (mut generator, frontier) = generator(*workload);
        let mut counts = BTreeMap::new();
        for _ in 0..20_000 {
            let operation = generator.next();
            if let Operation::Insert { record, .. } = operation {
                frontier.end(record);
            }
            *counts.entry(operation.kind()).or_insert(0u64) += 1;
        }
        let kinds: Vec<_> = workload.mix().iter().map(|(kind, _)| *kind).collect();
        assert!(counts.keys().eq(kinds.iter()), "{workload:?}: {counts:?}");
        for (kind, share) in workload.mix() {
            let wanted = share * 200;
            assert!(counts[kind].abs_diff(wanted) <= 300, "{workload:?} {kind:?}: {counts:?}");
        }
    }
}

#[test]
fn names_are_those_of_the_command_line() {
    for workload in Workload::value_variants() {
        assert_eq!(workload.to_possible_value().unwrap().get_name(), workload.name());
    }
}

#[test]
fn only_what_is_settled_is_read_and_the_newest_most() {
    let (mut generator, frontier) = generator(Workload::D);
    let mut under_way = Vec::new();
    for _ in 0..10_000 {
        match generator.next() {
            Operation::Insert { record, .. } => under_way.push(record),
            Operation::Read { record } => assert!(record < RECORDS, "{record} is being inserted"),
            other => panic!("{other:?}"),
        }
    }
    let last = *under_way.last().unwrap();
    under_way.into_iter().for_each(|record| frontier.end(record));
    let newest = |_: &usize| generator.next() == Operation::Read { record: last };
    let found = (0..1000).filter(newest).count();
    assert!(found > 80, "the newest was read {found} times");
}

#[test]
fn ranges_have_one_to_a_hundred_items() {
    let (mut generator, _) = generator(Workload::E);
    let lengths: Vec<_> = (0..20_000)
        .filter_map(|_| match generator.next() {
            Operation::Range { items, .. } => Some(items),
            _ => None,
        })
        .collect();
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&1), Some(&100)));
}

#[test]
fn a_seed_repeats_itself_and_callers_differ() {
    let take = |mut generator: Generator| (0..50).map(|_| generator.next()).collect::<Vec<_>>();
    let (first, _) = generator(Workload::A);
    assert_eq!(take(first.for_caller(9, 3)), take(first.for_caller(9, 3)));
    assert_ne!(take(first.for_caller(9, 3)), take(first.for_caller(9, 4)));
    assert_ne!(take(first.for_caller(9, 3)), take(first.for_caller(8, 3)));
}
