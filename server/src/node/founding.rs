//! How a cluster comes to be: its founders meet, the first catalog begins, and the cluster's id is made.
//!
//! Founders are told of each other by the list that each was started with. A majority of them could elect a catalog's leader at once;
//! but a majority that has lost its disks is a majority, too. It would make a second, empty cluster beside the nodes that still have
//! the data of the first. So a founder without data begins its replica of the catalog only once every other node that is to hold the
//! catalog has taken it in: a node that knows the founder's number by another data directory refuses it, and the founder ends (R8).
//! Whoever has begun has met all of them, and needs nobody but a majority ever after.
//!
//! What has to hold whatever becomes of the catalog's replica here is in `node.toml` before that replica begins: the directories of
//! those that were met, and the lengths that leases rest on. The next start is judged by them before it opens or hears anything.
//! A directory without them is older: the catalog fills them in, and nothing else does.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stator_consensus::NodeId;
use stator_model::{AttributeValue, Error, Item, Number, Result};

use super::Inner;
use crate::catalog::records::{CATALOG_GROUP, record_key};
use crate::dir::{DirError, Lengths};
use crate::peers::Peers;
use crate::serve::CallContext;

/// How often to look whether everybody has come, and how often to say for whom a founder waits.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// How long the first founder waits for the others to begin: no longer than an election would take without it.
const OTHERS_TIMEOUT: Duration = Duration::from_secs(1);
/// The catalog's format that this program writes and reads.
const CATALOG_FORMAT: u32 = 1;

/// Whether this node is to hold the catalog, has never had it, and is no member of a cluster yet.
pub(super) fn is_to_meet(node: &Inner) -> bool {
    let is_member = node.dir.as_ref().is_some_and(|dir| dir.identity().cluster_id.is_some());
    let is_here =
        node.replicas.get(CATALOG_GROUP).is_some() || node.replicas.has_failed(CATALOG_GROUP);
    holds_catalog(node) && node.peers.is_some() && !is_member && !is_here
}

/// Begins this node's replica of the catalog, if it holds one and has never had it. There may be votes to count from then on.
///
/// # Errors
/// Why the node cannot go on.
pub(super) async fn begin_catalog(node: &Inner) -> std::result::Result<(), String> {
    if let Some(peers) = &node.peers {
        peers.settle();
    }
    if !holds_catalog(node) || node.replicas.has_failed(CATALOG_GROUP) {
        return Ok(());
    }
    // Of a replica that is here already only the catalog knows which lengths its cluster has.
    let lengths = lengths(node).filter(|_| is_to_meet(node));
    remember(node, lengths).map_err(|error| error.to_string())?;
    let catalog = node.catalog_table();
    node.ensure_replica(&catalog.record, &catalog.partitions()[0], true).await
}

/// Remembers for the next start the directories of the nodes that hold the catalog, as far as they are known, and the lengths that
/// leases rest on, if the caller knows them.
pub(super) fn remember(
    node: &Inner,
    lengths: Option<Lengths>,
) -> std::result::Result<(), DirError> {
    let (Some(dir), Some(peers)) = (&node.dir, &node.peers) else { return Ok(()) };
    dir.remember(|identity| {
        identity.lengths = lengths.or(identity.lengths);
        for member in &mut identity.catalog {
            member.incarnation = peers.incarnation(NodeId(member.node_id)).or(member.incarnation);
        }
    })
}

fn holds_catalog(node: &Inner) -> bool {
    node.catalog_nodes().any(|holder| holder == node.own)
}

/// Begins this node's replica of the catalog once it has met the other founders.
///
/// # Errors
/// Why the node cannot go on.
pub(super) async fn meet_and_begin(node: &Inner) -> std::result::Result<(), String> {
    if let Some(peers) = node.peers.as_ref().filter(|_| is_to_meet(node)) {
        meet(node, peers).await?;
        if node.catalog_nodes().next() == Some(node.own) {
            // It asks for their votes as soon as it begins, and nobody hears it who has not begun.
            let _ = tokio::time::timeout(OTHERS_TIMEOUT, others_begin(node)).await;
        }
        begin_catalog(node).await?;
    }
    Ok(())
}

/// Waits until every other node that is to hold the catalog has taken this one in.
async fn meet(node: &Inner, peers: &Peers) -> std::result::Result<(), String> {
    let mut told = Instant::now();
    loop {
        if peers.is_disowned() {
            return Err(super::membership::known_by_another_directory(node));
        }
        let missing = missing(node, peers);
        if missing.is_empty() {
            return Ok(());
        }
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            tracing::info!(?missing, "a new cluster begins once its founders have met: waiting");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until the other nodes that are to hold the catalog have begun their replicas.
async fn others_begin(node: &Inner) {
    for other in node.catalog_nodes().filter(|other| *other != node.own) {
        let has_begun = async || {
            let statuses = node.replica_statuses(other, &[CATALOG_GROUP.0], OTHERS_TIMEOUT).await;
            statuses.is_ok_and(|statuses| !statuses.is_empty())
        };
        while !has_begun().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What keeps this founder from beginning, if something does.
pub(super) fn awaited(node: &Inner) -> Option<String> {
    let peers = node.peers.as_ref().filter(|_| is_to_meet(node))?;
    let missing = missing(node, peers).join(", ");
    Some(format!("a new cluster begins once its founders have met: not yet met {missing}"))
}

/// The nodes, by their addresses, that are to hold the catalog and have not taken this one in yet.
fn missing(node: &Inner, peers: &Peers) -> Vec<String> {
    node.catalog_nodes()
        .filter(|other| *other != node.own && !peers.has_met(*other))
        .map(|other| peers.address(other).unwrap_or_else(|| other.to_string()))
        .collect()
}

/// The cluster's id is made once, by whoever finds none.
pub(super) async fn agree_on_cluster(node: &Inner, cx: &CallContext) -> Result<()> {
    if node.joined.load(Ordering::Acquire) {
        return Ok(());
    }
    let key = record_key("cluster", "cluster");
    let mut record = node.catalog_get(key.clone(), cx).await?;
    if record.is_none() {
        let mut made = key.clone();
        made.insert("cluster_id".into(), node.new_cluster_id().into());
        let format = Number::from(u64::from(CATALOG_FORMAT));
        made.insert("format_version".into(), AttributeValue::N(format));
        made.extend(as_attributes(Lengths::of(&node.config.consensus()).named()));
        // Their ids are taken, whether they have come yet or not.
        let founders = node.config.initial_nodes.len().max(node.founders());
        made.insert("founders".into(), AttributeValue::N(Number::from(founders as u64)));
        if !node.config.initial_nodes.is_empty() {
            let list = node.config.initial_nodes.iter().map(|node| node.as_str().into());
            made.insert("initial_nodes".into(), AttributeValue::L(list.collect()));
        }
        node.catalog_create(&made, cx).await?;
        record = node.catalog_get(key, cx).await?;
    }
    let record = record.unwrap_or_default();
    let format = record.get("format_version").and_then(AttributeValue::as_n);
    let format = format.and_then(Number::to_u64).and_then(|format| u32::try_from(format).ok());
    let format = format.ok_or_else(|| Error::internal("the catalog has no format version"))?;
    node.catalog_format.store(format, Ordering::Relaxed);
    let why = newer_format(format);
    let why = why.or_else(|| other_founders(&record, &node.config.initial_nodes));
    let why = why.or_else(|| other_length(node, &record));
    if let Some(why) = why {
        node.fail(&why);
        return Err(Error::internal(why));
    }
    let id = record.get("cluster_id").and_then(AttributeValue::as_s);
    let id = id.ok_or_else(|| Error::internal("the catalog has no cluster id"))?;
    if let Some(dir) = &node.dir
        && let Err(error) = dir.join(id, node.own.0)
    {
        node.fail(&error.to_string());
        return Err(Error::internal(error.to_string()));
    }
    if let Some(peers) = &node.peers {
        peers.set_cluster_id(id);
    }
    Ok(())
}

fn newer_format(format: u32) -> Option<String> {
    (format > CATALOG_FORMAT).then(|| {
        format!(
            "the cluster's catalog has format version {format}, and this program knows none above {CATALOG_FORMAT}: a newer \
             Stator is needed"
        )
    })
}

/// Why a node that was started with this list of founders is none of the cluster's, if it is not. Founders that hold the catalog tell
/// each other so before there is a cluster; those behind them hear it from the catalog.
fn other_founders(cluster: &Item, initial_nodes: &[String]) -> Option<String> {
    let AttributeValue::L(founded) = cluster.get("initial_nodes")? else { return None };
    let founded: Vec<&str> = founded.iter().filter_map(AttributeValue::as_s).collect();
    (!initial_nodes.is_empty() && founded != initial_nodes).then(|| {
        format!(
            "initial_nodes = {initial_nodes:?} is not allowed: the cluster was founded with {founded:?}"
        )
    })
}

/// What leases rest on, where they do: who votes alone makes no promise that another one's lease rests on.
pub(super) fn lengths(node: &Inner) -> Option<Lengths> {
    (node.founders() > 1).then(|| Lengths::of(&node.config.consensus()))
}

fn as_attributes<const N: usize>(lengths: [(&str, u64); N]) -> [(String, AttributeValue); N] {
    lengths.map(|(name, length)| (name.to_owned(), AttributeValue::N(Number::from(length))))
}

/// The lengths in the cluster's record. One without them is older than they are.
fn agreed_lengths(cluster: &Item) -> Option<Lengths> {
    let length = |name| cluster.get(name)?.as_n()?.to_u64();
    Some(Lengths { election_us: length("election_us")?, lease_us: length("lease_us")? })
}

/// Why a node with its lengths is none of the cluster's, if it is not.
fn other_length(node: &Inner, cluster: &Item) -> Option<String> {
    let (own, agreed, dir) = (lengths(node)?, agreed_lengths(cluster)?, node.dir.as_ref()?);
    // Whether or not it has the same: whatever is started next on this directory is judged by what the cluster has.
    match dir.remember(|identity| identity.lengths = Some(agreed)) {
        Ok(()) => own.refusal("this build", agreed, "the cluster"),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
#[path = "founding_tests.rs"]
mod tests;
