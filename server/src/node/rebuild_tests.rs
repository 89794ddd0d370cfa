use std::sync::mpsc;

use stator_storage::log::{HardState, LogEntry, Mark, Record};
use stator_storage::partition::{Member, PartitionSpec};

use super::*;
use crate::catalog::records::CATALOG_GROUP;
use crate::node::{Node, replica_life};
use crate::shell::apply::ApplyEvent;

/// What is told of one partition, on these nodes: how far behind each replica is, and whether it lacks its data.
fn told(replicas: &[(u64, Option<u64>, bool)]) -> v1::DescribeClusterResponse {
    let node = |id| v1::NodeDescription {
        node_id: id,
        version: "1".to_owned(),
        ..v1::NodeDescription::default()
    };
    let replicas = replicas.iter().map(|&(node_id, behind, lacking)| v1::ReplicaDescription {
        node_id,
        behind,
        lacking,
    });
    v1::DescribeClusterResponse {
        catalog_leader_node_id: Some(1),
        nodes: (1..=9).map(node).collect(),
        partitions: vec![v1::PartitionDescription {
            group: 7,
            table_name: "music".to_owned(),
            leader_node_id: None,
            replicas: replicas.collect(),
        }],
        ..v1::DescribeClusterResponse::default()
    }
}

/// How far behind a replica is, and whether it lacks its data.
type State = (Option<u64>, bool);

#[test]
fn a_quorum_of_others_has_to_be_there_with_its_data() {
    let (up, down, empty) = ((Some(3), false), (None, false), (Some(900), true));
    let case = |states: &[State]| {
        let numbered = (1..).zip(states).map(|(node, &(behind, lacking))| (node, behind, lacking));
        let mut replicas: Vec<_> = numbered.collect();
        // The node that asks is down while it does.
        replicas.push((9, None, false));
        judge(&told(&replicas), 9)
    };
    assert_eq!(case(&[up, up]), Ok(()));
    assert_eq!(case(&[up]), Ok(()), "a group of two");
    assert_eq!(case(&[up, up, up, down]), Ok(()), "a group of five");
    let refused: [(&[State], &str); 5] = [
        (&[], "no replica but this node's"),
        (&[up, down], "1 of its other replicas answer, and 2 have to"),
        (&[down], "0 of its other replicas answer"),
        (&[up, empty], "node 2 lacks its own data"),
        (&[up, up, up, empty], "node 4 lacks its own data"),
    ];
    for (states, why) in refused {
        let is_for_now = why.contains("answer");
        let said = match case(states).expect_err(why) {
            Objection::ForNow(said) if is_for_now => said,
            Objection::ForGood(said) if !is_for_now => said,
            other => panic!("{other:?}"),
        };
        assert!(said.contains("partition 7 of table music"), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn what_other_nodes_hold_does_not_matter() {
    assert_eq!(judge(&told(&[(1, None, false), (2, Some(1), true)]), 4), Ok(()));
}

#[test]
fn who_does_not_know_the_catalog_is_not_believed() {
    let mut without = told(&[(1, Some(0), false), (4, None, false)]);
    without.catalog_leader_node_id = None;
    judge(&without, 4).expect_err("no leader of the catalog");
    let mut without = told(&[(1, Some(0), false), (4, None, false)]);
    without.nodes.iter_mut().for_each(|node| node.version.clear());
    judge(&without, 4).expect_err("it was told without the catalog");
    judge(&told(&[(1, Some(0), false)]), 10).expect_err("nobody knows this node");
}

const GROUP: GroupId = replica_life::tests::group(0);
/// The term that the replica has voted in last: no entry has it.
const TERM: u64 = 9;

/// What the log of a replica knows: four entries behind a mark, of which three are committed.
fn known(mark: (u64, u64)) -> GroupRecovery {
    GroupRecovery {
        hard_state: HardState { term: TERM, vote: 2, commit: mark.0 + 3 },
        mark: Mark { index: mark.0, term: mark.1 },
        terms: vec![mark.1; 4],
        tombstone: false,
    }
}

/// A replica of three.
fn spec() -> PartitionSpec {
    let members = (1..=3).map(|id| Member { replica: id, node: id }).collect();
    PartitionSpec { members, ..replica_life::tests::spec(0) }
}

#[test]
fn a_replica_keeps_its_votes_and_its_entries_and_has_data_only_if_its_log_has_all() {
    for (mark, applied) in [(FIRST_MARK, FIRST_MARK), ((500, 3), (0, 0))] {
        let rebuild = Rebuild::new(true, None, &BTreeMap::from([(GROUP, known(mark))]));
        let found = rebuild.recovered(GROUP).expect("the log knows it");
        assert_eq!((found.term, found.vote, found.commit), (TERM, 2, mark.0 + 3));
        assert_eq!((found.mark, found.terms, found.applied), (mark, vec![mark.1; 4], applied));
        assert_eq!(rebuild.lost(), [GROUP]);
        rebuild.begun(GROUP);
        assert!(rebuild.recovered(GROUP).is_none() && rebuild.lost().is_empty());
    }
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A node in memory that makes its engine anew, as far as its replicas can tell.
async fn node() -> Node {
    let node = Node::embedded(NodeConfig::default(), true).await.expect("a node in memory");
    node.wait_ready(Duration::from_secs(30)).await.expect("ready");
    node.inner.rebuild.under_way.store(true, Ordering::Release);
    node
}

#[tokio::test]
async fn nobody_reads_a_replica_before_it_is_where_it_was() {
    let node = node().await;
    let inner = &node.inner;
    let known = known(FIRST_MARK);
    let mut records = vec![Record::Reset { group: GROUP, mark: known.mark }];
    records.extend((FIRST_MARK.0 + 1..).zip(&known.terms).map(|(index, term)| {
        let entry = LogEntry { index, term: *term, kind: 0, data: bytes::Bytes::new() };
        Record::Entry { group: GROUP, entry }
    }));
    records.push(Record::HardState { group: GROUP, state: known.hard_state });
    let (done, synced) = mpsc::channel();
    inner.log.append(&records, move |result| done.send(result).expect("heard")).expect("taken");
    synced.recv().expect("done").expect("synced");
    inner.rebuild.known().insert(GROUP, known);
    assert_eq!(inner.lacking(), Some(1), "it has not begun");

    // Nothing is applied for now.
    let (go_on, wait) = mpsc::channel::<()>();
    let hold = move |_: Option<&_>| {
        // Its other side is dropped.
        let _ = wait.recv();
    };
    inner.applier_of(GROUP).0.push(ApplyEvent::With { group: CATALOG_GROUP, act: Box::new(hold) });
    inner.begin_replicas(vec![spec()], true).await.expect("begun");
    let replica = inner.replicas.get(GROUP).expect("it runs");
    assert!(replica.data.note().is_none(), "what it holds is older than what was read here");
    assert_eq!(inner.lacking(), Some(1));
    drop(go_on);
    wait_for("its data", || replica.data.note().is_some()).await;
    assert_eq!((inner.lacking(), replica.view.applied()), (Some(0), FIRST_MARK.0 + 3));
    wait_for("its state", || inner.replicas.state(GROUP).is_some()).await;
    let state = inner.replicas.state(GROUP).expect("it was told");
    assert_eq!((state.term, state.last_index), (TERM, FIRST_MARK.0 + 4), "its word holds");
    let entries = inner.log.entries(GROUP, FIRST_MARK.0 + 1..FIRST_MARK.0 + 5, u64::MAX);
    assert_eq!(entries.expect("the log has them still").len(), 4);
}

#[tokio::test]
async fn it_is_not_over_while_a_replica_has_failed_or_not_begun() {
    let node = node().await;
    let inner = &node.inner;
    assert_eq!(inner.lacking(), Some(0));
    inner.rebuild.known().insert(GROUP, known(FIRST_MARK));
    assert_eq!(inner.lacking(), Some(1));
    inner.replicas.note_gone(GROUP);
    assert_eq!(inner.lacking(), Some(0), "it was removed meanwhile");
    inner.replicas.failed(GroupId(8 << 32), "a test".to_owned());
    assert_eq!(inner.lacking(), Some(1));
}
