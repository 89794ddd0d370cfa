//! Single items: what is put is got, and what is answered on the way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stator::{AttributeValue, Client, ErrorKind, Item, KeyType, Number, ReturnValues};

use super::places::Place;
use super::tables::refused;

/// An item of these attributes.
pub(crate) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A number.
pub(crate) fn number(text: &str) -> AttributeValue {
    AttributeValue::N(text.parse().expect("a number"))
}

/// The item with this `id`, read strongly.
pub(crate) async fn get(client: &Client, table: &str, id: &str) -> Option<Item> {
    client.get_item().table_name(table).key("id", id).send().await.expect("got").item
}

async fn put(client: &Client, table: &str, item: Item) {
    client.put_item().table_name(table).set_item(item).send().await.expect("put");
}

pub(crate) async fn every_type_comes_back_as_it_was(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let bytes = Bytes::from_static(&[0, 255, 128]);
    let inner = item([("list", AttributeValue::L(vec![1.into(), AttributeValue::Null]))]);
    let whole = item([
        ("id", "all".into()),
        ("s", "été 🎵 \0".into()),
        ("n", number("-12345678901234567890123456789012345678E-10")),
        ("b", bytes.clone().into()),
        ("yes", true.into()),
        ("no", false.into()),
        ("null", AttributeValue::Null),
        ("ss", AttributeValue::Ss(BTreeSet::from(["b".into(), "a".into()]))),
        ("ns", AttributeValue::Ns(BTreeSet::from([Number::from(2u64), Number::from(1u64)]))),
        ("bs", AttributeValue::Bs(BTreeSet::from([bytes, Bytes::from_static(b"b")]))),
        ("l", AttributeValue::L(vec!["a".into(), 1.into(), AttributeValue::L(vec![])])),
        ("m", AttributeValue::M(BTreeMap::from([("inner".into(), inner.into())]))),
        ("a name of any.kind#:", 1.into()),
    ]);
    put(&client, &table, whole.clone()).await;
    assert_eq!(get(&client, &table, "all").await, Some(whole.clone()));
    // In place of the item, not on top of it.
    let less = item([("id", "all".into()), ("s", "less".into())]);
    put(&client, &table, less.clone()).await;
    assert_eq!(get(&client, &table, "all").await, Some(less));
    assert_eq!(get(&client, &table, "absent").await, None);
    let page = client.scan().table_name(&table).send().await.expect("scanned");
    assert_eq!(page.count, 1);
}

pub(crate) async fn numbers_are_exact(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let nines = "99999999999999999999999999999999999999";
    for (written, read) in [
        ("1.0", "1"),
        ("-0", "0"),
        ("0019.90", "19.9"),
        ("1e3", "1000"),
        (nines, nines),
        ("0.00000000000000000000000000000000000001", "0.00000000000000000000000000000000000001"),
    ] {
        put(&client, &table, item([("id", "n".into()), ("n", number(written))])).await;
        let found = get(&client, &table, "n").await.expect("an item");
        assert_eq!(found["n"].as_n().map(ToString::to_string).as_deref(), Some(read), "{written}");
    }
    let add = |value: &str| {
        let update = client.update_item().table_name(&table).key("id", "sum");
        let update = update.update_expression("ADD n :n").return_values(ReturnValues::UpdatedNew);
        update.expression_attribute_values(":n", number(value)).send()
    };
    add("0.1").await.expect("added");
    let sum = add("0.2").await.expect("added").attributes.expect("attributes");
    assert_eq!(sum, item([("n", number("0.3"))]));
    add("-0.3").await.expect("added");
    add(nines).await.expect("added");
    // One more digit than there is room for is refused, never rounded, and nothing changes.
    let error = add("0.1").await.expect_err("too many digits");
    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    assert_eq!(get(&client, &table, "sum").await.expect("an item")["n"], number(nines));
}

pub(crate) async fn empty_values_are_kept(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let empty = item([
        ("id", "empty".into()),
        ("s", "".into()),
        ("b", Bytes::new().into()),
        ("l", AttributeValue::L(Vec::new())),
        ("m", AttributeValue::M(BTreeMap::new())),
    ]);
    put(&client, &table, empty.clone()).await;
    assert_eq!(get(&client, &table, "empty").await, Some(empty));
    let set = item([("id", "set".into()), ("ss", AttributeValue::Ss(BTreeSet::new()))]);
    refused(
        client.put_item().table_name(&table).set_item(set).send().await,
        ErrorKind::Validation,
        "One or more parameter values were invalid: An string set  may not be empty",
    );
}

pub(crate) async fn what_puts_return(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let put = |n: i32, values| {
        let put = client.put_item().table_name(&table).item("id", "a").item("n", n);
        put.return_values(values).send()
    };
    assert_eq!(put(1, ReturnValues::AllOld).await.expect("put").attributes, None);
    assert_eq!(put(2, ReturnValues::None).await.expect("put").attributes, None);
    let old = item([("id", "a".into()), ("n", 2.into())]);
    assert_eq!(put(3, ReturnValues::AllOld).await.expect("put").attributes, Some(old));
    // What changes nothing answers the same.
    let old = item([("id", "a".into()), ("n", 3.into())]);
    assert_eq!(put(3, ReturnValues::AllOld).await.expect("put").attributes, Some(old));
    for values in [ReturnValues::AllNew, ReturnValues::UpdatedNew, ReturnValues::UpdatedOld] {
        let text = "Return values set to invalid value";
        refused(put(4, values).await, ErrorKind::Validation, text);
    }
}

pub(crate) async fn what_deletes_return(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let delete = |values| {
        client.delete_item().table_name(&table).key("id", "a").return_values(values).send()
    };
    assert_eq!(delete(ReturnValues::AllOld).await.expect("deleted").attributes, None);
    let whole = item([("id", "a".into()), ("n", 1.into())]);
    put(&client, &table, whole.clone()).await;
    assert_eq!(
        delete(ReturnValues::AllOld).await.expect("deleted").attributes,
        Some(whole.clone())
    );
    assert_eq!(get(&client, &table, "a").await, None);
    put(&client, &table, whole).await;
    assert_eq!(delete(ReturnValues::None).await.expect("deleted").attributes, None);
    assert_eq!(get(&client, &table, "a").await, None);
    let text = "Return values set to invalid value";
    refused(delete(ReturnValues::AllNew).await, ErrorKind::Validation, text);
}

pub(crate) async fn conditions_decide(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let text = "The conditional request failed";
    let failed = ErrorKind::ConditionalCheckFailed;
    let put = |n: i32, condition: &str| {
        let put = client.put_item().table_name(&table).item("id", "a").item("n", n);
        put.condition_expression(condition)
    };
    put(1, "attribute_not_exists(id)").send().await.expect("the first one");
    refused(put(2, "attribute_not_exists(id)").send().await, failed, text);
    put(2, "attribute_exists(id) AND n = :one")
        .expression_attribute_values(":one", 1)
        .send()
        .await
        .expect("it was one");
    let name = |put: stator_client::request::item::PutItemBuilder| {
        put.expression_attribute_names("#n", "n")
    };
    name(put(3, "#n BETWEEN :a AND :b AND (NOT contains(id, :x) OR size(id) > :b)"))
        .expression_attribute_values(":a", 1)
        .expression_attribute_values(":b", 2)
        .expression_attribute_values(":x", "x")
        .send()
        .await
        .expect("it was two");
    let update = |condition: &str| {
        let update = client.update_item().table_name(&table).key("id", "a");
        update.update_expression("SET n = n + :one").condition_expression(condition)
    };
    let update_at = |n: i32| {
        update("n = :n").expression_attribute_values(":one", 1).expression_attribute_values(":n", n)
    };
    update_at(3).send().await.expect("it was three");
    refused(update_at(3).send().await, failed, text);
    let delete = |n: i32| {
        let delete = client.delete_item().table_name(&table).key("id", "a");
        delete.condition_expression("n IN (:n, :m)").expression_attribute_values(":n", n)
    };
    refused(delete(3).expression_attribute_values(":m", 5).send().await, failed, text);
    assert_eq!(get(&client, &table, "a").await.expect("still there")["n"], 4.into());
    delete(4).expression_attribute_values(":m", 5).send().await.expect("it was four");
    assert_eq!(get(&client, &table, "a").await, None);
    refused(
        put(1, "attribute_not_exists(id)").expression_attribute_values(":unused", 1).send().await,
        ErrorKind::Validation,
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:unused}",
    );
}

pub(crate) async fn a_failed_condition_tells_the_item(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    // Larger than what headers hold by default, for that is where it travels.
    let whole = item([("id", "a".into()), ("s", "x".repeat(100_000).into())]);
    put(&client, &table, whole.clone()).await;
    let conditional = |tell| {
        let put = client.put_item().table_name(&table).item("id", "a");
        put.condition_expression("attribute_not_exists(id)").return_old_on_condition_failure(tell)
    };
    let told = conditional(true).send().await.expect_err("it is there");
    assert!(told.is_conditional_check_failed(), "{told}");
    let old = told.item().expect("the item").decode().expect("an item");
    assert_eq!(old, whole);
    let untold = conditional(false).send().await.expect_err("it is there");
    assert_eq!(untold.item(), None);
    let absent = client.delete_item().table_name(&table).key("id", "b");
    let absent = absent.condition_expression("attribute_exists(id)");
    let absent = absent.return_old_on_condition_failure(true).send().await.expect_err("absent");
    assert!(absent.is_conditional_check_failed() && absent.item().is_none(), "{absent}");
}

pub(crate) async fn projections_cut_items(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let tracks = AttributeValue::L(vec!["one".into(), "two".into(), "three".into()]);
    let label = item([("name", "l".into()), ("city", "c".into())]);
    let whole = item([("id", "a".into()), ("tracks", tracks), ("label", label.into())]);
    put(&client, &table, whole).await;
    let projected = |projection: &str| {
        let get = client.get_item().table_name(&table).key("id", "a");
        get.projection_expression(projection)
    };
    let found = projected("tracks[2], tracks[0], label.city, absent").send().await.expect("got");
    let cut = item([
        ("tracks", AttributeValue::L(vec!["one".into(), "three".into()])),
        ("label", item([("city", "c".into())]).into()),
    ]);
    assert_eq!(found.item, Some(cut));
    let named = projected("#l.#n").expression_attribute_names("#l", "label");
    let found = named.expression_attribute_names("#n", "name").send().await.expect("got");
    assert_eq!(found.item, Some(item([("label", item([("name", "l".into())]).into())])));
    // An item that holds nothing of it is there all the same.
    let found = projected("absent").send().await.expect("got");
    assert_eq!(found.item, Some(Item::new()));
    let absent = client.get_item().table_name(&table).key("id", "b");
    let absent = absent.projection_expression("tracks").send().await.expect("got");
    assert_eq!(absent.item, None);
    refused(
        projected("name").send().await,
        ErrorKind::Validation,
        "Invalid ProjectionExpression: Attribute name is a reserved keyword; reserved keyword: name",
    );
}

pub(crate) async fn reads_of_both_strengths(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    for n in 0..40 {
        put(&client, &table, item([("id", "a".into()), ("n", n.into())])).await;
        // A strong read sees what was answered before it.
        assert_eq!(get(&client, &table, "a").await.expect("an item")["n"], n.into());
        let get = client.get_item().table_name(&table).key("id", "a").consistent_read(false);
        if let Some(old) = get.send().await.expect("got").item {
            let old = old["n"].as_n().and_then(Number::to_u64).expect("a number");
            assert!(i64::try_from(old).expect("small") <= i64::from(n), "from the future");
        }
    }
    // The other kind gets there, too, on every replica.
    let deadline = std::time::Instant::now() + super::places::PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 12 {
        let get = client.get_item().table_name(&table).key("id", "a").consistent_read(false);
        let found = get.send().await.expect("got").item;
        let latest = found.is_some_and(|found| found["n"] == 39.into());
        in_a_row = if latest { in_a_row + 1 } else { 0 };
        assert!(std::time::Instant::now() < deadline, "a replica stays behind");
    }
}
