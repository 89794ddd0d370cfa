//! When a process that runs on is to end: Ctrl-C, SIGTERM, or the end of the process that started it.

use std::fmt;
use std::io::{self, Read as _};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::output::complain;

/// Signals within this time are one.
const ONCE: Duration = Duration::from_millis(500);

/// Who asks a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody at the terminal.
    Interrupt,
    /// Whoever sent SIGTERM.
    Terminate,
    /// The supervisor: it has ended, or ends all of its nodes.
    Supervisor,
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "an interrupt",
            Self::Terminate => "SIGTERM",
            Self::Supervisor => "the supervisor",
        })
    }
}

/// What asks a process to end.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    parent: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. With `parent_pipe`, the end of standard input asks as well: its other end is held by the
    /// process that started this one, and the kernel closes it however that process ends.
    pub(crate) fn listen(parent_pipe: bool) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            parent: parent_pipe.then(watch_stdin).transpose()?,
        })
    }

    /// Resolves when the process is asked to end, with who asks.
    pub(crate) async fn asked(&mut self) -> Asker {
        let parent = async {
            match &mut self.parent {
                // Whether it is told or dropped, the thread has ended, and with it the pipe.
                Some(parent) => drop(parent.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Asker::Interrupt,
            _ = self.terminate.recv() => Asker::Terminate,
            () = parent => Asker::Supervisor,
        }
    }

    /// From now on an end in good order is under way: asked again, or when `limit` is over, the process ends at once.
    pub(crate) fn no_later_than(self, limit: Duration) {
        drop(self);
        tokio::spawn(async {
            // Whoever signals a process and its whole group, as `timeout` does, means it once.
            tokio::time::sleep(ONCE).await;
            let Ok(mut again) = Self::listen(false) else { return };
            let who = again.asked().await;
            complain(&format!("{who} again: ending at once"));
            std::process::exit(1);
        });
        // A thread, because what hangs might be all of the runtime's.
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            complain("the end in good order took too long: ending at once");
            std::process::exit(1);
        });
    }
}

/// A thread of its own reads: one of the runtime's would keep it from ending.
fn watch_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("parent-pipe".to_owned()).spawn(move || {
        let mut buffer = [0; 64];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        let _ = ended.send(());
    })?;
    Ok(end)
}
