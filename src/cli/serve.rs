//! `stator serve`: a node in this process.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use stator_server::config::ServeArgs;
use stator_server::{Node, Sockets, telemetry};

use super::output::{Failure, say};
use super::stop::{Asker, Stop};

/// How long a node may take to end in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a node that is not ready says what it waits for.
const UNREADY_EVERY: Duration = Duration::from_secs(30);

/// Runs a node until it is interrupted
///
/// Every setting can be given in a file (as in log_budget = "2GiB"), by a variable (as in STATOR_LOG_BUDGET=2GiB) and by a
/// flag (as in --log-budget 2GiB). A flag goes before a variable, and a variable before the file. Sizes have a unit of B,
/// KiB, MiB, GiB or TiB, times one of ms, s or m; lists are separated by commas.
///
/// Without --initial-nodes and --join the node is a cluster of its own. `stator cluster` runs several nodes on this machine.
///
/// It ends with exit code 2 if a setting is not allowed; with 1 if a port or the directory cannot be had, if its data is damaged
/// (the line names the file and the offset) or of a newer version, which is left as it was, or if the node fails; and with 0 if
/// it was asked to end.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: ServeArgs,

    /// Say when the node is ready as one line of JSON instead of words
    #[arg(long)]
    json: bool,

    /// End when standard input ends: it is a pipe from the process that supervises this one.
    #[arg(long, hide = true)]
    parent_pipe: bool,

    /// The directory of a whole cluster, to be removed by the last of its nodes if their supervisor is dead.
    #[arg(long, hide = true, value_name = "DIR", requires = "parent_pipe")]
    temporary: Option<PathBuf>,
}

/// What `--json` prints when the node is ready.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ReadyLine {
    /// Always true: the line is not written before.
    pub(crate) ready: bool,
    /// The node's id in its cluster.
    pub(crate) node: u64,
    /// Where clients reach it.
    pub(crate) endpoint: String,
    /// Where its admin port is, if it has one.
    pub(crate) admin: Option<String>,
    /// This process.
    pub(crate) pid: u32,
}

/// Takes all the open files that this process may have: the soft limit is often low for the sake of programs that use `select`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?limit.current, to = ?limit.maximum, "open files this process may have");
        }
        Err(error) => {
            tracing::debug!(limit = ?limit.current, %error, "the limit of open files stays as it is");
        }
    }
}

/// Runs a node until it is asked to end.
pub(crate) async fn run(serve: Serve) -> Result<(), Failure> {
    let config = serve.settings.load(variables()).map_err(Failure::usage)?;
    telemetry::install(config.log_format, &config.log_filter).map_err(Failure::usage)?;
    raise_open_files();
    let mut stop = Stop::listen(serve.parent_pipe).map_err(Failure::refused)?;

    let sockets = Sockets::bind(&config).await.map_err(Failure::refused)?;
    let node = tokio::select! {
        node = Node::serve(config, sockets) => node.map_err(Failure::refused)?,
        _ = stop.asked() => return Ok(()),
    };
    let line = ready_line(&node);
    if !serve.json {
        if let Some(former) = node.former_engine() {
            say(format_args!("the engine is made anew; the former one is in {}", former.display()));
        }
        say(format_args!("node {} listens on {}", line.node, line.endpoint));
        if let Some(admin) = &line.admin {
            say(format_args!("admin port: {admin}"));
        }
    }
    let ended = tokio::select! {
        why = node.failed() => Err(Failure::refused(format_args!("the node cannot go on: {why}"))),
        who = stop.asked() => Ok(who),
        never = tell_ready(&node, &line, serve.json) => match never {},
    };
    if let Ok(who) = &ended {
        tracing::info!("stopping: asked to by {who}");
    }
    stop.no_later_than(STOP_TIMEOUT);
    if matches!(ended, Ok(Asker::Supervisor)) {
        // The other nodes end as well.
        node.shutdown_with_cluster().await;
        if let Some(dir) = serve.temporary {
            super::cluster::remove_temporary(&dir);
        }
    } else {
        node.shutdown().await;
    }
    ended.map(drop)
}

/// The environment; variables that are no text are nobody's settings.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn ready_line(node: &Node) -> ReadyLine {
    let url = |address| format!("http://{address}");
    ReadyLine {
        ready: true,
        node: node.id(),
        endpoint: node.listening().map(url).unwrap_or_default(),
        admin: node.admin().map(url),
        pid: std::process::id(),
    }
}

/// Says when the node is ready, and never ends: others decide when to.
async fn tell_ready(node: &Node, line: &ReadyLine, json: bool) -> Infallible {
    while let Err(reasons) = node.wait_ready(UNREADY_EVERY).await {
        tracing::warn!("not ready yet: {}", reasons.join("; "));
        // It returns at once for a node that has failed, which is told elsewhere.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if json {
        // Numbers and texts always have a JSON form.
        say(serde_json::to_string(line).unwrap_or_default());
    } else {
        say("ready");
    }
    std::future::pending().await
}
