//! Everything that is printed: answers on standard output, what went wrong on standard error.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::Value;

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

    /// No node can be reached, or none can serve.
    pub(crate) fn unavailable(text: impl fmt::Display) -> Self {
        Self { code: 3, text: text.to_string() }
    }

    /// A write may have been applied, or not.
    pub(crate) fn uncertain(text: impl fmt::Display) -> Self {
        Self { code: 4, text: text.to_string() }
    }

    /// The exit code.
    #[cfg(test)]
    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    /// Whoever read the output has enough, as `head` does: no failure, but no reason to go on.
    fn enough() -> Self {
        Self { code: 0, text: String::new() }
    }

    /// The same failure, with what can be done about it.
    pub(crate) fn and(self, advice: &str) -> Self {
        Self { text: format!("{}\n{advice}", self.text), ..self }
    }

    /// Says what went wrong.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            complain(&self.text);
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For programs: JSON, one value a line.
    Json,
    /// For people.
    Text,
}

/// The flag for it; which of them is the default is the command's.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Output {
    /// How to print the answer
    #[arg(long, value_name = "FORMAT")]
    output: Option<Format>,
}

impl Output {
    /// Whether to print JSON; `default` decides where the flag is not given.
    pub(crate) fn json(self, default: Format) -> bool {
        self.output.unwrap_or(default) == Format::Json
    }
}

/// Says what is wrong, on standard error.
pub(crate) fn complain(text: &str) {
    // If nobody can be told, the exit code has to do.
    let _ = writeln!(io::stderr().lock(), "error: {text}");
}

/// Says something beside the answer, on standard error.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says something that nobody needs to be there for: a process that runs on must not end with its terminal's pipe.
pub(crate) fn say(text: impl fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints a line of an answer.
pub(crate) fn print(text: impl fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::enough(),
        _ => Failure::refused(format!("writing the answer: {error}")),
    })
}

/// Prints an item for people: an attribute a line, its value in JSON.
pub(crate) fn print_fields(fields: &Value) -> Result<(), Failure> {
    let Some(fields) = fields.as_object() else { return print(fields) };
    let width = fields.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, value) in fields {
        // A text as it is, unless it could be taken for something else.
        match value.as_str().filter(|text| !text.chars().any(char::is_control)) {
            Some(text) => print(format_args!("{name:width$}  {text}"))?,
            None => print(format_args!("{name:width$}  {value}"))?,
        }
    }
    Ok(())
}

/// Prints columns for people, the first row being their heads.
pub(crate) fn print_columns<const N: usize>(rows: &[[String; N]]) -> Result<(), Failure> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        print(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
