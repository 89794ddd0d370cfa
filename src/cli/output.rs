//! Everything that is printed: answers on standard output, what went wrong in one line on standard error.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Why a command did not do what it was asked, and with which exit code that ends.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The database or the machine refuses.
    pub(crate) fn refused(text: impl fmt::Display) -> Self {
        Self { code: 1, text: text.to_string() }
    }

    /// The command, or a setting, is wrong.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { code: 2, text: text.to_string() }
    }

    /// Says what went wrong.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            complain(&self.text);
        }
        ExitCode::from(self.code)
    }
}

/// Says what is wrong, on standard error.
pub(crate) fn complain(text: &str) {
    // If nobody can be told, the exit code has to do.
    let _ = writeln!(io::stderr().lock(), "error: {text}");
}

/// Says something that nobody needs to be there for: a process that runs on must not end with its terminal's pipe.
pub(crate) fn say(text: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
