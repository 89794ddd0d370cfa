//! What does an expression cost to parse, and to evaluate? Each request's texts are parsed anew: there is no cache of them,
//! and these figures say whether one would be worth having.

use std::hint::black_box;

use criterion::Criterion;
use stator::{AttributeValue, Item};
use stator_model::api::{Names, Values};
use stator_model::expr::{
    Condition, ExpressionKind, KeyCondition, Projection, Substitutions, Update,
};
use stator_model::schema::{KeyAttribute, KeySchema, KeyType};

const CONDITION: &str =
    "attribute_exists(pk) AND #v < :v AND (begins_with(title, :t) OR size(title) > :v)";
const UPDATE: &str =
    "SET #v = #v + :one, title = if_not_exists(title, :t) REMOVE draft ADD plays :one";
const PROJECTION: &str = "pk, #v, articles[0].count1, plays, title";
const KEY_CONDITION: &str = "pk = :t AND sk BETWEEN :one AND :v";

fn names() -> Names {
    Names::from([("#v".to_owned(), "version".to_owned())])
}

fn values() -> Values {
    Values::from([
        (":one".to_owned(), AttributeValue::from(1)),
        (":t".to_owned(), AttributeValue::from("Call")),
        (":v".to_owned(), AttributeValue::from(1000)),
    ])
}

fn item() -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::from("No One You Know")),
        ("version".to_owned(), AttributeValue::from(41)),
        ("title".to_owned(), AttributeValue::from("Call Me Today")),
        ("plays".to_owned(), AttributeValue::from(7)),
        ("draft".to_owned(), AttributeValue::from("x".repeat(400))),
    ])
}

fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "pk".to_owned(), key_type: KeyType::S },
        sort: Some(KeyAttribute { name: "sk".to_owned(), key_type: KeyType::N }),
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (names, values, item, schema) = (names(), values(), item(), schema());
    let placeholders = || Substitutions::new(&names, &values).expect("the placeholders are valid");
    let condition =
        || Condition::parse(ExpressionKind::Condition, black_box(CONDITION), &mut placeholders());
    let update = || Update::parse(black_box(UPDATE), &mut placeholders());
    let projection = || Projection::parse(black_box(PROJECTION), &mut placeholders());
    let key_condition =
        || KeyCondition::parse(black_box(KEY_CONDITION), &mut placeholders(), &schema);

    // What is measured is the way of valid expressions.
    key_condition().expect("the key condition is valid");
    let parsed_condition = condition().expect("the condition is valid");
    assert!(parsed_condition.holds(&item), "it ends early");
    let parsed_update = update().expect("the update is valid");
    parsed_update.apply(&item).expect("it can be applied");
    let parsed_projection = projection().expect("the projection is valid");

    let mut group = criterion.benchmark_group("expression/parse");
    group.bench_function("condition", |b| b.iter(condition));
    group.bench_function("update", |b| b.iter(update));
    group.bench_function("projection", |b| b.iter(projection));
    group.bench_function("key_condition", |b| b.iter(key_condition));
    group.finish();

    let mut group = criterion.benchmark_group("expression/evaluate");
    group.bench_function("condition", |b| b.iter(|| parsed_condition.holds(black_box(&item))));
    group.bench_function("update", |b| b.iter(|| parsed_update.apply(black_box(&item))));
    group.bench_function("projection", |b| b.iter(|| parsed_projection.project(black_box(&item))));
    group.finish();
    criterion.final_summary();
}
