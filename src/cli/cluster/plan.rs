//! What is to run: the options and what the directory holds already, brought together before anything is touched.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use stator_server::config::{ByteSize, EngineKind, NodeConfig};

use super::record::{self, Record};
use super::{Cluster, ports};
use crate::cli::output::Failure;

const NODES_DEFAULT: u16 = 3;
const BASE_PORT_DEFAULT: u16 = 7400;
const LOCK: &str = "lock";
/// What every node's data directory has.
const NODE_FILE: &str = "node.toml";

/// A cluster that is to run. The directory is this process's until it is dropped.
pub(super) struct Plan {
    pub(super) dir: PathBuf,
    pub(super) record: Record,
    pub(super) memory: Option<ByteSize>,
    /// Whether the cluster was never there before: then all of its nodes are needed to begin.
    pub(super) is_new: bool,
    /// Whether the directory goes with the cluster.
    temporary: bool,
    _lock: File,
}

/// One node of it.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    /// Its place in the cluster's lists; its number, as people see it, is one higher.
    pub(super) index: usize,
    pub(super) data_dir: PathBuf,
    pub(super) log_file: PathBuf,
    pub(super) port: u16,
    /// `host:port` of all nodes.
    pub(super) founders: Vec<String>,
    pub(super) engine: EngineKind,
    pub(super) memory: Option<ByteSize>,
    /// The cluster's directory, if that goes with it.
    pub(super) temporary: Option<PathBuf>,
}

impl Plan {
    /// Brings options and directory together.
    ///
    /// # Errors
    /// Options that are not allowed, or that disagree with what is there, by name; a directory that is no cluster's.
    pub(super) fn new(options: &Cluster, dir: PathBuf) -> Result<Self, Failure> {
        if let Some(memory) = options.memory {
            let config = NodeConfig { memory, ..NodeConfig::default() };
            config.validate().map_err(Failure::usage)?;
        }
        refuse_foreign(&dir)?;
        let found = Record::read(&dir).map_err(Failure::refused)?;
        // A first start that failed leaves a record, and nothing that would have to be kept.
        let found = found.filter(|record| holds_data(&dir, record));
        let is_new = found.is_none();
        let record = match found {
            Some(record) => agreed(options, &dir, record)?,
            None => founded(options)?,
        };
        let lock = lock(&dir)?;
        let (memory, temporary) = (options.memory, options.temp);
        Ok(Self { dir, record, memory, is_new, temporary, _lock: lock })
    }

    /// The nodes of the cluster.
    pub(super) fn nodes(&self) -> Result<Vec<NodePlan>, Failure> {
        let ports: Option<Vec<u16>> =
            self.record.endpoints.iter().map(|endpoint| record::port(endpoint)).collect();
        let file = self.dir.join(record::FILE);
        let ports = ports.ok_or_else(|| {
            Failure::refused(format!(
                "{} names endpoints that are not this machine's",
                file.display()
            ))
        })?;
        let founders: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let nodes = ports.into_iter().enumerate().map(|(index, port)| {
            let dir = self.dir.join(format!("node-{}", index + 1));
            NodePlan {
                index,
                data_dir: dir.join("data"),
                log_file: dir.join("node.log"),
                port,
                founders: founders.clone(),
                engine: self.record.engine,
                memory: self.memory,
                temporary: self.temporary.then(|| self.dir.clone()),
            }
        });
        Ok(nodes.collect())
    }
}

/// A cluster that is new.
fn founded(options: &Cluster) -> Result<Record, Failure> {
    let nodes = options.nodes.unwrap_or(NODES_DEFAULT);
    let engine = options.engine.unwrap_or(EngineKind::Fjall);
    let base = match options.base_port.unwrap_or(BASE_PORT_DEFAULT) {
        0 => ports::free_base(nodes).map_err(Failure::refused)?,
        base => base,
    };
    let ports = ports::from_base(base, nodes)
        .map_err(|why| Failure::usage(format!("--base-port {base} is not allowed: {why}")))?;
    // Now, while nothing was made yet: a cluster keeps the ports that it was made with.
    if let Some((node, why)) = ports::taken(&ports) {
        return Err(Failure::refused(format!(
            "node {node} cannot listen on {why}\nGive another --base-port; 0 takes free ones."
        )));
    }
    Ok(Record::new(engine, base, &ports))
}

/// The cluster that is there, if the options do not ask for another one.
fn agreed(options: &Cluster, dir: &Path, record: Record) -> Result<Record, Failure> {
    let nodes = record.endpoints.len();
    let disagrees = |option: &str, asked: &dyn std::fmt::Display, made: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "{option} {asked} is not allowed: the cluster in {} was made with {made}, which it keeps. Leave {option} out to \
             run that one, or give another --dir for a new one",
            dir.display()
        ))
    };
    if let Some(asked) = options.nodes
        && usize::from(asked) != nodes
    {
        return Err(disagrees("--nodes", &asked, &nodes));
    }
    if let Some(asked) = options.engine
        && asked != record.engine
    {
        return Err(disagrees("--engine", &asked, &record.engine));
    }
    match options.base_port {
        // 0 asks for ports that nothing else has: those that the cluster has been given are such.
        None | Some(0) => {}
        Some(asked) if asked == record.base_port => {}
        Some(asked) => return Err(disagrees("--base-port", &asked, &record.base_port)),
    }
    Ok(record)
}

/// Whether a node of a cluster has a data directory: then the cluster is what it was made as.
fn holds_data(dir: &Path, record: &Record) -> bool {
    (1..=record.endpoints.len())
        .any(|node| dir.join(format!("node-{node}")).join("data").join(NODE_FILE).exists())
}

/// Refuses a directory that holds something else, before anything is put there.
fn refuse_foreign(dir: &Path) -> Result<(), Failure> {
    if dir.join(record::FILE).exists() {
        return Ok(());
    }
    if dir.join(NODE_FILE).exists() {
        return Err(Failure::refused(format!(
            "--dir {} is not allowed: it is a single node's directory; `stator serve` runs it, and a cluster needs another one",
            dir.display()
        )));
    }
    let refused =
        |error: io::Error| Failure::refused(format!("reading {}: {error}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    };
    for entry in entries {
        let name = entry.map_err(refused)?.file_name();
        if name != LOCK && name != "lost+found" {
            return Err(Failure::refused(format!(
                "--dir {} is not allowed: it was not made by `stator cluster`, for it holds {} and no {}; give an empty \
                 one or a new name",
                dir.display(),
                Path::new(&name).display(),
                record::FILE
            )));
        }
    }
    Ok(())
}

/// Takes the directory for this process. The lock file stays: were it removed, two could hold a lock of that name.
fn lock(dir: &Path) -> Result<File, Failure> {
    let refused = |error: io::Error| Failure::refused(format!("{}: {error}", dir.display()));
    fs::create_dir_all(dir).map_err(refused)?;
    let mut open = OpenOptions::new();
    let lock =
        open.create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(refused)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let supervisor = Record::read(dir).ok().flatten().and_then(|record| record.supervisor);
        let who =
            supervisor.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        return Err(Failure::refused(format!(
            "--dir {} is not allowed: the cluster there is run by {who}",
            dir.display()
        )));
    }
    Ok(lock)
}

/// Removes a temporary cluster's directory, if its supervisor is dead and no node of it runs any more: for a node that has ended.
/// Every node that does holds a lock in it until then, so that the last one, at least, finds none.
pub(in crate::cli) fn remove_temporary(dir: &Path) {
    // Shared, so that two who look do not take each other for holders.
    let is_held = |lock: &Path| {
        let opened = OpenOptions::new().write(true).open(lock);
        opened.is_ok_and(|open| flock(&open, FlockOperation::NonBlockingLockShared).is_err())
    };
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut locks = entries.flatten().map(|entry| entry.path().join("data").join(LOCK));
    if is_held(&dir.join(LOCK)) || locks.any(|lock| is_held(&lock)) {
        return;
    }
    // Another one may be at it, too.
    let _ = fs::remove_dir_all(dir);
}
