//! Loads a real catalogue, the packages of a Debian archive, and looks around in it.
//!
//! ```text
//! cargo run --release --example catalog -- --embedded
//! cargo run --release --example catalog -- --endpoints http://127.0.0.1:7400,http://127.0.0.1:7410
//! cargo run --release --example catalog -- --embedded --data-dir ./catalogue packages.txt
//! ```
//!
//! The catalogue is a file of stanzas, as `apt-cache dumpavail` prints it: the file that is given, or what that prints, or what dpkg
//! has installed. `source` opens and `packages` reads it; `tour` is what is done with it, and where to look for how a table is used.

#![allow(clippy::print_stdout)]

mod packages;
mod source;
mod tour;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use stator::{Client, GrpcTransport};

/// Loads the packages of a Debian archive into a table and looks around in it.
#[derive(Parser)]
struct Args {
    /// The catalogue; without it, what `apt-cache dumpavail` prints, or what dpkg has installed.
    file: Option<PathBuf>,
    /// Use a database in this process.
    #[arg(long, conflicts_with = "endpoints", required_unless_present = "endpoints")]
    embedded: bool,
    /// Keep that database in this directory; in memory unless given.
    #[arg(long, requires = "embedded")]
    data_dir: Option<PathBuf>,
    /// Nodes of a cluster, such as http://127.0.0.1:7400.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// The table, which is made if there is none.
    #[arg(long, default_value = "packages")]
    table: String,
    /// Load no more packages than this.
    #[arg(long)]
    limit: Option<usize>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let database = match (args.embedded, &args.data_dir) {
        (false, _) => None,
        (true, None) => Some(stator::in_memory().await?),
        (true, Some(dir)) => Some(stator::open(dir).await?),
    };
    let client = match &database {
        Some(database) => database.client(),
        None => Client::new(GrpcTransport::builder().endpoints(args.endpoints).build()?),
    };
    let installed = Path::new(source::INSTALLED);
    let packages = packages::read(source::open(args.file.as_deref(), source::INDEX, installed)?)?;
    let packages: Vec<_> = packages.into_iter().take(args.limit.unwrap_or(usize::MAX)).collect();

    let bar = ProgressBar::new(packages.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} packages, {per_sec}, {eta} left",
    )?);
    let report = tour::take(&client, &args.table, &packages, |done| bar.inc(done)).await?;
    bar.finish_and_clear();
    println!("{report}");
    drop(client);
    if let Some(database) = database {
        database.close().await;
    }
    Ok(())
}
