//! `stator cluster`: a whole cluster on one machine, each node a process of its own.
//!
//! ```text
//! D/cluster.json       what the cluster is, and where its nodes are now: see `Record`
//! D/lock               held (flock) by the supervisor
//! D/node-1/data/       the node's data directory
//! D/node-1/node.log    what it has to say
//! ```
//! Node *n* (from 0) has the ports base + 10 n for clients and peers, + 1 for its admin port, and + 2, which is kept for an
//! HTTP door.
//!
//! # Invariants
//! - Nodes do not outlive the supervisor, however it ends: each holds a pipe from it and ends with the pipe.
//! - A cluster that is new begins with all of its nodes. One that was there before goes on with a majority of them: a node
//!   that refuses to start is named, with its reason, and does not keep the others from serving.
//! - Once it has begun, a node that dies is started again, and one that cannot start as well, with growing pauses; one whose settings
//!   are not allowed is given up in the same way.
//! - A temporary directory is removed at the end: by the supervisor, or if that was killed, by the last of its nodes.
//! - What a directory was made with (nodes, engine, ports) it keeps; options that say otherwise are refused by name.
//! - Nodes are in groups of processes of their own, so that a terminal's Ctrl-C reaches the supervisor alone.

mod child;
mod plan;
mod ports;
mod record;
mod supervise;

use std::path::PathBuf;

use stator_server::config::{ByteSize, EngineKind, PartialConfig};

use self::plan::Plan;
pub(super) use self::plan::remove_temporary;
pub(crate) use self::record::Record;
use super::number;
use super::output::{Failure, say};
use super::stop::Stop;

/// Runs a cluster on this machine, each node as a process of its own, until it is interrupted
///
/// A node that dies is started again; one that cannot start is named with its reason, and the others go on. The data is kept from
/// one run to the next, in the directory. Settings that are no option here reach the nodes as variables, as in
/// STATOR_LOG_BUDGET=256MiB.
#[derive(Debug, clap::Args)]
pub(crate) struct Cluster {
    /// How many nodes [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = number::from(1..=15_u16))]
    nodes: Option<u16>,

    /// Where the cluster keeps its data. Made if it is not there [default: ./stator-data]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Keep the data in a temporary directory, and remove it at the end
    #[arg(long, conflicts_with = "dir")]
    temp: bool,

    /// The first node's port. The others' are 10 higher each; each node's admin port is the next one. 0 takes free ones, and
    /// keeps to them [default: 7400]
    #[arg(long, value_name = "PORT", value_parser = number::from(0..=u16::MAX))]
    base_port: Option<u16>,

    /// The engine under the data: fjall or sled [default: fjall]
    #[arg(long, value_name = "NAME", value_parser = engine)]
    engine: Option<EngineKind>,

    /// The memory that each node keeps to [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<ByteSize>,

    /// Leave a node that died dead
    #[arg(long)]
    no_restart: bool,

    /// Say when the cluster is ready as one line of JSON instead of words
    #[arg(long)]
    json: bool,
}

fn engine(text: &str) -> Result<EngineKind, String> {
    match text.parse() {
        Ok(EngineKind::Memory) | Err(_) => {
            Err("it must be fjall or sled: the nodes keep their data".to_owned())
        }
        Ok(engine) => Ok(engine),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
}

/// Runs a cluster until it is asked to end.
pub(crate) async fn run(cluster: Cluster) -> Result<(), Failure> {
    // Each node would refuse them; said once, and before anything is made, is better.
    PartialConfig::from_env(super::serve::variables()).map_err(Failure::usage)?;
    let stop = Stop::listen(false).map_err(Failure::refused)?;
    let scratch = if cluster.temp {
        let made = tempfile::Builder::new().prefix("stator-cluster-").tempdir();
        Some(made.map_err(|error| Failure::refused(format!("no temporary directory: {error}")))?)
    } else {
        None
    };
    let dir = match &scratch {
        Some(scratch) => scratch.path().to_owned(),
        None => cluster.dir.clone().unwrap_or_else(|| PathBuf::from("stator-data")),
    };
    let plan = Plan::new(&cluster, dir)?;
    if !cluster.json {
        say(format_args!("directory: {}", plan.dir.display()));
    }
    supervise::run(plan, &cluster, stop).await
    // The temporary directory goes here, behind the nodes.
}
