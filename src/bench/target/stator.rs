//! Stator, over gRPC or in this process.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stator::{
    AttributeValue, Client, Database, EncodedItem, GrpcTransport, Item, KeyType, OpenOptions,
};
use stator_model::api::{GetItem, PutItem, Query, UpdateItem};
use stator_model::schema::{KeyAttribute, KeySchema};
use tempfile::TempDir;

use super::{Failed, Found, TIMEOUT};
use crate::bench::options::{MEMORY_ENGINE, Settings};
use crate::bench::records::{Layout, RecordKey};
use crate::bench::workload::Operation;
use crate::cli::output::Failure;

/// The attributes of an item: partition key, sort key, and what a workload writes.
const PARTITION_KEY: &str = "pk";
const SORT_KEY: &str = "sk";
const VALUE: &str = "field0";

/// A cluster, or a database in this process.
pub(in crate::bench) struct Stator {
    client: Client,
    table_name: String,
    layout: Layout,
    eventual: bool,
    version: String,
    embedded: Option<Embedded>,
}

/// Dropped in this order: the database before its directory.
struct Embedded {
    database: Database,
    _scratch: Option<TempDir>,
}

impl Stator {
    /// A cluster, by its endpoints.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let transport = GrpcTransport::builder()
            .endpoints(settings.endpoints.iter().cloned())
            .channels_per_node(settings.channels_per_endpoint())
            .build()
            .map_err(Failure::usage)?;
        let cluster = transport.describe_cluster().await.map_err(Failure::unavailable)?;
        // More than one only while a cluster is given a new version.
        let versions: BTreeSet<_> =
            cluster.nodes.iter().map(|node| node.version.as_str()).collect();
        let versions = versions.into_iter().collect::<Vec<_>>().join(" and ");
        let version = format!("stator {versions}, nodes: {}", cluster.nodes.len());
        let client = Client::builder(transport).timeout(TIMEOUT).build();
        Self::with_table(client, settings, version, None).await
    }

    /// A database in this process, in a directory of its own unless one is given.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let (database, scratch) = if settings.engine == MEMORY_ENGINE {
            (options.in_memory().await.map_err(Failure::refused)?, None)
        } else {
            options = options.engine(&settings.engine).map_err(Failure::usage)?;
            let made = || tempfile::Builder::new().prefix("stator-bench-").tempdir();
            let scratch =
                settings.dir.is_none().then(made).transpose().map_err(Failure::refused)?;
            let dir = match (&settings.dir, &scratch) {
                (Some(dir), _) => dir.as_path(),
                (None, Some(scratch)) => scratch.path(),
                (None, None) => return Err(Failure::refused("no directory")),
            };
            (options.open(dir).await.map_err(Failure::refused)?, scratch)
        };
        let client = database.client();
        let version = format!("stator {} in process", env!("CARGO_PKG_VERSION"));
        let embedded = Embedded { database, _scratch: scratch };
        Self::with_table(client, settings, version, Some(embedded)).await
    }

    /// Makes the table, or makes sure that the one that is there is as needed.
    async fn with_table(
        client: Client,
        settings: &Settings,
        version: String,
        embedded: Option<Embedded>,
    ) -> Result<Self, Failure> {
        let table_name = settings.table.clone();
        let layout = settings.layout();
        let mut create =
            client.create_table().table_name(&table_name).partition_key(PARTITION_KEY, KeyType::S);
        if let Layout::Ranges { .. } = layout {
            create = create.sort_key(SORT_KEY, KeyType::N);
        }
        if let Some(partitions) = settings.partitions {
            create = create.partitions(partitions);
        }
        match create.send().await {
            Ok(_) => {}
            Err(error) if error.is_resource_in_use() => {}
            Err(error) => return Err(Failure::refused(error)),
        }
        client.wait_until_active(&table_name).await.map_err(Failure::refused)?;
        let told = client.describe_table().table_name(&table_name).send().await;
        let table = told.map_err(Failure::refused)?.table;
        if table.key_schema != key_schema(layout) {
            let text = format!("there is a table {table_name} with another key: give --table");
            return Err(Failure::refused(text));
        }
        let version = format!("{version}, partitions: {}", table.partitions);
        let eventual = settings.workload.eventual();
        Ok(Self { client, table_name, layout, eventual, version, embedded })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn caller(&self) -> StatorCaller {
        StatorCaller {
            client: self.client.clone(),
            table_name: self.table_name.clone(),
            layout: self.layout,
            eventual: self.eventual,
        }
    }

    pub(super) async fn close(self) {
        drop(self.client);
        if let Some(embedded) = self.embedded {
            embedded.database.close().await;
        }
    }
}

fn key_schema(layout: Layout) -> KeySchema {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    let sort = match layout {
        Layout::Single => None,
        Layout::Ranges { .. } => Some(attribute(SORT_KEY, KeyType::N)),
    };
    KeySchema { partition: attribute(PARTITION_KEY, KeyType::S), sort }
}

/// A caller of Stator.
#[derive(Clone)]
pub(in crate::bench) struct StatorCaller {
    client: Client,
    table_name: String,
    layout: Layout,
    eventual: bool,
}

impl StatorCaller {
    pub(super) async fn perform(&self, operation: Operation) -> Result<Found, Failed> {
        let done = match operation {
            Operation::Read { record } => self.get(record).await,
            Operation::Range { record, items } => self.range(record, items).await,
            Operation::Update { record, value } => self.update(record, value).await,
            Operation::Put { record, value } | Operation::Insert { record, value } => {
                self.put(record, value).await
            }
            Operation::ReadModifyWrite { record, value } => match self.get(record).await {
                Ok(found) => self.update(record, value).await.map(|_| found),
                Err(error) => Err(error),
            },
        };
        done.map_err(failed)
    }

    async fn get(&self, record: u64) -> stator::Result<Found> {
        let request = GetItem {
            table_name: self.table_name.clone(),
            key: key_item(self.layout.key(record)),
            consistent_read: !self.eventual,
            ..GetItem::default()
        };
        let answer = self.client.execute(request).await?;
        Ok(if answer.item.is_some() { Found::Something } else { Found::Nothing })
    }

    async fn put(&self, record: u64, value: Bytes) -> stator::Result<Found> {
        let request = PutItem {
            table_name: self.table_name.clone(),
            item: encoded(self.layout.key(record), value),
            ..PutItem::default()
        };
        self.client.execute(request).await.map(|_| Found::Something)
    }

    async fn update(&self, record: u64, value: Bytes) -> stator::Result<Found> {
        let request = UpdateItem {
            table_name: self.table_name.clone(),
            key: key_item(self.layout.key(record)),
            update_expression: Some(format!("SET {VALUE} = :v")),
            expression_attribute_values: BTreeMap::from([(":v".to_owned(), value.into())]),
            ..UpdateItem::default()
        };
        self.client.execute(request).await.map(|_| Found::Something)
    }

    async fn range(&self, record: u64, items: u32) -> stator::Result<Found> {
        let RecordKey { partition, position } = self.layout.key(record);
        let values = [(":p", partition.into()), (":s", position_value(position.unwrap_or(0)))];
        let request = Query {
            table_name: self.table_name.clone(),
            key_condition_expression: format!("{PARTITION_KEY} = :p AND {SORT_KEY} >= :s"),
            expression_attribute_values: values
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            limit: Some(items),
            consistent_read: !self.eventual,
            ..Query::default()
        };
        let answer = self.client.execute(request).await?;
        Ok(if answer.items.is_empty() { Found::Nothing } else { Found::Something })
    }

    pub(super) async fn put_batch(&self, records: Vec<(RecordKey, Bytes)>) -> Result<(), Failed> {
        let writes = records.into_iter().map(|(key, value)| stator::put(item(key, value)));
        let left = self.client.write_all(&self.table_name, writes).await.map_err(failed)?;
        if left.is_empty() {
            return Ok(());
        }
        let text = "the database takes no more at the moment".to_owned();
        Err(Failed { kind: "Unprocessed".to_owned(), text })
    }
}

fn key_item(key: RecordKey) -> Item {
    let sort = key.position.map(|position| (SORT_KEY.to_owned(), position_value(position)));
    [(PARTITION_KEY.to_owned(), key.partition.into())].into_iter().chain(sort).collect()
}

fn position_value(position: u64) -> AttributeValue {
    // There are fewer records than that.
    i64::try_from(position).unwrap_or(i64::MAX).into()
}

fn item(key: RecordKey, value: Bytes) -> Item {
    let mut item = key_item(key);
    item.insert(VALUE.to_owned(), value.into());
    item
}

fn encoded(key: RecordKey, value: Bytes) -> EncodedItem {
    EncodedItem::encode(&item(key, value))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it by value")]
fn failed(error: stator::Error) -> Failed {
    Failed { kind: error.kind().name().to_owned(), text: error.message().to_owned() }
}
