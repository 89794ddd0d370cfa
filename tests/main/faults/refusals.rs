//! Data that a node does not open: damaged, of the future, somebody else's. It says where, and touches nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::small_disk::SmallDisk;
use crate::support::{Database, Running, directory, finish, program, serve};

/// Every file below, with its bytes; but for the lock's, which names the process that came last.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path != dir.join("lock") {
                let bytes = fs::read(&path).expect("read");
                found.insert(path, bytes);
            }
        }
    }
    found
}

/// A directory in which a node has put something and ended in good order.
fn made(dir: &Path) -> PathBuf {
    let node = Running::start(serve(dir, "data"));
    let database = Database::at(node.ready["endpoint"].as_str().expect("an endpoint"));
    database.run(&["table", "create", "music", "--key", "id:S", "--wait"]).ok();
    for n in 0..20 {
        let item = format!(r#"{{"id": "{n}", "text": "{}"}}"#, "needle".repeat(20));
        database.run(&["item", "put", "music", "--item", &item]).ok();
    }
    assert_eq!(node.terminate().0, Some(0));
    dir.join("data")
}

/// The command for a node that would run on.
fn lone(dir: &Path) -> Command {
    let mut command = program(dir);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    command
}

/// The node refuses its directory in one line that says all this, with exit code 1, and has touched nothing.
#[track_caller]
fn refused(dir: &Path, parts: &[&str]) {
    let before = contents(&dir.join("data"));
    let told = finish(lone(dir), "").refused(1);
    let last = told.lines().last().unwrap_or_default();
    assert!(parts.iter().all(|part| last.contains(part)), "{told}");
    assert!(contents(&dir.join("data")) == before, "something was touched: {told}");
}

#[test]
fn a_corrupt_log_is_refused_by_file_and_offset() {
    let dir = directory();
    let data = made(dir.path());
    let mut struck = None;
    for entry in fs::read_dir(data.join("log")).expect("a log") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("read");
        if let Some(at) = bytes.windows(12).position(|window| window == b"needleneedle") {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written");
            struck = path.file_name().map(|name| name.to_string_lossy().into_owned());
        }
    }
    let struck = struck.expect("the log holds what was put");
    refused(dir.path(), &["corrupt data in", &struck, "at offset "]);
    // And again: it does not heal by being looked at.
    refused(dir.path(), &["corrupt data in", "at offset "]);
}

#[test]
fn data_of_the_future_is_refused_and_left_alone() {
    let dir = directory();
    let data = made(dir.path());
    let replace = |file: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(file).expect("read");
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replace(from, to)).expect("written");
    };
    let identity = data.join("node.toml");
    replace(&identity, "format = 1", "format = 2");
    refused(dir.path(), &["node.toml", "format 2", "newer version"]);
    replace(&identity, "format = 2", "format = 1");

    let marker = data.join("engine/engine");
    replace(&marker, "engine 1", "engine 7");
    refused(dir.path(), &["engine", "version 7", "up to 1"]);
    replace(&marker, "engine 7", "engine 1");

    // A segment begins with eight bytes of its own and its version.
    let segments = fs::read_dir(data.join("log")).expect("a log");
    let mut segments = segments.map(|entry| entry.expect("an entry").path());
    let is_one = |path: &PathBuf| fs::read(path).expect("read").starts_with(b"STTRLOG\0");
    let segment = segments.find(is_one).expect("a segment");
    let set_version = |from: u8, to: u8| {
        let mut bytes = fs::read(&segment).expect("read");
        assert_eq!(bytes[8..12], [from, 0, 0, 0], "the version is somewhere else");
        bytes[8] = to;
        fs::write(&segment, bytes).expect("written");
    };
    set_version(1, 9);
    let name = segment.file_name().expect("a name").to_string_lossy();
    refused(dir.path(), &[&name, "format version 9", "up to 1"]);
    set_version(9, 1);

    let node = Running::start(serve(dir.path(), "data"));
    assert_eq!(node.terminate().0, Some(0), "nothing was spoilt");
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    disk.set_read_only(true);
    let told = finish(lone(disk.path()), "").refused(1);
    assert!(told.contains("data") && told.contains("Read-only file system"), "{told}");
    disk.set_read_only(false);
    made(disk.path());
    disk.set_read_only(true);
    refused(disk.path(), &["data", "Read-only file system"]);
}

#[test]
fn settings_that_cannot_be_are_refused_in_one_line() {
    let dir = directory();
    for (arguments, parts) in [
        (["--engine", "memory"], ["engine", "fjall or sled"]),
        (["--log-segment", "4MiB"], ["log_segment = 4MiB", "from 8MiB to 1GiB"]),
        (["--log-budget", "16MiB"], ["log_budget = 16MiB", "four times log_segment"]),
        (["--min-free", "0B"], ["min_free = 0B", "at least 1MiB"]),
    ] {
        let mut command = lone(dir.path());
        command.args(arguments);
        let told = finish(command, "").refused(2);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was touched");
}
