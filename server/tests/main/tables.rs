//! Tables that come and go while nodes do.

use std::time::Duration;

use stator_model::api::{CreateTable, DeleteTable, DescribeTable};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType, TableStatus};
use stator_model::{Answer, ErrorKind, Request};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, PATIENCE, call, get, put};

/// Deletes a table, and waits until its name is free.
pub(crate) async fn delete_table(cluster: &Cluster, name: &str) {
    call(&cluster.any(), DeleteTable { table_name: name.into() }).await.expect("deleted");
    let describe = Request::from(DescribeTable { table_name: name.into() });
    let deadline = Instant::now() + 10 * PATIENCE;
    loop {
        let described = call(&cluster.any(), describe.clone()).await;
        match described {
            Err(error) if error.kind() == ErrorKind::ResourceNotFound => return,
            other if Instant::now() >= deadline => panic!("still there: {other:?}"),
            _ => sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_used_again_is_another_table_on_every_node() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    for round in 0..5 {
        cluster.create_table("music").await;
        for n in 0..3 {
            // Every node routes by what it knows of the name; one that knows the old table must not serve it.
            assert_eq!(get(&cluster.node(n), "music", "song").await, None, "round {round}");
            put(&cluster.node(n), "music", &format!("song-{n}"), "here").await;
        }
        put(&cluster.node(round % 3), "music", "song", "of this round").await;
        delete_table(&cluster, "music").await;
    }
    // A node that is away does not keep the name, and lets go of its replicas when it is back.
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "old").await;
    cluster.crash(2).await;
    delete_table(&cluster, "music").await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "new").await;
    cluster.restart(2).await;
    cluster.wait_ready().await;
    assert_eq!(get(&cluster.node(2), "music", "song").await.as_deref(), Some("new"));
    let held = cluster.wait_equal().await;
    assert_eq!(held.len(), 2, "the catalog and one partition: {held:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_data_does_not_come_back_under_its_id() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let lost = cluster.config(2).data_dir.clone();
    cluster.crash(2).await;
    std::fs::remove_dir_all(lost).expect("removed");
    cluster.restart(2).await;
    let why = timeout(PATIENCE, cluster.node(2).failed()).await.expect("it finds out");
    assert!(why.contains("data directory"), "{why}");
    let refused = call(&cluster.node(2), DescribeTable { table_name: "music".into() }).await;
    assert_eq!(refused.expect_err("it serves nothing").kind(), ErrorKind::Unavailable);
    assert_eq!(get(&cluster.node(0), "music", "song").await.as_deref(), Some("kept"));
    cluster.create_table_on("films", &[0, 1]).await;
    put(&cluster.node(1), "films", "film", "two of three go on").await;
}

/// Makes a table of so many partitions, and waits until it takes requests.
async fn create_large(cluster: &Cluster, name: &str, partitions: u32) {
    let id = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    let create = CreateTable {
        table_name: name.into(),
        key_schema: KeySchema { partition: id, sort: None },
        partitions: Some(partitions),
        deletion_protection: false,
    };
    call(&cluster.node(0), create).await.expect("created");
    let describe = Request::from(DescribeTable { table_name: name.into() });
    let deadline = Instant::now() + 10 * PATIENCE;
    loop {
        let described = call(&cluster.node(0), describe.clone()).await;
        match described {
            Ok(Answer::DescribeTable(answer)) if answer.table.status == TableStatus::Active => {
                return;
            }
            other if Instant::now() >= deadline => panic!("not active: {other:?}"),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// How long it takes is shown by `cargo test -p stator-server --test main thousand -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_a_thousand_partitions_comes_and_goes() {
    let cluster = Cluster::start(3, |_| {}).await;
    let begun = Instant::now();
    create_large(&cluster, "large", 1000).await;
    let created = begun.elapsed();
    put(&cluster.node(1), "large", "song", "value").await;
    let begun = Instant::now();
    delete_table(&cluster, "large").await;
    let (deleted, mut out) = (begun.elapsed(), std::io::stdout());
    use std::io::Write as _;
    writeln!(out, "1,000 partitions made in {created:.1?}, removed in {deleted:.1?}")
        .expect("said");
}
