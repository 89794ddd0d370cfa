//! Clusters to measure, and what can be seen of their processes from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stator::{Client, GrpcTransport, KeyType};
use stator_proto::v1::DescribeClusterResponse;

use crate::Scale;
use crate::support::{PATIENCE, Running, eventually, http_get, program, runs, texts};

/// The settings that `support::program` makes small.
const SMALL: [&str; 4] =
    ["STATOR_MEMORY", "STATOR_LOG_SEGMENT", "STATOR_LOG_BUDGET", "STATOR_MIN_FREE"];

/// The program; in full with the settings that it has by itself.
pub(crate) fn stator(dir: &Path, scale: Scale) -> Command {
    let mut command = program(dir);
    if scale == Scale::Full {
        for name in SMALL {
            command.env_remove(name);
        }
    }
    command
}

/// A cluster of three under its supervisor.
pub(crate) struct Cluster {
    pub(crate) supervisor: Running,
    pub(crate) endpoints: Vec<String>,
    data: PathBuf,
}

impl Cluster {
    /// Starts one, with its data in `data` under `dir`.
    pub(crate) fn start(dir: &Path, scale: Scale, options: &[&str]) -> Self {
        let mut command = stator(dir, scale);
        command.args(["cluster", "--json", "--base-port", "0", "--dir", "data"]).args(options);
        Self::of(Running::start(command))
    }

    fn of(supervisor: Running) -> Self {
        let endpoints = texts(&supervisor.ready["endpoints"]);
        let data = supervisor.ready["dir"].as_str().expect("a directory").into();
        Self { supervisor, endpoints, data }
    }

    /// The processes of its nodes now, in the nodes' order; none where a node does not run.
    pub(crate) fn pids(&self) -> Vec<Option<u64>> {
        let text = fs::read(self.data.join("cluster.json")).expect("the record is there");
        let record: Value = serde_json::from_slice(&text).expect("and whole");
        let pids = record["pids"].as_array().expect("a list");
        pids.iter().map(Value::as_u64).map(|pid| pid.filter(|pid| runs(*pid))).collect()
    }

    /// A client of it, and what makes others like it.
    pub(crate) fn client(&self) -> (Client, GrpcTransport) {
        connect(&self.endpoints)
    }

    /// Kills the supervisor and then its nodes, and waits until all are gone.
    pub(crate) fn kill_all(mut self) {
        let pids: Vec<u64> = self.pids().into_iter().flatten().collect();
        self.supervisor.kill();
        kill(&pids);
        let gone = eventually(|| !pids.iter().any(|pid| runs(*pid)));
        assert!(gone, "nodes that were killed run on");
    }
}

/// Kills nodes. One may have ended by itself.
pub(crate) fn kill(pids: &[u64]) {
    for pid in pids {
        let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw).expect("a process number");
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A client of nodes.
pub(crate) fn connect(endpoints: &[String]) -> (Client, GrpcTransport) {
    let transport = GrpcTransport::builder().endpoints(endpoints.to_vec()).channels_per_node(4);
    let transport = transport.build().expect("endpoints");
    (Client::builder(transport.clone()).timeout(PATIENCE).build(), transport)
}

/// Makes a table with the one key `id`, and waits for it.
pub(crate) async fn create(client: &Client, table: &str, partitions: u32) {
    let create = client.create_table().table_name(table).partition_key("id", KeyType::S);
    create.partitions(partitions).timeout(PATIENCE).send().await.expect("the table is made");
    client.wait_until_active(table).await.expect("and becomes active");
}

/// Waits until a cluster says something of itself.
pub(crate) async fn wait_for(
    transport: &GrpcTransport,
    patience: Duration,
    is: impl Fn(&DescribeClusterResponse) -> bool,
) {
    let begun = Instant::now();
    let mut told = None;
    while begun.elapsed() < patience {
        if let Ok(cluster) = transport.describe_cluster().await {
            if is(&cluster) {
                return;
            }
            told = Some(cluster);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the cluster did not come to what was waited for: {told:#?}");
}

/// The most memory that a process ever had resident, in bytes.
pub(crate) fn peak_resident_bytes(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// The processor time that a process has used.
pub(crate) fn processor_time(pid: u64) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // After the name: utime and stime are the 12th and 13th field, in ticks of a hundredth of a second.
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// How many bytes the files in a directory take on the disk, together.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of = |entry: fs::DirEntry| entry.metadata().map_or(0, |found| found.blocks() * 512);
    entries.flatten().map(of).sum()
}

/// A sample of a node's metrics page, summed over its labels.
pub(crate) fn metric(admin: &str, name: &str) -> f64 {
    let page = http_get(admin, "/metrics");
    let lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let own = lines.filter(|rest| rest.starts_with(['{', ' ']));
    own.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
