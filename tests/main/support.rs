//! Running the program.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take. Far more than it does, for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory to run programs in.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("stator-test-").tempdir().expect("a directory")
}

/// The program, in a directory, with nothing from the tests' own environment; nodes are small ones.
pub(crate) fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stator"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STATOR_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("STATOR_MEMORY", "128MiB")
        .env("STATOR_LOG_SEGMENT", "8MiB")
        .env("STATOR_LOG_BUDGET", "64MiB")
        .env("STATOR_MIN_FREE", "16MiB");
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// What it printed, if it ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The JSON that it printed, if it ended well.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The lines of JSON that it printed, if it ended well.
    #[track_caller]
    pub(crate) fn lines(self) -> Vec<Value> {
        let text = self.ok();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// What it complained about, if it ended with this code.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains("error: "), "{self:?}");
        self.err
    }
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn finish(command: Command, input: &str) -> Ended {
    finish_within(PATIENCE, command, input)
}

/// Runs a command to its end, which may be that far away.
#[track_caller]
pub(crate) fn finish_within(patience: Duration, mut command: Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let out = drain(child.stdout.take().expect("a pipe"));
    let err = drain(child.stderr.take().expect("a pipe"));
    // A command that does not read its input may be gone by now.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let code = end(&mut child, patience);
    let (out, err) = (out.join().expect("read"), err.join().expect("read"));
    match code {
        Some(code) => Ended { code, out, err },
        None => panic!("{command:?} did not end in time; it said: {out}{err}"),
    }
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = from.read_to_string(&mut text);
        text
    })
}

/// The lines that a process prints, as they come.
pub(crate) fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (line, lines) = channel();
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = line.send(text);
        }
    });
    lines
}

/// Waits for a process; one that does not end in time is killed.
fn end(child: &mut Child, patience: Duration) -> Option<Option<i32>> {
    let mut ended = None;
    let in_time = within(patience, || {
        ended = child.try_wait().expect("waited");
        ended.is_some()
    });
    if !in_time {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended.map(|status| status.code())
}

/// Whether something comes true in time.
pub(crate) fn eventually(is: impl FnMut() -> bool) -> bool {
    within(PATIENCE, is)
}

fn within(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// A process that runs on: a node, or a cluster. It ends with its pipe, or is killed, at the latest when it is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) pipe: Option<ChildStdin>,
    /// The line that said that it is ready.
    pub(crate) ready: Value,
    err: JoinHandle<String>,
}

impl Running {
    /// Starts it, and waits for its line.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let told = lines(child.stdout.take().expect("a pipe"));
        let err = drain(child.stderr.take().expect("a pipe"));
        let pipe = child.stdin.take();
        match told.recv_timeout(PATIENCE) {
            Ok(text) => {
                let ready = serde_json::from_str(&text).expect("a line of JSON");
                Self { child, pipe, ready, err }
            }
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} was not ready; it said: {}", err.join().expect("read"));
            }
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u64 {
        self.child.id().into()
    }

    /// Ends it with SIGTERM; answers its exit code, and what it said on standard error.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> (Option<i32>, String) {
        signal(self.pid(), Signal::TERM);
        self.wait()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> (Option<i32>, String) {
        let code = end(&mut self.child, PATIENCE).expect("it ends in time");
        let err = std::mem::replace(&mut self.err, std::thread::spawn(String::new));
        (code, err.join().expect("read"))
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(pid: u64, signal: Signal) {
    kill_process(pid_of(pid), signal).expect("the process is there");
}

fn pid_of(pid: u64) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number")
}

/// Whether a process runs. One that has ended and that nobody has waited for does not.
pub(crate) fn runs(pid: u64) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        // `pid (name) state ...`, where the name may hold anything.
        Ok(stat) => !stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')),
        Err(_) if Path::new("/proc/self").exists() => false,
        Err(_) => test_kill_process(pid_of(pid)).is_ok(),
    }
}

/// A database to ask.
pub(crate) struct Database {
    dir: TempDir,
    endpoints: String,
}

impl Database {
    /// That behind these endpoints.
    pub(crate) fn at(endpoints: impl Into<String>) -> Self {
        Self { dir: directory(), endpoints: endpoints.into() }
    }

    /// Where it is.
    pub(crate) fn endpoints(&self) -> &str {
        &self.endpoints
    }

    /// A directory for files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a command.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    /// Runs a command that reads something.
    #[track_caller]
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = program(self.dir.path());
        command.args(arguments).env("STATOR_ENDPOINTS", &self.endpoints);
        finish(command, input)
    }
}

/// A node alone, and the database that it is.
pub(crate) struct Node {
    pub(crate) process: Running,
    pub(crate) database: Database,
    _dir: TempDir,
}

impl Node {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let dir = directory();
        let process = Running::start(serve(dir.path(), "data"));
        let endpoint = process.ready["endpoint"].as_str().expect("an endpoint").to_owned();
        Self { process, database: Database::at(endpoint), _dir: dir }
    }
}

/// The command for a node alone, which says when it is ready and ends with its pipe.
pub(crate) fn serve(dir: &Path, data: &str) -> Command {
    let mut command = program(dir);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data]);
    command.args(["--json", "--parent-pipe"]);
    command
}

/// The texts of a list.
pub(crate) fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|text| text.as_str().expect("texts").to_owned()).collect()
}

/// A page of a node's admin port, with its head.
pub(crate) fn http_get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}
