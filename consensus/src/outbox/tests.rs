use super::*;

fn held(number: u64, turn: u64, last_index: Option<u64>) -> Held<()> {
    Held { number, turn, last_index, votes: false, leaves: () }
}

#[test]
fn readies_leave_in_order_and_only_behind_their_turn() {
    let mut outbox = Outbox::new();
    outbox.hold(held(1, 7, Some(20)));
    outbox.hold(held(2, 7, None));
    outbox.hold(held(3, 8, Some(21)));
    assert!(outbox.release(6).is_none());
    assert_eq!(outbox.release(7).map(|held| held.number), Some(1));
    assert_eq!(outbox.release(7).map(|held| held.number), Some(2));
    assert!(outbox.release(7).is_none());
    assert_eq!(outbox.last_turn(), Some(8));
}

#[test]
fn what_is_overwritten_waits_for_the_overwriting() {
    let mut outbox = Outbox::new();
    outbox.hold(held(1, 7, Some(14)));
    outbox.hold(held(2, 7, Some(20)));
    outbox.hold(held(3, 7, None));
    outbox.overwrite(15, 9);
    outbox.hold(held(4, 9, Some(15)));
    assert_eq!(outbox.release(8).map(|held| held.number), Some(1));
    assert!(outbox.release(8).is_none());
    assert_eq!(outbox.release(9).map(|held| held.number), Some(2));
}

#[test]
fn an_unsynced_vote_is_known() {
    let mut outbox = Outbox::new();
    assert!(!outbox.holds_vote());
    outbox.hold(Held { number: 1, turn: 7, last_index: None, votes: true, leaves: () });
    assert!(outbox.holds_vote());
    outbox.release(7);
    assert!(!outbox.holds_vote());
}
