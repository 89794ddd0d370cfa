//! A node that can be reached and says nothing, as one that is stopped with SIGSTOP or cut off behind its back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stator_model::api::{
    BatchGetItem, DeleteTable, DescribeTable, GetItem, KeysAndAttributes, PutItem, Query,
    QueryAnswer, Scan,
};
use stator_model::error::Applied;
use stator_model::{Answer, AttributeValue, EncodedItem, ErrorKind, Item, Request};
use stator_proto::peer::v1 as wire;
use stator_server::config::NodeConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, call, get, put};
use crate::joining::seen_by;
use crate::peers::Sender;

/// What a call may take here: less than until its connection is found to be dead, which is after 10 s.
const TIME: Duration = Duration::from_secs(9);

/// Stands before a node, and passes on what comes for it until it is told to keep it.
struct Door {
    address: SocketAddr,
    shut: Arc<watch::Sender<bool>>,
}

impl Door {
    fn before(node: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let shut = Arc::new(watch::channel(false).0);
        let told = shut.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let told = told.subscribe();
                tokio::spawn(async move {
                    if let Ok(to) = TcpStream::connect(node).await {
                        let ((from_in, from_out), (to_in, to_out)) =
                            (from.into_split(), to.into_split());
                        let there = pass(from_in, to_out, told.clone());
                        let back = pass(to_in, from_out, told);
                        tokio::join!(there, back);
                    }
                });
            }
        });
        Self { address, shut }
    }
}

async fn pass(
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    mut shut: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        if from.readable().await.is_err() || shut.wait_for(|shut| !*shut).await.is_err() {
            return;
        }
        let count = match from.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            if to.writable().await.is_err() || shut.wait_for(|shut| !*shut).await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// A cluster whose nodes reach each other by doors.
async fn behind_doors() -> (Cluster, Vec<Door>) {
    let doors: Mutex<Vec<Door>> = Mutex::default();
    let set_up = |config: &mut NodeConfig| {
        let mut doors = doors.lock().expect("nobody panics");
        if doors.is_empty() {
            let nodes = config.initial_nodes.iter().map(|node| node.parse().expect("an address"));
            doors.extend(nodes.map(Door::before));
        }
        let place = config.initial_nodes.iter().position(|node| *node == config.listen.to_string());
        config.advertise = Some(doors[place.expect("a founder")].address.to_string());
        config.initial_nodes = doors.iter().map(|door| door.address.to_string()).collect();
    };
    let cluster = Cluster::start(3, set_up).await;
    (cluster, doors.into_inner().expect("nobody panics"))
}

fn key(id: &str) -> Item {
    Item::from([("id".to_owned(), AttributeValue::from(id))])
}

fn reads() -> Vec<Request> {
    let wanted = KeysAndAttributes {
        keys: vec![key("song")],
        consistent_read: true,
        ..KeysAndAttributes::default()
    };
    vec![
        Query {
            table_name: "music".into(),
            key_condition_expression: "id = :id".into(),
            expression_attribute_values: [(":id".to_owned(), "song".into())].into(),
            consistent_read: true,
            ..Query::default()
        }
        .into(),
        Scan { table_name: "music".into(), consistent_read: true, ..Scan::default() }.into(),
        BatchGetItem { request_items: [("music".to_owned(), wanted)].into() }.into(),
        GetItem {
            table_name: "music".into(),
            key: key("song"),
            consistent_read: true,
            ..GetItem::default()
        }
        .into(),
    ]
}

/// Which node leads the only partition of the table.
pub(crate) async fn leader(cluster: &Cluster) -> usize {
    for number in 0..3 {
        let mut client = Sender::of(cluster, (number + 1) % 3).client(&cluster.node(number)).await;
        let told = client.replica_status(wire::ReplicaStatusRequest::default()).await;
        let groups = told.expect("told").into_inner().groups;
        if groups.iter().any(|status| status.group != 0 && status.serves) {
            return number;
        }
    }
    panic!("nobody leads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_find_another_leader_and_writes_say_what_they_know() {
    for round in 0..2 {
        let (cluster, doors) = behind_doors().await;
        cluster.create_table("music").await;
        put(&cluster.node(0), "music", "song", "kept").await;
        let leader = leader(&cluster).await;
        let others: Vec<_> = (0..3).filter(|n| *n != leader).map(|n| cluster.node(n)).collect();
        for node in &others {
            assert_eq!(get(node, "music", "song").await.as_deref(), Some("kept"));
        }
        doors[leader].shut.send_replace(true);
        if round == 0 {
            let calls = reads().into_iter().flat_map(|read| {
                others.iter().map(move |node| {
                    let (node, read) = (node.clone(), read.clone());
                    // Long enough for another one to be elected in a part of it.
                    async move { node.call(read, "test".into(), Some(TIME)).await }
                })
            });
            for answer in futures::future::join_all(calls).await {
                let found = match answer.expect("somebody answers") {
                    Answer::Query(QueryAnswer { count, .. }) => count as usize,
                    Answer::Scan(answer) => answer.count as usize,
                    Answer::BatchGetItem(answer) => answer.responses["music"].len(),
                    Answer::GetItem(answer) => usize::from(answer.item.is_some()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(found, 1);
            }
        } else {
            let item = EncodedItem::encode(&key("late"));
            let request = PutItem { table_name: "music".into(), item, ..PutItem::default() };
            let writes = others
                .iter()
                .map(|node| node.call(request.clone().into(), "test".into(), Some(TIME)));
            for error in futures::future::join_all(writes).await.into_iter().filter_map(Result::err)
            {
                // It was sent, and nobody knows; and it did not take all of the time to say so.
                assert_eq!(error.kind(), ErrorKind::Uncertain, "{error}");
                assert_eq!(error.applied(), Applied::Unknown);
            }
            for node in &others {
                let brief = Some(Duration::from_secs(5));
                let again = node.call(request.clone().into(), "test".into(), brief).await;
                again.expect("the new leader is known");
            }
        }
        doors[leader].shut.send_replace(false);
        drop(others);
        cluster.wait_equal().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_come_and_go_while_a_node_says_nothing() {
    let (cluster, doors) = behind_doors().await;
    cluster.create_table("music").await;
    put(&cluster.node(0), "music", "song", "old").await;
    let leader = seen_by(&cluster, 0).await.catalog_leader_node_id.expect("a leader");
    let leader = usize::try_from(leader).expect("a number") - 1;
    let (silent, other) = ((leader + 1) % 3, (leader + 2) % 3);
    doors[silent].shut.send_replace(true);
    cluster.create_table_on("films", &[leader, other]).await;

    let node = cluster.node(leader);
    call(&node, DeleteTable { table_name: "music".into() }).await.expect("deleted");
    let deadline = Instant::now() + PATIENCE;
    while let Ok(described) = call(&node, DescribeTable { table_name: "music".into() }).await {
        assert!(Instant::now() < deadline, "its name is not free: {described:?}");
        sleep(Duration::from_millis(20)).await;
    }
    cluster.create_table_on("music", &[leader, other]).await;
    assert_eq!(get(&node, "music", "song").await, None);

    doors[silent].shut.send_replace(false);
    drop(node);
    let held = cluster.wait_equal().await;
    assert_eq!(held.len(), 3, "the catalog and two partitions: {held:?}");
}
