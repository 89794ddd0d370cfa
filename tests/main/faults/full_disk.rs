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

use super::small_disk::SmallDisk;
use crate::support::{Database, Ended, PATIENCE, Running, eventually, serve};

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

/// Puts items until it is told to stop. Answers the ids of those that were acknowledged.
async fn write_until(client: Client, writer: usize, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{n}");
        let put = client.put_item().table_name("music").item("id", id.clone());
        let put = put.item("value", "y".repeat(20_000)).timeout(Duration::from_secs(1));
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

fn metric(node: &Running, name: &str) -> u64 {
    let admin = node.ready["admin"].as_str().expect("an admin port").to_owned();
    let address = admin.trim_start_matches("http://").to_owned();
    let text = http_get(&address, "/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).expect("a figure") as u64
}

fn http_get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

#[test]
fn to_the_brim_nothing_is_lost_and_it_recovers_in_place() {
    let Some(node) = Node::start(160, |_| {}) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let transport = GrpcTransport::builder().endpoint(endpoint(&node.process)).build();
    let client = Client::new(transport.expect("an endpoint"));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| runtime.spawn(write_until(client.clone(), writer, stop.clone())))
        .collect();
    // Under way for a while.
    assert!(eventually(|| metric(&node.process, "stator_log_syncs_total") > 100));
    node.disk.fill();
    let mut acknowledged: BTreeSet<String> = node.await_refusal().into_iter().collect();
    assert!(node.disk.free() < MIN_FREE);
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        acknowledged.extend(runtime.block_on(writer).expect("no panic"));
    }
    // Full as it is, all that was acknowledged is read.
    runtime.block_on(assert_all_there(&client, &acknowledged));
    node.disk.give_back();
    assert!(eventually(|| node.put("after").code == Some(0)));
    runtime.block_on(assert_all_there(&client, &acknowledged));
    let (code, said) = node.process.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the engine failed"), "it has not met the full disk: {said}");
    assert!(!said.contains("panicked"), "{said}");

    let again = Running::start(command(&node.disk, |_| {}));
    let transport = GrpcTransport::builder().endpoint(endpoint(&again)).build();
    let client = Client::new(transport.expect("an endpoint"));
    runtime.block_on(assert_all_there(&client, &acknowledged));
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
#[test]
fn a_cluster_on_a_full_disk_comes_back() {
    let Some(disk) = SmallDisk::mount(320) else { return };
    let mut command = crate::support::program(disk.path());
    command.args(["cluster", "--json", "--base-port", "0", "--dir", "data"]);
    command.env("STATOR_LOG_BUDGET", "32MiB");
    let cluster = Running::start(command);
    let list = cluster.ready["endpoints"].as_array().cloned().expect("endpoints");
    let endpoints: Vec<String> =
        list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    let database = Database::at(endpoints.join(","));
    database.run(&["table", "create", "music", "--key", "id:S", "--wait"]).ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let client =
        Client::new(GrpcTransport::builder().endpoints(endpoints).build().expect("endpoints"));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|writer| runtime.spawn(write_until(client.clone(), writer, stop.clone())))
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    disk.fill();
    let refused = eventually(|| {
        let put = database.run(&["item", "put", "music", "--item", r#"{"id": "a"}"#]);
        put.err.contains("disk is nearly full")
    });
    assert!(refused);
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(runtime.block_on(writer).expect("no panic"));
    }
    runtime.block_on(assert_all_there(&client, &acknowledged));
    disk.give_back();
    let put = || database.run(&["item", "put", "music", "--item", r#"{"id": "b"}"#]);
    assert!(eventually(|| put().code == Some(0)));
    runtime.block_on(assert_all_there(&client, &acknowledged));
    let logs: Vec<PathBuf> =
        (1..=3).map(|n| disk.path().join(format!("data/node-{n}/node.log"))).collect();
    let (code, said) = cluster.terminate();
    assert_eq!(code, Some(0), "{said}");
    for log in logs {
        let text = std::fs::read_to_string(log).expect("a log");
        assert!(!text.contains("panicked") && !text.contains("cannot go on"), "{text}");
    }
}
