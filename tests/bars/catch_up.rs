//! A node that was gone while far more was written than the log keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Scale;
use crate::cluster::{connect, create, disk_bytes, metric, stator};
use crate::load::{Callers, key_per_partition, load, write_every_partition};
use crate::report::{Outcome, mib, seconds};
use crate::support::{Running, directory};

pub(crate) const CLAIM: &str = "A follower that was stopped for a million writes of 400 bytes over all partitions, with a log budget of 256 MiB, is \
    caught up by snapshots while writes go on; the log directory never exceeds its budget.";

const PARTITIONS: u32 = 12;

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let items = scale.of(1_000_000, 80_000);
    let budget_mib: u64 = scale.of(256, 32);
    let mut nodes = Nodes::start(scale, budget_mib);
    let (client, _) = connect(&nodes.endpoints());
    create(&client, "bars", PARTITIONS).await;
    let keys = key_per_partition(PARTITIONS);
    write_every_partition(&client, "bars", &keys).await;
    let peaks = Peaks::watch(nodes.logs());

    let mut third = nodes.running[2].take().expect("it runs");
    third.kill();
    let begun = Instant::now();
    load(&client, "bars", 0..items).await;
    outcome.figure(
        format!("writing {items} items without the third node took"),
        seconds(begun.elapsed()),
    );

    let callers = Callers::start(&client, "bars", 8);
    let begun = Instant::now();
    nodes.restart(2);
    let admin = nodes.admin(2);
    let snapshots = caught_up(&nodes, scale).await;
    outcome.figure("caught up, under writes, after", seconds(begun.elapsed()));
    outcome.figure("partitions that it took by snapshot", snapshots);
    outcome.require(snapshots >= 1.0, "no snapshot was needed: nothing was shown");
    let failed = metric(&admin, "stator_raft_failed");
    outcome.require(failed == 0.0, "a replica of it failed");

    // With another one gone, nothing is written or read without it.
    let mut first = nodes.running[0].take().expect("it runs");
    first.kill();
    write_every_partition(&client, "bars", &keys).await;
    let (acknowledged, _) = callers.finish(&client, "bars").await;
    outcome.figure("writes acknowledged meanwhile, none lost", acknowledged);
    let page = client.scan().table_name("bars").filter_expression("begins_with(id, :i)");
    let page = page.expression_attribute_values(":i", "item-").consistent_read(true);
    let found = count(page).await;
    outcome.figure("items found with the first node gone", found);
    outcome.require(found == items, format!("{found} of {items} items are there"));

    let peaks = peaks.end().await;
    let told: Vec<String> = peaks.iter().copied().map(mib).collect();
    outcome.figure(
        format!("peaks of the log directories ({budget_mib} MiB allowed)"),
        told.join(", "),
    );
    let is_kept = peaks.iter().all(|peak| *peak <= budget_mib << 20);
    outcome.require(is_kept, "a log directory exceeded its budget");
    outcome
}

/// Counts what a scan finds.
async fn count(scan: stator::request::read::ScanBuilder) -> u64 {
    let mut pages = 0;
    let mut found = 0;
    let mut start = None;
    loop {
        let page = scan.clone().select(stator::Select::Count).set_exclusive_start_key(start);
        let page = page.timeout(crate::support::PATIENCE).send().await.expect("scanned");
        found += u64::from(page.count);
        start = page.last_evaluated_key;
        pages += 1;
        if start.is_none() {
            return found;
        }
        assert!(pages < 1_000_000, "a scan without end");
    }
}

/// Waits until no leader has a follower that is far behind, and none has much to apply; answers how many snapshots the third node installed.
async fn caught_up(nodes: &Nodes, scale: Scale) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(scale.of(600, 90));
    loop {
        let mut behind = 0.0;
        for at in 0..3 {
            behind += metric(&nodes.admin(at), "stator_raft_followers_behind");
            behind += metric(&nodes.admin(at), "stator_raft_unapplied");
        }
        let snapshots = r#"stator_raft_snapshots_total{step="installed"}"#;
        let installed = metric(&nodes.admin(2), snapshots);
        if behind == 0.0 && installed > 0.0 {
            return installed;
        }
        let what = format!("{behind} replicas are behind, {installed} snapshots are installed");
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Three nodes without a supervisor.
struct Nodes {
    scale: Scale,
    dir: TempDir,
    budget_mib: u64,
    ports: [u16; 3],
    running: [Option<Running>; 3],
}

impl Nodes {
    fn start(scale: Scale, budget_mib: u64) -> Self {
        let ports = free_ports();
        let mut nodes =
            Self { scale, dir: directory(), budget_mib, ports, running: [None, None, None] };
        // Founders wait for each other.
        let commands: Vec<_> = (0..3).map(|at| nodes.command(at)).collect();
        let starting: Vec<_> = commands
            .into_iter()
            .map(|command| std::thread::spawn(|| Running::start(command)))
            .collect();
        for (at, starting) in starting.into_iter().enumerate() {
            nodes.running[at] = Some(starting.join().expect("a node starts"));
        }
        nodes
    }

    fn restart(&mut self, at: usize) {
        self.running[at] = Some(Running::start(self.command(at)));
    }

    fn command(&self, at: usize) -> std::process::Command {
        let mut command = stator(self.dir.path(), self.scale);
        let founders: Vec<String> =
            self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        command
            .args(["serve", "--json", "--parent-pipe", "--initial-nodes", &founders.join(",")])
            .args(["--listen", &founders[at], "--data-dir", &format!("node-{at}")])
            .args(["--log-budget", &format!("{}MiB", self.budget_mib)])
            .args(["--log-segment", &format!("{}MiB", self.scale.of(16, 8))]);
        command
    }

    fn endpoints(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    fn admin(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.ports[at] + 1)
    }

    fn logs(&self) -> Vec<PathBuf> {
        (0..3).map(|at| self.dir.path().join(format!("node-{at}/log"))).collect()
    }
}

/// Three free ports whose next ones are free too.
fn free_ports() -> [u16; 3] {
    let free = || loop {
        let first = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = first.local_addr().expect("its number").port();
        if let Some(next) = port.checked_add(1)
            && let Ok(second) = std::net::TcpListener::bind(("127.0.0.1", next))
        {
            return (port, [first, second]);
        }
    };
    // Held until all are found.
    let found = [free(), free(), free()];
    found.each_ref().map(|(port, _)| *port)
}

/// The most that directories take while they are watched.
struct Peaks {
    bytes: Arc<Vec<AtomicU64>>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Peaks {
    fn watch(dirs: Vec<PathBuf>) -> Self {
        let bytes: Arc<Vec<AtomicU64>> = Arc::new(dirs.iter().map(|_| AtomicU64::new(0)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let (all, until) = (bytes.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !until.load(Ordering::Relaxed) {
                for (dir, peak) in dirs.iter().zip(all.iter()) {
                    peak.fetch_max(disk_bytes(Path::new(dir)), Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { bytes, stop, task }
    }

    async fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("watched");
        self.bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect()
    }
}
