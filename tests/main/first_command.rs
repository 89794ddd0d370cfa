//! `stator cluster` as somebody types it: what it says in words, what its ports are, and that Ctrl-C ends it.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Database, PATIENCE, directory, eventually, http_get, lines, program, runs, signal,
};

/// A cluster whose lines are read. It is killed, and its nodes with it, if the test ends before it.
struct Typed {
    child: Child,
    lines: Receiver<String>,
}

impl Typed {
    /// The next line.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// The line that begins with this, without it; lines before it do not matter.
    #[track_caller]
    fn line_of(&self, begin: &str) -> String {
        loop {
            if let Some(rest) = self.line().strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A base whose ports are free, in a range where nothing else of the tests looks.
fn free_base() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let bases = (30_000..32_000).step_by(30);
    let begin = usize::try_from(std::process::id()).expect("small") % bases.len();
    let mut bases = bases.clone().skip(begin).chain(bases);
    bases.find(|base| (0..30).all(|more| is_free(base + more))).expect("thirty free ports in a row")
}

/// Whether it is this process that listens on a port.
fn listens(pid: u64, port: u16) -> bool {
    // `  0: 0100007F:1CE8 00000000:0000 0A ... inode ...`, where 0A listens, and the inode is the tenth.
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let sockets: Vec<String> = table
        .lines()
        .filter(|line| line.contains(&format!(" 0100007F:{port:04X} 00000000:0000 0A ")))
        .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().nth(9)?)))
        .collect();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let mut open = open.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    open.any(|file| sockets.iter().any(|socket| file.as_os_str() == socket.as_str()))
}

#[test]
fn the_first_command_says_where_everything_is_and_ctrl_c_ends_it() {
    let dir = directory();
    let base = free_base();
    let mut command = program(dir.path());
    command.args(["cluster", "--base-port", &base.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let lines = lines(child.stdout.take().expect("a pipe"));
    let mut cluster = Typed { child, lines };

    assert_eq!(cluster.line(), "directory: stator-data");
    cluster.line_of("ready");
    let mut told = Vec::new();
    for n in 0..3_u16 {
        let line = cluster.line_of(&format!(
            "node {}: http://127.0.0.1:{} (process ",
            n + 1,
            base + 10 * n
        ));
        told.push(line.trim_end_matches(')').parse::<u64>().expect("a process"));
    }
    assert_eq!(cluster.line(), "Ctrl-C ends it");

    // The record says the same, in the same order, and the ports are those of these processes.
    let record = || -> Value {
        let text = fs::read(dir.path().join("stator-data/cluster.json")).expect("a record");
        serde_json::from_slice(&text).expect("JSON")
    };
    let found = record();
    assert_eq!(found["pids"], json!(told));
    for n in 0..3_u16 {
        let (port, index) = (base + 10 * n, usize::from(n));
        assert_eq!(found["endpoints"][index], json!(format!("http://127.0.0.1:{port}")));
        let admin = format!("127.0.0.1:{}", port + 1);
        assert_eq!(found["admin"][index], json!(format!("http://{admin}")));
        let ready = http_get(&admin, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 200"), "node {}: {ready}", n + 1);
        for port in [port, port + 1] {
            assert!(listens(told[index], port), "process {} has the port {port}", told[index]);
        }
    }
    let database = Database::at(format!("http://127.0.0.1:{base}"));
    let nodes = database.run(&["status", "--output", "json"]).json()["nodes"].clone();
    assert_eq!(nodes.as_array().map(Vec::len), Some(3));

    // A node that is killed comes back as another process, which is told.
    signal(told[1], Signal::KILL);
    let anew = cluster.line_of("node 2 is process ");
    let anew: u64 = anew.strip_suffix(" now").and_then(|pid| pid.parse().ok()).expect("a process");
    assert_eq!(cluster.line(), "node 2 is ready");
    let now = record()["pids"].clone();
    assert!(anew != told[1] && now[1] == json!(anew), "{anew}: {now}");
    assert_eq!((&now[0], &now[2]), (&json!(told[0]), &json!(told[2])));

    signal(cluster.child.id().into(), Signal::INT);
    let mut status = None;
    assert!(eventually(|| {
        status = cluster.child.try_wait().expect("waited");
        status.is_some()
    }));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert!([told[0], anew, told[2]].iter().all(|pid| !runs(*pid)), "a node outlives the cluster");
    assert_eq!(record()["supervisor"], json!(null));
}
