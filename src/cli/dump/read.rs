//! `stator load`: from lines to a table.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use stator_client::{Item, RetryPolicy, TableDescription, put};

use super::file::{Footer, Header, read_line};
use super::progress::{Loaded, Memory, bar};
use crate::cli::endpoints::{Connection, Endpoints};
use crate::cli::output::{Failure, note};
use crate::cli::table::describe;
use crate::cli::values::Dialect;

/// Items of a batch; the database takes no more.
const BATCH: usize = stator_model::limits::BATCH_WRITE_REQUESTS_MAX;
/// Batches on their way at once.
const BATCHES_AHEAD: usize = 8;
/// What to do about a load that failed, where it is noted how far it came.
const RESUME: &str = "once that is mended, --resume goes on where the load ended";
/// After how many items it is noted how far the load came.
const NOTE_EVERY: u64 = 1000;

/// Writes the items of a dump into a table, which is made if there is none
///
/// Items that are there already are replaced by those of the dump with the same key. A load that was cut short may be gone on
/// with (--resume), or run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// The table to write to; it may have another name than the one that was dumped
    table: String,

    /// The dump: a file, or - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// Go on with a load that was cut short
    #[arg(long)]
    resume: bool,

    #[command(flatten)]
    endpoints: Endpoints,
}

/// A dump that is being read.
struct Source {
    from: Box<dyn BufRead + Send>,
    name: String,
    /// How much of it was read.
    bytes: u64,
    items: u64,
    /// What its last line says, once that was read.
    promised: Option<u64>,
}

/// Items that are written together, and how far the file was read behind the last of them.
struct Batch {
    items: Vec<Item>,
    bytes: u64,
    total: u64,
}

pub(crate) async fn load(load: Load) -> Result<(), Failure> {
    // Who writes an item of the dump twice changes nothing, or nothing that loading it again would not.
    let mut retry = RetryPolicy::default();
    retry.resend_uncertain_writes = true;
    let connection = load.endpoints.connect_with(retry)?;
    let stdin = load.file.as_os_str() == "-";
    if stdin && load.resume {
        return Err(Failure::usage("--resume needs a FILE: standard input cannot be gone on with"));
    }
    let mut memory = (!stdin).then(|| Memory::beside(&load.file));
    let (mut source, size) = Source::open(&load.file, stdin)?;
    let header = source.header()?;
    let table = table_for(&connection, &load.table, &header, &source.name).await?;
    if let Some(memory) = &memory
        && load.resume
    {
        let before: Loaded = memory.recall()?;
        if before.table != load.table || before.table_id != table.table_id {
            return Err(Failure::refused("--resume: the load was begun into another table"));
        }
        source.skip(&load.file, &before)?;
    }
    let mut loaded = Loaded {
        table: load.table.clone(),
        table_id: table.table_id,
        bytes: source.bytes,
        items: source.items,
    };
    // A dump may well lie where nothing can be written: then it is loaded all the same.
    if let Some(Err(failure)) = memory.as_ref().map(|memory| memory.note(&loaded)) {
        note(format_args!("a load that is cut short could not be gone on with: {failure}"));
        memory = None;
    }
    let bar = bar(size);
    let written = write_all(&connection, &mut source, &mut loaded, memory.as_ref(), &bar).await;
    if let Err(failure) = written.and_then(|()| source.check_end()) {
        return Err(match memory.map(|memory| memory.note(&loaded)) {
            Some(Ok(())) => failure.and(RESUME),
            Some(Err(_)) | None => failure,
        });
    }
    bar.finish_and_clear();
    note(format_args!("{} items loaded into {}", source.items, load.table));
    if let Some(memory) = memory {
        memory.forget();
    }
    Ok(())
}

/// Writes all that is left of a dump, and keeps in `loaded` how far that came: all before it is written.
async fn write_all(
    connection: &Connection,
    source: &mut Source,
    loaded: &mut Loaded,
    memory: Option<&Memory>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let table = loaded.table.clone();
    let mut noted = loaded.items;
    let batches = stream::iter(std::iter::from_fn(|| source.batch().transpose()));
    let mut written = batches.map(|batch| write(connection, &table, batch)).buffered(BATCHES_AHEAD);
    while let Some((bytes, items)) = written.try_next().await? {
        (loaded.bytes, loaded.items) = (bytes, items);
        bar.set_position(bytes);
        bar.set_message(format!("{items} items"));
        if let Some(memory) = memory
            && items >= noted + NOTE_EVERY
        {
            noted = items;
            memory.note(&*loaded)?;
        }
    }
    Ok(())
}

/// Writes a batch, until nothing of it is left, and tells how far the load is behind it.
async fn write(
    connection: &Connection,
    table: &str,
    batch: Result<Batch, Failure>,
) -> Result<(u64, u64), Failure> {
    let batch = batch?;
    let left = connection.client.write_all(table, batch.items.into_iter().map(put)).await;
    let left = left.map_err(|error| connection.failure(error))?;
    if !left.is_empty() {
        return Err(Failure::refused("the database takes no more at the moment"));
    }
    Ok((batch.bytes, batch.total))
}

/// The table to load into: the one that is there, if its key is the dump's, or a new one.
async fn table_for(
    connection: &Connection,
    name: &str,
    header: &Header,
    source: &str,
) -> Result<TableDescription, Failure> {
    let client = &connection.client;
    let schema = header.schema().map_err(|why| Failure::refused(format!("{source}: {why}")))?;
    match client.describe_table().table_name(name).send().await {
        Ok(told) if told.table.key_schema == schema => Ok(told.table),
        Ok(_) => Err(Failure::refused(format!(
            "the table {name} has another primary key than the dump of {}; `stator table describe {name}` shows it",
            header.table
        ))),
        Err(error) if error.is_resource_not_found() => {
            let mut request = client
                .create_table()
                .table_name(name)
                .partition_key(schema.partition.name, schema.partition.key_type)
                .partitions(header.partitions);
            if let Some(sort) = schema.sort {
                request = request.sort_key(sort.name, sort.key_type);
            }
            let made = request.send().await;
            made.map_err(|error| connection.table_failure(error, name))?;
            client.wait_until_active(name).await.map_err(|error| connection.failure(error))?;
            describe(connection, name).await
        }
        Err(error) => Err(connection.failure(error)),
    }
}

impl Source {
    /// Opens a dump; also answers how long it is, where that is known.
    fn open(path: &Path, stdin: bool) -> Result<(Self, Option<u64>), Failure> {
        let (from, name, size): (Box<dyn BufRead + Send>, _, _) = if stdin {
            (Box::new(BufReader::new(io::stdin())), "standard input".to_owned(), None)
        } else {
            let name = path.display().to_string();
            let file = File::open(path)
                .map_err(|error| Failure::usage(format!("{name} cannot be read: {error}")))?;
            let size = file.metadata().ok().map(|found| found.len());
            (Box::new(BufReader::new(file)), name, size)
        };
        Ok((Self { from, name, bytes: 0, items: 0, promised: None }, size))
    }

    fn refused(&self, why: impl std::fmt::Display) -> Failure {
        Failure::refused(format!("{}: {why}", self.name))
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let line = read_line(&mut self.from).map_err(|error| self.refused(error))?;
        self.bytes += line.as_ref().map_or(0, |line| line.len() as u64 + 1);
        Ok(line)
    }

    fn header(&mut self) -> Result<Header, Failure> {
        let line = self.line()?.ok_or_else(|| self.refused("it is empty"))?;
        Header::parse(&line).map_err(|why| self.refused(why))
    }

    /// Goes on behind what was loaded before.
    fn skip(&mut self, path: &Path, before: &Loaded) -> Result<(), Failure> {
        let seek = || {
            let mut file = File::open(path)?;
            if file.metadata()?.len() < before.bytes {
                return Err(io::Error::other("it holds less than was loaded from it"));
            }
            file.seek(SeekFrom::Start(before.bytes))?;
            Ok(file)
        };
        let file = seek().map_err(|error| self.refused(error))?;
        self.from = Box::new(BufReader::new(file));
        (self.bytes, self.items) = (before.bytes, before.items);
        Ok(())
    }

    /// The next items; `None` behind the last ones.
    fn batch(&mut self) -> Result<Option<Batch>, Failure> {
        let mut items = Vec::with_capacity(BATCH);
        while items.len() < BATCH && self.promised.is_none() {
            let Some(line) = self.line()? else { break };
            match Footer::parse(&line) {
                Some(footer) => self.promised = Some(footer.stator_dump_end),
                None => {
                    let item = Dialect::TYPED.item_of_text(&line);
                    let number = self.items + 1;
                    items.push(item.map_err(|why| self.refused(format!("item {number}: {why}")))?);
                    self.items = number;
                }
            }
        }
        let (bytes, total) = (self.bytes, self.items);
        Ok((!items.is_empty()).then_some(Batch { items, bytes, total }))
    }

    /// Whether all that was dumped was there.
    fn check_end(&self) -> Result<(), Failure> {
        match self.promised {
            Some(promised) if promised == self.items => Ok(()),
            Some(promised) => Err(self.refused(format!(
                "it says that it holds {promised} items, and {} were found, which were loaded",
                self.items
            ))),
            None => Err(self.refused(format!(
                "it was cut short, for its last line is missing; its {} items were loaded",
                self.items
            ))),
        }
    }
}
