//! What does an item cost to encode, check, take one attribute of, and decode? Every write is checked once and every read
//! answers bytes, so that `check` and `attribute` are the hot ones.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use stator::{AttributeValue, EncodedItem, Item};

/// What a benchmark writes: a key and one long text.
fn plain() -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::from("user0123456789abcdef")),
        ("field0".to_owned(), AttributeValue::from("x".repeat(400))),
    ])
}

/// What an application writes: numbers, flags, a list of maps.
fn rich() -> Item {
    let line = |n: i64| {
        AttributeValue::from(Item::from([
            ("article".to_owned(), AttributeValue::from(format!("article-{n}"))),
            ("count".to_owned(), AttributeValue::from(n)),
            ("gift".to_owned(), AttributeValue::from(n % 2 == 0)),
        ]))
    };
    let mut item = Item::from([
        ("pk".to_owned(), AttributeValue::from("order-4711")),
        ("lines".to_owned(), AttributeValue::from((0..10).map(line).collect::<Vec<_>>())),
    ]);
    for n in 0..10 {
        item.insert(format!("total{n}"), AttributeValue::from(n * 1_000_003));
    }
    item
}

fn codec(criterion: &mut Criterion, name: &str, item: &Item) {
    let encoded = EncodedItem::encode(item);
    let mut group = criterion.benchmark_group(format!("item/{name}"));
    group.throughput(Throughput::Bytes(encoded.as_bytes().len() as u64));
    group.bench_function("encode", |b| b.iter(|| EncodedItem::encode(black_box(item))));
    group.bench_function("check", |b| b.iter(|| black_box(&encoded).check()));
    group.bench_function("attribute", |b| b.iter(|| black_box(&encoded).attribute("pk")));
    group.bench_function("decode", |b| b.iter(|| black_box(&encoded).decode()));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion, "plain", &plain());
    codec(&mut criterion, "rich", &rich());
    criterion.final_summary();
}
