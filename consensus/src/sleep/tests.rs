use super::*;

#[test]
fn a_silent_node_is_named_once() {
    let mut peers = Peers::default();
    peers.join(NodeId(2), 0);
    assert!(peers.fall_silent(15, 16).is_empty());
    assert_eq!(peers.fall_silent(16, 16), [NodeId(2)]);
    assert!(peers.fall_silent(40, 16).is_empty());
    peers.hear(NodeId(2), 41);
    assert_eq!(peers.fall_silent(57, 16), [NodeId(2)]);
}

#[test]
fn a_word_to_rest_survives_the_wire() {
    let rest = Rest { term: 7, index: 99 };
    assert_eq!(Rest::decode(&rest.encode()), Some(rest));
    assert_eq!(Rest::decode(b"short"), None);
}

#[test]
fn a_node_is_forgotten_with_the_last_group_there() {
    let mut peers = Peers::default();
    peers.join(NodeId(2), 0);
    peers.join(NodeId(2), 0);
    peers.leave(NodeId(2));
    assert_eq!(peers.nodes().collect::<Vec<_>>(), [NodeId(2)]);
    peers.leave(NodeId(2));
    assert_eq!(peers.nodes().count(), 0);
}
