//! `stator bench`: how fast a database is, and at what cost in CPU time.
//!
//! The same generator drives a cluster, a database in this process and an etcd cluster, so that their figures compare.
//!
//! # Map
//! - `options`: the command line. `workload`: what callers do, with `distribution` and `records` under it; `rng`:
//!   from which dice.
//! - `pace`: when operations begin. `measure`: what is counted. `cpu`: what it cost.
//! - `target`: what is asked. `load` and `run`: the two phases. `report` and `progress`: what is told.
//!
//! # Caveats
//! - Generator and database share the machine's cores unless the database is elsewhere: CPU per operation says more than
//!   operations a second there.
//! - Inserts of the workloads `d` and `e` stay in the table. A run with `--no-load` behind them inserts over them.

mod cpu;
mod distribution;
mod load;
mod measure;
mod options;
mod pace;
mod progress;
mod records;
mod report;
mod rng;
mod run;
mod target;
mod workload;

pub(crate) use self::options::Bench;
use self::options::Settings;
use self::progress::Progress;
use self::records::Values;
use self::report::Report;
use self::target::Target;
use crate::cli::output::{Failure, note, print};

/// Measures, and says what it found.
pub(crate) async fn run(bench: Bench) -> Result<(), Failure> {
    let settings = bench.settings()?;
    // Interrupted, it must end by itself: its temporary directory goes with it.
    tokio::select! {
        result = measure(&settings) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::refused("interrupted")),
    }
}

async fn measure(settings: &Settings) -> Result<(), Failure> {
    let target = Target::open(settings).await?;
    let progress = Progress::start();
    let values = Values::new(settings.value_bytes as usize);
    let loaded = if settings.load {
        Some(load::load(&target, settings, &values, &progress).await?)
    } else {
        load::check(&target, settings).await?;
        None
    };
    let run = run::run(&target, settings, values, &progress).await?;
    drop(progress);
    let target_version = target.version().to_owned();
    target.close().await;

    let report = Report { settings, target_version, loaded, run };
    if let Some(file) = &settings.json {
        let unwritten =
            |error| Failure::refused(format!("{} cannot be written: {error}", file.display()));
        std::fs::write(file, format!("{:#}\n", report.json())).map_err(unwritten)?;
    }
    print(report.text())?;
    if settings.leaves_table() {
        let table = &settings.table;
        note(format_args!("The table {table} stays; `stator table delete {table}` removes it."));
    }
    if report.run.tally.done == 0 {
        return Err(Failure::refused("no operation succeeded"));
    }
    Ok(())
}
