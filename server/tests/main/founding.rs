//! Three nodes found a cluster, serve, and come back.

use crate::cluster::{Cluster, get, put};

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
