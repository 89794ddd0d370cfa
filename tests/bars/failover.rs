//! How long the partitions of a node that died are without a leader.

use std::time::{Duration, Instant};

use stator_proto::v1::{DescribeClusterResponse, Liveness};

use crate::Scale;
use crate::cluster::{Cluster, create, kill, wait_for};
use crate::load::{key_per_partition, write_every_partition};
use crate::report::{Outcome, median, seconds};
use crate::support::{PATIENCE, directory};

pub(crate) const CLAIM: &str = "After kill -9 of the node with the most leaders a write to one key of every partition has succeeded within 2 s: \
    the longest of them, median of 10 rounds.";

const PARTITIONS: u32 = 12;

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = directory();
    let cluster = Cluster::start(dir.path(), scale, &[]);
    let (client, transport) = cluster.client();
    create(&client, "bars", PARTITIONS).await;
    let keys = key_per_partition(PARTITIONS);
    let mut times = Vec::new();
    for _ in 0..scale.of(10, 1) {
        wait_for(&transport, PATIENCE, is_spread).await;
        write_every_partition(&client, "bars", &keys).await;
        let told = transport.describe_cluster().await.expect("the cluster answers");
        let most = told.nodes.iter().max_by_key(|node| node.partitions_led).expect("nodes");
        let at = cluster.endpoints.iter().position(|endpoint| *endpoint == most.endpoint);
        let victim = cluster.pids()[at.expect("a node of it")].expect("it runs");
        let begun = Instant::now();
        kill(&[victim]);
        write_every_partition(&client, "bars", &keys).await;
        times.push(begun.elapsed());
    }
    let median = median(&times).expect("rounds");
    let each: Vec<String> = times.iter().map(|time| seconds(*time)).collect();
    outcome.figure("each round's longest", each.join(", "));
    outcome.figure("median", seconds(median));
    outcome.require_in_full(scale, median < Duration::from_secs(2), "it took over 2 s");
    outcome
}

/// Whether all nodes are there, hold all replicas and share the leaders.
fn is_spread(cluster: &DescribeClusterResponse) -> bool {
    let led = cluster.nodes.iter().map(|node| node.partitions_led).sum::<u32>();
    led > PARTITIONS
        && cluster.nodes.len() == 3
        && cluster.nodes.iter().all(|node| {
            node.liveness() == Liveness::Alive
                && node.replicas > PARTITIONS
                && node.partitions_led >= 2
        })
}
