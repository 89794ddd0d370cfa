//! A node whose engine is damaged, gone, or not to be believed gets its data back from the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stator_model::api::GetItem;
use stator_model::{Answer, AttributeValue, Item};
use stator_server::Node;
use stator_server::config::{ByteSize, EngineKind, NodeConfig};
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PATIENCE, call, get, put};

/// A table whose log is cut, and one whose log is whole.
const LONG: &str = "long";
const SHORT: &str = "short";

/// Logs that are cut soon.
fn cut_soon(config: &mut NodeConfig) {
    config.timing.truncate_entries = 16;
}

fn rebuild(config: &mut NodeConfig) {
    config.rebuild_engine = true;
}

/// A figure of a node.
fn figure(node: &Node, name: &str) -> u64 {
    let text = node.metrics().encode();
    let line = text.lines().find(|line| line.starts_with("stator_") && line.contains(name));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Stops the last node as a crash does, and starts it again to be made anew.
async fn crash_and_rebuild(cluster: &mut Cluster) {
    cluster.crash(2).await;
    cluster.set_up(2, rebuild);
    cluster.restart(2).await;
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Writes both tables, the first so often that the last node cuts its log.
async fn fill(cluster: &Cluster, bytes: usize) {
    for table in [LONG, SHORT] {
        cluster.create_table(table).await;
    }
    let node = cluster.node(0);
    for n in 0..5 {
        put(&node, SHORT, &n.to_string(), &format!("short {n}")).await;
    }
    let before = figure(&cluster.node(2), "raft_truncations_total");
    for round in 0..4 {
        for n in 0..25 {
            put(&node, LONG, &n.to_string(), &format!("{n} {round} {}", "x".repeat(bytes))).await;
        }
    }
    let last = cluster.node(2);
    wait_for("a truncation", || figure(&last, "raft_truncations_total") > before).await;
}

async fn check(cluster: &Cluster, bytes: usize) {
    cluster.wait_ready().await;
    cluster.wait_equal().await;
    let node = cluster.node(2);
    assert_eq!(get(&node, SHORT, "4").await.as_deref(), Some("short 4"));
    assert_eq!(get(&node, LONG, "24").await, Some(format!("24 3 {}", "x".repeat(bytes))));
}

async fn check_made_anew(cluster: &Cluster, bytes: usize) {
    check(cluster, bytes).await;
    wait_for("the end", || !note(cluster).exists()).await;
}

fn note(cluster: &Cluster) -> PathBuf {
    cluster.config(2).data_dir.join("rebuilding")
}

fn is_there(cluster: &Cluster, name: &str) -> bool {
    cluster.config(2).data_dir.join(name).exists()
}

/// The names and lengths of the files of a directory.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let meta = entry.metadata().expect("it is there");
            if meta.is_dir() {
                folders.push(entry.path());
            }
            found.push((entry.path(), meta.len()));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_back_what_its_engine_has_lost() {
    let mut cluster = Cluster::start(3, cut_soon).await;
    fill(&cluster, 10).await;
    cluster.wait_equal().await;
    cluster.crash(2).await;

    // Deleted: it refuses, and names the way out.
    let engine = cluster.config(2).data_dir.join("engine");
    fs::remove_dir_all(&engine).expect("removed");
    let why = cluster.refusal(2).await;
    assert!(why.contains("does not hold") && why.contains("--rebuild-engine"), "{why}");
    cluster.set_up(2, rebuild);
    cluster.restart(2).await;
    check_made_anew(&cluster, 10).await;

    // Damaged: what is left of it is set aside.
    cluster.crash(2).await;
    fs::remove_dir_all(engine.join("data")).expect("removed");
    fs::write(engine.join("engine"), "nonsense").expect("written");
    cluster.set_up(2, |config| config.rebuild_engine = false);
    let why = cluster.refusal(2).await;
    assert!(why.contains("not an engine's marker"), "{why}");
    cluster.set_up(2, rebuild);
    cluster.restart(2).await;
    let aside = cluster.node(2).former_engine().expect("it was set aside").to_owned();
    assert_eq!(fs::read_to_string(aside.join("engine")).expect("it is there"), "nonsense");
    check_made_anew(&cluster, 10).await;

    // From then on it is a node like any other.
    put(&cluster.node(2), LONG, "new", "after").await;
    cluster.set_up(2, |config| config.rebuild_engine = false);
    cluster.crash(2).await;
    cluster.restart(2).await;
    check(&cluster, 10).await;
    assert!(cluster.node(2).former_engine().is_none() && aside.exists());
    assert!(!is_there(&cluster, "engine.aside-3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_believed_after_a_power_cut_is_made_anew() {
    let mut cluster = Cluster::start(3, |config| {
        cut_soon(config);
        config.engine = EngineKind::Sled;
    })
    .await;
    fill(&cluster, 10).await;
    cluster.crash(2).await;
    let boot = cluster.config(2).data_dir.join("engine").join("boot");
    // Connections of the former life may take a moment to let go of the engine.
    wait_for("the engine's end", || !boot.exists()).await;
    fs::write(&boot, "the boot before\n").expect("written");
    for _ in 0..2 {
        let why = cluster.refusal(2).await;
        assert!(why.contains("the machine stopped") && why.contains("--rebuild-engine"), "{why}");
    }
    cluster.set_up(2, rebuild);
    cluster.restart(2).await;
    check_made_anew(&cluster, 10).await;
    assert!(is_there(&cluster, "engine.aside-1"));
}

/// A snapshot takes some seconds.
fn slow(config: &mut NodeConfig) {
    cut_soon(config);
    config.snapshot_rate = ByteSize::mib(1);
}

const LARGE: usize = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_between_is_gone_on_from_without_being_told() {
    let mut cluster = Cluster::start(3, slow).await;
    fill(&cluster, LARGE).await;
    crash_and_rebuild(&mut cluster).await;
    // The rest is as the second start has to do it.
    cluster.set_up(2, |config| config.rebuild_engine = false);
    let snapshots = cluster.config(2).data_dir.join("snapshots");
    for _ in 0..3 {
        wait_for("some of the snapshot", || {
            let bytes: u64 = listing(&snapshots).iter().map(|(_, bytes)| bytes).sum();
            bytes > 0 || !note(&cluster).exists()
        })
        .await;
        assert!(note(&cluster).exists(), "it takes longer than that");
        let unready = cluster.node(2).unready();
        assert!(unready.iter().any(|why| why.contains("lack their data")), "{unready:?}");
        cluster.crash(2).await;
        cluster.restart(2).await;
        assert!(cluster.node(2).former_engine().is_some(), "it is still under way");
    }
    check_made_anew(&cluster, LARGE).await;
    assert!(is_there(&cluster, "engine.aside-1") && !is_there(&cluster, "engine.aside-2"));
}

/// The beginning of an item's value as the node's own replica has it, or none if it does not answer.
async fn read_weakly(node: &Node, id: &str) -> Option<Option<String>> {
    let key = Item::from([("id".to_owned(), AttributeValue::from(id))]);
    let read = GetItem { table_name: LONG.into(), key, ..GetItem::default() };
    let Ok(Answer::GetItem(answer)) = call(node, read).await else { return None };
    Some(answer.item.map(|item| {
        let item = item.decode().expect("an item");
        let value = item.get("value").and_then(|value| value.as_s()).expect("a value");
        value.chars().take(4).collect()
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_its_data_neither_answers_nor_leads() {
    let mut cluster = Cluster::start(3, slow).await;
    fill(&cluster, LARGE).await;
    crash_and_rebuild(&mut cluster).await;
    // By way of the others, or not at all; never from an empty range.
    let lacking = || note(&cluster).exists();
    for _ in 0..20 {
        if let Some(read) = read_weakly(&cluster.node(2), "24").await {
            assert_eq!(read.as_deref(), Some("24 3"));
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(lacking(), "it takes longer than that");
    // A second one is not made anew at the same time.
    cluster.crash(1).await;
    cluster.set_up(1, rebuild);
    let before = listing(&cluster.config(1).data_dir.join("engine"));
    let why = cluster.refusal(1).await;
    assert!(why.contains("node 3 lacks its own data"), "{why}");
    assert_eq!(listing(&cluster.config(1).data_dir.join("engine")), before);

    cluster.set_up(1, |config| config.rebuild_engine = false);
    cluster.restart(1).await;
    check(&cluster, LARGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_alone_without_its_data_leads_nothing() {
    let mut cluster = Cluster::start(3, slow).await;
    fill(&cluster, LARGE).await;
    crash_and_rebuild(&mut cluster).await;
    cluster.set_up(2, |config| config.rebuild_engine = false);
    cluster.crash(0).await;
    // Of the two that are left, only the other one can lead, and with the vote of the lacking one it does.
    put(&cluster.node(1), SHORT, "4", "short 4").await;
    cluster.crash(1).await;
    let node = cluster.node(2);
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        if let Some(read) = read_weakly(&node, "24").await {
            assert_eq!(read.as_deref(), Some("24 3"));
        }
        assert!(node.unready().iter().any(|why| why.contains("lack their data")));
        sleep(Duration::from_millis(20)).await;
    }
    drop(node);
    cluster.restart(0).await;
    cluster.restart(1).await;
    check(&cluster, LARGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_in_vain() {
    let mut cluster = Cluster::start(3, cut_soon).await;
    fill(&cluster, 10).await;
    cluster.crash(2).await;
    cluster.crash(1).await;
    cluster.set_up(2, rebuild);
    let engine = cluster.config(2).data_dir.join("engine");
    let before = listing(&engine);
    let why = cluster.refusal(2).await;
    assert!(why.contains("is not set aside"), "{why}");
    assert_eq!(listing(&engine), before, "it is as it was");
    assert!(!note(&cluster).exists());

    let mut alone = Cluster::start(1, |_| {}).await;
    alone.create_table(SHORT).await;
    put(&alone.node(0), SHORT, "1", "one").await;
    alone.crash(0).await;
    alone.set_up(0, rebuild);
    let why = alone.refusal(0).await;
    assert!(why.contains("alone"), "{why}");
    alone.set_up(0, |config| config.rebuild_engine = false);
    alone.restart(0).await;
    assert_eq!(get(&alone.node(0), SHORT, "1").await.as_deref(), Some("one"));
}
