//! Updates: what they change, and what they answer.

use std::collections::{BTreeMap, BTreeSet};

use stator::{AttributeValue, Client, ErrorKind, Item, KeyType, ReturnValues};
use stator_client::request::item::UpdateItemBuilder;

use super::items::{get, item, number};
use super::places::Place;
use super::tables::refused;

fn update(client: &Client, table: &str, id: &str, expression: &str) -> UpdateItemBuilder {
    let update = client.update_item().table_name(table).key("id", id);
    update.update_expression(expression)
}

fn set<const N: usize>(texts: [&str; N]) -> AttributeValue {
    AttributeValue::Ss(texts.into_iter().map(str::to_owned).collect::<BTreeSet<_>>())
}

pub(crate) async fn nested_attributes_change(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let list = AttributeValue::L(vec![1.into(), 2.into(), 3.into()]);
    let map = item([("list", list), ("gone", "x".into())]);
    let put = client.put_item().table_name(&table).item("id", "a").item("m", map);
    put.item("top", "x").send().await.expect("put");
    update(
        &client,
        &table,
        "a",
        "SET m.#l[1] = :n, m.deep = :m, made = if_not_exists(top, :n) REMOVE m.gone, m.#l[0]",
    )
    .expression_attribute_names("#l", "list")
    .expression_attribute_values(":n", 20)
    .expression_attribute_values(":m", BTreeMap::from([("a".to_owned(), true.into())]))
    .send()
    .await
    .expect("updated");
    update(&client, &table, "a", "SET m.#l = list_append(m.#l, :more), m.deep.b = m.#l[0]")
        .expression_attribute_names("#l", "list")
        .expression_attribute_values(":more", vec!["end".into()])
        .send()
        .await
        .expect("updated");
    let deep = item([("a", true.into()), ("b", 20.into())]);
    let list = AttributeValue::L(vec![20.into(), 3.into(), "end".into()]);
    let map = item([("deep", deep.into()), ("list", list)]);
    let whole =
        item([("id", "a".into()), ("m", map.into()), ("made", "x".into()), ("top", "x".into())]);
    assert_eq!(get(&client, &table, "a").await, Some(whole));
}

pub(crate) async fn what_updates_return(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let set_to = |n: i32, values| {
        let update = update(&client, &table, "a", "SET n = :n, fresh = if_not_exists(fresh, :n)");
        update.expression_attribute_values(":n", n).return_values(values).send()
    };
    let whole = |n: i32| item([("id", "a".into()), ("n", n.into()), ("fresh", 1.into())]);
    let touched = |n: i32| item([("n", n.into()), ("fresh", 1.into())]);
    // An absent item is made, and was nothing before.
    let old = set_to(1, ReturnValues::AllOld).await.expect("updated");
    assert_eq!(old.attributes, None);
    let old = set_to(2, ReturnValues::AllOld).await.expect("updated");
    assert_eq!(old.attributes, Some(whole(1)));
    let new = set_to(3, ReturnValues::AllNew).await.expect("updated");
    assert_eq!(new.attributes, Some(whole(3)));
    let old = set_to(4, ReturnValues::UpdatedOld).await.expect("updated");
    assert_eq!(old.attributes, Some(touched(3)));
    let new = set_to(5, ReturnValues::UpdatedNew).await.expect("updated");
    assert_eq!(new.attributes, Some(touched(5)));
    let none = set_to(6, ReturnValues::None).await.expect("updated");
    assert_eq!(none.attributes, None);

    // Without an expression the item is only made.
    let made = client.update_item().table_name(&table).key("id", "b");
    let made = made.return_values(ReturnValues::AllNew).send().await.expect("made");
    assert_eq!(made.attributes, Some(item([("id", "b".into())])));
    // What only removes makes none.
    update(&client, &table, "c", "REMOVE n").send().await.expect("nothing to do");
    assert_eq!(get(&client, &table, "c").await, None);
}

pub(crate) async fn sets_and_counters_add_and_delete(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let change = |expression: &str, value: AttributeValue| {
        let update = update(&client, &table, "a", expression);
        let update = update.expression_attribute_values(":v", value);
        let sent = update.return_values(ReturnValues::AllNew).send();
        async { sent.await.expect("updated").attributes.expect("attributes") }
    };
    let with = |attribute: (&str, AttributeValue)| item([("id", "a".into()), attribute]);
    assert_eq!(change("ADD n :v", 5.into()).await, with(("n", 5.into())));
    assert_eq!(change("ADD n :v", number("-7.5")).await, with(("n", number("-2.5"))));
    assert_eq!(change("SET n = n - :v", 1.into()).await, with(("n", number("-3.5"))));
    update(&client, &table, "a", "REMOVE n").send().await.expect("removed");
    assert_eq!(change("ADD tags :v", set(["b", "a"])).await, with(("tags", set(["a", "b"]))));
    assert_eq!(change("ADD tags :v", set(["b", "c"])).await, with(("tags", set(["a", "b", "c"]))));
    assert_eq!(change("DELETE tags :v", set(["b", "x"])).await, with(("tags", set(["a", "c"]))));
    // A set that is left empty goes.
    assert_eq!(change("DELETE tags :v", set(["a", "c"])).await, item([("id", "a".into())]));
}

pub(crate) async fn what_updates_refuse(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let whole = item([("id", "a".into()), ("s", "text".into())]);
    client.put_item().table_name(&table).set_item(whole.clone()).send().await.expect("put");
    let kind = ErrorKind::Validation;
    let with_n = |expression: &str| {
        update(&client, &table, "a", expression).expression_attribute_values(":n", 1).send()
    };
    for (expression, text) in [
        (
            "SET id = :n",
            "One or more parameter values were invalid: Cannot update attribute id. This attribute is part of the key",
        ),
        ("SET s = s + :n", "An operand in the update expression has an incorrect data type"),
        (
            "SET x = y + :n",
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        (
            "SET s.inner = :n",
            "The document path provided in the update expression is invalid for update",
        ),
        (
            "SET s = :n, s = :n",
            "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these \
             paths; path one: [s], path two: [s]",
        ),
        (
            "SET s = :n SET t = :n",
            "Invalid UpdateExpression: The \"SET\" section can only be used once in an update expression;",
        ),
        (
            "SET s = :n, t = :m",
            "Invalid UpdateExpression: An expression attribute value used in expression is not defined; attribute \
             value: :m",
        ),
    ] {
        refused(with_n(expression).await, kind, text);
    }
    refused(
        update(&client, &table, "a", "SET s = ").send().await,
        kind,
        "Invalid UpdateExpression: Syntax error; token: \"<EOF>\", near: \"= \"",
    );
    refused(
        client.update_item().table_name(&table).key("wrong", "a").send().await,
        kind,
        "The provided key element does not match the schema",
    );
    let nothing_changed: Option<Item> = get(&client, &table, "a").await;
    assert_eq!(nothing_changed, Some(whole));
}
