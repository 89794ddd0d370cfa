//! Errors tell what happened, and what did not.

use std::time::Duration;

use stator::{Applied, ErrorKind, KeyType};

use super::items::get;
use super::places::Place;
use super::tables::refused;

/// A request without time is answered at once, and an answer says whether it may have been done.
pub(crate) async fn no_time_is_a_deadline_and_nothing_done(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let read = client.get_item().table_name(&table).key("id", "a").timeout(Duration::ZERO);
    let error = read.send().await.expect_err("no time");
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    assert_eq!(error.applied(), Applied::No);

    let put = client.put_item().table_name(&table).item("id", "a").timeout(Duration::ZERO);
    let error = put.send().await.expect_err("no time");
    let late = matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Uncertain);
    assert!(late, "{error}");
    if error.applied() == Applied::No {
        assert_eq!(get(&client, &table, "a").await, None);
    }
    // With so little time anything may happen, but what is said is true.
    for micros in [50, 200, 500, 1_000, 2_000, 5_000] {
        let id = format!("{micros}");
        let put = client.put_item().table_name(&table).item("id", id.clone());
        let put = put.timeout(Duration::from_micros(micros)).send().await;
        match put {
            Ok(_) => assert!(get(&client, &table, &id).await.is_some(), "{micros} us"),
            Err(error) if error.applied() == Applied::No => {
                assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
                assert_eq!(get(&client, &table, &id).await, None, "{micros} us: {error}");
            }
            Err(error) => {
                let kind = error.kind();
                let known = matches!(kind, ErrorKind::DeadlineExceeded | ErrorKind::Uncertain);
                assert!(known, "{error}");
            }
        }
    }
}

pub(crate) async fn unknown_tables_are_told_apart(place: Place) {
    let client = place.client().await;
    let (kind, text) = (ErrorKind::ResourceNotFound, "Requested resource not found");
    refused(client.put_item().table_name("absent").item("id", "a").send().await, kind, text);
    refused(client.get_item().table_name("absent").key("id", "a").send().await, kind, text);
    let eventual = client.get_item().table_name("absent").key("id", "a").consistent_read(false);
    refused(eventual.send().await, kind, text);
    refused(client.scan().table_name("absent").send().await, kind, text);
    let query = client.query().table_name("absent").key_condition_expression("id = :id");
    refused(query.expression_attribute_values(":id", "a").send().await, kind, text);
    let update = client.update_item().table_name("absent").key("id", "a");
    refused(update.send().await, kind, text);
    let delete = client.delete_item().table_name("absent").key("id", "a");
    refused(delete.send().await, kind, text);
    refused(
        client.put_item().table_name("no").item("id", "a").send().await,
        ErrorKind::Validation,
        "1 validation error detected: Value 'no' at 'tableName' failed to satisfy constraint: Member must have length \
         greater than or equal to 3",
    );
    // The catalog's own table is nobody's business.
    refused(client.scan().table_name("stator.catalog").send().await, kind, text);
}
