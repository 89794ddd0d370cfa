//! How soon a cluster answers.

use std::time::{Duration, Instant};

use crate::Scale;
use crate::cluster::{Cluster, create};
use crate::load::{key_per_partition, load, write_every_partition};
use crate::report::{Outcome, seconds};
use crate::support::directory;

pub(crate) const CLAIM: &str = "A three-node cluster answers within 5 s of its program's start, and within 3 s of a restart with a million \
    items, whether it was stopped or killed.";

const PARTITIONS: u32 = 4;

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = directory();
    let keys = key_per_partition(PARTITIONS);
    let items = scale.of(1_000_000, 2_000);
    let begun = Instant::now();
    let cluster = Cluster::start(dir.path(), scale, &[]);
    let ready = begun.elapsed();
    let (client, _) = cluster.client();
    create(&client, "bars", PARTITIONS).await;
    write_every_partition(&client, "bars", &keys).await;
    let first = begun.elapsed();
    outcome.figure("first start: it says that it is ready", seconds(ready));
    outcome.figure(
        "first start: a table is made and all its partitions have taken a write",
        seconds(first),
    );
    outcome.require_in_full(scale, first < Duration::from_secs(5), "the first start took over 5 s");

    load(&client, "bars", 0..items).await;
    outcome.figure("items", items);
    let (code, said) = cluster.supervisor.terminate();
    outcome.require(code == Some(0), format!("it did not stop in good order: {said}"));
    let (restart, cluster) = restarted(&dir, scale, &keys).await;
    outcome.figure("restart after a stop: all partitions have taken a write", seconds(restart));
    let in_time = restart < Duration::from_secs(3);
    outcome.require_in_full(scale, in_time, "the restart after a stop took over 3 s");

    cluster.kill_all();
    let (restart, _cluster) = restarted(&dir, scale, &keys).await;
    outcome.figure("restart after a kill: all partitions have taken a write", seconds(restart));
    let in_time = restart < Duration::from_secs(3);
    outcome.require_in_full(scale, in_time, "the restart after a kill took over 3 s");
    outcome
}

async fn restarted(dir: &tempfile::TempDir, scale: Scale, keys: &[String]) -> (Duration, Cluster) {
    let begun = Instant::now();
    let cluster = Cluster::start(dir.path(), scale, &[]);
    let (client, _) = cluster.client();
    write_every_partition(&client, "bars", keys).await;
    (begun.elapsed(), cluster)
}
