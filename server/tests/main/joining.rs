//! Nodes that come later, and what is left of the cluster's view when nodes have gone.

use std::path::Path;
use std::time::Duration;

use stator_model::Answer;
use stator_model::api::DescribeTable;
use stator_proto::v1::stator_client::StatorClient;
use stator_proto::v1::{
    DescribeClusterRequest, DescribeClusterResponse, Liveness, NodeDescription,
};
use stator_server::config::{ByteSize, NodeConfig};
use stator_server::{Node, Sockets};
use tokio::time::{Instant, sleep};
use tonic::transport::Endpoint;

use crate::cluster::{Cluster, call, put};
use crate::hostile_peers::send;
use crate::peers::Sender;

/// A node that is to join the cluster.
fn joiner(cluster: &Cluster, directory: &Path) -> NodeConfig {
    NodeConfig {
        data_dir: directory.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        join: vec![cluster.config(0).listen.to_string()],
        min_free: ByteSize::mib(1),
        memory: ByteSize::mib(128),
        timing: cluster.config(0).timing,
        ..NodeConfig::default()
    }
}

async fn start(mut config: NodeConfig) -> Result<Node, String> {
    let sockets = Sockets::bind(&config).await.map_err(|error| error.to_string())?;
    config.listen = sockets.address().map_err(|error| error.to_string())?;
    Node::serve(config, sockets).await.map_err(|error| error.to_string())
}

async fn seen_by(cluster: &Cluster, number: usize) -> DescribeClusterResponse {
    let endpoint = format!("http://{}", cluster.config(number).listen);
    let channel = Endpoint::from_shared(endpoint).expect("an endpoint").connect().await;
    let mut client = StatorClient::new(channel.expect("the node is there"));
    let told = client.describe_cluster(DescribeClusterRequest {}).await;
    told.expect("the node answers").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_gets_no_new_replicas_and_keeps_its_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let cluster = Cluster::start(3, |config| config.table_partitions = 4).await;
    let mut config = joiner(&cluster, &directory.path().join("first"));
    let joined = start(config.clone()).await.expect("joins");
    joined.wait_ready(crate::cluster::PATIENCE).await.expect("ready");
    assert_eq!(joined.id(), 4);
    config.listen = joined.listening().expect("it listens");
    tokio::task::spawn_blocking(move || drop(joined)).await.expect("dropped");

    // With three others that answer, none of a table's replicas are its.
    cluster.create_table("after").await;
    let seen = seen_by(&cluster, 1).await;
    assert_eq!(seen.nodes.len(), 4);
    for partition in seen.partitions {
        assert!(partition.replicas.iter().all(|replica| replica.node_id != 4), "{partition:?}");
    }

    // Another directory at its address is another node, which nobody would tell from it.
    config.data_dir = directory.path().join("second");
    let refused = start(config).await.err().expect("refused");
    assert!(refused.contains("is node 4's"), "{refused}");
    assert_eq!(seen_by(&cluster, 1).await.nodes.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_quorum_tells_what_it_knows() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    for n in 0..5 {
        put(&cluster.any(), "music", &format!("song-{n}"), "value").await;
    }
    let described = call(&cluster.any(), DescribeTable { table_name: "music".into() }).await;
    let Ok(Answer::DescribeTable(described)) = described else { panic!("{described:?}") };
    assert_eq!(described.table.item_count, 5);
    cluster.crash(1).await;
    cluster.crash(2).await;
    let seen = seen_by(&cluster, 0).await;
    let liveness = |node: &NodeDescription| node.liveness();
    let told = seen.nodes.iter().map(|node| (node.node_id, liveness(node))).collect::<Vec<_>>();
    let (alive, suspect) = (Liveness::Alive, Liveness::Suspect);
    let [own, others @ ..] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*own, (1, alive));
    assert!(others.iter().all(|(_, liveness)| *liveness != alive), "asked in vain: {told:?}");
    assert_eq!((seen.nodes[0].silent_ms, seen.format_version), (0, 1));
    // They are silent for longer and longer, and in the end they are given up.
    let silent = |seen: &DescribeClusterResponse| seen.nodes[1].silent_ms;
    let deadline = Instant::now() + crate::cluster::PATIENCE;
    let mut last = silent(&seen);
    loop {
        let seen = seen_by(&cluster, 0).await;
        assert!(silent(&seen) >= last && Instant::now() < deadline, "{seen:?}");
        last = silent(&seen);
        if seen.nodes[1..].iter().all(|node| node.liveness() == Liveness::Dead) {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    // One that sends messages is there, if it does not answer.
    let sender = Sender::of(&cluster, 1);
    send(&cluster.node(0), &sender, sender.hello(), vec![Vec::new()]).await;
    assert_eq!(seen_by(&cluster, 0).await.nodes[1].liveness(), suspect);
    cluster.restart(1).await;
    cluster.wait_ready().await;
    while seen_by(&cluster, 0).await.nodes[1].liveness() != alive {
        assert!(Instant::now() < deadline, "it answers again");
        sleep(Duration::from_millis(100)).await;
    }
}
