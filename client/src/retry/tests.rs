//! The policy, case by case.

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "?")
}

fn decide(error: &Error, effect: Effect, attempt: u32) -> Decision {
    RetryPolicy::default().decide(error, effect, attempt, LONG, 0.5)
}

fn resends(error: &Error, effect: Effect) -> bool {
    decide(error, effect, 1) != Decision::Stop
}

#[test]
fn each_kind_by_its_own_advice() {
    for (kind, read, write) in [
        (ErrorKind::Validation, false, false),
        (ErrorKind::ConditionalCheckFailed, false, false),
        (ErrorKind::ResourceNotFound, false, false),
        (ErrorKind::ResourceInUse, false, false),
        (ErrorKind::LimitExceeded, true, true),
        (ErrorKind::ProvisionedThroughputExceeded, true, true),
        (ErrorKind::Throttling, true, true),
        (ErrorKind::Unavailable, true, true),
        (ErrorKind::DeadlineExceeded, true, false),
        (ErrorKind::Uncertain, true, false),
        (ErrorKind::UnknownOperation, false, false),
        (ErrorKind::InternalServerError, false, false),
    ] {
        assert_eq!(resends(&error(kind), Effect::Read), read, "{kind:?}");
        assert_eq!(resends(&error(kind), Effect::Write), write, "{kind:?}");
    }
}

#[test]
fn a_write_that_may_have_been_applied_goes_back_to_the_caller_whatever_the_advice() {
    for retry in
        [Retry::Never, Retry::Now, Retry::Elsewhere, Retry::After(Duration::from_millis(1))]
    {
        for kind in [ErrorKind::Uncertain, ErrorKind::Throttling, ErrorKind::Unavailable] {
            let error = error(kind).with_applied(Applied::Unknown).with_retry(retry);
            assert_eq!(decide(&error, Effect::Write, 1), Decision::Stop, "{kind:?} {retry:?}");
            let eager = RetryPolicy::default().with_resend_uncertain_writes(true);
            let decision = eager.decide(&error, Effect::Write, 1, LONG, 0.5);
            assert_ne!(decision, Decision::Stop, "{kind:?} {retry:?}");
        }
    }
}

#[test]
fn attempts_are_bounded() {
    let error = error(ErrorKind::Unavailable);
    assert_ne!(decide(&error, Effect::Read, 9), Decision::Stop);
    assert_eq!(decide(&error, Effect::Read, 10), Decision::Stop);
    let never = RetryPolicy::never();
    assert_eq!(never.decide(&error, Effect::Read, 1, LONG, 0.5), Decision::Stop);
}

#[test]
fn pauses_grow_to_a_bound_and_use_all_of_their_range() {
    let policy = RetryPolicy::default();
    let error = error(ErrorKind::Unavailable);
    let pause = |attempt, jitter| {
        let decision = RetryPolicy { attempts_max: u32::MAX, ..policy.clone() }.decide(
            &error,
            Effect::Write,
            attempt,
            LONG,
            jitter,
        );
        let Decision::Wait(pause) = decision else { panic!("stopped at {attempt}") };
        pause
    };
    assert_eq!(pause(1, 1.0), Duration::ZERO, "another node is asked at once");
    assert_eq!(pause(2, 1.0), Duration::from_millis(20));
    assert_eq!(pause(4, 1.0), Duration::from_millis(80));
    assert_eq!(pause(4, 0.0), Duration::ZERO);
    assert_eq!(pause(50, 1.0), policy.pause_max);
}

#[test]
fn a_pause_that_was_asked_for_is_kept_about() {
    let asked = Duration::from_millis(400);
    let error = error(ErrorKind::Throttling).with_retry(Retry::After(asked));
    for jitter in [0.0, 0.5, 1.0] {
        let decision = RetryPolicy::default().decide(&error, Effect::Write, 1, LONG, jitter);
        let Decision::Wait(pause) = decision else { panic!("stopped") };
        assert!(asked / 2 <= pause && pause <= asked * 3 / 2, "{pause:?}");
    }
}

#[test]
fn no_pause_reaches_past_the_deadline() {
    let error = error(ErrorKind::Throttling).with_retry(Retry::After(Duration::from_millis(400)));
    let policy = RetryPolicy::default();
    let decide = |remaining| policy.decide(&error, Effect::Read, 1, remaining, 0.0);
    assert_eq!(decide(Duration::from_millis(200)), Decision::Stop);
    assert_eq!(decide(Duration::from_millis(201)), Decision::Wait(Duration::from_millis(200)));
    let at_once = Error::new(ErrorKind::Unavailable, "?");
    let decision = policy.decide(&at_once, Effect::Read, 1, Duration::ZERO, 0.0);
    assert_eq!(decision, Decision::Stop);
}
