use std::time::Duration;

use stator_model::{Error, ErrorKind};
use stator_storage::engine::EngineSize;
use stator_storage::log::LogStats;

use super::process::resident_in;
use super::{GroupCounts, Metrics, Outcome, RequestKind, SnapshotStep};

fn new() -> Metrics {
    Metrics::new(2, 1_700_000_000_250)
}

/// The value of a series, as it is written.
fn value(text: &str, series: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no series {series} in\n{text}")).to_owned()
}

#[test]
fn a_request_is_counted_by_operation_and_result() {
    let metrics = new();
    let guard = metrics.request(RequestKind::PutItem);
    assert_eq!(metrics.in_flight(), 1);
    guard.end(Outcome::ConditionFailed);
    assert_eq!(metrics.in_flight(), 0);
    let text = metrics.encode();
    let series = "stator_requests_total{operation=\"PutItem\",result=\"condition_failed\"}";
    assert_eq!(value(&text, series), "1");
    let series = "stator_requests_total{operation=\"GetItem\",result=\"condition_failed\"}";
    assert_eq!(value(&text, series), "0");
    assert_eq!(value(&text, "stator_request_seconds_count{operation=\"PutItem\"}"), "1");
    assert_eq!(value(&text, "stator_requests_in_flight"), "0");
}

#[test]
fn a_request_whose_caller_went_away_is_cancelled_and_not_timed() {
    let metrics = new();
    drop(metrics.request(RequestKind::Scan));
    let text = metrics.encode();
    let series = "stator_requests_total{operation=\"Scan\",result=\"cancelled\"}";
    assert_eq!(value(&text, series), "1");
    assert_eq!(value(&text, "stator_request_seconds_count{operation=\"Scan\"}"), "0");
    assert_eq!(metrics.in_flight(), 0);
}

#[test]
fn every_kind_and_outcome_has_its_own_counter() {
    let metrics = new();
    for (i, kind) in RequestKind::ALL.iter().enumerate() {
        for (j, outcome) in Outcome::ALL.iter().enumerate() {
            for _ in 0..=i + j {
                metrics.request(*kind).end(*outcome);
            }
        }
    }
    let text = metrics.encode();
    for (i, kind) in RequestKind::ALL.iter().enumerate() {
        for (j, outcome) in Outcome::ALL.iter().enumerate() {
            let (operation, result) = (kind.name(), outcome.name());
            let series =
                format!("stator_requests_total{{operation=\"{operation}\",result=\"{result}\"}}");
            assert_eq!(value(&text, &series), (i + j + 1).to_string());
        }
    }
}

#[test]
fn results_tell_whose_affair_a_failure_is() {
    assert_eq!(Outcome::of(&Ok::<_, Error>(())), Outcome::Ok);
    let failed = |kind| Outcome::of(&Err::<(), _>(Error::new(kind, "")));
    assert_eq!(failed(ErrorKind::Validation), Outcome::Refused);
    assert_eq!(failed(ErrorKind::ConditionalCheckFailed), Outcome::ConditionFailed);
    assert_eq!(failed(ErrorKind::Throttling), Outcome::Throttled);
    assert_eq!(failed(ErrorKind::Unavailable), Outcome::Unavailable);
    assert_eq!(failed(ErrorKind::DeadlineExceeded), Outcome::DeadlineExceeded);
    assert_eq!(failed(ErrorKind::Uncertain), Outcome::Uncertain);
    assert_eq!(failed(ErrorKind::InternalServerError), Outcome::Fault);
}

/// Each function sets the metric that its name says, and no other one of these.
#[test]
fn each_function_has_its_metric() {
    let metrics = new();
    metrics.throttled();
    (0..2).for_each(|_| metrics.forwarded());
    (0..4).for_each(|_| metrics.connection_opened());
    metrics.connection_closed();
    metrics.reading(8);
    metrics.read(3);
    metrics.answer_waits(21);
    metrics.answer_went(4);
    metrics.groups(GroupCounts {
        replicas: 40,
        leading: 30,
        asleep: 20,
        failed: 10,
        unapplied: 7,
        behind: 5,
    });
    metrics.raft_turn(1, 2, 3, 4, 5);
    metrics.raft_turn(10, 0, 0, 0, 0);
    (0..6).for_each(|_| metrics.read_index());
    (0..7).for_each(|_| metrics.uncertain());
    metrics.snapshot(SnapshotStep::Installed);
    metrics.log_sync(100, Duration::from_micros(130));
    metrics.engine(EngineSize { disk_bytes: 1, buffer_bytes: 2 });
    metrics.engine_flush(Duration::from_millis(3));
    metrics.disk_free(9);
    metrics.mailbox(0, 11);
    metrics.mailbox(1, 12);
    metrics.mailbox(2, 13);
    metrics.apply_backlog(14);
    metrics.peer_dropped();
    let text = metrics.encode();
    for (series, expected) in [
        ("throttled_total", "1"),
        ("forwarded_total", "2"),
        ("connections", "3"),
        ("reading_bytes", "5"),
        ("waiting_answers_bytes", "17"),
        ("raft_replicas", "40"),
        ("raft_leaders", "30"),
        ("raft_asleep", "20"),
        ("raft_unapplied", "7"),
        ("raft_followers_behind", "5"),
        ("raft_failed", "10"),
        ("raft_elections_total", "11"),
        ("raft_leases_total", "2"),
        ("raft_proposals_total", "3"),
        ("raft_truncations_total", "4"),
        ("raft_refused_messages_total", "5"),
        ("raft_read_index_total", "6"),
        ("raft_uncertain_total", "7"),
        ("raft_snapshots_total{step=\"sent\"}", "0"),
        ("raft_snapshots_total{step=\"installed\"}", "1"),
        ("log_written_bytes_total", "100"),
        ("log_sync_seconds_sum", "0.00013"),
        ("engine_disk_bytes", "1"),
        ("engine_buffer_bytes", "2"),
        ("engine_flush_seconds_sum", "0.003"),
        ("disk_free_bytes", "9"),
        ("mailbox_waiting{host=\"0\"}", "11"),
        ("mailbox_waiting{host=\"1\"}", "12"),
        ("apply_waiting", "14"),
        ("peer_dropped_messages_total", "1"),
    ] {
        assert_eq!(value(&text, &format!("stator_{series}")), expected, "{series}");
    }
    assert!(!text.contains("host=\"2\""), "hosts are those the node was said to have");
}

#[test]
fn the_logs_counts_only_grow() {
    let metrics = new();
    let stats = |syncs| LogStats { syncs, segments: 3, file_bytes: 64, ..LogStats::default() };
    metrics.log(&stats(5), 1 << 30);
    metrics.log(&stats(4), 1 << 30);
    let text = metrics.encode();
    assert_eq!(value(&text, "stator_log_syncs_total"), "5");
    assert_eq!(value(&text, "stator_log_segments"), "3");
    assert_eq!(value(&text, "stator_log_file_bytes"), "64");
    assert_eq!(value(&text, "stator_log_budget_bytes"), (1 << 30).to_string());
}

#[test]
fn two_nodes_in_a_process_do_not_mix() {
    let (one, other) = (new(), new());
    one.forwarded();
    assert_eq!(value(&other.encode(), "stator_forwarded_total"), "0");
}

#[test]
fn the_process_is_told_under_the_usual_names() {
    let text = new().encode();
    assert_eq!(value(&text, "process_start_time_seconds"), "1700000000.25");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&text, &format!("stator_build_info{{version=\"{version}\"}}")), "1");
    #[cfg(target_os = "linux")]
    {
        let resident: u64 = value(&text, "process_resident_memory_bytes").parse().expect("bytes");
        assert!((1 << 20..1 << 36).contains(&resident), "{resident}");
    }
    assert_eq!(resident_in("VmSize:\t 9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    for odd in ["", "VmRSS:", "VmRSS: x kB", "VmRSS: 5 MB", "VmRSS: 18446744073709551615 kB"] {
        assert_eq!(resident_in(odd), None, "{odd}");
    }
}

/// No label can take a value from outside, so what is there at first is what there will be.
#[test]
fn the_number_of_series_is_fixed_and_small() {
    let text = new().encode();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 600, "{series} series");
    assert!(text.ends_with("# EOF\n"));
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(name.starts_with("stator_") || name.starts_with("process_"), "{name}");
    }
}

/// `cargo test -p stator-server --release -- --ignored --nocapture counting_costs`
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the figure is what this is for")]
fn counting_costs() {
    const EACH: u32 = 2_000_000;
    let metrics = new();
    let begun = std::time::Instant::now();
    for _ in 0..EACH {
        metrics.request(RequestKind::GetItem).end(Outcome::Ok);
    }
    println!("{:?} a request", begun.elapsed() / EACH);
}
