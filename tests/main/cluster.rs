//! `stator cluster`: real processes, killed as the world kills them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Database, Running, directory, eventually, finish, program, runs, signal, texts,
};

fn cluster(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = program(dir);
    command.args(["cluster", "--json"]).args(arguments);
    command
}

/// A cluster that runs.
struct Cluster {
    supervisor: Running,
    database: Database,
    dir: TempDir,
}

impl Cluster {
    #[track_caller]
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(directory(), arguments)
    }

    #[track_caller]
    fn start_in(dir: TempDir, arguments: &[&str]) -> Self {
        let whole = [&["--base-port", "0"], arguments].concat();
        let supervisor = Running::start(cluster(dir.path(), &whole));
        let endpoints = texts(&supervisor.ready["endpoints"]).join(",");
        Self { supervisor, database: Database::at(endpoints), dir }
    }

    fn pids(&self) -> Vec<u64> {
        numbers(&self.supervisor.ready["pids"])
    }

    fn data(&self) -> PathBuf {
        self.supervisor.ready["dir"].as_str().expect("a directory").into()
    }

    /// The record, as programs read it.
    fn record(&self) -> Value {
        let text = fs::read(self.data().join("cluster.json")).expect("the record is there");
        serde_json::from_slice(&text).expect("and whole")
    }

    fn create_table(&self) {
        self.database.run(&["table", "create", "music", "--key", "artist:S", "--wait"]).ok();
    }

    /// Puts an item, again if its fate is not known: it is the same one.
    fn put(&self, artist: &str) {
        let item = json!({ "artist": artist, "n": 1 }).to_string();
        let mut last = None;
        let put = eventually(|| {
            let ended = self.database.run(&["item", "put", "music", "--item", &item]);
            let done = ended.code == Some(0);
            last = Some(ended);
            done
        });
        assert!(put, "{last:?}");
    }

    fn count(&self) -> Value {
        self.database.run(&["scan", "music", "--count"]).json()["count"].clone()
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|n| n.as_u64().expect("numbers")).collect()
}

#[test]
fn a_node_that_is_killed_comes_back_and_the_cluster_answers_meanwhile() {
    let cluster = Cluster::start(&[]);
    let ready = &cluster.supervisor.ready;
    assert_eq!(ready["ready"], json!(true));
    assert_eq!(texts(&ready["endpoints"]).len(), 3);
    assert_eq!(texts(&ready["admin"]).len(), 3);
    cluster.create_table();
    for n in 0..10 {
        cluster.put(&format!("before {n}"));
    }
    let pids = cluster.pids();
    signal(pids[0], Signal::KILL);
    for n in 0..10 {
        cluster.put(&format!("after {n}"));
    }
    let mut now = Vec::new();
    assert!(eventually(|| {
        now = cluster.record()["pids"].as_array().cloned().expect("a list");
        now[0].as_u64().is_some_and(|pid| pid != pids[0])
    }));
    assert_eq!(now[1..], [json!(pids[1]), json!(pids[2])]);
    let alive = || {
        let told = cluster.database.run(&["status", "--output", "json"]).json();
        let nodes = told["nodes"].as_array().expect("nodes");
        assert_eq!(nodes.len(), 3);
        nodes.iter().all(|node| node["liveness"] == json!("alive") && node["replicas"] == json!(5))
    };
    assert!(eventually(alive));
    assert_eq!(cluster.count(), json!(20));
    // The one that came back serves again, with the second of them gone.
    signal(pids[1], Signal::KILL);
    cluster.put("at the end");
    assert_eq!(cluster.count(), json!(21));
}

#[test]
fn a_cluster_that_was_stopped_goes_on_where_it_was() {
    let first = Cluster::start(&["--dir", "data", "--nodes", "3"]);
    first.create_table();
    for n in 0..10 {
        first.put(&format!("{n}"));
    }
    let pids = first.pids();
    let Cluster { supervisor, dir, database } = first;
    let endpoints = supervisor.ready["endpoints"].clone();
    let (code, said) = supervisor.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("at once"), "{said}");
    assert!(!pids.iter().any(|pid| runs(*pid)));
    database.run(&["table", "list"]).refused(3);

    // What disagrees with the directory is refused by name.
    for (arguments, parts) in [
        (["--nodes", "5"], ["--nodes 5", "3"]),
        (["--engine", "sled"], ["--engine sled", "fjall"]),
        (["--base-port", "7000"], ["--base-port 7000", "made with"]),
    ] {
        let whole = [&["--dir", "data"], &arguments[..]].concat();
        let told = finish(self::cluster(dir.path(), &whole), "").refused(2);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        assert!(told.contains(&format!("Leave {} out", arguments[0])), "{told}");
    }

    // So is what a newer version has made, and it is left as it is.
    let file = dir.path().join("data/cluster.json");
    let text = fs::read_to_string(&file).expect("read");
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    assert_ne!(newer, text);
    fs::write(&file, &newer).expect("written");
    let told = finish(self::cluster(dir.path(), &["--dir", "data"]), "").refused(1);
    let parts = ["cluster.json", "format 2", "this version knows 1"];
    assert!(parts.iter().all(|part| told.contains(part)) && told.lines().count() == 1, "{told}");
    assert_eq!(fs::read_to_string(&file).expect("read"), newer);
    fs::write(&file, text).expect("written");

    let again = Cluster::start_in(dir, &["--dir", "data"]);
    assert_eq!(again.supervisor.ready["endpoints"], endpoints);
    assert_eq!(again.count(), json!(10));
    let other = finish(self::cluster(again.dir.path(), &["--dir", "data"]), "").refused(1);
    let supervisor = format!("process {}", again.supervisor.pid());
    assert!(other.contains("--dir") && other.contains(&supervisor), "{other}");
}

/// Has a node's data look as if a newer version had written it, or an older one again: the node refuses it at its next start, or not.
fn set_format(cluster: &Cluster, node: &str, from: &str, to: &str) {
    let file = cluster.data().join(node).join("data/node.toml");
    let text = fs::read_to_string(&file).expect("read");
    assert!(text.contains(from), "{text}");
    fs::write(&file, text.replace(from, to)).expect("written");
}

#[test]
fn a_node_that_cannot_start_is_tried_until_it_can_as_a_killed_one_is() {
    let cluster = Cluster::start(&["--dir", "data"]);
    cluster.create_table();
    let pids = cluster.pids();
    set_format(&cluster, "node-2", "format = 1", "format = 2");
    signal(pids[1], Signal::KILL);
    let log = cluster.data().join("node-2/node.log");
    let refusals = || fs::read_to_string(&log).expect("read").matches("newer version").count();
    assert!(eventually(|| refusals() > 4));
    cluster.put("a");
    set_format(&cluster, "node-2", "format = 2", "format = 1");
    let alive = || {
        let told = cluster.database.run(&["status", "--output", "json"]);
        told.code == Some(0)
            && told.json()["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().all(|node| node["liveness"] == "alive"))
    };
    assert!(eventually(alive));
    signal(pids[2], Signal::KILL);
    cluster.put("b");
    let back = |pid: &Value| pid.as_u64().is_some_and(|pid| pid != pids[2]);
    assert!(eventually(|| back(&cluster.record()["pids"][2])));
    assert_eq!(cluster.count(), json!(2));

    let (code, said) = cluster.supervisor.terminate();
    assert_eq!(code, Some(0), "{said}");
    let lines = |parts: &[&str]| {
        said.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    assert_eq!(lines(&["node 2 ended", "newer version"]), 1, "told once: {said}");
    assert_eq!(lines(&["node 2", "starting it again"]), 1, "it was killed once: {said}");
    assert_eq!(lines(&["node 2 is ready"]), 1, "{said}");
}

/// Stops a cluster in good order, and loses a node's data.
fn lose(cluster: Cluster, node: &str) -> (TempDir, String) {
    let Cluster { supervisor, dir, .. } = cluster;
    let (code, said) = supervisor.terminate();
    assert_eq!(code, Some(0), "{said}");
    fs::remove_dir_all(dir.path().join("data").join(node).join("data")).expect("removed");
    (dir, said)
}

#[test]
fn a_node_that_lost_its_data_does_not_keep_the_others_from_serving() {
    let cluster = Cluster::start(&["--dir", "data"]);
    cluster.create_table();
    cluster.put("a");
    let (dir, _) = lose(cluster, "node-2");

    let again = Cluster::start_in(dir, &["--dir", "data"]);
    assert!(again.supervisor.ready["pids"][1].is_null(), "{}", again.supervisor.ready);
    again.put("b");
    assert_eq!(again.count(), json!(2));
    let (dir, said) = lose(again, "node-3");
    assert!(said.contains("node 2 ended") && said.contains("another data directory"), "{said}");
    assert!(said.contains("node.log") && !said.contains("node 3 ended"), "{said}");

    // One of three is too few.
    let refused = finish(self::cluster(dir.path(), &["--dir", "data"]), "").refused(1);
    assert!(refused.contains("node 2 ended") && refused.contains("node 3 ended"), "{refused}");
    assert!(refused.contains("2 of 3 nodes"), "{refused}");
}

/// A node that joins a cluster, or has joined it before, in a directory beside the cluster's.
fn joins(cluster: &Cluster, listen: &str, for_the_first_time: bool) -> Running {
    let mut command = program(cluster.dir.path());
    command.args(["serve", "--json", "--parent-pipe", "--data-dir", "joined", "--listen", listen]);
    if for_the_first_time {
        let first = cluster.database.endpoints().split(',').next().expect("one");
        command.args(["--join", first.trim_start_matches("http://")]);
    }
    Running::start(command)
}

#[test]
fn a_node_that_joins_takes_part_in_what_is_made_afterwards() {
    let cluster = Cluster::start(&["--no-restart"]);
    let mut joined = joins(&cluster, "127.0.0.1:0", true);
    assert_eq!(joined.ready["node"], json!(4));
    let endpoint = joined.ready["endpoint"].as_str().expect("an endpoint").to_owned();
    let nodes = || {
        let told = cluster.database.run(&["status", "--output", "json"]);
        let told = if told.code == Some(0) { told.json() } else { Value::Null };
        told["nodes"].as_array().cloned().unwrap_or_default()
    };
    let all_alive = |nodes: &[Value]| {
        nodes.len() == 4 && nodes.iter().all(|node| node["liveness"] == json!("alive"))
    };
    assert!(eventually(|| all_alive(&nodes())), "{:?}", nodes());
    let make = ["table", "create", "music", "--key", "artist:S", "--partitions", "8", "--wait"];
    cluster.database.run(&make).ok();
    // Eight partitions are 24 replicas on four nodes, and each is led from two of them; the founders have the catalog besides.
    let holds_its_part = || {
        let nodes = nodes();
        let replicas: Vec<_> = nodes.iter().map(|node| node["replicas"].clone()).collect();
        all_alive(&nodes) && replicas == [7, 7, 7, 6] && nodes[3]["partitions_led"] == json!(2)
    };
    assert!(eventually(holds_its_part), "{:?}", nodes());
    for n in 0..20 {
        cluster.put(&format!("{n}"));
    }

    // It comes back to its data, and is asked itself.
    joined.kill();
    for n in 20..30 {
        cluster.put(&format!("{n}"));
    }
    let joined = joins(&cluster, endpoint.trim_start_matches("http://"), false);
    assert_eq!(joined.ready["node"], json!(4));
    assert!(eventually(holds_its_part), "{:?}", nodes());
    let fourth = Database::at(endpoint);
    let count = || fourth.run(&["scan", "music", "--count"]).json()["count"].clone();
    assert_eq!(count(), json!(30));

    // With a founder gone every partition has a majority still.
    signal(cluster.pids()[0], Signal::KILL);
    for n in 30..50 {
        cluster.put(&format!("{n}"));
    }
    assert_eq!(count(), json!(50));
    assert_eq!(joined.terminate().0, Some(0));
}

#[test]
fn no_node_outlives_a_supervisor_that_is_killed() {
    let mut cluster = Cluster::start(&[]);
    let pids = cluster.pids();
    assert!(pids.iter().all(|pid| runs(*pid)));
    cluster.supervisor.kill();
    assert!(eventually(|| !pids.iter().any(|pid| runs(*pid))));
    // And the directory can be used again.
    let again = Cluster::start_in(cluster.dir, &[]);
    again.create_table();
}

#[test]
fn a_temporary_cluster_leaves_nothing() {
    let cluster = Cluster::start(&["--temp", "--nodes", "1", "--engine", "sled"]);
    cluster.create_table();
    cluster.put("a");
    let (data, pids) = (cluster.data(), cluster.pids());
    assert!(data.join("node-1").is_dir());
    let (code, said) = cluster.supervisor.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(!data.exists());
    assert!(!pids.iter().any(|pid| runs(*pid)));
}

#[test]
fn a_temporary_cluster_whose_supervisor_is_killed_leaves_nothing_either() {
    let mut cluster = Cluster::start(&["--temp"]);
    cluster.create_table();
    let (data, pids) = (cluster.data(), cluster.pids());
    cluster.supervisor.kill();
    assert!(eventually(|| !pids.iter().any(|pid| runs(*pid))));
    assert!(eventually(|| !data.exists()), "{} is left", data.display());
}

#[test]
fn a_node_is_left_dead_if_so_asked() {
    let cluster = Cluster::start(&["--no-restart"]);
    cluster.create_table();
    let pids = cluster.pids();
    signal(pids[2], Signal::KILL);
    assert!(eventually(|| cluster.record()["pids"][2].is_null()));
    cluster.put("a");
    assert_eq!(cluster.record()["pids"], json!([pids[0], pids[1], null]));
    let told = cluster.database.run(&["status"]);
    assert!(told.err.contains("cannot be reached"), "{told:?}");
    // Which of the two is a matter of how long it has been silent.
    let told = told.ok();
    assert!(told.contains("suspect") || told.contains("dead"), "{told}");

    // With one of three left nothing is served, and that is told from a database that does not run.
    signal(pids[1], Signal::KILL);
    assert!(eventually(|| cluster.record()["pids"][1].is_null()));
    let key = r#"{"artist":"a"}"#;
    let get = ["item", "get", "music", "--key", key, "--timeout", "3"];
    // A leader may read for as long as its lease lasts.
    let mut last = None;
    let refused = eventually(|| last.insert(cluster.database.run(&get)).code != Some(0));
    assert!(refused, "{last:?}");
    let told = last.expect("it was asked").refused(3);
    assert!(told.contains("stator status") && !told.contains("Is the database running"), "{told}");
    // The one that is left tells what it knows by itself.
    let mut told = String::new();
    let lines_with = |told: &str, word| told.lines().filter(|line| line.contains(word)).count();
    let given_up = eventually(|| {
        told = cluster.database.run(&["status"]).ok();
        lines_with(&told, " dead ") == 2
    });
    assert!(given_up && lines_with(&told, " alive ") == 1, "{told}");
    assert!(told.contains("catalog led by nobody"), "{told}");
    let told = cluster.database.run(&["status", "--output", "json"]).json();
    assert_eq!(told["asked"][0]["reached"], json!(true));
    assert_eq!(told["asked"][1]["reached"], json!(false));

    let (code, said) = cluster.supervisor.terminate();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("node 3") && said.contains("signal: 9"), "{said}");
    assert!(!said.contains("error:"), "a notice is no error: {said}");
}

#[test]
fn a_cluster_refuses_what_it_cannot_do_and_says_why() {
    let dir = directory();
    let refused =
        |arguments: &[&str], code: i32| finish(cluster(dir.path(), arguments), "").refused(code);
    for (arguments, parts) in [
        (["--engine", "memory"], ["--engine", "must be fjall or sled"]),
        (["--engine", "rocks"], ["--engine", "must be fjall or sled"]),
        (["--memory", "1MiB"], ["memory = 1MiB", "128MiB"]),
        (["--nodes", "0"], ["--nodes", "0"]),
        (["--base-port", "65530"], ["--base-port 65530", "65535"]),
    ] {
        let told = refused(&arguments, 2);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    }
    let mut misspelt = cluster(dir.path(), &[]);
    misspelt.env("STATOR_LOG_BUGDET", "1GiB");
    let told = finish(misspelt, "").refused(2);
    assert!(told.contains("STATOR_LOG_BUGDET") && told.contains("STATOR_LOG_BUDGET"), "{told}");
    assert!(!dir.path().join("stator-data").exists(), "nothing was touched");

    fs::create_dir(dir.path().join("mine")).expect("made");
    fs::write(dir.path().join("mine/letter.txt"), "mine").expect("written");
    let told = refused(&["--dir", "mine"], 1);
    assert!(told.contains("--dir mine") && told.contains("letter.txt"), "{told}");
    assert_eq!(fs::read_dir(dir.path().join("mine")).expect("read").count(), 1);
    fs::create_dir(dir.path().join("alone")).expect("made");
    fs::write(dir.path().join("alone/node.toml"), "").expect("written");
    let told = refused(&["--dir", "alone"], 1);
    assert!(told.contains("stator serve"), "{told}");

    // The second node's port is another's: all of them end, and the one that could not is named.
    // A port below those of outgoing connections, which could have its neighbours.
    let ports = (0..100).map(|n| 10_000 + (std::process::id() + 97 * n) % 20_000);
    let taken = ports.filter_map(|port| u16::try_from(port).ok()).find_map(|port| {
        let _neighbours: Vec<_> = [port - 10, port - 9]
            .map(|port| TcpListener::bind(("127.0.0.1", port)))
            .into_iter()
            .collect::<Result<_, _>>()
            .ok()?;
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    let taken = taken.expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let base = (port - 10).to_string();
    let told = refused(&["--dir", "new", "--base-port", &base], 1);
    assert!(told.contains("node 2") && told.contains(&format!("127.0.0.1:{port}")), "{told}");
    assert!(told.contains("--base-port") && !dir.path().join("new").exists(), "{told}");

    // A record without any node's data binds nobody to its ports, nodes or engine.
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let record = json!({
        "format": 1, "engine": "sled", "base_port": port, "endpoints": [url(port)], "admin": [url(port + 1)],
        "pids": [null], "supervisor": null,
    });
    fs::create_dir(dir.path().join("new")).expect("made");
    fs::write(dir.path().join("new/cluster.json"), record.to_string()).expect("written");
    let new = Cluster::start_in(dir, &["--dir", "new", "--nodes", "2"]);
    assert_eq!(new.pids().len(), 2);
}
