//! A node that is stopped in good order leaves nothing without a leader.

use std::collections::BTreeMap;

use stator_proto::peer::v1 as wire;
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, put};
use crate::peers::Sender;

const TABLE: &str = "music";

/// What a node tells of its replicas, by group.
async fn told(cluster: &Cluster, number: usize) -> BTreeMap<u64, wire::GroupStatus> {
    let mut client = Sender::of(cluster, (number + 1) % 3).client(&cluster.node(number)).await;
    let told = client.replica_status(wire::ReplicaStatusRequest::default()).await;
    let groups = told.expect("told").into_inner().groups;
    groups.into_iter().map(|status| (status.group, status)).collect()
}

/// The groups that each of these nodes leads, with the terms, once every group is led by one of them and all of them say the same.
async fn led(cluster: &Cluster, nodes: &[usize], groups: usize) -> BTreeMap<u64, (usize, u64)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut led = BTreeMap::new();
        let mut terms = Vec::new();
        for number in nodes {
            let told = told(cluster, *number).await;
            terms.push(told.values().map(|status| status.term).collect::<Vec<_>>());
            let leads = told.values().filter(|status| status.serves);
            led.extend(leads.map(|status| (status.group, (*number, status.term))));
        }
        if led.len() == groups && terms.iter().all(|told| *told == terms[0]) {
            return led;
        }
        assert!(Instant::now() < deadline, "not all of {groups} are led: {led:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_good_order_has_handed_over_all_that_it_led() {
    // The longest election timeout there may be: what is seen here is not one.
    let mut cluster = Cluster::start(3, |config| {
        config.table_partitions = 8;
        config.timing.election_ticks = 50;
    })
    .await;
    cluster.create_table(TABLE).await;
    for n in 0..100 {
        put(&cluster.node(0), TABLE, &n.to_string(), "before").await;
    }
    // The catalog's group, too. Terms are told twice a second.
    sleep(Duration::from_millis(600)).await;
    let before = led(&cluster, &[0, 1, 2], 9).await;
    let mine: Vec<u64> =
        before.iter().filter(|(_, (leader, _))| *leader == 0).map(|(group, _)| *group).collect();
    assert!(mine.len() > 1, "{before:?}");
    let former = told(&cluster, 0).await.into_values();
    let former: BTreeMap<u64, u64> =
        former.map(|status| (status.group, status.replica_id)).collect();

    cluster.stop(0).await;
    // At once: somebody has been told to lead each of them, and does not follow the one that is gone any more.
    let left = [told(&cluster, 1).await, told(&cluster, 2).await];
    for group in &mine {
        let follows = |told: &BTreeMap<u64, wire::GroupStatus>| {
            told[group].leader_replica_id == Some(former[group])
        };
        assert!(!left.iter().all(follows), "group {group} was left behind: {left:?}");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let after = led(&cluster, &[1, 2], 9).await;
        if mine.iter().all(|group| after[group].1 > before[group].1) {
            break;
        }
        assert!(Instant::now() < deadline, "{before:?} and then {after:?}");
    }
    // More than enough keys for every partition to have some.
    for n in 0..100 {
        put(&cluster.node(1), TABLE, &n.to_string(), "after").await;
        assert_eq!(get(&cluster.node(2), TABLE, &n.to_string()).await.as_deref(), Some("after"));
    }
}
