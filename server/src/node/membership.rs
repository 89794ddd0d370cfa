//! How a node becomes and stays a member of its cluster.
//!
//! The founders know each other by the list that each was started with, and begin the catalog together ([`super::founding`]). A node
//! that joins later asks any member for an id. Then both do the same, over and over: agree on the cluster's id, write down who and
//! where they are, learn who and where the others are, and make the replicas that the catalog says are theirs and that they have
//! missed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stator_consensus::NodeId;
use stator_model::api::{Query, QueryAnswer};
use stator_model::schema::TableStatus;
use stator_model::{AttributeValue, Error, ErrorKind, Item, Number, Result};
use stator_proto::peer::v1 as wire;
use stator_storage::partition::query;

use super::{Inner, founding};
use crate::catalog::records::{CATALOG_GROUP, NodeRecord, catalog_schema, record_key};
use crate::config::{is_address, is_name};
use crate::dir::Lengths;
use crate::peers::grpc;
use crate::serve::CallContext;

/// How long one round may take, and how long to wait between rounds.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);
const ROUND_PAUSE: Duration = Duration::from_secs(3);
/// How soon to go round again for somebody who is not known.
const STRANGER_PAUSE: Duration = Duration::from_millis(250);
/// How long to wait after a round that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(50);

/// How long one member may take to take a node in; whoever asks again gets the same id.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How many nodes a cluster takes. Everybody knows all of them, and an id cannot be taken back.
const NODES_MAX: usize = 256;
const VERSION_BYTES_MAX: usize = 64;

/// How often to say for whom a node waits.
const TOLD_EVERY: Duration = Duration::from_secs(5);

/// Goes round for as long as it is let.
pub(crate) async fn run(node: Arc<Inner>) {
    if let Err(why) = founding::meet_and_begin(&node).await {
        node.fail(&why);
        return;
    }
    let mut told = None;
    loop {
        if node.peers.as_ref().is_some_and(|peers| peers.is_disowned()) {
            node.fail(&known_by_another_directory(&node));
            return;
        }
        let cx = node.own_context(ROUND_TIMEOUT);
        let pause = match round(&node, &cx).await {
            Ok(()) => {
                if !node.joined.swap(true, Ordering::AcqRel) {
                    tracing::info!(
                        node = node.own.0,
                        address = node.address,
                        "the catalog is reached"
                    );
                }
                ROUND_PAUSE
            }
            Err(error) => {
                tracing::debug!(%error, "the catalog could not be reached");
                // Whoever waits at a terminal for a node that waits for others is told so.
                if !node.joined.load(Ordering::Acquire) && told.is_none_or(is_a_while_ago) {
                    let others = node.catalog_addresses();
                    tracing::info!(
                        ?others,
                        "waiting for a majority of the nodes that hold the catalog"
                    );
                    told = Some(Instant::now());
                }
                FAILED_PAUSE
            }
        };
        tokio::time::sleep(pause.min(STRANGER_PAUSE)).await;
        tokio::select! {
            () = tokio::time::sleep(pause.saturating_sub(STRANGER_PAUSE)) => {}
            () = a_stranger(&node) => {}
        }
    }
}

fn is_a_while_ago(told: Instant) -> bool {
    told.elapsed() >= TOLD_EVERY
}

/// Resolves when somebody has come whom nobody has told of.
async fn a_stranger(node: &Inner) {
    match &node.peers {
        Some(peers) => peers.strangers.notified().await,
        None => std::future::pending().await,
    }
}

async fn round(node: &Inner, cx: &CallContext) -> Result<()> {
    founding::agree_on_cluster(node, cx).await?;
    introduce(node, cx).await?;
    if let Some(peers) = &node.peers {
        for record in node.node_records(cx).await? {
            peers.know(record.id, &record.address);
            peers.expect(record.id, record.incarnation);
        }
        if let Err(error) = founding::remember(node, None) {
            tracing::warn!(%error, "the directories of the catalog's nodes are not written down");
        }
    }
    make_missed_replicas(node, cx).await
}

/// Writes down who this node is. Another directory under the same id is another node, and must not vote in its name (R8).
async fn introduce(node: &Inner, cx: &CallContext) -> Result<()> {
    let own = node.own_record();
    let known = node.catalog_get(record_key("node", &own.id.to_string()), cx).await?;
    let known = known.map(|item| NodeRecord::from_item(&item)).transpose()?;
    if let Some(known) = &known
        && known.incarnation != own.incarnation
    {
        let what = known_by_another_directory(node);
        node.fail(&what);
        return Err(Error::internal(what));
    }
    if known.as_ref() != Some(&own) {
        node.catalog_put(&own.to_item(), cx).await?;
    }
    Ok(())
}

/// What a node is told that is not who others know it as. There may be no cluster yet.
pub(super) fn known_by_another_directory(node: &Inner) -> String {
    let is_member = node.dir.as_ref().is_some_and(|dir| dir.identity().cluster_id.is_some());
    let advice = if is_member {
        ""
    } else {
        "; if the cluster has never served, empty the directories of all its founders, and found it anew"
    };
    format!(
        "others know node {} by another data directory: a node that lost its data cannot come back under its old id{advice}",
        node.own
    )
}

/// Makes the replicas that were placed here while this node was away.
async fn make_missed_replicas(node: &Inner, cx: &CallContext) -> Result<()> {
    for table in node.table_records(cx).await? {
        if table.status == TableStatus::Deleting {
            continue;
        }
        for partition in &table.partitions {
            let mine = partition.members.iter().any(|member| member.node == node.own);
            if !mine
                || node.replicas.get(partition.group).is_some()
                || node.replicas.has_failed(partition.group)
            {
                continue;
            }
            // Whoever makes a table's replicas first lets the first-ranked one campaign; here the group lives already, or will
            // find its leader by the ordinary timeout.
            let fresh = table.status == TableStatus::Creating;
            if let Err(why) = node.ensure_replica(&table, partition, fresh).await {
                tracing::warn!(
                    group = partition.group.0,
                    why,
                    "a replica that is placed here could not be made"
                );
            }
        }
    }
    Ok(())
}

/// What keeps a node from joining as it says that it is, if something does. Its own configuration was checked by the same rules; but
/// what comes is bytes, and goes into the catalog and from there to everybody.
fn unfit(request: &wire::JoinRequest, agreed: Option<Lengths>) -> Option<String> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_address(&request.address) {
        return Some("the node's address is none: it must be a host and a port".to_owned());
    }
    if !request.zone.is_empty() && !is_name(&request.zone) {
        return Some("the node's zone is no name".to_owned());
    }
    if request.version.len() > VERSION_BYTES_MAX || !plain(&request.version) {
        return Some("the node's version is none".to_owned());
    }
    let theirs = Lengths { election_us: request.election_us, lease_us: request.lease_us };
    if agreed.is_some() && theirs == (Lengths { election_us: 0, lease_us: 0 }) {
        return Some(
            "the node's version is too old to join: it does not say what its leases rest on"
                .to_owned(),
        );
    }
    agreed.and_then(|agreed| theirs.refusal("the node's build", agreed, "the cluster"))
}

/// Asks a member of a cluster for an id there. Tries all that were named, until one answers or the time is over.
pub(crate) async fn ask_to_join(
    members: &[String],
    request: wire::JoinRequest,
    timeout: Duration,
) -> std::result::Result<wire::JoinResponse, String> {
    let deadline = tokio::time::Instant::now() + timeout;
    let mut told = String::new();
    loop {
        let mut why = "no member was named".to_owned();
        for member in members {
            let asking = async {
                Ok::<_, String>(grpc::join(grpc::connect(member).await?, request.clone()).await)
            };
            let asked = tokio::time::timeout(timeout.min(JOIN_TIMEOUT), asking).await;
            match asked.unwrap_or_else(|_| Err(format!("{member}: no answer in time"))) {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(failed)) if failed.is_invalid => {
                    return Err(format!("{member} refuses this node: {}", failed.message));
                }
                Ok(Err(failed)) => why = format!("{member}: {}", failed.message),
                Err(error) => why = error,
            }
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(format!("no member of the cluster took this node in: {why}"));
        }
        if told != why {
            tracing::info!(why, "not taken into the cluster yet: it is tried again");
            told = why;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

impl Inner {
    /// Where the other nodes are that hold the catalog.
    fn catalog_addresses(&self) -> Vec<String> {
        let others = self.catalog_nodes().filter(|node| *node != self.own);
        others.filter_map(|node| self.address_of(node)).collect()
    }

    /// Takes a node into the cluster: one that asks again gets the id that it has.
    pub(crate) async fn take_in(
        &self,
        request: wire::JoinRequest,
        cx: &CallContext,
    ) -> Result<wire::JoinResponse> {
        let cluster_id = self.peers.as_ref().and_then(|peers| peers.cluster_id());
        let cluster_id = cluster_id
            .ok_or_else(|| crate::serve::unavailable("this node is no member of a cluster yet"))?;
        // Checked before an id is given, for an id cannot be taken back.
        if let Some(why) = unfit(&request, founding::lengths(self)) {
            return Err(Error::new(ErrorKind::Validation, why));
        }
        let others = self.node_records(cx).await?;
        let is_taken = |node: &&NodeRecord| {
            node.address == request.address && node.incarnation != request.incarnation
        };
        if let Some(other) = others.iter().find(is_taken) {
            return Err(Error::new(
                ErrorKind::Validation,
                format!(
                    "the address {} is node {}'s, with a data directory that is not this one: a node that lost its data \
                     joins at another address",
                    request.address, other.id
                ),
            ));
        }
        let is_new = others.iter().all(|node| node.incarnation != request.incarnation);
        if is_new && others.len() >= NODES_MAX {
            let what = format!("the cluster has {} nodes: it takes no more", others.len());
            return Err(Error::new(ErrorKind::Validation, what));
        }
        let id = self.id_for(request.incarnation, cx).await?;
        let record = NodeRecord {
            id,
            address: request.address,
            zone: request.zone,
            version: request.version,
            incarnation: request.incarnation,
        };
        self.catalog_put(&record.to_item(), cx).await?;
        let catalog_nodes = self.catalog_nodes().filter_map(|node| {
            let address = self.address_of(node)?;
            Some(wire::NodeAddress { node_id: node.0, address })
        });
        Ok(wire::JoinResponse { cluster_id, node_id: id.0, catalog_nodes: catalog_nodes.collect() })
    }

    /// The id of a node that joins with this data directory, the same however often it asks, and whomever.
    async fn id_for(&self, incarnation: u64, cx: &CallContext) -> Result<NodeId> {
        let key = record_key("joined", &format!("{incarnation:016x}"));
        let number_of = |item: &Item, name: &str| item.get(name)?.as_n()?.to_u64();
        if self.catalog_get(key.clone(), cx).await?.is_none() {
            let cluster = self.catalog_get(record_key("cluster", "cluster"), cx).await?;
            let founders = cluster.and_then(|cluster| number_of(&cluster, "founders"));
            let founders = founders.unwrap_or(self.founders() as u64);
            let id = founders + self.catalog_next_id("node", cx).await?;
            let mut joined = key.clone();
            joined.insert("node".into(), AttributeValue::N(Number::from(id)));
            self.catalog_create(&joined, cx).await?;
        }
        let joined = self.catalog_get(key, cx).await?;
        let id = joined.and_then(|joined| number_of(&joined, "node"));
        id.map(NodeId).ok_or_else(|| Error::internal("the catalog does not know who has joined"))
    }
}

/// What the catalog's replica here knew of the other nodes when this node stopped: their directories above all, for one that has
/// lost its data must not be heard under its old id, not even before the catalog has a leader (R8). Those that hold the catalog are
/// known by `node.toml` as well; those that came later only from here.
pub(super) fn recall(node: &Inner) -> Result<()> {
    let (Some(peers), Some(replica)) = (&node.peers, node.replicas.get(CATALOG_GROUP)) else {
        return Ok(());
    };
    let request = Query {
        key_condition_expression: "kind = :kind".into(),
        expression_attribute_values: [(":kind".to_owned(), "node".into())].into(),
        ..Query::default()
    };
    let prepared = request.prepare(&catalog_schema())?;
    let page = query(node.engine.as_ref(), &replica.spec, &prepared, &mut || false);
    let page = page.map_err(|error| Error::internal(format!("{error:?}")))?;
    for item in QueryAnswer::from(page).items {
        let record = NodeRecord::from_item(&item.decode()?)?;
        peers.know(record.id, &record.address);
        peers.expect(record.id, record.incarnation);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what it is asked on one connection, which is sound, and never answers.
    async fn says_nothing(listener: tokio::net::TcpListener) {
        let (socket, _) = listener.accept().await.expect("somebody comes");
        let mut connection = h2::server::handshake(socket).await.expect("a connection");
        let mut held = Vec::new();
        while let Some(request) = connection.accept().await {
            held.push(request);
        }
    }

    #[tokio::test]
    async fn a_member_that_says_nothing_is_not_waited_for_without_end() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let member = listener.local_addr().expect("an address").to_string();
        let silent = tokio::spawn(says_nothing(listener));
        let brief = Duration::from_millis(200);
        let members = [member];
        let asked = ask_to_join(&members, wire::JoinRequest::default(), brief);
        let asked = tokio::time::timeout(Duration::from_secs(60), asked).await;
        let why = asked.expect("it comes to an end").expect_err("nobody has answered");
        assert!(why.contains("no answer in time"), "{why}");
        silent.abort();
    }

    #[test]
    fn who_joins_has_an_address_a_zone_and_a_version() {
        let request = |address: &str, zone: &str, version: &str| wire::JoinRequest {
            address: address.into(),
            zone: zone.into(),
            version: version.into(),
            incarnation: 1,
            election_us: 800,
            lease_us: 700,
        };
        let sound = |zone| request("db1.example:7400", zone, "0.1.0-rc.1+x");
        let unfit = |request: &wire::JoinRequest| super::unfit(request, None);
        for zone in ["", "eu-1.a"] {
            assert_eq!(unfit(&sound(zone)), None);
        }
        let lengths = |lease_us| Some(Lengths { election_us: 800, lease_us });
        assert_eq!(super::unfit(&sound(""), lengths(700)), None);
        let why = super::unfit(&sound(""), lengths(725)).expect("another length");
        let said = "the node's build has lease_us = 700, and the cluster has 725";
        assert!(why.starts_with(said), "{why}");
        let older = wire::JoinRequest { election_us: 0, lease_us: 0, ..sound("") };
        assert_eq!(unfit(&older), None, "nobody's lease rests on it");
        let why = super::unfit(&older, lengths(700)).expect("it does not say");
        assert!(why.contains("too old") && !why.contains("_us"), "{why}");
        for address in ["", "db1", "0.0.0.0:7400", "a:0", "a b:1", "a:1\n", &"a".repeat(300)] {
            assert!(unfit(&request(address, "", "1")).is_some(), "{address}");
        }
        for text in ["a b", "\n", &"a".repeat(65)] {
            assert!(unfit(&request("a:1", text, "1")).is_some(), "{text}");
            assert!(unfit(&request("a:1", "", text)).is_some(), "{text}");
        }
    }
}
