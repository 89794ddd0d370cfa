//! Requests that are followed through the nodes, and what a node tells of the others.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stator_model::api::GetItem;
use stator_model::{AttributeValue, Item};
use stator_proto::metadata::{FORWARDED_TO, REQUEST_ID};
use stator_proto::v1;
use stator_proto::v1::stator_client::StatorClient;
use stator_server::Node;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::cluster::{Cluster, PATIENCE, get, put};

/// What nodes have logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::WARN)
        .with_writer(|| Writer);
    // Nobody else in these tests installs one.
    let _ = subscriber.try_init();
}

/// The nodes that have logged a slow request of this name.
fn loggers(id: &str) -> BTreeSet<u64> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let text = String::from_utf8_lossy(&log).into_owned();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &serde_json::Value| {
            line["request_id"] == id && line["message"] == "slow request"
        })
        .filter_map(|line| line["node"].as_u64())
        .collect()
}

async fn client(node: &Node) -> StatorClient<Channel> {
    let address = format!("http://{}", node.listening().expect("it listens"));
    StatorClient::connect(address).await.expect("connects")
}

fn named<T>(message: T, id: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(REQUEST_ID, id.parse().expect("a name"));
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_name_on_all_nodes() {
    log();
    // What takes any time at all is slow here.
    let set_up = |config: &mut stator_server::config::NodeConfig| {
        config.slow_request = Duration::from_nanos(1);
    };
    let cluster = Cluster::start(3, set_up).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    let key = Item::from([("id".to_owned(), AttributeValue::from("song"))]);
    let request =
        GetItem { table_name: "music".into(), key, consistent_read: true, ..GetItem::default() };
    let (mut forwarded, mut fresh) = (0, 0u32..);
    for number in 0..3 {
        let mut client = client(&cluster.node(number)).await;
        let deadline = Instant::now() + PATIENCE;
        // A node writes so many lines in a second, and no more.
        let (id, is_forwarded) = loop {
            assert!(Instant::now() < deadline, "no line of node {} is found", number + 1);
            let id = format!("follow-me-{number}-{}", fresh.next().expect("endless"));
            let message = v1::GetItemRequest::from(request.clone());
            let answer = client.get_item(named(message, &id)).await.expect("an answer");
            assert_eq!(answer.metadata().get(REQUEST_ID).expect("its name"), id.as_str());
            let is_forwarded = answer.metadata().contains_key(FORWARDED_TO);
            let loggers = loggers(&id);
            if loggers.contains(&(number as u64 + 1))
                && loggers.len() == 1 + usize::from(is_forwarded)
            {
                break (id, is_forwarded);
            }
            sleep(Duration::from_millis(200)).await;
        };
        forwarded += usize::from(is_forwarded);

        // Errors are named, too; and what has no name, or none that can be logged, is given one.
        let nothing = || v1::GetItemRequest { table_name: "n".into(), ..Default::default() };
        let error = client.get_item(named(nothing(), &id)).await.expect_err("no such name");
        assert_eq!(error.metadata().get(REQUEST_ID).expect("its name"), id.as_str());
        for odd in [tonic::Request::new(nothing()), named(nothing(), "not a name")] {
            let error = client.get_item(odd).await.expect_err("no such name");
            let made = error.metadata().get(REQUEST_ID).expect("a name").to_str().expect("plain");
            assert!(made.contains('-') && made.len() <= 64, "{made}");
        }
    }
    assert_eq!(forwarded, 2, "two of three do not lead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_tells_who_leads_and_who_is_behind() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "kept").await;
    cluster.wait_equal().await;
    cluster.crash(2).await;
    for n in 0..30 {
        put(&cluster.node(n % 2), "music", &format!("song-{n}"), "while one is away").await;
    }
    for number in 0..2 {
        let mut client = client(&cluster.node(number)).await;
        told(&mut client, |told| {
            told.leader_node_id.is_some_and(|leader| leader != 3)
                && told.replicas.iter().all(|replica| match replica.node_id {
                    3 => replica.behind.is_none(),
                    _ => replica.behind == Some(0),
                })
        })
        .await;
    }
    cluster.restart(2).await;
    cluster.wait_ready().await;
    cluster.wait_equal().await;
    for number in 0..3 {
        let mut client = client(&cluster.node(number)).await;
        told(&mut client, |told| {
            told.leader_node_id.is_some()
                && told.replicas.iter().all(|replica| replica.behind == Some(0))
        })
        .await;
    }
    assert_eq!(get(&cluster.node(2), "music", "song").await.as_deref(), Some("kept"));
}

/// Waits until this is told of all partitions.
async fn told(client: &mut StatorClient<Channel>, is: impl Fn(&v1::PartitionDescription) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let cluster = client.describe_cluster(v1::DescribeClusterRequest {}).await;
        let partitions = cluster.map(|told| told.into_inner().partitions).unwrap_or_default();
        if partitions.len() == 2 && partitions.iter().all(&is) {
            assert_eq!(partitions[1].table_name, "music");
            return;
        }
        assert!(Instant::now() < deadline, "it tells otherwise: {partitions:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
