//! A log that one partition, which has stopped and so lets go of nothing, would fill for all others.

use std::sync::Arc;

use stator_model::api::GetItem;
use stator_model::{AttributeValue, Item};
use stator_server::config::ByteSize;
use tokio::time::{Duration, Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, call, get, put};
use crate::faults::damage;

const STRANDED: &str = "stranded";
const BUSY: &str = "busy";
const BUDGET: u64 = 32 << 20;

/// The bytes of the files of a node's log.
fn log_bytes(cluster: &Cluster) -> u64 {
    let folder = std::fs::read_dir(cluster.config(0).data_dir.join("log")).expect("a folder");
    folder.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_has_stopped_does_not_fill_the_log() {
    let mut cluster = Cluster::start(1, |config| {
        config.log_segment = ByteSize::mib(8);
        config.log_budget = ByteSize::new(BUDGET);
    })
    .await;
    for table in [STRANDED, BUSY] {
        cluster.create_table(table).await;
    }
    for n in 0..20 {
        put(&cluster.node(0), STRANDED, &n.to_string(), &format!("value {n}")).await;
    }
    cluster.crash(0).await;
    damage(&cluster, 0, STRANDED, "17");
    cluster.restart(0).await;
    cluster.wait_ready().await;
    let node = cluster.node(0);
    for n in 20..30 {
        put(&node, STRANDED, &n.to_string(), &format!("value {n}")).await;
    }
    let deadline = Instant::now() + PATIENCE;
    while !node.unready().iter().any(|why| why.contains("has stopped")) {
        let key = Item::from([("id".to_owned(), AttributeValue::from("17"))]);
        let read = GetItem { table_name: STRANDED.into(), key, ..GetItem::default() };
        let _ = call(&node, read).await;
        assert!(Instant::now() < deadline, "nobody has noticed");
        sleep(Duration::from_millis(20)).await;
    }

    // Three times as much as the log may hold.
    let writers = (0..4).map(|writer: usize| {
        let node = node.clone();
        tokio::spawn(async move {
            for n in 0..240 {
                let id = format!("{writer} {}", n % 20);
                put(&node, BUSY, &id, &format!("{n} ").repeat(25_000)).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("written");
    }
    assert!(log_bytes(&cluster) <= BUDGET, "{}", log_bytes(&cluster));
    drop(node);

    for round in 0..2 {
        cluster.crash(0).await;
        cluster.restart(0).await;
        cluster.wait_ready().await;
        let node: Arc<_> = cluster.node(0);
        for n in (0..30).filter(|n| *n != 17) {
            let found = get(&node, STRANDED, &n.to_string()).await;
            let expected =
                if round == 1 && n == 0 { "new".to_owned() } else { format!("value {n}") };
            assert_eq!(found, Some(expected));
        }
        for writer in 0..4 {
            let found = get(&node, BUSY, &format!("{writer} 19")).await;
            assert_eq!(found, Some("239 ".repeat(25_000)));
        }
        put(&node, STRANDED, "0", "new").await;
    }
}
