//! Three nodes found a cluster, serve, and come back.

use stator_storage::engine::{Batch, EngineKind, EngineOptions, open};
use stator_storage::key::EngineKey;
use stator_storage::machine::GroupId;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, get, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_takes_all_nodes_have() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    for n in 0..20 {
        put(&cluster.node(n % 3), "music", &format!("song-{n}"), &format!("value-{n}")).await;
    }
    for n in 0..20 {
        let found = get(&cluster.node((n + 1) % 3), "music", &format!("song-{n}")).await;
        assert_eq!(found, Some(format!("value-{n}")));
    }
    cluster.wait_equal().await;

    cluster.crash(0).await;
    put(&cluster.node(1), "music", "late", "while one is away").await;
    cluster.restart(0).await;
    cluster.wait_ready().await;
    assert_eq!(get(&cluster.node(0), "music", "late").await.as_deref(), Some("while one is away"));
    cluster.wait_equal().await;
}

/// Waits until one of a node's reasons for not serving is this one.
async fn wait_for_reason(cluster: &Cluster, number: usize, is_it: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !cluster.node(number).unready().iter().any(|why| is_it(why)) {
        assert!(Instant::now() < deadline, "{:?}", cluster.node(number).unready());
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_majority_that_lost_its_data_makes_no_second_cluster() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "value").await;
    cluster.wait_equal().await;
    for number in 0..3 {
        cluster.crash(number).await;
    }
    for number in [1, 2] {
        std::fs::remove_dir_all(&cluster.config(number).data_dir).expect("removed");
        cluster.restart(number).await;
    }
    // They meet each other, and that is not enough.
    let first = cluster.config(0).listen.to_string();
    let alone = |why: &str| why.ends_with(&format!("not yet met {first}"));
    for number in [1, 2] {
        wait_for_reason(&cluster, number, alone).await;
    }
    // The one with the data knows both by directories that are gone.
    cluster.restart(0).await;
    for number in [1, 2] {
        wait_for_reason(&cluster, number, |why| why.contains("another data directory")).await;
    }
    let reasons = cluster.node(0).unready();
    assert!(
        !reasons.is_empty() && !reasons.iter().any(|why| why.contains("failed")),
        "{reasons:?}"
    );
}

/// Takes from the engine of a node that is down what its replica of the catalog cannot start without.
fn damage_catalog(cluster: &Cluster, number: usize) {
    let folder = cluster.config(number).data_dir.join("engine");
    let engine = open(&folder, EngineKind::Fjall, &EngineOptions::default()).expect("opens").engine;
    let mut batch = Batch::default();
    batch.delete(EngineKey::Applied { group: GroupId(0) }.encode());
    engine.write(&batch).expect("written");
    engine.flush().expect("flushed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_lost_its_data_is_known_without_the_catalog() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    for number in 0..3 {
        cluster.crash(number).await;
    }
    damage_catalog(&cluster, 0);
    std::fs::remove_dir_all(&cluster.config(1).data_dir).expect("removed");
    cluster.restart(0).await;
    wait_for_reason(&cluster, 0, |why| why.contains("the replica of group 0 has stopped")).await;
    cluster.restart(1).await;
    wait_for_reason(&cluster, 1, |why| why.contains("another data directory")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_leases_of_another_length_does_not_start() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    cluster.crash(2).await;
    cluster.set_up(2, |config| config.timing.drift_margin *= 2);
    let why = cluster.refusal(2).await;
    assert!(why.contains("lease_us = ") && why.contains("and the directory"), "{why}");

    // A directory that says nothing of it is older; then the catalog does.
    let file = cluster.config(2).data_dir.join("node.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    let is_older = |line: &&str| {
        !["[lengths]", "election_us", "lease_us"].iter().any(|it| line.starts_with(it))
    };
    let older: Vec<&str> = text.lines().filter(is_older).collect();
    assert_eq!(older.len() + 3, text.lines().count());
    std::fs::write(&file, older.join("\n")).expect("written");
    cluster.restart(2).await;
    let is_it = |why: &str| why.contains("lease_us = ") && why.contains("and the cluster has");
    wait_for_reason(&cluster, 2, is_it).await;
    cluster.crash(2).await;
    let why = cluster.refusal(2).await;
    assert!(why.contains("and the directory"), "it has learnt it: {why}");

    cluster.set_up(2, |config| config.timing.drift_margin /= 2);
    cluster.restart(2).await;
    cluster.wait_ready().await;
    put(&cluster.node(2), "music", "song", "value").await;
}
