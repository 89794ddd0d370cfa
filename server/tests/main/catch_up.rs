//! Replicas that the log does not reach any more catch up by a snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stator_server::Node;
use stator_server::config::{ByteSize, NodeConfig};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, put};

const TABLE: &str = "music";
const VALUE_BYTES: usize = 60_000;

/// A log that holds some megabytes, and followers that do not keep it.
fn small_log(config: &mut NodeConfig) {
    config.log_segment = ByteSize::mib(8);
    config.log_budget = ByteSize::mib(32);
    config.timing.entry_bytes_max = 64 << 10;
    config.timing.message_bytes_max = 64 << 10;
    config.timing.messages_in_flight_max = 4;
    config.timing.snapshot_log_bytes_max = 2 << 20;
}

/// How many snapshots a node has sent, installed or given up.
fn counted(node: &Node, step: &str) -> u64 {
    let text = node.metrics().encode();
    let label = format!("step=\"{step}\"");
    let line = text.lines().find(|line| line.contains("raft_snapshots") && line.contains(&label));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    count.expect("the figure is there")
}

fn value(n: usize, round: usize) -> String {
    format!("{n}-{round}-").repeat(VALUE_BYTES / 8)
}

/// Writes so many large items.
async fn fill(node: &Arc<Node>, items: usize, round: usize) {
    let writers = (0..4).map(|writer| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in (writer..items).step_by(4) {
                put(&node, TABLE, &format!("song-{n}"), &value(n, round)).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("written");
    }
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A cluster whose last node is away, and behind the logs of the others.
async fn left_behind(set_up: impl Fn(&mut NodeConfig)) -> Cluster {
    let mut cluster = Cluster::start(3, set_up).await;
    cluster.create_table(TABLE).await;
    fill(&cluster.node(0), 20, 0).await;
    cluster.crash(2).await;
    for round in 1..=2 {
        fill(&cluster.node(0), 400, round).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_long_catches_up_while_writes_go_on() {
    let mut cluster = left_behind(small_log).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (node, stop) = (cluster.node(0), stop.clone());
        async move {
            let mut round = 10;
            while !stop.load(Ordering::Relaxed) {
                fill(&node, 20, round).await;
                round += 1;
            }
            round - 1
        }
    });
    cluster.restart(2).await;
    let late = cluster.node(2);
    wait_for("the snapshot", || counted(&late, "installed") >= 1).await;
    sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let last = writer.await.expect("writes");
    cluster.wait_ready().await;
    for n in [0, 19] {
        assert_eq!(get(&late, TABLE, &format!("song-{n}")).await, Some(value(n, last)));
    }
    assert_eq!(get(&late, TABLE, "song-399").await, Some(value(399, 2)));
    cluster.wait_equal().await;

    // Once the engine is flushed the files are gone; and what was installed is there after a crash.
    let folder = cluster.config(2).data_dir.join("snapshots");
    wait_for("the end of the files", || std::fs::read_dir(&folder).expect("a folder").count() == 0)
        .await;
    drop(late);
    cluster.crash(2).await;
    cluster.restart(2).await;
    cluster.wait_ready().await;
    cluster.wait_equal().await;
    assert_eq!(counted(&cluster.node(2), "installed"), 0, "nothing is installed again");
}

/// The files of snapshots on a node, by what their names end with, and their bytes together.
fn files(cluster: &Cluster, number: usize, suffix: &str) -> (Vec<PathBuf>, u64) {
    let folder = cluster.config(number).data_dir.join("snapshots");
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    let bytes = found.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
    (found, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_is_resumed_where_the_receiver_crashed() {
    let mut cluster = left_behind(|config| {
        small_log(config);
        config.snapshot_rate = ByteSize::mib(4);
    })
    .await;
    cluster.restart(2).await;
    wait_for("the first frames", || files(&cluster, 2, ".part").1 > 2 << 20).await;
    cluster.crash(2).await;
    let (came, _) = files(&cluster, 2, ".part");
    let largest = came.iter().max_by_key(|path| path.metadata().map_or(0, |data| data.len()));
    let part = largest.expect("a file").clone();
    let bytes = part.metadata().expect("a file").len();
    assert!((1 << 20..6 << 20).contains(&bytes), "the transfer is under way: {bytes}");
    cluster.restart(2).await;
    // It goes on in the same file, which never gets shorter, until all of it is there.
    let whole = part.with_extension("whole");
    wait_for("the rest", || {
        let now = part.metadata().map(|data| data.len());
        assert!(now.as_ref().map_or(true, |now| *now >= bytes), "it began again: {now:?}");
        whole.exists()
    })
    .await;
    wait_for("the snapshot", || counted(&cluster.node(2), "installed") >= 1).await;
    for number in 0..2 {
        assert_eq!(counted(&cluster.node(number), "failed"), 0, "one transfer did it");
    }
    cluster.wait_equal().await;
}

/// The last node comes back, and crashes so long after its snapshot has come.
async fn crash_while_installing(cluster: &mut Cluster, wait_ms: u64) {
    cluster.restart(2).await;
    wait_for("the whole snapshot", || {
        !files(cluster, 2, ".whole").0.is_empty() || counted(&cluster.node(2), "installed") > 0
    })
    .await;
    sleep(Duration::from_millis(wait_ms)).await;
    cluster.crash(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_a_crash_interrupts_is_done_again() {
    let mut cluster = left_behind(small_log).await;
    for wait_ms in [0, 5, 20, 60] {
        crash_while_installing(&mut cluster, wait_ms).await;
        fill(&cluster.node(0), 10, 20 + wait_ms as usize).await;
    }
    cluster.restart(2).await;
    cluster.wait_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_snapshot_is_gone_gets_another() {
    let mut cluster = left_behind(small_log).await;
    for wait_ms in [0, 3, 10] {
        crash_while_installing(&mut cluster, wait_ms).await;
        for file in files(&cluster, 2, "").0 {
            std::fs::remove_file(file).expect("removed");
        }
    }
    cluster.restart(2).await;
    cluster.wait_equal().await;
}
