//! `stator dump`: from a table to lines.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use serde::Serialize;
use stator_client::Item;
use stator_proto::json::{item_from_dynamodb_json, item_to_dynamodb_json};

use super::file::{Footer, Header};
use super::progress::{Dumped, Memory, bar};
use crate::cli::endpoints::Endpoints;
use crate::cli::output::{Failure, note};
use crate::cli::table::describe;

/// Writes a table's schema and items as lines of JSON
///
/// Writes that go on meanwhile are in it or not, each item on its own.
#[derive(Debug, clap::Args)]
pub(crate) struct Dump {
    /// The table's name
    table: String,

    /// The file to write, which must not be there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Go on with a dump that was cut short
    #[arg(long, requires = "out")]
    resume: bool,

    /// Take answers that may miss the latest writes
    #[arg(long)]
    eventual: bool,

    #[command(flatten)]
    endpoints: Endpoints,
}

/// Where the lines go.
struct Lines {
    to: BufWriter<Box<dyn Write + Send>>,
    name: String,
    bytes: u64,
    items: u64,
}

pub(crate) async fn dump(dump: Dump) -> Result<(), Failure> {
    let connection = dump.endpoints.connect()?;
    let table = describe(&connection, &dump.table).await?;
    let memory = dump.out.as_deref().map(Memory::beside);
    let before: Option<Dumped> = match &memory {
        Some(memory) if dump.resume => Some(memory.recall()?),
        _ => None,
    };
    if before.as_ref().is_some_and(|before| before.table_id != table.table_id) {
        return Err(Failure::refused(
            "--resume: the table is another one now, made after the dump was begun",
        ));
    }
    let start = before.as_ref().map(|before| item_from_dynamodb_json(&before.start_key));
    let start = start.transpose().map_err(|error| connection.failure(error))?;
    let mut lines = Lines::open(dump.out.as_deref(), before.as_ref())?;
    if before.is_none() {
        lines.write(&Header::of(&table))?;
    }
    let bar = bar(None);
    let mut pages = connection
        .client
        .scan()
        .table_name(&dump.table)
        .consistent_read(!dump.eventual)
        .set_exclusive_start_key(start)
        .into_paginator()
        .send();
    while let Some(page) = pages.try_next().await.map_err(|error| connection.failure(error))? {
        lines.page(&page.items, &bar)?;
        if let (Some(memory), Some(key)) = (&memory, &page.last_evaluated_key) {
            lines.flush()?;
            memory.note(&Dumped {
                table_id: table.table_id,
                bytes: lines.bytes,
                items: lines.items,
                start_key: item_to_dynamodb_json(key),
            })?;
        }
    }
    lines.write(&Footer { stator_dump_end: lines.items })?;
    lines.flush()?;
    bar.finish_and_clear();
    note(format_args!("{} items dumped", lines.items));
    if let Some(memory) = memory {
        memory.forget();
    }
    Ok(())
}

impl Lines {
    fn open(out: Option<&Path>, before: Option<&Dumped>) -> Result<Self, Failure> {
        let (bytes, items) = before.map_or((0, 0), |before| (before.bytes, before.items));
        let Some(path) = out else {
            let to = BufWriter::new(Box::new(io::stdout()) as _);
            return Ok(Self { to, name: "standard output".to_owned(), bytes, items });
        };
        let opened = match before {
            Some(before) => go_on(path, before.bytes),
            None => OpenOptions::new().write(true).create_new(true).open(path),
        };
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::usage(format!(
                "--out {} is not allowed: the file is there already; give --resume to go on with it, or another name",
                path.display()
            )),
            _ => Failure::refused(format!("--out {}: {error}", path.display())),
        })?;
        Ok(Self {
            to: BufWriter::new(Box::new(file)),
            name: path.display().to_string(),
            bytes,
            items,
        })
    }

    fn page(&mut self, items: &[Item], bar: &ProgressBar) -> Result<(), Failure> {
        for item in items {
            self.write(&item_to_dynamodb_json(item))?;
            self.items += 1;
        }
        bar.set_position(self.bytes);
        bar.set_message(format!("{} items", self.items));
        Ok(())
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(line).map_err(Failure::refused)?;
        text.push(b'\n');
        self.bytes += text.len() as u64;
        self.to.write_all(&text).map_err(|error| self.failed(&error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::refused(format!("writing {}: {error}", self.name))
    }
}

/// Opens a file behind what is known to be whole.
fn go_on(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() < bytes {
        return Err(io::Error::other("it holds less than was written to it"));
    }
    file.set_len(bytes)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}
