//! Faults of one node that the others are to be spared: an item that is not what was written, a disk that is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stator_model::api::{GetItem, PutItem};
use stator_model::error::Applied;
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};
use stator_model::{Answer, AttributeValue, EncodedItem, ErrorKind, Item};
use stator_server::config::ByteSize;
use stator_storage::engine::{Batch, EngineKind, EngineOptions, open};
use stator_storage::key::item_key;
use stator_storage::machine::GroupId;
use stator_storage::partition::spec::list_specs;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, call, get, put};
use crate::silence::leader;
use crate::small_disk::SmallDisk;

const TABLE: &str = "music";

fn key_of(id: &str) -> Item {
    Item::from([("id".to_owned(), AttributeValue::from(id))])
}

/// Turns a bit of an item's value, in the engine of a node that is down. Answers the partition, and the key in the engine.
pub(crate) fn damage(cluster: &Cluster, number: usize, table: &str, id: &str) -> (GroupId, Bytes) {
    let schema = KeySchema {
        partition: KeyAttribute { name: "id".into(), key_type: KeyType::S },
        sort: None,
    };
    let key = Key::of_item(&schema, &key_of(id)).expect("a key");
    let folder = cluster.config(number).data_dir.join("engine");
    let engine = open(&folder, EngineKind::Fjall, &EngineOptions::default()).expect("opens");
    let engine = engine.engine;
    let specs = list_specs(engine.as_ref()).expect("its replicas");
    let owner = specs.iter().find(|spec| &*spec.table_name == table && spec.owns(key.hash()));
    let owner = owner.expect("the replica is there");
    let struck = item_key(owner.table_id, &key);
    let mut value = engine.get(&struck).expect("read").expect("the item is there").to_vec();
    *value.last_mut().expect("it has bytes") ^= 1;
    let mut batch = Batch::default();
    batch.put(struck.clone(), value);
    engine.write(&batch).expect("written");
    engine.flush().expect("flushed");
    (owner.group, struck)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupt_item_stops_its_replica_and_nobody_else() {
    let mut cluster = Cluster::start(3, |config| config.table_partitions = 4).await;
    cluster.create_table(TABLE).await;
    for n in 0..40 {
        put(&cluster.node(0), TABLE, &n.to_string(), &format!("value {n}")).await;
    }
    cluster.wait_equal().await;
    cluster.crash(2).await;

    let (group, struck) = damage(&cluster, 2, TABLE, "17");
    cluster.restart(2).await;
    let node = cluster.node(2);
    // An eventually consistent read is served by the node's own replica, which stops on it.
    let deadline = Instant::now() + PATIENCE;
    let reason = loop {
        let read = GetItem { table_name: TABLE.into(), key: key_of("17"), ..GetItem::default() };
        if let Ok(Answer::GetItem(answer)) = call(&node, read).await {
            let item = answer.item.expect("it was put").decode().expect("an item");
            assert_eq!(item.get("value").and_then(|value| value.as_s()), Some("value 17"));
        }
        let stopped = node.unready().into_iter().find(|why| why.contains("has stopped"));
        if let Some(reason) = stopped {
            break reason;
        }
        assert!(Instant::now() < deadline, "nobody has noticed");
        sleep(Duration::from_millis(20)).await;
    };
    let hex: String = struck.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(reason.contains(&format!("group {}", group.0)), "{reason}");
    assert!(reason.contains(&hex) && reason.contains("checksum"), "{reason}");
    // The others serve what it does not, and it serves what is whole.
    for n in 0..40 {
        assert_eq!(get(&node, TABLE, &n.to_string()).await, Some(format!("value {n}")));
        put(&node, TABLE, &n.to_string(), "new").await;
    }
    assert_eq!(node.unready().iter().filter(|why| why.contains("has stopped")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_is_full_is_caught_up_later() {
    let Some(disk) = SmallDisk::mount(128) else { return };
    let cluster = Cluster::start(3, |config| {
        config.log_segment = ByteSize::mib(8);
        config.log_budget = ByteSize::mib(32);
        config.min_free = ByteSize::mib(8);
        if config.data_dir.ends_with("2") {
            config.data_dir = disk.path().join("data");
        }
    })
    .await;
    cluster.create_table(TABLE).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writer = tokio::spawn({
        let (node, stop, done) = (cluster.node(0), stop.clone(), done.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let n = done.load(Ordering::Relaxed);
                put(&node, TABLE, &format!("song {n}"), &n.to_string().repeat(1000)).await;
                done.store(n + 1, Ordering::Relaxed);
            }
        }
    });
    let more = async |count: usize| {
        let (deadline, from) = (Instant::now() + PATIENCE, done.load(Ordering::Relaxed));
        while done.load(Ordering::Relaxed) < from + count {
            assert!(Instant::now() < deadline, "the others do not go on");
            sleep(Duration::from_millis(10)).await;
        }
    };
    more(50).await;
    disk.fill();
    more(500).await;
    let unready = cluster.node(2).unready();
    assert!(
        !unready.iter().any(|why| why.contains("failed") || why.contains("stopped")),
        "{unready:?}"
    );
    disk.give_back();
    more(50).await;
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("written");
    cluster.wait_equal().await;
    let count = done.load(Ordering::Relaxed);
    for n in [0, 49, count / 2, count - 1] {
        assert_eq!(
            get(&cluster.node(2), TABLE, &format!("song {n}")).await,
            Some(n.to_string().repeat(1000))
        );
    }
    drop(cluster);
}

/// What says that most of a partition's replicas have no room.
const MOST_ARE_FULL: &str = "Most of the partition's replicas have no room for writes: their disks or their logs are nearly full. Reads go on.";

/// A put of an item that is another one each time, which is done or surely not: whether it is done.
async fn is_put(node: &stator_server::Node, n: usize) -> bool {
    let mut item = key_of("song");
    item.insert("value".to_owned(), AttributeValue::from(n.to_string()));
    let item = EncodedItem::encode(&item);
    let put = PutItem { table_name: TABLE.into(), item, ..PutItem::default() };
    let Err(error) = call(node, put).await else { return true };
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Throttling, Applied::No), "{error}");
    assert_eq!(error.message(), MOST_ARE_FULL);
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_followers_are_full_refuses_before_anything_is_proposed() {
    let disks = [(); 3].map(|()| SmallDisk::mount(128));
    let [Some(first), Some(second), Some(third)] = disks else { return };
    let disks = [first, second, third];
    let cluster = Cluster::start(3, |config| {
        config.log_segment = ByteSize::mib(8);
        config.log_budget = ByteSize::mib(32);
        config.min_free = ByteSize::mib(8);
        let number = (0..3).find(|number| config.data_dir.ends_with(number.to_string()));
        config.data_dir = disks[number.expect("one of three")].path().join("data");
    })
    .await;
    cluster.create_table(TABLE).await;
    put(&cluster.node(0), TABLE, "song", "early").await;
    cluster.wait_equal().await;
    let at = leader(&cluster).await;
    let node = cluster.node(at);
    let [one, other] = [(at + 1) % 3, (at + 2) % 3];

    // Below the half of its reserve it takes nothing; the other two are enough.
    disks[one].fill_to(3 << 20);
    let until = Instant::now() + Duration::from_secs(1);
    let mut n = 0;
    while Instant::now() < until {
        assert!(is_put(&node, n).await, "most have room");
        n += 1;
    }
    // Above the half of it: what is on its way until the leader knows is taken.
    disks[other].fill_to(6 << 20);
    let deadline = Instant::now() + PATIENCE;
    while is_put(&node, n).await {
        assert!(Instant::now() < deadline, "nobody tells the leader");
        n += 1;
    }
    disks[other].fill_to(3 << 20);
    for number in [at, one, other] {
        assert!(!is_put(&cluster.node(number), n).await, "wherever it is asked");
        assert_eq!(get(&node, TABLE, "song").await, Some((n - 1).to_string()));
    }

    disks[one].give_back();
    let deadline = Instant::now() + PATIENCE;
    while !is_put(&node, n).await {
        assert!(Instant::now() < deadline, "there is room again");
        sleep(Duration::from_millis(20)).await;
    }
    disks[other].give_back();
    drop(node);
    cluster.wait_equal().await;
    drop(cluster);
}
