use stator_consensus::ReplicaId;

use super::*;

fn members(nodes: &[u64]) -> Vec<Member> {
    (1..)
        .zip(nodes)
        .map(|(replica, node)| Member { replica: ReplicaId(replica), node: NodeId(*node) })
        .collect()
}

fn tried(leader: Option<u64>, nodes: &[u64], may: impl Fn(NodeId) -> bool) -> Vec<Option<u64>> {
    let mut choice = Choice::default();
    let mut next = || choice.next(leader.map(NodeId), &members(nodes), &may).map(|node| node.0);
    (0..6).map(|_| next()).collect()
}

#[test]
fn a_leader_that_does_not_serve_is_not_all_that_is_tried() {
    let order = tried(Some(2), &[1, 2, 3], |_| true);
    assert_eq!(order, [2, 1, 2, 3, 2, 1].map(Some));
}

#[test]
fn a_node_without_a_replica_never_tries_itself_though_others_name_it() {
    let mut choice = Choice { named: Some(NodeId(1)), ..Choice::default() };
    let next = choice.next(Some(NodeId(1)), &members(&[1, 2, 3]), |node| node != NodeId(1));
    assert_eq!(next, Some(NodeId(2)));
    assert_eq!(tried(Some(1), &[1, 2, 3], |node| node.0 != 1), [2, 3, 2, 3, 2, 3].map(Some));
}

#[test]
fn who_is_alone_is_tried_again() {
    assert_eq!(tried(Some(1), &[1], |_| true), [Some(1); 6]);
    assert_eq!(tried(None, &[1, 2], |node| node.0 == 2), [Some(2); 6]);
    assert_eq!(tried(None, &[1], |_| false), [None; 6]);
    assert_eq!(tried(None, &[], |_| true), [None; 6]);
}

#[test]
fn who_answers_nothing_is_not_believed_to_lead() {
    let mut choice = Choice { silent: Some(NodeId(2)), ..Choice::default() };
    let mut next = |named: Option<u64>, leader: u64| {
        choice.named = named.map(NodeId);
        let next = choice.next(Some(NodeId(leader)), &members(&[1, 2, 3]), |_| true);
        next.expect("somebody").0
    };
    assert_eq!([next(Some(2), 2), next(Some(2), 2), next(None, 2)], [1, 3, 1]);
    assert_eq!([next(None, 3), next(Some(1), 3)], [3, 1], "until others are known to lead");
    let mut choice = Choice { silent: Some(NodeId(2)), ..Choice::default() };
    let next = choice.next(None, &members(&[1, 2]), |node| node.0 == 2);
    assert_eq!(next, Some(NodeId(2)), "rather than nobody");
}

#[tokio::test]
async fn who_was_silent_is_remembered_and_named_no_more() {
    let node = crate::node::Node::embedded(crate::config::NodeConfig::default(), true).await;
    let node = node.expect("a node in memory");
    let table = node.inner.catalog_table();
    let cx = node.inner.own_context(Duration::from_secs(60));
    let mut attempts = Attempts::new(&cx);
    let silent = Attempt::<()>::Silent(NodeId(2));
    let judged = attempts.judge(&node.inner, &table, &table.partitions()[0], silent).await;
    assert!(matches!(judged, Ok(None)), "once more");
    attempts.choice.named = Some(NodeId(2));
    let next = attempts.choice.next(Some(NodeId(2)), &members(&[2, 3]), |_| true);
    assert_eq!(next, Some(NodeId(3)), "though others name it still");
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_is_told_soon_that_nobody_serves() {
    let node = crate::node::Node::embedded(crate::config::NodeConfig::default(), true).await;
    let node = node.expect("a node in memory");
    let table = node.inner.catalog_table();
    let long = Duration::from_secs(1 << 30);
    let cx = node.inner.own_context(long).for_an_attempt(long, 0);
    let mut attempts = Attempts::new(&cx);
    let mut count = 0;
    let error = loop {
        let partition = &table.partitions()[0];
        let _way = attempts.way(&node.inner, partition);
        count += 1;
        assert!(count < 10, "not for as long as it has time");
        let attempt = Attempt::<()>::NotHere(None);
        if let Err(error) = attempts.judge(&node.inner, &table, partition, attempt).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(count >= 3, "all of three nodes are asked");
}
