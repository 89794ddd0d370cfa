use super::*;

#[test]
fn keys_are_distinct_and_ranges_are_dense() {
    for (layout, partition_keys) in [(Layout::Single, 2500), (Layout::ranges(2500), 3)] {
        let keys: BTreeSet<_> = (0..2500).map(|record| layout.key(record)).collect();
        assert_eq!(keys.len(), 2500);
        let partitions: BTreeSet<_> = keys.iter().map(|key| &key.partition).collect();
        assert_eq!(partitions.len(), partition_keys);
    }
    let layout = Layout::ranges(2500);
    let first = layout.key(1);
    let positions: Vec<_> = (0..2500)
        .map(|record| layout.key(record))
        .filter(|key| key.partition == first.partition)
        .map(|key| key.position.unwrap())
        .collect();
    assert!(positions.iter().copied().eq(0..positions.len() as u64), "{positions:?}");
}

#[test]
fn values_have_their_length_and_differ() {
    let mut rng = Rng::new(1, 1);
    for value_bytes in [1, 400, 3 << 20] {
        let values = Values::new(value_bytes);
        let (a, b) = (values.next(&mut rng), values.next(&mut rng));
        assert!(a.len() == value_bytes && b.len() == value_bytes);
        assert!(value_bytes == 1 || a != b);
    }
}

#[test]
fn the_frontier_passes_no_insert_under_way() {
    let frontier = Frontier::new(10);
    let (a, b, c) = (frontier.begin(), frontier.begin(), frontier.begin());
    assert_eq!((a, b, c), (10, 11, 12));
    frontier.end(c);
    frontier.end(b);
    assert_eq!(frontier.settled(), 10);
    frontier.end(a);
    assert_eq!(frontier.settled(), 13);
    assert!(frontier.early.lock().unwrap().is_empty());
}
