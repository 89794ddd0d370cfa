//! One node's process.

use std::fs::{self, OpenOptions};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::plan::NodePlan;
use crate::cli::serve::ReadyLine;

/// How long a node may take to end in good order: longer than it gives itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// Variables that cannot be right for several nodes at once.
const NOT_PASSED_ON: [&str; 4] =
    ["STATOR_CONFIG", "STATOR_ADVERTISE", "STATOR_JOIN", "STATOR_ZONE"];

/// A node's process. If it is dropped the node ends, by its pipe.
pub(super) struct Child {
    process: tokio::process::Child,
    pub(super) pid: u32,
    stdout: BufReader<ChildStdout>,
    pipe: Option<ChildStdin>,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// What the operating system answers.
    pub(super) fn start(plan: &NodePlan) -> io::Result<Self> {
        if let Some(dir) = plan.log_file.parent() {
            fs::create_dir_all(dir)?;
        }
        let log = OpenOptions::new().create(true).append(true).open(&plan.log_file)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .args(["--parent-pipe", "--json"])
            .arg("--data-dir")
            .arg(&plan.data_dir)
            .arg(format!("--listen=127.0.0.1:{}", plan.port))
            .arg(format!("--admin-listen=127.0.0.1:{}", plan.port + 1))
            .arg(format!("--initial-nodes={}", plan.founders.join(",")))
            .arg(format!("--engine={}", plan.engine))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0);
        if let Some(dir) = &plan.temporary {
            command.arg("--temporary").arg(dir);
        }
        if let Some(memory) = plan.memory {
            command.arg(format!("--memory={memory}"));
        }
        for variable in NOT_PASSED_ON {
            command.env_remove(variable);
        }
        let mut process = command.spawn()?;
        let missing = || io::Error::other("the process has no pipes");
        let stdout = process.stdout.take().ok_or_else(missing)?;
        Ok(Self {
            pid: process.id().ok_or_else(missing)?,
            stdout: BufReader::new(stdout),
            pipe: process.stdin.take(),
            process,
        })
    }

    /// Waits until the node says that it is ready: false if it ended before.
    pub(super) async fn ready(&mut self) -> bool {
        let mut line = String::new();
        loop {
            line.clear();
            match self.stdout.read_line(&mut line).await {
                Ok(0) | Err(_) => return false,
                Ok(_) if serde_json::from_str::<ReadyLine>(&line).is_ok_and(|line| line.ready) => {
                    return true;
                }
                Ok(_) => {}
            }
        }
    }

    /// Waits until it ends.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        // This closes a process's standard input if it is still in here; ours was taken out at the start.
        self.process.wait().await
    }

    /// Ends it with the others: in good order, or when that takes too long, at once. By its pipe and not by a signal, which
    /// would have it look for others to lead in its place.
    pub(super) async fn stop(mut self) -> io::Result<ExitStatus> {
        drop(self.pipe.take());
        match tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.process.start_kill()?;
                self.process.wait().await
            }
        }
    }
}
