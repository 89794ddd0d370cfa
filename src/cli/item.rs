//! `stator item`: to put, get, update and delete one item.

use serde_json::Value;
use stator_client::{Item, ReturnValues};

use super::endpoints::{Connection, Endpoints};
use super::output::{Failure, Format, Output, note, print, print_fields};
use super::values::{Dialect, Substitutions};

/// Puts, gets, updates and deletes an item
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Items, keys and values are JSON: as an argument, in a file (@FILE), or on standard input (-)."
)]
pub(crate) struct ItemCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Put(Put),
    Get(Get),
    Update(Update),
    Delete(Delete),
}

/// Writes a whole item, in place of the one with its key
#[derive(Debug, clap::Args)]
struct Put {
    /// The table's name
    table: String,
    /// The item
    #[arg(long, value_name = "JSON|@FILE|-")]
    item: String,
    /// What to print of the item that was there
    #[arg(long, value_name = "WHAT", default_value = "none")]
    r#return: ReturnOld,
    #[command(flatten)]
    write: Write,
}

/// Reads an item; prints null if there is none
#[derive(Debug, clap::Args)]
struct Get {
    /// The table's name
    table: String,
    /// The item's primary key
    #[arg(long, value_name = "JSON|@FILE|-")]
    key: String,
    /// The attributes to answer, separated by commas [default: all]
    #[arg(long, value_name = "EXPRESSION")]
    projection: Option<String>,
    /// What #names in the projection stand for, as in '{"#y": "year"}'
    #[arg(long, value_name = "JSON")]
    names: Option<String>,
    /// Take an answer that may miss the latest writes
    #[arg(long)]
    eventual: bool,
    #[command(flatten)]
    dialect: Dialect,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Changes attributes of an item, or makes it
#[derive(Debug, clap::Args)]
struct Update {
    /// The table's name
    table: String,
    /// The item's primary key
    #[arg(long, value_name = "JSON|@FILE|-")]
    key: String,
    /// What to change, as in 'SET #y = :y ADD plays :one'
    #[arg(long, value_name = "EXPRESSION")]
    update: Option<String>,
    /// What to print of the item
    #[arg(long, value_name = "WHAT", default_value = "none")]
    r#return: Return,
    #[command(flatten)]
    write: Write,
}

/// Deletes an item
#[derive(Debug, clap::Args)]
struct Delete {
    /// The table's name
    table: String,
    /// The item's primary key
    #[arg(long, value_name = "JSON|@FILE|-")]
    key: String,
    /// What to print of the item that was there
    #[arg(long, value_name = "WHAT", default_value = "none")]
    r#return: ReturnOld,
    #[command(flatten)]
    write: Write,
}

/// What all writes take.
#[derive(Debug, clap::Args)]
struct Write {
    /// Write only if this holds of the item as it is, as in 'attribute_not_exists(artist)'
    #[arg(long, value_name = "EXPRESSION")]
    condition: Option<String>,
    #[command(flatten)]
    substitutions: Substitutions,
    #[command(flatten)]
    dialect: Dialect,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// What a write answers that leaves nothing of the item that was there.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ReturnOld {
    /// Nothing
    None,
    /// All of it
    AllOld,
}

impl From<ReturnOld> for ReturnValues {
    fn from(wanted: ReturnOld) -> Self {
        match wanted {
            ReturnOld::None => Self::None,
            ReturnOld::AllOld => Self::AllOld,
        }
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Return {
    /// Nothing
    None,
    /// All of it as it was
    AllOld,
    /// As it was, what the update names
    UpdatedOld,
    /// All of it as it is now
    AllNew,
    /// As it is now, what the update names
    UpdatedNew,
}

impl From<Return> for ReturnValues {
    fn from(wanted: Return) -> Self {
        match wanted {
            Return::None => Self::None,
            Return::AllOld => Self::AllOld,
            Return::UpdatedOld => Self::UpdatedOld,
            Return::AllNew => Self::AllNew,
            Return::UpdatedNew => Self::UpdatedNew,
        }
    }
}

pub(crate) async fn run(item: ItemCommand) -> Result<(), Failure> {
    match item.command {
        Command::Put(put) => put.run().await,
        Command::Get(get) => get.run().await,
        Command::Update(update) => update.run().await,
        Command::Delete(delete) => delete.run().await,
    }
}

/// Sends a write: what Put, Update and Delete have in common.
macro_rules! send_write {
    ($write:expr, $return:expr, $connection:ident, $request:expr) => {{
        let write = $write;
        let mut request = $request
            .set_expression_attribute_names(write.substitutions.names()?)
            .set_expression_attribute_values(write.substitutions.values(write.dialect)?)
            .return_values($return.into())
            .return_old_on_condition_failure(true);
        if let Some(condition) = &write.condition {
            request = request.condition_expression(condition);
        }
        match request.send().await {
            Ok(answer) => write.show(answer.attributes),
            Err(error) => Err(write.refused(&$connection, error)),
        }
    }};
}

impl Put {
    async fn run(self) -> Result<(), Failure> {
        let item = self.write.dialect.item("--item", &self.item)?;
        let connection = self.write.endpoints.connect()?;
        let request = connection.client.put_item().table_name(self.table).set_item(item);
        send_write!(self.write, self.r#return, connection, request)
    }
}

impl Update {
    async fn run(self) -> Result<(), Failure> {
        let key = self.write.dialect.item("--key", &self.key)?;
        let connection = self.write.endpoints.connect()?;
        let mut request = connection.client.update_item().table_name(self.table).set_key(key);
        if let Some(update) = self.update {
            request = request.update_expression(update);
        }
        send_write!(self.write, self.r#return, connection, request)
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let key = self.write.dialect.item("--key", &self.key)?;
        let connection = self.write.endpoints.connect()?;
        let request = connection.client.delete_item().table_name(self.table).set_key(key);
        send_write!(self.write, self.r#return, connection, request)
    }
}

impl Write {
    fn show(&self, attributes: Option<Item>) -> Result<(), Failure> {
        match attributes {
            Some(item) => show(&self.dialect.json(&item), self.output),
            None => Ok(()),
        }
    }

    /// A write that was refused; a condition that did not hold shows what it was judged on.
    fn refused(&self, connection: &Connection, error: stator_client::Error) -> Failure {
        if error.is_conditional_check_failed() {
            match error.item().map(|item| item.decode()) {
                Some(Ok(item)) => {
                    note(format_args!("The item as it is: {}", self.dialect.json(&item)));
                }
                Some(Err(_)) => {}
                None => note("There is no such item."),
            }
        }
        connection.failure(error)
    }
}

impl Get {
    async fn run(self) -> Result<(), Failure> {
        let key = self.dialect.item("--key", &self.key)?;
        let names = Substitutions::of_names(self.names).names()?;
        let connection = self.endpoints.connect()?;
        let mut request = connection
            .client
            .get_item()
            .table_name(self.table)
            .set_key(key)
            .set_expression_attribute_names(names)
            .consistent_read(!self.eventual);
        if let Some(projection) = self.projection {
            request = request.projection_expression(projection);
        }
        let found = request.send().await.map_err(|error| connection.failure(error))?;
        match found.item {
            Some(item) => show(&self.dialect.json(&item), self.output),
            None if self.output.json(Format::Json) => print(Value::Null),
            None => {
                note("There is no such item.");
                Ok(())
            }
        }
    }
}

/// Prints an item.
pub(super) fn show(item: &Value, output: Output) -> Result<(), Failure> {
    if output.json(Format::Json) { print(item) } else { print_fields(item) }
}
