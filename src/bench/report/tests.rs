use std::time::{Duration, Instant};

use clap::Parser;

use super::*;
use crate::bench::Bench;
use crate::bench::measure::{Tally, Window};
use crate::bench::target::{Failed, Found};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: Bench,
}

fn settings(words: &[&str]) -> Settings {
    let words = ["bench"].iter().chain(words);
    Line::try_parse_from(words).unwrap().bench.settings().unwrap()
}

fn run() -> Run {
    let start = Instant::now();
    let mut tally = Tally::new(Window { start, end: start + Duration::from_secs(10) });
    for n in 1..=1000 {
        let ended = start + Duration::from_micros(n * 10);
        tally.ended(Kind::Read, start, ended, Ok(Found::Something));
    }
    tally.ended(Kind::Update, start, start + Duration::from_millis(20), Ok(Found::Something));
    let failed = Failed { kind: "Broken".to_owned(), text: "it broke".to_owned() };
    tally.ended(Kind::Update, start, start, Err(failed));
    let own_cpu = Duration::from_millis(1001);
    Run { tally, own_cpu, pids_cpu: Some(Duration::from_millis(2002)) }
}

#[test]
fn programs_find_the_figures_by_their_names() {
    let settings = settings(&["--workload", "a", "--clients", "9", "--distribution", "latest"]);
    let loaded = Some(Loaded { records: 100, seconds: 2.0 });
    let target_version = "stator 1".to_owned();
    let json = Report { settings: &settings, target_version, loaded, run: run() }.json();
    let number = |name: &str| json[name].as_f64().unwrap_or_else(|| panic!("{name} in {json}"));
    assert!((number("ops_per_sec") - 100.1).abs() < 1e-9);
    for (name, wanted) in
        [("p50_ms", 5.0), ("p95_ms", 9.5), ("p99_ms", 9.9), ("p999_ms", 10.0), ("max_ms", 20.0)]
    {
        assert!((number(name) - wanted).abs() < wanted * 0.01, "{name} in {json}");
    }
    assert_eq!((number("operations"), number("errors")), (1001.0, 1.0));
    assert!((number("bench_cpu_us_per_op") - 1000.0).abs() < 1e-9);
    assert!((number("pids_cpu_us_per_op") - 2000.0).abs() < 1e-9);
    assert_eq!(json["error_kinds"]["Broken"]["example"], "it broke");
    assert_eq!(json["by_operation"]["update"]["count"], 1);
    assert_eq!((&json["target"], &json["workload"]), (&"grpc".into(), &"a".into()));
    assert_eq!(json["settings"]["clients"], 9);
    assert_eq!(json["settings"]["distribution"], "latest");
    assert_eq!(json["settings"]["endpoints"][0], "http://127.0.0.1:7400");
    assert_eq!(json["load"]["records_per_sec"].as_f64(), Some(50.0));
    assert_eq!(json["target_version"], "stator 1");
}

#[test]
fn people_find_them_too() {
    let settings = settings(&["--workload", "b", "--rate", "120"]);
    let target_version = "stator 1".to_owned();
    let text = Report { settings: &settings, target_version, loaded: None, run: run() }.text();
    for part in ["100 operations/s of 120", "\nread ", "\nall ", "1 Broken: it broke"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |words: &[&str]| {
        let words = ["bench"].iter().chain(words);
        Line::try_parse_from(words).map_or(true, |line| line.bench.settings().is_err())
    };
    assert!(refused(&["--target", "embedded", "--no-load"]));
    assert!(refused(&["--dir", "d", "--engine", "memory"]));
    assert!(refused(&["--json", "/no/such/directory/file"]));
    assert!(refused(&["--rate", "0"]) && refused(&["--rate", "NaN"]) && refused(&["--rate", "x"]));
    assert!(refused(&["--clients", "0"]) && refused(&["--records", "0"]));
    assert!(!refused(&["--target", "embedded", "--no-load", "--dir", "d"]));
}
