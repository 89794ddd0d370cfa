//! Who a node is: told by its directory, by the list of founders, or by the cluster that it joins.

use std::time::Duration;

use stator_consensus::NodeId;
use stator_proto::peer::v1 as wire;

use super::membership;
use super::start::{StartError, refused};
use crate::config::NodeConfig;
use crate::dir::{CatalogMember, DataDir, Lengths};

/// How long a joining node asks to be taken in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Who a node is, and who holds the catalog.
pub(super) struct Standing {
    pub(super) own: NodeId,
    pub(super) cluster_id: Option<String>,
    /// The nodes that hold the catalog, by rank.
    pub(super) catalog: Vec<CatalogMember>,
}

/// Finds out who this node is: from its directory, from the list of founders, or by asking to join.
pub(super) async fn standing(
    config: &NodeConfig,
    dir: &DataDir,
    address: &str,
) -> Result<Standing, StartError> {
    let identity = dir.identity();
    let lengths = Lengths::of(&config.consensus());
    let place = format!("the directory {}", dir.path().display());
    let agreed = identity.lengths;
    if let Some(why) = agreed.and_then(|agreed| lengths.refusal("this build", agreed, &place)) {
        return Err(refused(why));
    }
    // Before there is a cluster, too: a replica of the catalog may be here already, under the number that the first list gave.
    if !identity.catalog.is_empty() && !config.initial_nodes.is_empty() {
        agrees(config, &identity.catalog, identity.node_id.is_some())?;
    }
    if let Some(own) = identity.node_id {
        let (cluster_id, catalog) = (identity.cluster_id, identity.catalog);
        return Ok(Standing { own: NodeId(own), cluster_id, catalog });
    }
    let (own, cluster_id, holders) = if !config.join.is_empty() {
        let request = wire::JoinRequest {
            address: address.to_owned(),
            zone: config.zone.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: identity.incarnation,
            election_us: lengths.election_us,
            lease_us: lengths.lease_us,
        };
        let joined =
            membership::ask_to_join(&config.join, request, JOIN_TIMEOUT).await.map_err(refused)?;
        let catalog =
            joined.catalog_nodes.into_iter().map(|node| (NodeId(node.node_id), node.address));
        (NodeId(joined.node_id), Some(joined.cluster_id), catalog.collect())
    } else if config.initial_nodes.is_empty() {
        (NodeId(1), None, vec![(NodeId(1), address.to_owned())])
    } else {
        let place = config.initial_nodes.iter().position(|founder| founder == address);
        let place = place.ok_or_else(|| {
            refused(format!(
                "initial_nodes = {:?} does not name this node, which others reach at {address}: \
                 it must be in the list, spelled the same",
                config.initial_nodes
            ))
        })?;
        let founders: Vec<_> =
            (1..).map(NodeId).zip(config.initial_nodes.iter().cloned()).collect();
        (NodeId(place as u64 + 1), None, founders.into_iter().take(3).collect())
    };
    let holders: Vec<(NodeId, String)> = holders;
    let members = (1..).zip(holders).map(|(replica_id, (node, address))| {
        // What is known of their directories, from a start that did not come as far as this one.
        let known = identity.catalog.iter().find(|member| member.node_id == node.0);
        let incarnation = known.and_then(|member| member.incarnation);
        CatalogMember { node_id: node.0, replica_id, address, incarnation }
    });
    let catalog: Vec<CatalogMember> = members.collect();
    let remembered = dir.remember(|identity| {
        identity.catalog = catalog.clone();
        // Whoever has taken this node in has the same lengths.
        if cluster_id.is_some() && catalog.len() > 1 {
            identity.lengths = Some(lengths);
        }
    });
    remembered.map_err(refused)?;
    Ok(Standing { own, cluster_id, catalog })
}

/// The founders cannot be others than they were.
fn agrees(
    config: &NodeConfig,
    catalog: &[CatalogMember],
    is_member: bool,
) -> Result<(), StartError> {
    let known: Vec<&String> = catalog.iter().map(|member| &member.address).collect();
    let given: Vec<&String> = config.initial_nodes.iter().take(3).collect();
    if known == given {
        return Ok(());
    }
    let advice = if is_member {
        ""
    } else {
        "; it has not become a node of a cluster yet: for another list, begin with an empty directory on each node"
    };
    Err(refused(format!(
        "initial_nodes = {:?} is not allowed: the data directory was founded with {known:?}{advice}",
        config.initial_nodes
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EngineKind;
    use crate::dir::Mode;

    #[tokio::test]
    async fn a_list_of_founders_is_for_good_before_the_cluster_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(directory.path(), EngineKind::Memory, Mode::Cluster);
        let dir = dir.expect("opened");
        let started = async |founders: [&str; 3]| {
            let initial_nodes = founders.iter().map(ToString::to_string).collect();
            let config = NodeConfig { initial_nodes, ..NodeConfig::default() };
            standing(&config, &dir, "a:1").await.map(|standing| standing.own)
        };
        assert_eq!(started(["a:1", "b:1", "c:1"]).await.ok(), Some(NodeId(1)));
        let why = started(["b:1", "a:1", "c:1"]).await.expect_err("another list").to_string();
        assert!(why.contains("founded with") && why.contains("empty directory"), "{why}");
        assert_eq!(started(["a:1", "b:1", "c:1"]).await.ok(), Some(NodeId(1)));
    }

    #[tokio::test]
    async fn a_directory_with_other_lengths_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(directory.path(), EngineKind::Memory, Mode::Cluster);
        let dir = dir.expect("opened");
        let config = NodeConfig::default();
        let started = async || standing(&config, &dir, "a:1").await.map(|standing| standing.own);
        assert_eq!(started().await.ok(), Some(NodeId(1)), "it has none");
        let own = Lengths::of(&config.consensus());
        dir.remember(|identity| identity.lengths = Some(own)).expect("written");
        assert_eq!(started().await.ok(), Some(NodeId(1)));
        let longer = Lengths { lease_us: own.lease_us + 1, ..own };
        dir.remember(|identity| identity.lengths = Some(longer)).expect("written");
        let why = started().await.expect_err("other lengths").to_string();
        let parts = [format!("lease_us = {}", own.lease_us), longer.lease_us.to_string()];
        assert!(parts.iter().all(|part| why.contains(part)) && why.contains("directory"), "{why}");
        assert_eq!(why.lines().count(), 1);
    }
}
