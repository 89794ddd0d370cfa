//! Limits, at their edges: what is just allowed goes all the way, what is just too much is refused.

use std::collections::BTreeMap;

use stator::{AttributeValue, ErrorKind, KeyType};

use super::items::{get, item};
use super::places::Place;
use super::tables::refused;

const ITEM_MAX: usize = 400 * 1024;

pub(crate) async fn items_up_to_their_limit(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    // "id", "large", "text", and then the text itself.
    let largest = "x".repeat(ITEM_MAX - "idlargetext".len());
    let whole = item([("id", "large".into()), ("text", largest.clone().into())]);
    let put = |text: String| {
        client.put_item().table_name(&table).item("id", "large").item("text", text).send()
    };
    put(largest.clone()).await.expect("just fits");
    assert_eq!(get(&client, &table, "large").await, Some(whole.clone()));
    let text = "Item size has exceeded the maximum allowed size";
    refused(put(largest.clone() + "x").await, ErrorKind::Validation, text);
    let grow = client.update_item().table_name(&table).key("id", "large");
    let grow = grow.update_expression("SET more = :m").expression_attribute_values(":m", "");
    let text = "Item size to update has exceeded the maximum allowed size";
    refused(grow.send().await, ErrorKind::Validation, text);
    assert_eq!(get(&client, &table, "large").await, Some(whole.clone()));
    // The largest item fits into an answer, and into an error's detail.
    let told = client.put_item().table_name(&table).item("id", "large");
    let told = told.condition_expression("attribute_not_exists(id)");
    let told = told.return_old_on_condition_failure(true).send().await.expect_err("there");
    assert!(told.is_conditional_check_failed(), "{told}");
    assert_eq!(told.item().and_then(|item| item.decode().ok()), Some(whole));
}

pub(crate) async fn keys_up_to_their_limit(place: Place) {
    let (client, table) = place.table(("p", KeyType::S), Some(("q", KeyType::S))).await;
    let put = |partition: usize, sort: usize| {
        let put = client.put_item().table_name(&table).item("p", "p".repeat(partition));
        put.item("q", "q".repeat(sort)).send()
    };
    put(2048, 1024).await.expect("just fits");
    put(1, 1).await.expect("just fits");
    let get = client.get_item().table_name(&table).key("p", "p".repeat(2048));
    let found = get.key("q", "q".repeat(1024)).send().await.expect("got").item;
    assert!(found.is_some());
    refused(
        put(2049, 1).await,
        ErrorKind::Validation,
        "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes",
    );
    refused(
        put(1, 1025).await,
        ErrorKind::Validation,
        "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of \
         1024 bytes",
    );
}

pub(crate) async fn nesting_up_to_its_limit(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let nested = |levels: usize| {
        (0..levels).fold(AttributeValue::from("deep"), |inner, _| {
            AttributeValue::M(BTreeMap::from([("m".to_owned(), inner)]))
        })
    };
    let put = |levels: usize| {
        client.put_item().table_name(&table).item("id", "a").item("m", nested(levels)).send()
    };
    put(31).await.expect("just fits");
    let whole = item([("id", "a".into()), ("m", nested(31))]);
    assert_eq!(get(&client, &table, "a").await, Some(whole.clone()));
    // Within a batch it is nested deepest on the wire.
    let mut batched = whole.clone();
    batched.insert("id".into(), "b".into());
    let write = client.batch_write_item().put(&table, batched.clone()).send().await;
    assert!(write.expect("written").unprocessed_items.is_empty());
    let read = client.batch_get_item().key(&table, item([("id", "b".into())])).send().await;
    assert_eq!(read.expect("read").responses[&table], [batched]);
    let error = put(32).await.expect_err("too deep");
    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    assert!(error.message().contains("nest") || error.message().contains("Nest"), "{error}");
}
