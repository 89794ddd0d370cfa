//! `stator bench` on a database in its own process: every workload, and operations that are due at fixed times.

use serde_json::{Value, json};

use crate::support::{directory, finish, program};

/// What a tiny run found, with these arguments besides.
#[track_caller]
fn run(arguments: &[&str]) -> Value {
    let dir = directory();
    let mut command = program(dir.path());
    command.args(["bench", "--target", "embedded", "--engine", "memory", "--json", "figures"]);
    command.args(["--records", "200", "--clients", "4", "--seconds", "1", "--warmup", "0"]);
    command.args(arguments);
    let text = finish(command, "").ok();
    assert!(!text.is_empty(), "it is told in words as well");
    let figures = std::fs::read(dir.path().join("figures")).expect("written");
    serde_json::from_slice(&figures).expect("JSON")
}

#[test]
fn every_workload_does_what_it_is_made_of() {
    for (workload, kinds) in [
        ("put", &["put"][..]),
        ("get", &["read"]),
        ("get-eventual", &["read"]),
        ("a", &["read", "update"]),
        ("b", &["read", "update"]),
        ("c", &["read"]),
        ("d", &["read", "insert"]),
        ("e", &["range", "insert"]),
        ("f", &["read", "read_modify_write"]),
    ] {
        let found = run(&["--workload", workload]);
        assert_eq!(found["workload"], json!(workload));
        assert_eq!((&found["errors"], &found["missing"]), (&json!(0), &json!(0)), "{found}");
        assert_eq!(found["load"]["records"], json!(200), "{found}");
        let done = found["by_operation"].as_object().expect("kinds of operations");
        let mut done: Vec<&str> = done.keys().map(String::as_str).collect();
        done.sort_unstable();
        let mut kinds = kinds.to_vec();
        kinds.sort_unstable();
        assert_eq!(done, kinds, "{workload}: {found}");
        assert!(found["operations"].as_u64().is_some_and(|done| done > 0), "{found}");
    }
}

#[test]
fn operations_that_are_due_at_fixed_times_are_as_many_as_were_due() {
    let found = run(&["--workload", "get", "--rate", "50"]);
    assert_eq!(found["settings"]["rate"], json!(50.0));
    let count = |name: &str| found[name].as_u64().expect("a number");
    assert_eq!(found["errors"], json!(0));
    // What was due and had not been done at the end is told, too; an end of the second may fall on either side.
    let due = count("operations") + count("backlog");
    assert!((1..=51).contains(&due), "{found}");
}
