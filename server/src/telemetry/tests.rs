use std::collections::BTreeSet;
use std::time::Duration;

use super::{Rate, RequestIds, SLOW_LINES_PER_SECOND, SlowLog, TableName, is_request_id};
use crate::metrics::{Outcome, RequestKind};

#[test]
fn request_ids_are_short_and_unique_over_restarts() {
    let mut seen = BTreeSet::new();
    for starts in 1..4 {
        let ids = RequestIds::new(0xfeed_beef_9f03_ac01, starts);
        for _ in 0..1000 {
            let id = ids.make();
            assert!(id.len() <= 16 && is_request_id(&id), "{id}");
            assert!(seen.insert(id));
        }
    }
    assert!(seen.contains("03ac01-2-1f"), "digits of the node, start and count");
    let longest = RequestIds::new(u64::MAX, u64::MAX);
    longest.next.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
    assert!(is_request_id(&longest.make()));
}

#[test]
fn a_callers_id_is_kept_if_it_is_one() {
    let ids = RequestIds::new(1, 1);
    for given in ["a", "7f9c-b2", "Root=1:2.3_4", &"x".repeat(64)] {
        if is_request_id(given) {
            assert_eq!(&*ids.given_or_made(Some(given)), given);
        } else {
            assert_eq!(given, "Root=1:2.3_4");
        }
    }
    for odd in ["", "a b", "a\nERROR all is lost", "ä", "a\"b", &"x".repeat(65)] {
        let made = ids.given_or_made(Some(odd));
        assert!(made.starts_with("000001-1-"), "{made}");
    }
    assert!(ids.given_or_made(None).starts_with("000001-1-"));
}

#[test]
fn slow_requests_are_those_at_the_threshold() {
    let log = SlowLog::new(1, Duration::from_millis(100));
    let ended = |log: &SlowLog, ms| {
        log.ended("id", RequestKind::Query, None, Outcome::Ok, Duration::from_millis(ms))
    };
    assert!(!ended(&log, 99));
    assert!(ended(&log, 100));
    assert!(!ended(&SlowLog::new(1, Duration::ZERO), 1_000_000), "switched off");
}

#[test]
fn a_line_names_the_table_whatever_a_request_calls_it() {
    let name = |name: &str| TableName::of(name).as_str().to_owned();
    assert_eq!([name(""), name("music")], ["", "music"]);
    let longest = "m".repeat(255);
    assert_eq!(name(&longest), longest);
    // No table has such a name, but a request may.
    assert_eq!(name(&"é".repeat(200)), "é".repeat(127));
    assert!(
        SlowLog::new(1, Duration::ZERO).begin(&stator_model::api::Scan::default().into()).is_none()
    );
}

#[test]
fn a_storm_of_slow_requests_is_a_few_lines_and_a_count() {
    let rate = Rate::default();
    for _ in 0..SLOW_LINES_PER_SECOND {
        assert_eq!(rate.take(7), Some(0));
    }
    for _ in 0..5 {
        assert_eq!(rate.take(7), None);
    }
    assert_eq!(rate.take(8), Some(5), "the next second tells how many were left out");
    assert_eq!(rate.take(8), Some(0));
}

#[cfg(feature = "cli")]
#[test]
fn a_filter_that_is_none_is_refused_in_one_line() {
    use crate::config::LogFormat;
    let line = super::install(LogFormat::Text, "info,=x=y").expect_err("refused").to_string();
    assert!(
        line.starts_with("log_filter = info,=x=y is not allowed: it must be error, "),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
}
