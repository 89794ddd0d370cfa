//! The program `stator`: nodes, clusters, and the commands that talk to them. `stator --help` is its manual.

mod bench;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
