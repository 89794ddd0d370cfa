//! What the command line says, checked.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;
use stator_model::limits::TABLE_PARTITIONS_MAX;

use super::distribution::Distribution;
use super::records::Layout;
use super::workload::Workload;
use crate::cli::endpoints::known;
use crate::cli::number;
use crate::cli::output::Failure;

/// Where etcd listens unless told.
const ETCD_DEFAULT: &str = "http://127.0.0.1:2379";
/// The engine that keeps nothing.
pub(super) const MEMORY_ENGINE: &str = "memory";

/// Measures a database: YCSB's workloads on a cluster, a database in this process, or etcd
///
/// Loads records, warms up, then measures. Without --rate, each client begins an operation when its last one ended. With it,
/// operations are due at fixed times, and latency counts from when they were due.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(long, value_name = "TARGET", default_value = "grpc")]
    target: TargetKind,

    /// Nodes of the cluster, etcd's members [default: those of ./stator-data/cluster.json, or http://127.0.0.1:7400; for
    /// etcd, http://127.0.0.1:2379]
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        env = "STATOR_ENDPOINTS",
        hide_env_values = true
    )]
    endpoints: Vec<String>,

    /// What to do
    #[arg(long, value_name = "WORKLOAD", default_value = "a")]
    workload: Workload,

    /// Which records to ask for, instead of those that the workload is defined with
    #[arg(long, value_name = "NAME")]
    distribution: Option<Distribution>,

    /// How many callers, each with one operation at a time
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = number::from(1..=10_000_u32))]
    clients: u32,

    /// How many callers share a connection to each endpoint
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = number::from(1..=u32::MAX))]
    callers_per_channel: u32,

    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = number::from(1..=86_400_u32))]
    seconds: u32,

    /// How long to run before measuring, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = number::from(0..=86_400_u32))]
    warmup: u32,

    /// How many records the table holds
    #[arg(long, value_name = "COUNT", default_value = "100000", value_parser = number::from(1..=10_000_000_000_u64))]
    records: u64,

    /// How long a record's value is, in bytes
    #[arg(long, value_name = "BYTES", default_value = "400", value_parser = number::from(1..=400_000_u32))]
    value_bytes: u32,

    /// Begin this many operations a second, whether or not others have ended
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,

    /// Do not load: the table holds the records from a run before
    #[arg(long)]
    no_load: bool,

    /// The table, or the prefix of etcd's keys [default: bench, and bench-ranges for the workload e]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,

    /// Into how many partitions to cut the table, if it is made [default: the database's]
    #[arg(long, value_name = "COUNT", value_parser = number::from(1..=TABLE_PARTITIONS_MAX))]
    partitions: Option<u32>,

    /// The engine of a database in this process: fjall, sled or memory
    #[arg(long, value_name = "NAME", default_value = "fjall")]
    engine: String,

    /// The directory of a database in this process [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Processes of a local cluster, whose CPU time per operation is told as well
    #[arg(long, value_name = "PID,...", value_delimiter = ',', value_parser = number::from(1..=u32::MAX))]
    pids: Vec<u32>,

    /// What the dice begin with: the same seed asks for the same records
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = number::from(0..=u64::MAX))]
    seed: u64,

    /// Write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TargetKind {
    /// A cluster of Stator
    Grpc,
    /// A database in this process
    Embedded,
    /// A cluster of etcd
    Etcd,
}

impl TargetKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

/// What a run is to be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    #[serde(skip)]
    pub(super) target: TargetKind,
    #[serde(skip)]
    pub(super) workload: Workload,
    #[serde(serialize_with = "distribution_name")]
    pub(super) distribution: Distribution,
    pub(super) endpoints: Vec<String>,
    pub(super) clients: u32,
    pub(super) callers_per_channel: u32,
    pub(super) seconds: u32,
    pub(super) warmup: u32,
    pub(super) records: u64,
    pub(super) value_bytes: u32,
    pub(super) rate: Option<f64>,
    pub(super) load: bool,
    pub(super) table: String,
    pub(super) partitions: Option<u32>,
    pub(super) engine: String,
    pub(super) dir: Option<PathBuf>,
    #[serde(skip)]
    pub(super) pids: Vec<u32>,
    pub(super) seed: u64,
    #[serde(skip)]
    pub(super) json: Option<PathBuf>,
}

impl Bench {
    /// Fills in what was left out, and refuses what does not fit together.
    pub(super) fn settings(self) -> Result<Settings, Failure> {
        let endpoints = match self.target {
            TargetKind::Grpc => known(&self.endpoints)?.0,
            TargetKind::Etcd if self.endpoints.is_empty() => vec![ETCD_DEFAULT.to_owned()],
            TargetKind::Etcd => self.endpoints.iter().map(|given| with_scheme(given)).collect(),
            TargetKind::Embedded => Vec::new(),
        };
        if self.no_load && self.target == TargetKind::Embedded && self.dir.is_none() {
            return Err(Failure::usage("--no-load needs --dir: a new database holds no records"));
        }
        if self.dir.is_some() && self.engine == MEMORY_ENGINE {
            return Err(Failure::usage("--engine memory keeps nothing in a --dir"));
        }
        let parent = self.json.as_ref().and_then(|file| file.parent());
        if let Some(parent) = parent.filter(|parent| !parent.as_os_str().is_empty())
            && !parent.is_dir()
        {
            let text = format!("--json: there is no directory {}", parent.display());
            return Err(Failure::usage(text));
        }
        let table = if self.workload == Workload::E { "bench-ranges" } else { "bench" };
        Ok(Settings {
            target: self.target,
            workload: self.workload,
            distribution: self.distribution.unwrap_or(self.workload.distribution()),
            endpoints,
            clients: self.clients,
            callers_per_channel: self.callers_per_channel,
            seconds: self.seconds,
            warmup: self.warmup,
            records: self.records,
            value_bytes: self.value_bytes,
            rate: self.rate,
            load: !self.no_load,
            table: self.table.unwrap_or_else(|| table.to_owned()),
            partitions: self.partitions,
            engine: self.engine,
            dir: self.dir,
            pids: self.pids,
            seed: self.seed,
            json: self.json,
        })
    }
}

impl Settings {
    /// How many connections are made to each endpoint.
    pub(super) fn channels_per_endpoint(&self) -> usize {
        self.clients.div_ceil(self.callers_per_channel.max(1)) as usize
    }

    /// Whether the table that was measured is there afterwards, in a cluster that has other uses.
    pub(super) fn leaves_table(&self) -> bool {
        self.target == TargetKind::Grpc
    }

    /// How the records are laid out.
    pub(super) fn layout(&self) -> Layout {
        self.workload.layout(self.records)
    }
}

fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e8).contains(&rate) => Ok(rate),
        _ => Err("it must be a number from 0.001 to 100000000".to_owned()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives it by reference")]
fn distribution_name<S: serde::Serializer>(
    distribution: &Distribution,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(distribution.name())
}
