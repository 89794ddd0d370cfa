//! `stator status`: how the cluster is doing, as one of its nodes sees it; or which of them run, when none can tell.

use futures::future::join_all;
use serde_json::json;
use stator_client::GrpcTransport;
use stator_proto::v1::{DescribeClusterResponse, Liveness, PartitionDescription};

use super::endpoints::Endpoints;
use super::output::{Failure, Format, Output, note, print, print_columns};

/// Shows how the cluster is doing
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// What asking one of the endpoints came to.
struct Asked {
    endpoint: String,
    told: Result<DescribeClusterResponse, stator_client::Error>,
}

impl Asked {
    /// Why it told nothing; an endpoint behind which no node is is told apart from a node that does not know.
    fn state(&self) -> String {
        match &self.told {
            Ok(told) => format!("node {}", told.answering_node_id),
            Err(error) if error.is_unreachable() => "cannot be reached".to_owned(),
            Err(error) => format!("runs, but does not tell: {}", error.message()),
        }
    }

    fn json(&self) -> serde_json::Value {
        let told = self.told.as_ref();
        let reached = !told.is_err_and(stator_client::Error::is_unreachable);
        json!({
            "endpoint": self.endpoint,
            "reached": reached,
            "error": self.told.as_ref().err().map(ToString::to_string),
        })
    }
}

pub(crate) async fn run(status: Status) -> Result<(), Failure> {
    let connection = status.endpoints.connect()?;
    let is_json = status.output.json(Format::Text);
    // Each by itself: what one cannot tell another may, and which of them run is worth knowing when none can.
    let asked = connection.endpoints.iter().map(|endpoint| ask(endpoint.clone()));
    let asked = join_all(asked).await;
    let asked_json: Vec<_> = asked.iter().map(Asked::json).collect();
    if let Some(cluster) = asked.iter().find_map(|asked| asked.told.as_ref().ok()) {
        for silent in asked.iter().filter(|asked| asked.told.is_err()) {
            note(format_args!("{} {}", silent.endpoint, silent.state()));
        }
        return if is_json { json(cluster, &asked_json) } else { text(cluster) };
    }
    let reached = |asked: &&Asked| asked.told.as_ref().is_err_and(|why| !why.is_unreachable());
    let some = asked.iter().find(reached).or_else(|| asked.first());
    let error = some.and_then(|asked| asked.told.as_ref().err());
    match error {
        Some(error) if error.is_unavailable() && !error.is_unreachable() => {
            note("No node knows how the cluster is doing: too few of them may be up.");
            if is_json {
                return print(json!({ "asked": asked_json }));
            }
            let heads = ["ENDPOINT", "STATE"].map(str::to_owned);
            let rows = asked.iter().map(|asked| [asked.endpoint.clone(), asked.state()]);
            print_columns(&std::iter::once(heads).chain(rows).collect::<Vec<_>>())
        }
        Some(error) => Err(connection.failure(error.clone())),
        None => Err(Failure::usage("endpoints: there is none")),
    }
}

/// Asks the node at an endpoint.
async fn ask(endpoint: String) -> Asked {
    let told = match GrpcTransport::builder().endpoint(&endpoint).build() {
        Ok(transport) => transport.describe_cluster().await,
        Err(error) => Err(error),
    };
    Asked { endpoint, told: told.map_err(Into::into) }
}

const fn liveness(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Unspecified => "unknown",
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Dead => "dead",
    }
}

fn json(cluster: &DescribeClusterResponse, asked: &[serde_json::Value]) -> Result<(), Failure> {
    let nodes = cluster.nodes.iter().map(|node| {
        json!({
            "node": node.node_id,
            "endpoint": node.endpoint,
            "zone": (!node.zone.is_empty()).then_some(&node.zone),
            "version": node.version,
            "liveness": liveness(node.liveness()),
            "silent_ms": node.silent_ms,
            "partitions_led": node.partitions_led,
            "replicas": node.replicas,
        })
    });
    print(json!({
        "cluster_id": cluster.cluster_id,
        "asked": asked,
        "answered_by": cluster.answering_node_id,
        "catalog_leader": cluster.catalog_leader_node_id,
        "format_version": cluster.format_version,
        "nodes": nodes.collect::<Vec<_>>(),
        "partition_count": cluster.partition_count,
        "partitions": cluster.partitions.iter().map(partition).collect::<Vec<_>>(),
    }))
}

fn partition(partition: &PartitionDescription) -> serde_json::Value {
    let replicas = partition.replicas.iter();
    let replicas = replicas.map(|replica| {
        json!({ "node": replica.node_id, "behind": replica.behind, "lacking": replica.lacking })
    });
    json!({
        "group": partition.group,
        "table": partition.table_name,
        "leader": partition.leader_node_id,
        "replicas": replicas.collect::<Vec<_>>(),
    })
}

/// A partition that nobody leads, or with replicas behind, as a line of columns: who leads it, and which are behind.
fn not_whole(partition: &PartitionDescription) -> Option<[String; 4]> {
    let behind = partition.replicas.iter().filter_map(|replica| match replica.behind {
        Some(_) if replica.lacking => Some(format!("node {} lacks its data", replica.node_id)),
        Some(0) => None,
        Some(entries) => Some(format!("node {} by {entries}", replica.node_id)),
        None => Some(format!("node {} does not tell", replica.node_id)),
    });
    let behind: Vec<String> = behind.collect();
    let is_whole = partition.leader_node_id.is_some() && behind.is_empty();
    (!is_whole).then(|| {
        let leader = partition.leader_node_id;
        [
            partition.group.to_string(),
            partition.table_name.clone(),
            leader.map_or_else(|| "nobody".to_owned(), |leader| format!("node {leader}")),
            if behind.is_empty() { "-".to_owned() } else { behind.join(", ") },
        ]
    })
}

fn text(cluster: &DescribeClusterResponse) -> Result<(), Failure> {
    let leader = cluster.catalog_leader_node_id;
    let leader = leader.map_or_else(|| "nobody".to_owned(), |leader| format!("node {leader}"));
    print(format_args!("cluster {}, catalog led by {leader}", cluster.cluster_id))?;
    let heads = ["NODE", "ENDPOINT", "ZONE", "VERSION", "STATE", "LEADS", "REPLICAS"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(cluster.nodes.iter().map(|node| {
        [
            node.node_id.to_string(),
            node.endpoint.clone(),
            if node.zone.is_empty() { "-".to_owned() } else { node.zone.clone() },
            node.version.clone(),
            liveness(node.liveness()).to_owned(),
            node.partitions_led.to_string(),
            node.replicas.to_string(),
        ]
    }));
    print_columns(&rows)?;
    let rest: Vec<_> = cluster.partitions.iter().filter_map(not_whole).collect();
    let count = cluster.partition_count;
    if rest.is_empty() {
        return print(format_args!("{count} partitions, all led, no replica behind"));
    }
    // A replica hears with the next message that an entry is committed: while there are writes, some are behind by a few.
    print(format_args!("{count} partitions; without a leader, or with a replica behind:"))?;
    let mut rows = vec![["PARTITION", "TABLE", "LEADER", "BEHIND"].map(str::to_owned)];
    rows.extend(rest);
    print_columns(&rows)
}
