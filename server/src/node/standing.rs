//! Who a node is: told by its directory, by the list of founders, or by the cluster that it joins.

use std::time::Duration;

use stator_consensus::NodeId;
use stator_proto::peer::v1 as wire;

use super::membership;
use super::start::{StartError, refused};
use crate::config::NodeConfig;
use crate::dir::{CatalogMember, DataDir};

/// How long a joining node asks to be taken in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Who a node is, and who holds the catalog.
pub(super) struct Standing {
    pub(super) own: NodeId,
    pub(super) cluster_id: Option<String>,
    /// The nodes that hold the catalog, with their addresses.
    pub(super) catalog: Vec<(NodeId, String)>,
}

/// Finds out who this node is: from its directory, from the list of founders, or by asking to join.
pub(super) async fn standing(
    config: &NodeConfig,
    dir: &DataDir,
    address: &str,
) -> Result<Standing, StartError> {
    let identity = dir.identity();
    // Before there is a cluster, too: a replica of the catalog may be here already, under the number that the first list gave.
    if !identity.catalog.is_empty() && !config.initial_nodes.is_empty() {
        agrees(config, &identity.catalog, identity.node_id.is_some())?;
    }
    if let Some(own) = identity.node_id {
        let catalog =
            identity.catalog.iter().map(|member| (NodeId(member.node_id), member.address.clone()));
        return Ok(Standing {
            own: NodeId(own),
            cluster_id: identity.cluster_id,
            catalog: catalog.collect(),
        });
    }
    let (own, cluster_id, catalog) = if !config.join.is_empty() {
        let request = wire::JoinRequest {
            address: address.to_owned(),
            zone: config.zone.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: identity.incarnation,
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
    let catalog: Vec<(NodeId, String)> = catalog;
    let members = (1..).zip(&catalog).map(|(replica_id, (node, address))| CatalogMember {
        node_id: node.0,
        replica_id,
        address: address.clone(),
    });
    dir.set_catalog(members.collect()).map_err(refused)?;
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
}
