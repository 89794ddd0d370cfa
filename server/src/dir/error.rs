//! Why a data directory was refused, in one line each.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{FORMAT, Mode};
use crate::config::EngineKind;

/// Why a data directory was refused. What was there is untouched.
#[derive(Debug)]
#[non_exhaustive]
pub enum DirError {
    /// Something of that name is there, and it is no directory.
    NotADirectory(PathBuf),
    /// The directory holds something that Stator did not put there.
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One of the things that it holds.
        found: PathBuf,
    },
    /// A process has the directory, perhaps this one.
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process, if it has said so.
        process: Option<u32>,
    },
    /// A newer version made the directory.
    Newer {
        /// The file that says so.
        file: PathBuf,
        /// The format that it names.
        format: u64,
    },
    /// The file that says whose the directory is cannot be understood.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, in one line.
        reason: String,
    },
    /// The directory was made for another engine.
    Engine {
        /// The directory.
        dir: PathBuf,
        /// The engine that it was made with.
        made: EngineKind,
        /// The engine that was asked for.
        asked: EngineKind,
    },
    /// The directory is a cluster node's and was to be opened in a process, or the reverse.
    Mode {
        /// The directory.
        dir: PathBuf,
        /// What it is.
        made: Mode,
    },
    /// The directory is that of another node.
    Belongs {
        /// The directory.
        dir: PathBuf,
        /// The cluster that it belongs to.
        cluster_id: Option<String>,
        /// The node that it belongs to.
        node_id: Option<u64>,
        /// The cluster and the node that it was to belong to.
        asked: (String, u64),
    },
    /// The operating system refused.
    Io {
        /// What was being done, as in `writing`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
}

impl DirError {
    /// Tells of an error of the operating system what was being done, and to what.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADirectory(path) => write!(f, "{} is not a directory", path.display()),
            Self::Foreign { dir, found } => write!(
                f,
                "the directory {} was not made by Stator: it holds {} and no node.toml; give an empty one or a new name",
                dir.display(),
                found.display()
            ),
            Self::InUse { dir, process } => {
                write!(f, "the directory {} is in use by ", dir.display())?;
                match *process {
                    Some(process) if process == std::process::id() => f.write_str("this process"),
                    Some(process) => write!(f, "process {process}"),
                    None => f.write_str("another process"),
                }
            }
            Self::Newer { file, format } => write!(
                f,
                "{} has format {format}, of a newer version: this one knows formats up to {FORMAT}",
                file.display()
            ),
            Self::Damaged { file, reason } => {
                write!(f, "{} cannot be understood: {reason}", file.display())
            }
            Self::Engine { dir, made, asked } => write!(
                f,
                "the directory {} was made with --engine {made}, and --engine {asked} was asked for",
                dir.display()
            ),
            Self::Mode { dir, made: Mode::Cluster } => write!(
                f,
                "the directory {} is that of a cluster's node and cannot be opened in a process",
                dir.display()
            ),
            Self::Mode { dir, made: Mode::Embedded } => write!(
                f,
                "the directory {} is that of an embedded database and cannot be a cluster's node",
                dir.display()
            ),
            Self::Belongs { dir, cluster_id, node_id, asked: (asked_cluster, asked_node) } => {
                write!(f, "the directory {} is that of ", dir.display())?;
                if let Some(node_id) = node_id {
                    write!(f, "node {node_id} of ")?;
                }
                let cluster_id = cluster_id.as_deref().unwrap_or("no cluster");
                write!(f, "{cluster_id}, not of node {asked_node} of {asked_cluster}")
            }
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for DirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
