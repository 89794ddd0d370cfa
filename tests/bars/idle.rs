//! What partitions cost that nobody uses.

use std::time::{Duration, Instant};

use crate::Scale;
use crate::cluster::{Cluster, create, processor_time};
use crate::load::{key_per_partition, write_every_partition};
use crate::report::{Outcome, seconds};
use crate::support::directory;

pub(crate) const CLAIM: &str = "Three nodes with 1,000 partitions on each, idle: after 60 s under 5% of a core each, and the first write after it \
    is answered within 100 ms.";

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = directory();
    let partitions = scale.of(1_000, 30);
    let cluster = Cluster::start(dir.path(), scale, &[]);
    let (client, _) = cluster.client();
    let begun = Instant::now();
    create(&client, "bars", partitions).await;
    outcome.figure(format!("making {partitions} partitions took"), seconds(begun.elapsed()));
    let keys = key_per_partition(partitions);
    write_every_partition(&client, "bars", &keys).await;
    tokio::time::sleep(Duration::from_secs(scale.of(60, 2))).await;

    let pids: Vec<u64> = cluster.pids().into_iter().flatten().collect();
    let used = || pids.iter().map(|pid| processor_time(*pid)).collect::<Vec<_>>();
    let (begun, before) = (Instant::now(), used());
    tokio::time::sleep(Duration::from_secs(scale.of(30, 2))).await;
    let (time, after) = (begun.elapsed(), used());
    let shares = before
        .iter()
        .zip(&after)
        .map(|(before, after)| 100.0 * (*after - *before).as_secs_f64() / time.as_secs_f64());
    let shares: Vec<f64> = shares.collect();
    let told: Vec<String> = shares.iter().map(|share| format!("{share:.1}%")).collect();
    outcome.figure("of a core", told.join(", "));
    outcome.require(shares.len() == 3, "a node ended");
    let is_low = shares.iter().all(|share| *share < 5.0);
    outcome.require_in_full(scale, is_low, "an idle node used 5% of a core or more");

    // Each of these is its partition's first one.
    let mut longest = Duration::ZERO;
    for key in keys.iter().step_by(keys.len() / 10) {
        let begun = Instant::now();
        write_every_partition(&client, "bars", std::slice::from_ref(key)).await;
        longest = longest.max(begun.elapsed());
    }
    outcome.figure("the longest of ten first writes", seconds(longest));
    let in_time = longest < Duration::from_millis(100);
    outcome.require_in_full(scale, in_time, "a first write took 100 ms or more");
    outcome
}
