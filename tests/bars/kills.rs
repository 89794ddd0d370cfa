//! Nodes that are killed under load.

use std::time::{Duration, Instant};

use crate::Scale;
use crate::cluster::{Cluster, create, kill};
use crate::load::{Callers, key_per_partition, write_every_partition};
use crate::report::{Outcome, median, seconds};
use crate::support::{directory, eventually};

pub(crate) const CLAIM: &str = "20 rounds of kill -9 of one node, every third of them of all nodes at once, under load: no acknowledged write is \
    lost, no strong read is stale, every partition serves again by itself.";

pub(crate) const SLED_CLAIM: &str = "10 rounds of kill -9 of a node alone on sled, under load: no acknowledged write is lost, no strong read is \
    stale, every partition serves again by itself.";

const PARTITIONS: u32 = 12;
const WRITERS: usize = 16;

pub(crate) async fn run(scale: Scale) -> Outcome {
    kill_again_and_again(scale, scale.of(20, 3), &[]).await
}

pub(crate) async fn run_on_sled(scale: Scale) -> Outcome {
    kill_again_and_again(scale, scale.of(10, 3), &["--engine", "sled", "--nodes", "1"]).await
}

async fn kill_again_and_again(scale: Scale, rounds: usize, options: &[&str]) -> Outcome {
    let mut outcome = Outcome::default();
    let dir = directory();
    let cluster = Cluster::start(dir.path(), scale, options);
    let nodes = cluster.endpoints.len();
    let (client, _) = cluster.client();
    create(&client, "bars", PARTITIONS).await;
    let keys = key_per_partition(PARTITIONS);
    let callers = Callers::start(&client, "bars", WRITERS);
    let (mut after_one, mut after_all) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(scale.of(2_000, 300))).await;
        let is_all = nodes > 1 && round % 3 == 2;
        let before = cluster.pids();
        let victims: Vec<u64> = match is_all {
            true => before.iter().flatten().copied().collect(),
            // Any of them; not always the same one.
            false => before[round * 7 / 3 % nodes].into_iter().collect(),
        };
        let begun = Instant::now();
        kill(&victims);
        write_every_partition(&client, "bars", &keys).await;
        if is_all { &mut after_all } else { &mut after_one }.push(begun.elapsed());
        let is_back = || {
            let pids = cluster.pids();
            pids.iter().flatten().count() == nodes
                && !victims.iter().any(|pid| pids.contains(&Some(*pid)))
        };
        outcome
            .require(eventually(is_back), format!("round {round}: a node was not started again"));
    }
    for (what, mut times) in [("one node", after_one), ("all nodes", after_all)] {
        times.sort_unstable();
        let (median, longest) = (median(&times), times.last().copied());
        if let (Some(median), Some(longest)) = (median, longest) {
            let figure = format!("{} (longest {})", seconds(median), seconds(longest));
            outcome.figure(
                format!("{what} killed, {} times: every partition serves again after", times.len()),
                figure,
            );
        }
    }
    let (acknowledged, reads) = callers.finish(&client, "bars").await;
    outcome.figure("acknowledged writes, none lost", acknowledged);
    outcome.figure("strong reads, none stale", reads);
    outcome.require(acknowledged > 0, "nothing was written");
    outcome
}
