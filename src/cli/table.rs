//! `stator table`: to make, list, describe, update and delete tables.

use std::io::{self, BufRead, IsTerminal as _, Write};

use serde_json::{Value, json};
use stator_client::{KeyType, TableDescription};
use stator_model::limits::TABLE_PARTITIONS_MAX;

use super::endpoints::{Connection, Endpoints};
use super::number;
use super::output::{Failure, Format, Output, print, print_fields};

#[cfg(test)]
mod tests;

/// Makes, lists, describes, updates and deletes tables
#[derive(Debug, clap::Args)]
pub(crate) struct Table {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Describe(Describe),
    Update(Update),
    Delete(Delete),
}

/// Makes a table
#[derive(Debug, clap::Args)]
struct Create {
    /// The table's name
    table: String,

    /// The attribute whose hash places an item in a partition, with its type: S (string), N (number) or B (binary), as in
    /// artist:S
    #[arg(long, value_name = "NAME:TYPE", value_parser = key)]
    key: (String, KeyType),

    /// The attribute that orders the items of one partition key, with its type
    #[arg(long, value_name = "NAME:TYPE", value_parser = key)]
    sort: Option<(String, KeyType)>,

    /// Into how many partitions to cut the table, at most 1024 [default: the database's, which is 4 unless it was told]
    #[arg(long, value_name = "COUNT", value_parser = number::from(1..=TABLE_PARTITIONS_MAX))]
    partitions: Option<u32>,

    /// Refuse to delete the table
    #[arg(long)]
    deletion_protection: bool,

    /// Wait until the table takes requests
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Lists the names of all tables
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Tells what a table is
#[derive(Debug, clap::Args)]
struct Describe {
    /// The table's name
    table: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Changes a table's settings
#[derive(Debug, clap::Args)]
struct Update {
    /// The table's name
    table: String,

    /// Whether to refuse to delete the table
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    deletion_protection: bool,

    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Deletes a table and its items
#[derive(Debug, clap::Args)]
struct Delete {
    /// The table's name
    table: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    endpoints: Endpoints,
}

/// A key attribute with its type.
fn key(text: &str) -> Result<(String, KeyType), String> {
    let allowed = || "it must be a name and its type, S, N or B, as in artist:S".to_owned();
    let (name, kind) = text.rsplit_once(':').ok_or_else(allowed)?;
    let kind = match kind {
        "S" => KeyType::S,
        "N" => KeyType::N,
        "B" => KeyType::B,
        _ => return Err(allowed()),
    };
    if name.is_empty() { Err(allowed()) } else { Ok((name.to_owned(), kind)) }
}

pub(crate) async fn run(table: Table) -> Result<(), Failure> {
    match table.command {
        Command::Create(create) => create.run().await,
        Command::List(list) => list.run().await,
        Command::Describe(describe) => describe.run().await,
        Command::Update(update) => update.run().await,
        Command::Delete(delete) => delete.run().await,
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.endpoints.connect()?;
        let client = &connection.client;
        let (name, kind) = self.key;
        let mut request = client
            .create_table()
            .table_name(&self.table)
            .partition_key(name, kind)
            .deletion_protection(self.deletion_protection);
        if let Some((name, kind)) = self.sort {
            request = request.sort_key(name, kind);
        }
        if let Some(partitions) = self.partitions {
            request = request.partitions(partitions);
        }
        let made = request.send().await;
        let mut made = made.map_err(|error| connection.table_failure(error, &self.table))?.table;
        if self.wait {
            let active = client.wait_until_active(&self.table).await;
            active.map_err(|error| connection.failure(error))?;
            made = describe(&connection, &self.table).await?;
        }
        show(&made, self.output)
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.endpoints.connect()?;
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut request = connection.client.list_tables();
            if let Some(after) = after {
                request = request.exclusive_start_table_name(after);
            }
            let page = request.send().await.map_err(|error| connection.failure(error))?;
            names.extend(page.table_names);
            after = page.last_evaluated_table_name;
            if after.is_none() {
                break;
            }
        }
        if self.output.json(Format::Text) {
            return print(Value::from(names));
        }
        names.iter().try_for_each(print)
    }
}

impl Describe {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.endpoints.connect()?;
        show(&describe(&connection, &self.table).await?, self.output)
    }
}

impl Update {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.endpoints.connect()?;
        let request = connection.client.update_table().table_name(&self.table);
        let changed = request.deletion_protection(self.deletion_protection).send().await;
        let changed = changed.map_err(|error| connection.table_failure(error, &self.table))?;
        show(&changed.table, self.output)
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let connection = self.endpoints.connect()?;
        if !self.yes {
            let table = describe(&connection, &self.table).await?;
            let stdin = io::stdin();
            confirm(&table, stdin.is_terminal(), &mut stdin.lock(), &mut io::stderr())?;
        }
        let request = connection.client.delete_table().table_name(&self.table);
        let deleted = request.send().await;
        deleted.map_err(|error| connection.table_failure(error, &self.table))?;
        Ok(())
    }
}

/// What a table is.
pub(crate) async fn describe(
    connection: &Connection,
    table: &str,
) -> Result<TableDescription, Failure> {
    let told = connection.client.describe_table().table_name(table).send().await;
    Ok(told.map_err(|error| connection.failure(error))?.table)
}

/// Asks whether a table is to go; somebody has to be there to ask.
fn confirm(
    table: &TableDescription,
    is_terminal: bool,
    answers: &mut impl BufRead,
    questions: &mut impl Write,
) -> Result<(), Failure> {
    if !is_terminal {
        return Err(Failure::usage("nobody can be asked whether to delete the table: give --yes"));
    }
    let (name, items) = (&table.table_name, table.item_count);
    let mut answer = String::new();
    let asked = write!(questions, "Delete the table {name} and its {items} items? [y/N] ");
    let asked = asked.and_then(|()| questions.flush());
    asked.and_then(|()| answers.read_line(&mut answer)).map_err(Failure::refused)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    // No error, and said as none.
    let _ = writeln!(questions, "nothing was deleted");
    Err(Failure::refused(""))
}

fn show(table: &TableDescription, output: Output) -> Result<(), Failure> {
    let key_type = |kind| match kind {
        KeyType::S => "S",
        KeyType::N => "N",
        KeyType::B => "B",
    };
    let key = |key: &stator_model::schema::KeyAttribute| {
        format!("{}:{}", key.name, key_type(key.key_type))
    };
    let fields = json!({
        "name": table.table_name,
        "id": table.table_id,
        "status": table.status.name(),
        "key": key(&table.key_schema.partition),
        "sort": table.key_schema.sort.as_ref().map(key),
        "partitions": table.partitions,
        "items": table.item_count,
        "bytes": table.size_bytes,
        "created_ms": table.created_ms,
        "deletion_protection": table.deletion_protection,
    });
    if output.json(Format::Text) { print(fields) } else { print_fields(&fields) }
}
