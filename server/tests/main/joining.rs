//! Nodes that come later, and what is left of the cluster's view when nodes have gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stator_model::api::{
    BatchGetItem, BatchWriteItem, DescribeTable, KeysAndAttributes, WriteRequest,
};
use stator_model::error::Applied;
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{Answer, AttributeValue, EncodedItem, Error, ErrorKind, Item};
use stator_proto::v1::stator_client::StatorClient;
use stator_proto::v1::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeRoutesRequest, Liveness,
    NodeDescription, PartitionRoute,
};
use stator_server::config::{ByteSize, NodeConfig};
use stator_server::{Node, Sockets};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use crate::cluster::{Cluster, call, get, put};
use crate::hostile_peers::send;
use crate::peers::Sender;

/// How long a batch may take of which a part cannot be served.
const BATCH_TIME: Duration = Duration::from_secs(2);

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

async fn client(cluster: &Cluster, number: usize) -> StatorClient<Channel> {
    let endpoint = format!("http://{}", cluster.config(number).listen);
    let channel = Endpoint::from_shared(endpoint).expect("an endpoint").connect().await;
    StatorClient::new(channel.expect("the node is there"))
}

pub(crate) async fn seen_by(cluster: &Cluster, number: usize) -> DescribeClusterResponse {
    let told = client(cluster, number).await.describe_cluster(DescribeClusterRequest {}).await;
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

/// Three founders and a node that has joined them, all of which answer, and a table of four partitions that was made then.
async fn with_a_joined_node(directory: &Path) -> Cluster {
    let mut cluster = Cluster::start(3, |config| config.table_partitions = 4).await;
    let mut config = joiner(&cluster, directory);
    let joined = start(config.clone()).await.expect("joins");
    config.listen = joined.listening().expect("it listens");
    cluster.add(config, joined);
    cluster.wait_ready().await;
    let deadline = Instant::now() + crate::cluster::PATIENCE;
    let alive = |node: &NodeDescription| node.liveness() == Liveness::Alive;
    loop {
        let seen = seen_by(&cluster, 0).await;
        if seen.nodes.len() == 4 && seen.nodes.iter().all(alive) {
            break;
        }
        assert!(Instant::now() < deadline, "the first node does not know the fourth: {seen:?}");
        sleep(Duration::from_millis(20)).await;
    }
    cluster.create_table("after").await;
    cluster
}

/// Waits until a node leads a partition of the table, as that node sees it.
async fn wait_until_leads(cluster: &Cluster, number: usize) {
    let deadline = Instant::now() + crate::cluster::PATIENCE;
    let own = cluster.node(number).id();
    loop {
        let seen = seen_by(cluster, number).await;
        let of_table = seen.partitions.iter().filter(|partition| partition.table_name == "after");
        if of_table.clone().any(|partition| partition.leader_node_id == Some(own)) {
            return;
        }
        assert!(Instant::now() < deadline, "node {own} leads nothing: {seen:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Puts items by way of one node after another, more than enough for every partition to have some, and reads each by the next one.
async fn serves_by_way_of(cluster: &Cluster, numbers: &[usize], value: &str) {
    for n in 0..40 {
        let (id, at) = (n.to_string(), |n: usize| cluster.node(numbers[n % numbers.len()]));
        put(&at(n), "after", &id, value).await;
        assert_eq!(get(&at(n + 1), "after", &id).await.as_deref(), Some(value), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joined_holds_and_serves_its_part_of_a_new_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = with_a_joined_node(&directory.path().join("fourth")).await;
    let seen = seen_by(&cluster, 1).await;
    let of_table = seen.partitions.iter().filter(|partition| partition.table_name == "after");
    let mut held = BTreeMap::<u64, usize>::new();
    for replica in of_table.flat_map(|partition| &partition.replicas) {
        *held.entry(replica.node_id).or_default() += 1;
    }
    assert_eq!(held, BTreeMap::from([(1, 3), (2, 3), (3, 3), (4, 3)]), "{seen:?}");
    serves_by_way_of(&cluster, &[0, 1, 2, 3], "first").await;
    wait_until_leads(&cluster, 3).await;

    cluster.crash(3).await;
    serves_by_way_of(&cluster, &[0, 1, 2], "without it").await;
    cluster.restart(3).await;
    cluster.wait_ready().await;
    assert_eq!(cluster.node(3).id(), 4);
    serves_by_way_of(&cluster, &[3], "by way of it").await;
    wait_until_leads(&cluster, 3).await;

    // Its replicas count for a majority as any others do.
    cluster.crash(0).await;
    serves_by_way_of(&cluster, &[1, 2, 3], "without a founder").await;
}

/// Puts items with these ids in one batch; answers those that are left over.
async fn put_batch(node: &Node, ids: &[String]) -> Result<Vec<String>, Error> {
    let put = |id: &String| WriteRequest::Put(EncodedItem::encode(&item(id)));
    let writes = ids.iter().map(put).collect();
    let request = BatchWriteItem { request_items: [("after".to_owned(), writes)].into() };
    let answer = node.call(request.into(), "test".into(), Some(BATCH_TIME)).await?;
    let Answer::BatchWriteItem(mut answer) = answer else { panic!("{answer:?}") };
    let left = answer.unprocessed_items.remove("after").unwrap_or_default();
    let id_of = |write: WriteRequest| match write {
        WriteRequest::Put(item) => id_of(&item.decode().expect("an item")),
        WriteRequest::Delete(_) => panic!("nothing was to be deleted"),
    };
    Ok(left.into_iter().map(id_of).collect())
}

/// Reads items with these ids in one batch; answers those that were found, and those that are left over.
async fn get_batch(node: &Node, ids: &[String]) -> Result<(Vec<String>, Vec<String>), Error> {
    let keys = ids.iter().map(|id| item(id)).collect();
    let wanted = KeysAndAttributes { keys, consistent_read: true, ..Default::default() };
    let request = BatchGetItem { request_items: [("after".to_owned(), wanted)].into() };
    let answer = node.call(request.into(), "test".into(), Some(BATCH_TIME)).await?;
    let Answer::BatchGetItem(mut answer) = answer else { panic!("{answer:?}") };
    let found = answer.responses.remove("after").unwrap_or_default();
    let left = answer.unprocessed_keys.remove("after").unwrap_or_default();
    let found = found.iter().map(|item| id_of(&item.decode().expect("an item")));
    Ok((found.collect(), left.keys.iter().map(id_of).collect()))
}

/// The partitions of the table, in the order of their ranges, and the nodes that hold them.
async fn placement(cluster: &Cluster) -> Vec<PartitionRoute> {
    let request = DescribeRoutesRequest { table_name: "after".to_owned() };
    let told = client(cluster, 0).await.describe_routes(request).await;
    told.expect("the node answers").into_inner().partitions
}

/// The hash that an id is placed by.
fn hash_of(id: &str) -> u64 {
    let partition = KeyAttribute { name: "id".into(), key_type: KeyType::S };
    let schema = KeySchema { partition, sort: None };
    Key::of_item(&schema, &item(id)).expect("a key").hash()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn item(id: &str) -> Item {
    Item::from([("id".to_owned(), AttributeValue::from(id))])
}

fn id_of(item: &Item) -> String {
    item["id"].as_s().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_leave_over_what_has_lost_its_quorum_and_do_the_rest() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut cluster = with_a_joined_node(&directory.path().join("fourth")).await;
    let ids: Vec<String> = (0..24).map(|n| n.to_string()).collect();
    // The catalog keeps its majority. Two of the partitions have a replica on both of these, and two on one of them.
    let placement = placement(&cluster).await;
    let is_lost = |id: &&String| {
        let hash = hash_of(id);
        let partition = placement.iter().find(|partition| hash <= partition.last_hash);
        let nodes = &partition.expect("the last one ends with the last hash").replica_node_ids;
        [3, 4].iter().all(|node| nodes.contains(node))
    };
    let (lost, served): (Vec<&String>, Vec<&String>) = ids.iter().partition(is_lost);
    let cloned = |ids: Vec<&String>| sorted(ids.into_iter().cloned().collect());
    let (lost, served) = (cloned(lost), cloned(served));
    assert!(!lost.is_empty() && !served.is_empty(), "{placement:?}");
    cluster.crash(2).await;
    cluster.crash(3).await;
    for node in [cluster.node(0), cluster.node(1)] {
        // Who has lost its quorum takes writes until it knows, and of the others some may have no leader yet.
        let deadline = Instant::now() + crate::cluster::PATIENCE;
        loop {
            let left = put_batch(&node, &ids).await.map(sorted);
            if left.as_ref().is_ok_and(|left| *left == lost) {
                break;
            }
            assert!(Instant::now() < deadline, "{left:?} is left over instead of {lost:?}");
        }
        assert_eq!(put_batch(&node, &served).await.expect("written"), Vec::<String>::new());
        let (found, left) = get_batch(&node, &ids).await.expect("some of it is read");
        assert_eq!(sorted(found), sorted(served.clone()));
        assert_eq!(sorted(left), sorted(lost.clone()));
        // Nothing at all is an error, and surely nothing.
        let refused = get_batch(&node, &lost).await.expect_err("nothing is read");
        let passing = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded];
        assert!(passing.contains(&refused.kind()), "{refused}");
        let refused = put_batch(&node, &lost).await.expect_err("nothing is written");
        assert!(passing.contains(&refused.kind()) && refused.applied() == Applied::No, "{refused}");
    }
}
