use super::*;

#[test]
fn a_promise_binds_from_the_start_and_from_each_message_on() {
    let mut promise = Promise::new(1000, 800);
    assert!(promise.binds(1799) && !promise.binds(1800));
    promise.renew(2000);
    assert!(promise.binds(2799) && !promise.binds(2800));
}

#[test]
fn a_promise_never_shrinks() {
    let mut promise = Promise::none(800);
    assert!(!promise.binds(0));
    promise.renew(2000);
    promise.renew(1500);
    assert!(promise.binds(2799));
}
