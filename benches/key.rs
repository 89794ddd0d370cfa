//! What does a primary key cost to encode and hash, and to read back? Every request pays the first, every item of a page the
//! second.

use std::hint::black_box;

use criterion::Criterion;
use stator::{AttributeValue, Item, KeyType};
use stator_model::key::Key;
use stator_model::schema::{KeyAttribute, KeySchema};

fn schema(sort: Option<KeyType>) -> KeySchema {
    let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
    KeySchema {
        partition: attribute("pk", KeyType::S),
        sort: sort.map(|key_type| attribute("sk", key_type)),
    }
}

fn keys(criterion: &mut Criterion, name: &str, schema: &KeySchema, sort: Option<AttributeValue>) {
    let partition = ("pk".to_owned(), AttributeValue::from("user0123456789abcdef"));
    let sort = sort.map(|value| ("sk".to_owned(), value));
    let attributes: Item = [partition].into_iter().chain(sort).collect();
    let key = Key::of_key_attributes(schema, &attributes).expect("the key is valid");
    let mut group = criterion.benchmark_group(format!("key/{name}"));
    group.bench_function("encode", |b| {
        b.iter(|| Key::of_key_attributes(schema, black_box(&attributes)));
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            let key = Key::from_encoded(schema, black_box(key.bytes()).clone());
            key.map(|key| key.to_attributes(schema))
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    keys(&mut criterion, "s", &schema(None), None);
    let number = AttributeValue::from(-1_234_567);
    keys(&mut criterion, "s_and_n", &schema(Some(KeyType::N)), Some(number));
    let text = AttributeValue::from("2026-11-22T10:00:00Z");
    keys(&mut criterion, "s_and_s", &schema(Some(KeyType::S)), Some(text));
    criterion.final_summary();
}
