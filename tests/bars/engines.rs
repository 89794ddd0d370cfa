//! One engine against the other, on the same cluster, budget and durability.

use std::fs;
use std::mem::replace;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Scale;
use crate::cluster::{Cluster, stator};
use crate::report::{Outcome, median};
use crate::support::{directory, finish_within};

pub(crate) const CLAIM: &str = "`stator bench` put, get and a on `fjall` and on `sled`: three nodes, a million records of 400 bytes, the same memory \
    and durability, in one run; the default engine is the winner.";

const ENGINES: [&str; 2] = ["fjall", "sled"];
const WORKLOADS: [&str; 3] = ["put", "get", "a"];
/// How long a run may take with loading a million records.
const RUN_MAX: Duration = Duration::from_secs(300);

pub(crate) async fn run(scale: Scale) -> Outcome {
    let mut outcome = Outcome::default();
    let mut totals = Vec::new();
    for engine in ENGINES {
        let dir = directory();
        let cluster = Cluster::start(dir.path(), scale, &["--engine", engine]);
        let mut product = 1.0;
        let mut loaded = false;
        for workload in WORKLOADS {
            let run = |_| bench(dir.path(), scale, &cluster, workload, replace(&mut loaded, true));
            let runs: Vec<Value> = (0..scale.of(3, 1)).map(run).collect();
            let middle = |name: &str| {
                // Whole thousandths, which have an order.
                let of = |run: &Value| run[name].as_f64().map(|figure| (figure * 1e3) as u64);
                let figures: Vec<u64> = runs.iter().filter_map(of).collect();
                assert_eq!(figures.len(), runs.len(), "{name} is missing: {runs:?}");
                median(&figures).expect("runs") as f64 / 1e3
            };
            let rate = middle("ops_per_sec");
            product *= rate;
            let told = format!(
                "{rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms, errors {}",
                middle("p50_ms"),
                middle("p99_ms"),
                middle("errors")
            );
            outcome.figure(format!("{engine} {workload}"), told);
            outcome.require(rate > 0.0, format!("{engine} {workload}: nothing was done"));
            outcome.require(middle("errors") == 0.0, format!("{engine} {workload}: errors"));
        }
        totals.push(product);
        let (code, said) = cluster.supervisor.terminate();
        outcome.require(code == Some(0), format!("{engine} did not stop in good order: {said}"));
    }
    let ratio = (totals[0] / totals[1]).cbrt();
    outcome.figure("fjall over sled, geometric mean of the throughputs", format!("{ratio:.2}"));
    outcome.require_in_full(scale, ratio > 1.0, "the default engine, fjall, is not the winner");
    outcome
}

/// One run; the table may have been loaded by one before.
fn bench(dir: &Path, scale: Scale, cluster: &Cluster, workload: &str, loaded: bool) -> Value {
    let mut command = stator(dir, scale);
    let (seconds, warmup, records) = scale.of(("20", "5", "1000000"), ("1", "0", "500"));
    command.args(["bench", "--workload", workload, "--json", "bench.json"]);
    command.args(["--endpoints", &cluster.endpoints.join(",")]);
    command.args(["--seconds", seconds, "--warmup", warmup, "--records", records]);
    if loaded {
        command.arg("--no-load");
    }
    finish_within(RUN_MAX, command, "").ok();
    let text = fs::read(dir.join("bench.json")).expect("figures");
    serde_json::from_slice(&text).expect("JSON")
}
