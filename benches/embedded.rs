//! What does a put and a get cost in process, through the whole way of a request? In memory there is no disk to wait for: what
//! is left is the work. With an engine, a put waits for a sync of the log, which callers at the same time share.

use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput};
use futures::future::join_all;
use stator::{AttributeValue, Client, Database, KeyType};
use tokio::runtime::Runtime;

const TABLE: &str = "bench";
const ITEMS: u64 = 1000;
/// How many callers put at the same time.
const CALLERS: u64 = 32;

static NEXT: AtomicU64 = AtomicU64::new(0);

fn key() -> String {
    format!("user{:016}", NEXT.fetch_add(1, Ordering::Relaxed) % ITEMS)
}

async fn put(client: &Client) {
    let put = client.put_item().table_name(TABLE).item("pk", AttributeValue::from(key()));
    put.item("field0", "x".repeat(400)).send().await.expect("the put succeeds");
}

async fn get(client: &Client) {
    let get = client.get_item().table_name(TABLE).key("pk", AttributeValue::from(key()));
    assert!(get.send().await.expect("the get succeeds").item.is_some(), "an item is missing");
}

async fn prepare(client: &Client) {
    let create = client.create_table().table_name(TABLE).partition_key("pk", KeyType::S);
    create.send().await.expect("the table is made");
    client.wait_until_active(TABLE).await.expect("the table becomes active");
    for _ in 0..ITEMS / CALLERS + 1 {
        join_all((0..CALLERS).map(|_| put(client))).await;
    }
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, name: &str, database: Database) {
    let client = database.client();
    runtime.block_on(prepare(&client));
    let mut group = criterion.benchmark_group(format!("embedded/{name}"));
    group.bench_function("get", |b| b.iter(|| runtime.block_on(get(&client))));
    group.bench_function("put", |b| b.iter(|| runtime.block_on(put(&client))));
    group.throughput(Throughput::Elements(CALLERS));
    group.bench_function(format!("put_by_{CALLERS}"), |b| {
        b.iter(|| runtime.block_on(join_all((0..CALLERS).map(|_| put(&client)))));
    });
    group.finish();
    drop(client);
    runtime.block_on(database.close());
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Runtime::new().expect("a runtime");
    let in_memory = runtime.block_on(stator::in_memory()).expect("a database in memory");
    measure(&mut criterion, &runtime, "memory", in_memory);
    if cfg!(feature = "engine-fjall") {
        let dir = tempfile::tempdir().expect("a directory");
        let database = runtime.block_on(stator::open(dir.path())).expect("a database");
        measure(&mut criterion, &runtime, "fjall", database);
    }
    criterion.final_summary();
}
