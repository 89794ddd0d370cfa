//! The command line: one file per command, and what they share.
//!
//! # Map
//! - [`serve`] runs a node, [`cluster`] runs several as processes of their own. [`stop`]: when they end.
//! - [`table`], [`item`], [`query`], [`dump`], [`status`]: what a database is asked. [`endpoints`]: where it is. [`values`]:
//!   items on the command line. [`number`]: the numbers there.
//! - [`output`]: everything that is printed, and how failures become exit codes.
//!
//! # Exit codes
//! 0 done · 1 refused, by the database or the machine · 2 the command or a setting is wrong · 3 no node can be reached, or none
//! can serve · 4 a write may have been applied or not.

mod cluster;
mod dump;
pub(crate) mod endpoints;
mod item;
pub(crate) mod number;
pub(crate) mod output;
mod query;
mod serve;
mod status;
mod stop;
mod table;
mod values;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use self::output::{Failure, complain};

#[cfg(test)]
mod tests;

/// What a first look is for.
const AFTER_HELP: &str = "\
Begin with a cluster on this machine, and a table:
  stator cluster &
  stator table create music --key artist:S --sort song:S --wait
  stator item put music --item '{\"artist\": \"No One You Know\", \"song\": \"Call Me Today\", \"plays\": 1}'
  stator query music --key-condition 'artist = :a' --values '{\":a\": \"No One You Know\"}'

Exit codes: 0 done, 1 refused, 2 the command or a setting is wrong, 3 no node can be
reached, or none can serve, 4 a write may have been applied or not.";

/// A replicated, partitioned key-value database modelled on DynamoDB
#[derive(Debug, Parser)]
#[command(name = "stator", version = env!("VERSION_AND_COMMIT"), after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Boxed, for it has many flags, and the other commands few.
    Serve(Box<serve::Serve>),
    Cluster(cluster::Cluster),
    Bench(crate::bench::Bench),
    Table(table::Table),
    Item(item::ItemCommand),
    Query(query::Query),
    Scan(query::Scan),
    Dump(dump::Dump),
    Load(dump::Load),
    Status(status::Status),
    Completions(Completions),
}

/// Prints a script that completes commands and flags in a shell
#[derive(Debug, clap::Args)]
struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    // Whoever misspells the variable that says where the database is must not come to another one.
    stator_server::config::check_variables(serve::variables()).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::refused(format!("no threads: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Serve(serve) => serve::run(*serve).await,
            Command::Cluster(cluster) => cluster::run(cluster).await,
            Command::Bench(bench) => crate::bench::run(bench).await,
            Command::Table(table) => table::run(table).await,
            Command::Item(item) => item::run(item).await,
            Command::Query(query) => query::query(query).await,
            Command::Scan(scan) => query::scan(scan).await,
            Command::Dump(dump) => dump::dump(dump).await,
            Command::Load(load) => dump::load(load).await,
            Command::Status(status) => status::run(status).await,
            Command::Completions(completions) => completions.run(),
        }
    });
    // What still waits on a blocking thread is of no interest any more.
    runtime.shutdown_background();
    result
}

/// A command line that cannot be understood; also, to the parser, one that asks for help.
fn misunderstood(error: &clap::Error) -> ExitCode {
    match error.kind() {
        // What was asked for; nothing is left to tell if the terminal is gone.
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::DisplayVersion => drop(error.print()),
        // A wrong flag or value is told as a wrong setting from anywhere else is: in one line.
        _ => complain(&stator_server::config::one_line(error)),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

impl Completions {
    fn run(&self) -> Result<(), Failure> {
        output::print(self.script().trim_end())
    }

    fn script(&self) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "stator", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}
