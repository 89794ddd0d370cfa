//! A node whose engine is made anew from its peers (R16).
//!
//! The operator asks for it; see `docs/decisions/005`. The node asks the others whether they have what it is about to do without,
//! sets its engine aside, and begins an empty one under the same log. The log is what makes that safe for Raft: votes and entries are
//! kept, so the node breaks no word that it has given. What its replicas are it learns again: of the catalog's from `node.toml`, of
//! the others from the catalog. Each begins in one of two ways:
//!
//! ```text
//!   its log is whole, behind the made-up first index (R14) ──▶ an empty range, and the log is applied again
//!   its log begins later ──▶ lacking: it asks its leader for a snapshot, and leads nothing before it has it
//! ```
//!
//! # Invariants
//! - Until a replica has applied what its log knew committed, its range is closed to readers: nobody reads there what is older than
//!   what was read before.
//! - The note in the data directory goes once every replica that the log knows has its data, and the engine has flushed them. Until
//!   then every start goes on with it.
//!
//! # Caveats
//! Of entries that are gone from a replica's log, and were committed with the vote of this node, the others hold a copy only if a
//! quorum of them has kept its own. So a quorum of each group must be there with its data, besides this node; of a group of two, the
//! other one. Whether what they hold is complete Raft decides: a lacking replica votes for nobody whose log is behind its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stator_consensus::group::FIRST_MARK;
use stator_consensus::{GroupId, Recovered};
use stator_proto::v1;
use stator_storage::log::GroupRecovery;
use tokio::time::Instant;

use super::Inner;
use super::start::{StartError, refused};
use crate::config::NodeConfig;
use crate::dir::{DataDir, Identity};
use crate::peers::grpc;

/// Why a node alone is refused.
pub(super) const NOBODY: &str =
    "rebuild_engine = true is not allowed: nobody else has this node's data, for it is alone";
/// How long the others may take to agree, and one of them to answer.
const AGREE_TIMEOUT: Duration = Duration::from_secs(10);
const ASK_TIMEOUT: Duration = Duration::from_secs(4);
const ASK_PAUSE: Duration = Duration::from_millis(200);
/// How often to look whether all have their data, and to tell how many do not.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is left to do.
pub(crate) struct Rebuild {
    under_way: AtomicBool,
    /// Where the former engine is.
    aside: Option<PathBuf>,
    /// What the log knows of replicas that the engine does not hold yet.
    lost: Mutex<BTreeMap<GroupId, GroupRecovery>>,
}

impl Rebuild {
    pub(super) fn new(
        is_under_way: bool,
        aside: Option<PathBuf>,
        lost: &BTreeMap<GroupId, GroupRecovery>,
    ) -> Self {
        Self { under_way: AtomicBool::new(is_under_way), aside, lost: Mutex::new(lost.clone()) }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    pub(super) fn aside(&self) -> Option<&Path> {
        self.aside.as_deref()
    }

    /// The groups whose replicas the engine does not hold yet.
    pub(crate) fn lost(&self) -> Vec<GroupId> {
        self.known().keys().copied().collect()
    }

    /// What a replica that the engine does not hold yet is to start from: all that the log knows, and data as of the index that the
    /// log begins behind if that is the made-up one; none if not.
    pub(crate) fn recovered(&self, group: GroupId) -> Option<Recovered> {
        let lost = self.known();
        let known = lost.get(&group)?;
        let mark = (known.mark.index, known.mark.term);
        Some(Recovered {
            term: known.hard_state.term,
            vote: known.hard_state.vote,
            commit: known.hard_state.commit,
            mark,
            terms: known.terms.clone(),
            applied: if mark == FIRST_MARK { FIRST_MARK } else { (0, 0) },
        })
    }

    /// The replica is in the engine, with or without data.
    pub(crate) fn begun(&self, group: GroupId) {
        self.known().remove(&group);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<GroupId, GroupRecovery>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the engine is to be made anew: because a former start has begun it, or because it is asked for and the others agree.
///
/// # Errors
/// Why not, though it was asked for. Nothing has been touched.
pub(super) async fn agreed(config: &NodeConfig, dir: &DataDir) -> Result<bool, StartError> {
    if dir.is_rebuilding().map_err(refused)? {
        return Ok(true);
    }
    if !config.rebuild_engine {
        return Ok(false);
    }
    let identity = dir.identity();
    let Some(own) = identity.node_id else {
        return Err(refused("rebuild_engine = true is not allowed: the directory is new"));
    };
    let others: Vec<&str> = identity
        .catalog
        .iter()
        .filter(|member| member.node_id != own)
        .map(|member| member.address.as_str())
        .collect();
    if others.is_empty() {
        return Err(refused(NOBODY));
    }
    let deadline = Instant::now() + AGREE_TIMEOUT;
    loop {
        let mut why = String::new();
        for address in &others {
            let told = ask(address, &identity).await.map_err(Objection::ForNow);
            match told.and_then(|told| judge(&told, own)) {
                Ok(()) => return Ok(true),
                Err(Objection::ForGood(objection)) => {
                    return Err(refused(format!("the engine is not set aside: {objection}")));
                }
                Err(Objection::ForNow(objection)) => why = format!("{address}: {objection}"),
            }
        }
        if Instant::now() >= deadline {
            return Err(refused(format!("the engine is not set aside: {why}")));
        }
        tracing::info!(
            why,
            "the others do not agree that the engine is made anew: they are asked again"
        );
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Asks a node how the cluster is doing.
async fn ask(address: &str, identity: &Identity) -> Result<v1::DescribeClusterResponse, String> {
    let asking = async {
        let channel = grpc::connect(address).await?;
        grpc::describe_cluster(channel).await.map_err(|failed| failed.message)
    };
    let told = tokio::time::timeout(ASK_TIMEOUT, asking).await;
    let told = told.map_err(|_| "no answer in time".to_owned())??;
    if identity.cluster_id.as_deref() != Some(&told.cluster_id) {
        return Err(format!("it is a node of another cluster, {}", told.cluster_id));
    }
    Ok(told)
}

/// Why the others do not agree.
#[derive(Debug, PartialEq, Eq)]
enum Objection {
    /// They may in a moment.
    ForNow(String),
    /// Asking again changes nothing, or not soon.
    ForGood(String),
}

/// Whether the others can give a node what it had, as one of them says.
fn judge(told: &v1::DescribeClusterResponse, own: u64) -> Result<(), Objection> {
    use Objection::{ForGood, ForNow};
    // What is told without the catalog has no versions of nodes, and no tables.
    let is_known = told.nodes.iter().any(|node| node.node_id == own && !node.version.is_empty());
    if !is_known || told.catalog_leader_node_id.is_none() {
        let why = "it does not reach the catalog, or does not know this node by it";
        return Err(ForNow(why.to_owned()));
    }
    told.partitions.iter().try_for_each(|partition| {
        if !partition.replicas.iter().any(|replica| replica.node_id == own) {
            return Ok(());
        }
        let name = || format!("partition {} of table {}", partition.group, partition.table_name);
        let others: Vec<_> =
            partition.replicas.iter().filter(|replica| replica.node_id != own).collect();
        if others.is_empty() {
            return Err(ForGood(format!("{} has no replica but this node's", name())));
        }
        if let Some(other) = others.iter().find(|replica| replica.lacking) {
            let node = other.node_id;
            return Err(ForGood(format!("node {node} lacks its own data of {}", name())));
        }
        let needed = (partition.replicas.len() / 2 + 1).min(others.len());
        let whole = others.iter().filter(|replica| replica.behind.is_some()).count();
        if whole < needed {
            let counts = format!("{whole} of its other replicas answer, and {needed} have to");
            return Err(ForNow(format!("{}: {counts}", name())));
        }
        Ok(())
    })
}

/// Waits until every replica has its data, and ends the rebuild then.
pub(super) async fn run(node: Arc<Inner>) {
    let mut told: Option<Instant> = None;
    while let Some(lacking) = node.lacking() {
        if lacking == 0 {
            match node.end_rebuild().await {
                Ok(()) => return,
                Err(error) => tracing::error!(error, "the rebuild cannot be ended yet"),
            }
        }
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            tracing::info!(lacking, "the engine is made anew: so many replicas lack their data");
            told = Some(Instant::now());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Inner {
    /// How many replicas lack their data, while the engine is made anew.
    pub(crate) fn lacking(&self) -> Option<usize> {
        if !self.rebuild.is_under_way() {
            return None;
        }
        let not_begun =
            self.rebuild.lost().into_iter().filter(|group| !self.replicas.is_gone(*group)).count();
        let closed =
            self.replicas.all().iter().filter(|replica| replica.data.note().is_none()).count();
        Some(not_begun + closed + self.replicas.failures().len())
    }

    /// Every replica has its data: once they are durable, the next start is like any other.
    async fn end_rebuild(&self) -> Result<(), String> {
        let engine = self.engine.clone();
        let flushed = tokio::task::spawn_blocking(move || engine.flush()).await;
        flushed.map_err(|_| "the engine failed")?.map_err(|error| error.to_string())?;
        if let Some(dir) = &self.dir {
            dir.end_rebuild().map_err(|error| error.to_string())?;
        }
        self.rebuild.under_way.store(false, Ordering::Release);
        let former = self.rebuild.aside();
        tracing::info!(
            ?former,
            "the engine has been made anew: every replica has its data, and the former engine is not needed any more"
        );
        Ok(())
    }
}

#[cfg(test)]
#[path = "rebuild_tests.rs"]
mod tests;
