//! Routes: what is believed, and when.

use stator_model::api::{GetItem, PutItem};
use stator_model::schema::{KeyAttribute, KeyType};
use stator_model::{AttributeValue, EncodedItem, Item};
use stator_proto::v1::{NodeEndpoint, PartitionRoute};

use super::*;

fn schema() -> KeySchema {
    let partition = KeyAttribute { name: "p".to_owned(), key_type: KeyType::N };
    KeySchema { partition, sort: None }
}

fn told(generation: u64, leaders: &[u64]) -> DescribeRoutesResponse {
    let border = |i: usize| ((i as u128) << 64) / leaders.len() as u128;
    let partition = |(i, &leader): (usize, &u64)| PartitionRoute {
        group: i as u64,
        first_hash: border(i) as u64,
        last_hash: (border(i + 1) - 1) as u64,
        leader_node_id: Some(leader),
        replica_node_ids: vec![1, 2, 3, 99],
    };
    let node = |node_id| NodeEndpoint {
        node_id,
        endpoint: format!("http://node-{node_id}:1"),
        zone: String::new(),
    };
    DescribeRoutesResponse {
        table_id: 7,
        key_schema: Some(schema().into()),
        hash_name: HASH_NAME.to_owned(),
        generation,
        nodes: (1..=3).map(node).collect(),
        // Whoever tells them may tell them in any order.
        partitions: leaders.iter().enumerate().map(partition).rev().collect(),
    }
}

fn put(number: i32) -> Request {
    let item = Item::from([
        ("p".to_owned(), AttributeValue::from(number)),
        ("other".to_owned(), AttributeValue::from("text")),
    ]);
    let item = EncodedItem::encode(&item);
    PutItem { table_name: "t".to_owned(), item, ..PutItem::default() }.into()
}

fn cache(generation: u64, leaders: &[u64]) -> RouteCache {
    let cache = RouteCache::default();
    cache.install("t", told(generation, leaders)).unwrap();
    cache
}

fn hash(number: i32) -> u64 {
    hash64(&partition_prefix(&schema(), &AttributeValue::from(number)).unwrap())
}

fn endpoint(node: u64) -> String {
    format!("http://node-{node}:1")
}

#[test]
fn every_key_has_the_leader_of_its_range_first_and_every_replica_once() {
    let leaders = [1, 2, 3, 1];
    let cache = cache(1, &leaders);
    for number in 0..200 {
        let preference = cache.preference(&put(number));
        let leader = endpoint(leaders[(hash(number) >> 62) as usize]);
        assert!(preference.leads(&leader));
        assert_eq!(preference.endpoints()[0], leader);
        let mut all = preference.endpoints().to_vec();
        all.sort();
        assert_eq!(all, [1, 2, 3].map(endpoint), "node 99 has no endpoint");
    }
}

#[test]
fn the_ends_of_ranges_belong_to_them() {
    let cache = cache(1, &[1, 2]);
    let routes = cache.routes("t").unwrap();
    let leader = |hash| routes.partition(hash).unwrap().leader.clone().unwrap();
    let middle = 1 << 63;
    assert_eq!([0, middle - 1].map(leader), [endpoint(1), endpoint(1)]);
    assert_eq!([middle, u64::MAX].map(leader), [endpoint(2), endpoint(2)]);
}

#[test]
fn a_gap_has_no_leader() {
    let mut gaps = told(1, &[1, 2, 3, 1]);
    gaps.partitions.retain(|partition| matches!(partition.group, 1 | 2));
    let cache = RouteCache::default();
    cache.install("t", gaps).unwrap();
    let routes = cache.routes("t").unwrap();
    let known = [0, 1, 2, 3].map(|quarter: u64| routes.partition(quarter << 62).is_some());
    assert_eq!(known, [false, true, true, false]);
}

#[test]
fn a_request_without_a_good_key_goes_anywhere() {
    let cache = cache(1, &[1]);
    let broken = EncodedItem::from_bytes(bytes::Bytes::from_static(b"\xff"));
    let requests: [Request; 3] = [
        PutItem { table_name: "t".to_owned(), item: broken, ..PutItem::default() }.into(),
        GetItem { table_name: "t".to_owned(), ..GetItem::default() }.into(),
        Query { table_name: "t".to_owned(), ..Query::default() }.into(),
    ];
    for request in requests {
        let preference = cache.preference(&request);
        assert_eq!(preference.table_name(), Some("t"));
        assert!(preference.endpoints().is_empty());
    }
}

#[test]
fn what_makes_no_sense_is_not_installed() {
    let cache = RouteCache::default();
    let other_hash = DescribeRoutesResponse { hash_name: "crc".to_owned(), ..told(1, &[1]) };
    let no_schema = DescribeRoutesResponse { key_schema: None, ..told(1, &[1]) };
    for told in [other_hash, no_schema] {
        assert!(cache.install("t", told).is_err());
        assert!(!cache.knows("t"));
    }
}

#[test]
fn older_routes_do_not_replace_newer_ones_of_the_same_table() {
    let cache = cache(5, &[1]);
    cache.install("t", told(4, &[2])).unwrap();
    assert!(cache.preference(&put(1)).leads(&endpoint(1)));
    cache.install("t", told(5, &[2])).unwrap();
    assert!(cache.preference(&put(1)).leads(&endpoint(2)));
    let made_again = DescribeRoutesResponse { table_id: 8, ..told(1, &[3]) };
    cache.install("t", made_again).unwrap();
    assert!(cache.preference(&put(1)).leads(&endpoint(3)));
}

#[test]
fn a_hint_counts_if_it_fits() {
    let hint = RouteHint {
        table_id: 7,
        generation: 5,
        first_hash: 0,
        last_hash: u64::MAX,
        leader_endpoint: "http://new:1".to_owned(),
    };
    let misfits = [
        RouteHint { table_id: 8, ..hint.clone() },
        RouteHint { generation: 4, ..hint.clone() },
        RouteHint { last_hash: 9, ..hint.clone() },
        RouteHint { first_hash: 9, ..hint.clone() },
    ];
    for misfit in misfits {
        let cache = cache(5, &[1]);
        assert!(!cache.correct("t", &misfit), "{misfit:?}");
        assert!(cache.preference(&put(1)).leads(&endpoint(1)));
    }
    let cache = cache(5, &[1]);
    assert!(cache.correct("t", &hint));
    let preference = cache.preference(&put(1));
    assert!(preference.leads("http://new:1"));
    assert_eq!(preference.endpoints().len(), 4, "a leader need not be among the replicas");
    assert!(!cache.correct("unknown", &hint));
}

#[test]
fn a_doubted_leader_is_one_of_many() {
    let cache = cache(1, &[1, 1]);
    let preference = cache.preference(&put(1));
    cache.doubt("t", &preference, &endpoint(2));
    assert!(cache.preference(&put(1)).leads(&endpoint(1)), "it was another that was doubted");
    cache.doubt("t", &preference, &endpoint(1));
    let after = cache.preference(&put(1));
    assert!(!after.leads(&endpoint(1)));
    assert_eq!(after.endpoints().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_refresh_at_a_time_and_not_too_often() {
    let cache = RouteCache::default();
    assert!(cache.begin_refresh("t"));
    assert!(!cache.begin_refresh("t"), "one is under way");
    assert!(cache.begin_refresh("other"));
    cache.end_refresh("t");
    assert!(!cache.begin_refresh("t"), "there was one just now");
    tokio::time::advance(REFRESH_PAUSE).await;
    assert!(cache.begin_refresh("t"));
}
