//! `cluster.json`: what a directory's cluster is, and where its nodes are now. Programs may read it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use stator_server::config::{EngineKind, engine_name};

/// The file's name.
pub(crate) const FILE: &str = "cluster.json";
/// The newest format, which is the only one.
const FORMAT: u32 = 1;
/// The file is a handful of lines; a longer one is not ours.
const BYTES_MAX: u64 = 1 << 20;

/// What is kept of a cluster. All lists have the nodes' order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Record {
    /// The format of this file.
    pub(crate) format: u32,
    /// The engine that the nodes were made with.
    #[serde(with = "engine_name")]
    pub(crate) engine: EngineKind,
    /// The first node's port.
    pub(crate) base_port: u16,
    /// Where clients reach the nodes.
    pub(crate) endpoints: Vec<String>,
    /// The nodes' admin ports.
    pub(crate) admin: Vec<String>,
    /// The nodes' processes; null for one that does not run.
    pub(crate) pids: Vec<Option<u32>>,
    /// The supervisor; null when the cluster does not run.
    pub(crate) supervisor: Option<u32>,
}

impl Record {
    /// That of a cluster that does not run yet.
    pub(super) fn new(engine: EngineKind, base_port: u16, ports: &[u16]) -> Self {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            format: FORMAT,
            engine,
            base_port,
            endpoints: ports.iter().map(|port| url(*port)).collect(),
            admin: ports.iter().map(|port| url(port + 1)).collect(),
            pids: vec![None; ports.len()],
            supervisor: None,
        }
    }

    /// Reads a directory's record, if it has one.
    ///
    /// # Errors
    /// Why it cannot be read or understood, in one line.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, String> {
        let file = dir.join(FILE);
        let text = match fs::metadata(&file) {
            Ok(found) if found.len() > BYTES_MAX => {
                return Err(format!("{} is longer than {BYTES_MAX} bytes", file.display()));
            }
            Ok(_) => fs::read_to_string(&file),
            Err(error) => Err(error),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
        };
        let misread = |why: String| format!("{} cannot be understood: {why}", file.display());
        let record: Self =
            serde_json::from_str(&text).map_err(|error| misread(error.to_string()))?;
        if record.format != FORMAT {
            let why = format!("it has format {}, this version knows {FORMAT}", record.format);
            return Err(misread(why));
        }
        let count = record.endpoints.len();
        if count == 0 || record.admin.len() != count || record.pids.len() != count {
            return Err(misread("its lists do not name the same nodes".to_owned()));
        }
        Ok(Some(record))
    }

    /// Replaces a directory's record whole: who reads it meanwhile sees the old one or the new one.
    ///
    /// # Errors
    /// What the operating system answers.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".cluster.json.").tempfile_in(dir)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        // Temporary files are their owner's alone; this one is for whoever may see the directory.
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::fchmod(file.as_file(), mode)?;
        file.persist(dir.join(FILE))?;
        fs::File::open(dir)?.sync_all()
    }
}

/// The port of an endpoint as [`Record::new`] writes it.
pub(super) fn port(endpoint: &str) -> Option<u16> {
    endpoint.strip_prefix("http://127.0.0.1:")?.parse().ok()
}
