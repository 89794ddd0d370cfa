//! A full disk: writes are refused, reads go on, nothing that was acknowledged is lost, and it is over once there is room again.
//!
//! The disk is filled to the mark at which a node refuses writes by itself; and to the brim while writes are on their way, so that
//! the engine meets it. The process stays up through both: the engine is opened again in place.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stator::{Client, GrpcTransport};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::small_disk::SmallDisk;
use crate::support::{Database, Ended, PATIENCE, Running, eventually, http_get, serve};

/// The reserve that the tests' nodes keep.
const MIN_FREE: u64 = 16 << 20;

/// A node that has a small disk to itself.
struct Node {
    process: Running,
    database: Database,
    disk: SmallDisk,
}

impl Node {
    /// Starts one, and makes a table in it.
    fn start(mib: u64, set_up: impl Fn(&mut Command)) -> Option<Self> {
        let disk = SmallDisk::mount(mib)?;
        let process = Running::start(command(&disk, set_up));
        let node = Self { database: Database::at(endpoint(&process)), process, disk };
        node.database.run(&["table", "create", "music", "--key", "id:S", "--wait"]).ok();
        Some(node)
    }

    fn client(&self) -> Client {
        let transport = GrpcTransport::builder().endpoint(endpoint(&self.process)).build();
        Client::new(transport.expect("an endpoint"))
    }

    fn put(&self, id: &str) -> Ended {
        let item = json!({ "id": id, "value": "x".repeat(1000) }).to_string();
        self.database.run(&["item", "put", "music", "--item", &item])
    }

    #[track_caller]
    fn assert_reads(&self, id: &str) {
        let key = json!({ "id": id }).to_string();
        assert_eq!(self.database.run(&["item", "get", "music", "--key", &key]).json()["id"], id);
    }

    /// Waits until a write is refused for want of room. Answers what was acknowledged until then.
    #[track_caller]
    fn await_refusal(&self) -> Vec<String> {
        let (mut acknowledged, mut told) = (Vec::new(), String::new());
        let refused = eventually(|| {
            let id = format!("late {}", acknowledged.len());
            let ended = self.put(&id);
            if ended.code == Some(0) {
                acknowledged.push(id);
                return false;
            }
            // A write that the disk keeps waiting ends in doubt.
            assert!(matches!(ended.code, Some(1 | 4)), "{ended:?}");
            told = ended.err;
            told.contains("disk is nearly full")
        });
        assert!(refused, "{told}");
        assert!(told.contains("16 MiB are kept in reserve"), "{told}");
        acknowledged
    }
}

fn command(disk: &SmallDisk, set_up: impl Fn(&mut Command)) -> Command {
    let mut command = serve(disk.path(), "data");
    command.env("STATOR_LOG_BUDGET", "32MiB");
    set_up(&mut command);
    command
}

fn endpoint(process: &Running) -> String {
    process.ready["endpoint"].as_str().expect("an endpoint").to_owned()
}

#[test]
fn at_the_mark_writes_are_refused_and_reads_go_on() {
    let Some(node) = Node::start(128, |_| {}) else { return };
    node.put("early").ok();
    node.disk.fill_to(MIN_FREE - (2 << 20));
    let acknowledged = node.await_refusal();
    node.assert_reads("early");
    assert_eq!(
        node.database.run(&["scan", "music", "--count"]).json()["count"],
        json!(1 + acknowledged.len())
    );
    // What makes room is done: a table can be deleted, which the catalog writes down.
    node.database.run(&["table", "create", "other", "--key", "id:S"]);
    node.database.run(&["table", "delete", "other", "--yes"]);
    node.disk.give_back();
    assert!(eventually(|| node.put("after").code == Some(0)));
    for id in acknowledged.iter().map(String::as_str).chain(["early", "after"]) {
        node.assert_reads(id);
    }
    let (code, said) = node.process.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("the engine failed") && !said.contains("panicked"), "{said}");
}

/// How many items each writer writes, over and over: the disk is to be filled by the tests, and not by these.
const ITEMS: usize = 40;

/// Writers under way.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Writers {
    fn start(runtime: &Runtime, client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |writer| runtime.spawn(write_until(client.clone(), writer, stop.clone()));
        Self { tasks: (0..8).map(task).collect(), stop: stop.clone() }
    }

    /// The ids of what was acknowledged.
    fn stop(self, runtime: &Runtime) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic"));
        ended.flatten().collect()
    }
}

/// Puts items until it is told to stop. Answers the ids of those that were acknowledged.
async fn write_until(client: Client, writer: usize, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{}", n % ITEMS);
        let put = client.put_item().table_name("music").item("id", id.clone());
        // Another one each time: what changes nothing is not written.
        let value = format!("{n:y>20000}");
        let put = put.item("value", value).timeout(Duration::from_secs(1));
        match put.send().await {
            Ok(_) => drop(acknowledged.insert(id)),
            // Refused, or cut off: whatever it is, it is an answer.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    acknowledged
}

/// Reads items strongly, all of which have to be there.
async fn assert_all_there(client: &Client, ids: &BTreeSet<String>) {
    for id in ids {
        let get = client.get_item().table_name("music").key("id", id.clone()).timeout(PATIENCE);
        let found = get.consistent_read(true).send().await.expect("answered").item;
        assert!(found.is_some(), "{id} was acknowledged, and is lost");
    }
}

/// Reads items strongly, on a disk that is full to the brim. What was written last may have to wait for room, and then that is
/// said; but nothing is missing.
async fn assert_none_missing(client: &Client, ids: &BTreeSet<String>) {
    let mut refusals = 0;
    for id in ids {
        let get = client.get_item().table_name("music").key("id", id.clone());
        match get.timeout(Duration::from_secs(1)).consistent_read(true).send().await {
            Ok(found) => assert!(found.item.is_some(), "{id} was acknowledged, and is missing"),
            Err(error) => {
                assert!(error.is_unavailable(), "{error:?}");
                // Each of those costs its time.
                refusals += 1;
                if refusals == 3 {
                    break;
                }
            }
        }
    }
}

fn metric(node: &Running, name: &str) -> u64 {
    let admin = node.ready["admin"].as_str().expect("an admin port").to_owned();
    let address = admin.trim_start_matches("http://").to_owned();
    let text = http_get(&address, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("a figure") as u64
}

/// A node whose engine has met the full disk while writes were on their way.
struct Brim {
    node: Node,
    runtime: Runtime,
    client: Client,
    acknowledged: BTreeSet<String>,
}

impl Brim {
    fn reach() -> Option<Self> {
        let node = Node::start(160, |_| {})?;
        let runtime = Runtime::new().expect("a runtime");
        let client = node.client();
        let mut acknowledged = BTreeSet::new();
        let has_failed = eventually(|| {
            let writers = Writers::start(&runtime, &client);
            let syncs = || metric(&node.process, "stator_log_syncs_total");
            let before = syncs();
            assert!(eventually(|| syncs() > before + 100), "they do not write");
            node.disk.fill_at_once(MIN_FREE);
            acknowledged.extend(node.await_refusal());
            assert!(node.disk.free() < MIN_FREE);
            acknowledged.extend(writers.stop(&runtime));
            let has_failed = metric(&node.process, "stator_engine_failures_total") > 0;
            if !has_failed {
                // The node saw it coming: once more.
                node.disk.give_back();
                assert!(eventually(|| node.put("between").code == Some(0)));
            }
            has_failed
        });
        assert!(has_failed, "it has not met the full disk");
        Some(Self { node, runtime, client, acknowledged })
    }

    fn assert_recovers(&self) {
        self.node.disk.give_back();
        assert!(eventually(|| self.node.put("after").code == Some(0)));
        self.runtime.block_on(assert_all_there(&self.client, &self.acknowledged));
    }
}

#[test]
fn to_the_brim_nothing_is_lost_and_it_recovers_in_place() {
    let Some(brim) = Brim::reach() else { return };
    brim.runtime.block_on(assert_none_missing(&brim.client, &brim.acknowledged));
    brim.assert_recovers();
    let Brim { mut node, runtime, acknowledged, .. } = brim;
    let (code, said) = node.process.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    node.process = Running::start(command(&node.disk, |_| {}));
    runtime.block_on(assert_all_there(&node.client(), &acknowledged));
}

#[test]
fn a_node_starts_and_ends_on_a_full_disk() {
    let Some(mut node) = Node::start(128, |_| {}) else { return };
    node.put("early").ok();
    node.disk.fill();
    let acknowledged = node.await_refusal();
    node.process.kill();
    for _ in 0..2 {
        let process = Running::start(command(&node.disk, |_| {}));
        node.database = Database::at(endpoint(&process));
        node.process = process;
        assert!(node.disk.free() < 4 << 20);
        for id in acknowledged.iter().map(String::as_str).chain(["early"]) {
            node.assert_reads(id);
        }
        assert!(node.await_refusal().is_empty());
        signal_and_wait(&mut node.process);
    }
    node.disk.give_back();
    node.process = Running::start(command(&node.disk, |_| {}));
    node.database = Database::at(endpoint(&node.process));
    assert!(eventually(|| node.put("after").code == Some(0)));
}

/// Ends a node in good order.
fn signal_and_wait(process: &mut Running) {
    crate::support::signal(process.pid(), rustix::process::Signal::TERM);
    let (code, said) = process.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Three nodes on one small disk, under their supervisor.
struct SharedDisk {
    cluster: Running,
    client: Client,
    database: Database,
    runtime: Runtime,
    disk: SmallDisk,
}

impl SharedDisk {
    fn start() -> Option<Self> {
        let disk = SmallDisk::mount(320)?;
        let mut command = crate::support::program(disk.path());
        command.args(["cluster", "--json", "--base-port", "0", "--dir", "data"]);
        command.env("STATOR_LOG_BUDGET", "32MiB");
        let cluster = Running::start(command);
        let list = cluster.ready["endpoints"].as_array().cloned().expect("endpoints");
        let endpoints: Vec<String> =
            list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        let database = Database::at(endpoints.join(","));
        database.run(&["table", "create", "music", "--key", "id:S", "--wait"]).ok();
        let transport = GrpcTransport::builder().endpoints(endpoints).build();
        let client = Client::new(transport.expect("endpoints"));
        let runtime = Runtime::new().expect("a runtime");
        Some(Self { cluster, client, database, runtime, disk })
    }

    fn dir(&self, node: usize) -> PathBuf {
        self.disk.path().join(format!("data/node-{node}"))
    }

    fn put(&self, id: &str) -> Ended {
        self.database.run(&["item", "put", "music", "--item", &json!({ "id": id }).to_string()])
    }

    /// Fills the disk while writes are on their way, until a write is refused. Answers what was acknowledged.
    fn fill_under_writes(&self) -> BTreeSet<String> {
        let writers = Writers::start(&self.runtime, &self.client);
        std::thread::sleep(Duration::from_millis(500));
        self.disk.fill_at_once(MIN_FREE);
        assert!(eventually(|| self.put("a").err.contains("disk is nearly full")));
        writers.stop(&self.runtime)
    }

    fn assert_recovers(self, acknowledged: &BTreeSet<String>) {
        self.disk.give_back();
        assert!(eventually(|| self.put("b").code == Some(0)));
        self.runtime.block_on(assert_all_there(&self.client, acknowledged));
        let log_paths: Vec<PathBuf> = (1..=3).map(|node| self.dir(node).join("node.log")).collect();
        let (code, said) = self.cluster.terminate();
        assert_eq!(code, Some(0), "{said}");
        for log in log_paths {
            let text = std::fs::read_to_string(log).expect("a log");
            assert!(!text.contains("panicked") && !text.contains("cannot go on"), "{text}");
        }
    }
}

#[test]
fn a_cluster_on_a_full_disk_comes_back() {
    let Some(shared) = SharedDisk::start() else { return };
    let acknowledged = shared.fill_under_writes();
    shared.runtime.block_on(assert_none_missing(&shared.client, &acknowledged));
    shared.assert_recovers(&acknowledged);
}
