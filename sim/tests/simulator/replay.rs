//! A seed is a run: the same one every time.

use std::cell::RefCell;
use std::rc::Rc;

use stator_sim::run;

#[test]
fn a_seed_run_twice_gives_the_same_trace() {
    for seed in [3, 1234] {
        let first = run(seed, None);
        // Whether somebody reads the trace makes no difference, either.
        let lines = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&lines);
        let second = run(seed, Some(Box::new(move |_| *counted.borrow_mut() += 1)));
        assert_eq!(first, second);
        assert_eq!(*lines.borrow(), second.events);
    }
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(run(1, None).hash, run(2, None).hash);
}
