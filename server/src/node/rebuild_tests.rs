use super::*;

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
