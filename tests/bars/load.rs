//! Data to load, and callers who know what they have been told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use stator::{AttributeValue, Client, Error, Item, KeyType, Number};
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema};

use crate::support::PATIENCE;

/// How long the value of a loaded item is, in bytes.
const VALUE_BYTES: usize = 400;
/// The most items in a batch of writes.
const BATCH: u64 = 25;
const CALLERS: u64 = 32;

/// The key of a loaded item.
pub(crate) fn id(n: u64) -> String {
    format!("item-{n:010}")
}

/// Bytes that do not compress, the same for a number each time.
fn value(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect()
}

/// Puts the items of these numbers, many at a time.
pub(crate) async fn load(client: &Client, table: &str, numbers: std::ops::Range<u64>) {
    let next = Arc::new(AtomicU64::new(numbers.start));
    let tasks = (0..CALLERS).map(|_| {
        let (client, table, next, end) =
            (client.clone(), table.to_owned(), next.clone(), numbers.end);
        tokio::spawn(async move {
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= end {
                    return;
                }
                put_all(&client, &table, first..end.min(first + BATCH)).await;
            }
        })
    });
    for done in join_all(tasks).await {
        done.expect("loaded");
    }
}

/// Puts a batch, what is left over again.
async fn put_all(client: &Client, table: &str, numbers: std::ops::Range<u64>) {
    let put = |n| {
        let item = [("id", AttributeValue::from(id(n))), ("v", AttributeValue::B(value(n).into()))];
        stator::request::batch::put(item.map(|(name, value)| (name.to_owned(), value)).into())
    };
    let mut left = BTreeMap::from([(table.to_owned(), numbers.map(put).collect::<Vec<_>>())]);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !left.is_empty() {
        let sent = client.batch_write_item().set_request_items(left.clone()).send().await;
        let what = match sent {
            // The same values again are no harm.
            Err(error) if !error.is_validation() => format!("{error}"),
            Err(error) => panic!("{error}"),
            Ok(answer) => {
                left = answer.unprocessed_items;
                format!("{} are left over", left.len())
            }
        };
        assert!(tokio::time::Instant::now() < deadline, "no end of it: {what}");
        if !left.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A key for each partition of a table with the one key `id`.
pub(crate) fn key_per_partition(partitions: u32) -> Vec<String> {
    let partition = KeyAttribute { name: "id".to_owned(), key_type: KeyType::S };
    let schema = KeySchema { partition, sort: None };
    let mut keys = vec![None; partitions as usize];
    for n in 0.. {
        let id = format!("probe-{n}");
        let key = Item::from([("id".to_owned(), AttributeValue::from(id.clone()))]);
        let hash = Key::of_key_attributes(&schema, &key).expect("a key").hash();
        // Tables are made with ranges of one size.
        let at = usize::try_from((u128::from(hash) * u128::from(partitions)) >> 64).expect("small");
        keys[at].get_or_insert(id);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().flatten().collect()
}

/// An item that one caller writes, counting up, and any may read.
///
/// A write that may have come to something is sent again with the same count, on the condition that the item is not past it: so one
/// that takes effect late changes nothing.
struct Counted {
    id: String,
    acknowledged: AtomicU64,
    attempted: AtomicU64,
}

/// Callers who write and read all the time, and check what they read.
pub(crate) struct Callers {
    items: Arc<Vec<Counted>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    reads: Arc<AtomicU64>,
}

impl Callers {
    /// Begins.
    pub(crate) fn start(client: &Client, table: &str, writers: usize) -> Self {
        let item = |n| Counted {
            id: format!("counted-{n}"),
            acknowledged: AtomicU64::new(0),
            attempted: AtomicU64::new(0),
        };
        // Each writer has several, so that every partition sees writes.
        let items: Arc<Vec<Counted>> = Arc::new((0..writers * 8).map(item).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let tasks = (0..writers).map(|writer| {
            let (client, table) = (client.clone(), table.to_owned());
            let (items, stop, reads) = (items.clone(), stop.clone(), reads.clone());
            tokio::spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    write(&client, &table, &items[writer * 8 + round % 8], &stop).await;
                    let read = &items[(writer * 13 + round * 7) % items.len()];
                    check(&client, &table, read, Some(&stop)).await;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let tasks = tasks.collect();
        Self { items, stop, tasks, reads }
    }

    /// Ends, and checks that every item is as its writer was told. Answers how many writes were acknowledged, and how often an item was
    /// read.
    ///
    /// # Panics
    /// If one is not: also if it was seen before.
    pub(crate) async fn finish(self, client: &Client, table: &str) -> (u64, u64) {
        let acknowledged = {
            self.stop.store(true, Ordering::Relaxed);
            for task in self.tasks {
                task.await.expect("a caller saw what must not be");
            }
            self.items.iter().map(|item| item.acknowledged.load(Ordering::Relaxed)).sum()
        };
        for item in self.items.iter() {
            check(client, table, item, None).await;
        }
        (acknowledged, self.reads.load(Ordering::Relaxed) + self.items.len() as u64)
    }
}

/// Counts an item up. Gives up only when it is told to stop: then the count was attempted.
async fn write(client: &Client, table: &str, item: &Counted, stop: &AtomicBool) {
    let count = item.attempted.fetch_add(1, Ordering::SeqCst) + 1;
    let n = Number::from(count);
    loop {
        let put = client.put_item().table_name(table).item("id", item.id.clone());
        let put = put.item("n", n);
        let put = put.condition_expression("attribute_not_exists(id) OR n < :n");
        let put = put.expression_attribute_values(":n", n);
        match put.timeout(Duration::from_secs(5)).send().await {
            Ok(_) => break,
            // An earlier attempt has done it: nobody else writes it.
            Err(error) if error.is_conditional_check_failed() => break,
            Err(error) if is_passing(&error) && !stop.load(Ordering::Relaxed) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) if is_passing(&error) => return,
            Err(error) => panic!("{error}"),
        }
    }
    item.acknowledged.store(count, Ordering::SeqCst);
}

/// Reads an item, and checks it.
async fn check(client: &Client, table: &str, item: &Counted, stop: Option<&AtomicBool>) {
    let known = item.acknowledged.load(Ordering::SeqCst);
    let found = loop {
        let get = client.get_item().table_name(table).key("id", item.id.clone());
        match get.consistent_read(true).timeout(Duration::from_secs(5)).send().await {
            Ok(found) => break found.item,
            Err(error) if is_passing(&error) => {
                if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                    return;
                }
            }
            Err(error) => panic!("{error}"),
        }
    };
    let count = found.as_ref().and_then(|item| item.get("n")?.as_n()).map(ToString::to_string);
    let count: u64 = count.map_or(0, |n| n.parse().expect("a count"));
    let attempted = item.attempted.load(Ordering::SeqCst);
    assert!(
        known <= count && count <= attempted,
        "{} was acknowledged as {known}, attempted as {attempted} and read as {count}",
        item.id
    );
}

/// Whether an error may have been gone a moment later.
fn is_passing(error: &Error) -> bool {
    error.is_uncertain() || error.is_unavailable() || error.is_throttled()
}

/// Writes one key of every partition until each was acknowledged, all at once.
pub(crate) async fn write_every_partition(client: &Client, table: &str, keys: &[String]) {
    let writes = keys.iter().map(|key| async move {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let put = client.put_item().table_name(table).item("id", key.clone());
            match put.timeout(Duration::from_secs(1)).send().await {
                Ok(_) => return,
                Err(error) => {
                    let is_late = tokio::time::Instant::now() >= deadline;
                    assert!(is_passing(&error) && !is_late, "{key}: {error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    join_all(writes).await;
}
