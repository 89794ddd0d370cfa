//! Histories that must be accepted, and planted ones that must be refused.

use super::*;

fn content(last: u64) -> Option<Content> {
    Some(Content { last, sum: 0 })
}

/// A long history of eight callers who take turns, answered by one item.
fn sound() -> ItemHistory {
    let mut history = ItemHistory::default();
    let mut state = None;
    let mut at = 0;
    for round in 0..120u64 {
        let inputs = [
            Input::Put { id: 10 * round + 1, old: false },
            Input::Get,
            Input::Add { id: 10 * round + 2, amount: 3 },
            Input::PutIf { id: 10 * round + 3, expected: Some(10 * round + 2) },
            Input::Get,
            Input::DeleteIf { expected: Some(10 * round) },
            Input::Get,
            Input::Get,
        ];
        // All eight begin before any of them ends.
        let calls: Vec<_> = inputs
            .iter()
            .map(|input| {
                at += 1;
                history.invoke(at, *input)
            })
            .collect();
        for (call, input) in calls.into_iter().zip(inputs) {
            let (output, after) = step(input, state);
            state = after;
            at += 1;
            history.answer(call, at, output);
        }
    }
    history
}

#[test]
fn a_sound_history_is_accepted() {
    sound().check().unwrap();
}

#[test]
fn a_planted_stale_read_is_refused() {
    let mut history = sound();
    // In the middle: a read that answers what the round before had overwritten when it ended.
    let read = 60 * 8 + 7;
    history.calls[read].output = Some(Output::Now(content(58 * 10 + 3)));
    history.check().unwrap_err();
}

#[test]
fn a_planted_lost_write_is_refused() {
    let mut history = sound();
    let mut at = 1_000_000;
    let mut call = |input, output| {
        let call = history.invoke(at, input);
        history.answer(call, at + 1, output);
        at += 2;
    };
    // Acknowledged, seen once, and then everything is as if it had never been.
    call(Input::Put { id: 5001, old: false }, Output::Done);
    call(Input::Put { id: 5002, old: false }, Output::Done);
    call(Input::Get, Output::Now(content(5002)));
    call(Input::Add { id: 5003, amount: 1 }, Output::Now(Some(Content { last: 5003, sum: 1 })));
    call(Input::Get, Output::Now(Some(Content { last: 5003, sum: 1 })));
    history.check().unwrap();
    let read = history.invoke(2_000_000, Input::Get);
    history.answer(read, 2_000_001, Output::Now(content(5002)));
    history.check().unwrap_err();
}

#[test]
fn an_uncertain_write_may_take_effect_late_or_never() {
    for seen in [None, content(1)] {
        let mut history = ItemHistory::default();
        history.invoke(1, Input::Put { id: 1, old: false });
        let read = history.invoke(5, Input::Get);
        history.answer(read, 6, Output::Now(seen));
        history.check().unwrap();
        // Once seen it stays.
        let read = history.invoke(7, Input::Get);
        history.answer(read, 8, Output::Now(None));
        assert_eq!(history.check().is_ok(), seen.is_none());
    }
}

#[test]
fn what_certainly_came_to_nothing_explains_nothing() {
    let mut history = ItemHistory::default();
    let put = history.invoke(1, Input::Put { id: 1, old: false });
    let read = history.invoke(2, Input::Get);
    history.answer(read, 3, Output::Now(content(1)));
    history.check().unwrap();
    history.forget(put);
    history.check().unwrap_err();
}

#[test]
fn a_check_that_takes_too_long_is_a_failure() {
    let mut history = ItemHistory::default();
    // Sums of which none comes out, in any of too many orders.
    for power in 0..24u64 {
        history.invoke(power, Input::Add { id: power, amount: 1 << power });
    }
    let read = history.invoke(50, Input::Get);
    history.answer(read, 51, Output::Now(content(1000)));
    let error = history.check().unwrap_err();
    assert!(error.contains("no end"), "{error}");
}
