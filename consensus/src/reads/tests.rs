use super::*;

fn no_rest(_: &mut &str, _: &Question) -> u64 {
    0
}

#[test]
fn who_comes_after_the_asking_waits_for_the_next_question() {
    let mut reads = Reads::new(4, |_| 1);
    reads.wait("early");
    let first = reads.ask(3, 100, 0).expect("asks");
    reads.wait("late");
    assert_eq!(reads.ask(3, 110, 1), None, "one in flight");
    reads.confirm(&first.context(), 20, no_rest);
    assert!(reads.ready(19).is_empty());
    assert_eq!(reads.ready(20), ["early"]);
    let second = reads.ask(3, 120, 2).expect("asks");
    reads.confirm(&second.context(), 20, no_rest);
    assert_eq!(reads.bytes(), 1);
    assert_eq!(reads.ready(20), ["late"]);
    assert_eq!((reads.len(), reads.bytes()), (0, 0));
}

#[test]
fn an_old_answer_confirms_nothing() {
    let mut reads = Reads::new(4, |_| 1);
    reads.wait("reader");
    let lost = reads.ask(3, 100, 0).expect("asks");
    let again = reads.ask(3, 300, 4).expect("asks again");
    assert_ne!(lost.context(), again.context());
    reads.confirm(&lost.context(), 20, no_rest);
    assert!(reads.ready(20).is_empty());
    reads.confirm(&again.context(), 21, no_rest);
    assert_eq!(reads.ready(21), ["reader"]);
}

#[test]
fn who_waits_too_long_is_let_go_wherever_he_waits() {
    let mut reads = Reads::new(4, |_| 1);
    reads.admit(50, "confirmed");
    reads.wait("asked");
    reads.ask(3, 100, 0).expect("asks");
    reads.wait("unasked");
    reads.wait("patient");
    let mut over = reads.expire(|waiter| *waiter != "patient");
    over.sort_unstable();
    assert_eq!(over, ["asked", "confirmed", "unasked"]);
    assert_eq!((reads.len(), reads.bytes()), (1, 1));
    assert_eq!(reads.abandon(), ["patient"]);
    assert_eq!(reads.bytes(), 0);
}

#[test]
fn an_outcome_waits_for_what_it_rests_on_besides() {
    let mut reads = Reads::new(4, |_| 1);
    reads.wait("outcome");
    let question = reads.ask(3, 100, 0).expect("asks");
    reads.confirm(&question.context(), 20, |_, _| 25);
    assert!(reads.ready(24).is_empty());
    assert_eq!(reads.ready(25), ["outcome"]);
}
