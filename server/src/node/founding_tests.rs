//! Two founders that come and go, one of them with a directory of an older version; and what the catalog says of a cluster.

use std::path::Path;

use super::*;
use crate::config::{ByteSize, NodeConfig};
use crate::dir::{DataDir, Mode};
use crate::node::membership::known_by_another_directory;
use crate::node::{Node, Sockets};

const PATIENCE: Duration = Duration::from_secs(60);

/// A founder of several on these addresses, by its place.
fn founder(directory: &Path, addresses: &[String], place: usize) -> NodeConfig {
    let timing = stator_consensus::Config {
        tick: Duration::from_millis(20),
        ..stator_consensus::Config::default()
    };
    NodeConfig {
        data_dir: directory.join(place.to_string()),
        listen: addresses[place].parse().expect("an address"),
        admin_listen: None,
        initial_nodes: addresses.to_vec(),
        min_free: ByteSize::mib(1),
        memory: ByteSize::mib(128),
        timing,
        ..NodeConfig::default()
    }
}

/// Tries until it is done: a former life may not have let go yet.
async fn again<T, E: std::fmt::Display>(attempt: impl AsyncFn() -> std::result::Result<T, E>) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a node's own file knows: the lengths, and the directories of those that hold the catalog.
fn known(node: &Node) -> (Option<Lengths>, Vec<Option<u64>>) {
    let identity = node.inner.dir.as_ref().expect("a directory").identity();
    let directories = identity.catalog.iter().map(|member| member.incarnation);
    (identity.lengths, directories.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_directory_learns_from_the_catalog_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let any = NodeConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: None,
        ..NodeConfig::default()
    };
    let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let bound = Sockets::bind(&any).await.expect("a port");
        addresses.push(bound.address().expect("an address").to_string());
        sockets.push(bound);
    }
    let mut nodes = Vec::new();
    for (place, sockets) in sockets.into_iter().enumerate() {
        let config = founder(directory.path(), &addresses, place);
        nodes.push(Node::serve(config, sockets).await.expect("starts"));
        // Alone it waits for the other one.
        if let [alone] = &nodes[..] {
            let why = known_by_another_directory(&alone.inner);
            assert!(
                why.contains("another data directory") && why.contains("found it anew"),
                "{why}"
            );
        }
    }
    for node in &nodes {
        node.wait_ready(PATIENCE).await.expect("ready");
        assert!(!known_by_another_directory(&node.inner).contains("anew"), "there is a cluster");
    }
    let own = Lengths::of(&nodes[0].inner.config.consensus());
    let directories: Vec<_> = nodes.iter().map(|node| Some(node.inner.incarnation)).collect();
    let learns = async |node: &Node| {
        let learnt = async {
            while known(node).1 != directories {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, learnt).await.expect("in time");
        assert_eq!(known(node).0, Some(own));
    };
    for node in &nodes {
        learns(node).await;
    }
    // Whatever the one that leads the catalog has been told, the other one's replica knows, too.
    let begun = Instant::now();
    loop {
        let first = nodes[0].checksums().await.expect("checksums");
        let is_whole = first.iter().all(|replica| replica.checksum.is_some());
        if is_whole && first == nodes[1].checksums().await.expect("checksums") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{first:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for node in nodes {
        node.shutdown().await;
    }

    let config = founder(directory.path(), &addresses, 0);
    let dir = again(async || DataDir::open(&config.data_dir, config.engine, Mode::Cluster)).await;
    let forgotten = dir.remember(|identity| {
        identity.lengths = None;
        for member in &mut identity.catalog {
            member.incarnation = None;
        }
    });
    forgotten.expect("written");
    drop(dir);
    // Alone it hears nothing of the catalog; but its own replica knows the other's directory.
    let serve = async |place| {
        let config = founder(directory.path(), &addresses, place);
        let sockets = Sockets::bind(&config).await?;
        Node::serve(config, sockets).await
    };
    let node = again(async || serve(0).await).await;
    assert_eq!(known(&node), (None, directories.clone()));
    let other = again(async || serve(1).await).await;
    node.wait_ready(PATIENCE).await.expect("ready");
    learns(&node).await;
    node.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_node_refuses_a_catalog_of_a_newer_format() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = NodeConfig { data_dir: dir.path().join("data"), ..NodeConfig::default() };
    let node = Node::embedded(config.clone(), false).await.expect("opened");
    node.wait_ready(PATIENCE).await.expect("ready");
    let cx = node.inner.own_context(PATIENCE);
    let key = record_key("cluster", "cluster");
    let mut record = node.inner.catalog_get(key, &cx).await.expect("read").expect("there");
    let told = node.inner.describe_cluster(&cx).await;
    assert_eq!(told.format_version, 1);
    record.insert("format_version".into(), AttributeValue::from(2));
    node.inner.catalog_put(&record, &cx).await.expect("written");
    node.shutdown().await;

    let node = Node::embedded(config, false).await.expect("opened");
    let why = tokio::time::timeout(PATIENCE, node.failed()).await.expect("in time");
    assert!(why.contains("format version 2") && why.contains("none above 1"), "{why}");
    assert_eq!(why.lines().count(), 1);
    assert!(!node.unready().is_empty());
    node.shutdown().await;
}

#[test]
fn the_catalog_knows_what_leases_rest_on() {
    let own = Lengths { election_us: 800_000, lease_us: 725_000 };
    let mut cluster = record_key("cluster", "cluster");
    assert_eq!(agreed_lengths(&cluster), None, "an older record");
    cluster.extend(as_attributes(own.named()));
    assert_eq!(agreed_lengths(&cluster), Some(own));
    assert_eq!(own.refusal("this build", own, "the cluster"), None);
    for (name, length) in own.named() {
        cluster.extend(as_attributes([(name, length + 1)]));
        let agreed = agreed_lengths(&cluster).expect("known");
        let why = own.refusal("this build", agreed, "the cluster").expect("another length");
        let said = format!("this build has {name} = {length}, and the cluster has {}", length + 1);
        assert!(why.starts_with(&said) && !why.contains('\n'), "{why}");
        cluster.extend(as_attributes([(name, length)]));
    }
}

#[test]
fn the_catalog_knows_its_founders() {
    let list = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.into()).collect() };
    let founded = ["a:1", "b:1", "c:1", "d:1"];
    let mut cluster = record_key("cluster", "cluster");
    assert_eq!(other_founders(&cluster, &list(&founded)), None, "an older record");
    let nodes = founded.iter().map(|&founder| founder.into());
    cluster.insert("initial_nodes".into(), AttributeValue::L(nodes.collect()));
    assert_eq!(other_founders(&cluster, &list(&founded)), None);
    assert_eq!(other_founders(&cluster, &[]), None, "started again by its directory alone");
    for other in [&["a:1", "b:1", "c:1"][..], &["a:1", "b:1", "c:1", "e:1"]] {
        let why = other_founders(&cluster, &list(other)).expect("another list");
        assert!(why.contains(other.last().expect("some")) && why.contains("d:1"), "{why}");
    }
}
