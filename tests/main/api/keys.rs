//! Keys of all types.

use bytes::Bytes;
use stator::{AttributeValue, ErrorKind, KeyType};

use super::items::{item, number};
use super::places::Place;
use super::tables::refused;

pub(crate) async fn keys_of_every_type_find_their_items(place: Place) {
    let texts: Vec<AttributeValue> =
        ["a", "b", "a\0", "été", &"long".repeat(100)].map(AttributeValue::from).into();
    let numbers: Vec<AttributeValue> =
        ["0", "-1", "1", "1e125", "-1e-130", "3.14159265358979323846"].map(number).into();
    let binaries: Vec<AttributeValue> = [&[0][..], &[0, 0], &[255], &[0, 255], b"abc"]
        .map(|bytes| AttributeValue::from(Bytes::from_static(bytes)))
        .into();
    let types = [(KeyType::S, texts), (KeyType::N, numbers), (KeyType::B, binaries)];
    for (partition_type, partition_keys) in &types {
        for (sort_type, sort_keys) in &types {
            let (client, table) =
                place.table(("p", *partition_type), Some(("q", *sort_type))).await;
            let mut count = 0;
            for partition in partition_keys {
                for sort in sort_keys {
                    let put = client.put_item().table_name(&table).item("p", partition.clone());
                    let put = put.item("q", sort.clone()).item("count", count);
                    put.send().await.expect("put");
                    count += 1;
                }
            }
            let mut expected = 0;
            for partition in partition_keys {
                for sort in sort_keys {
                    let get = client.get_item().table_name(&table).key("p", partition.clone());
                    let found = get.key("q", sort.clone()).send().await.expect("got").item;
                    let found = found.expect("an item");
                    assert_eq!(found["count"], expected.into(), "{partition:?} {sort:?}");
                    expected += 1;
                }
            }
            client.delete_table().table_name(&table).send().await.expect("deleted");
        }
    }
}

pub(crate) async fn equal_numbers_are_one_key(place: Place) {
    let (client, table) = place.table(("id", KeyType::N), None).await;
    for written in ["1", "1.0", "1e0", "0.1E+1"] {
        let put = client.put_item().table_name(&table).item("id", number(written));
        put.item("as", written).send().await.expect("put");
    }
    let found = client.get_item().table_name(&table).key("id", 1).send().await.expect("got");
    assert_eq!(found.item, Some(item([("id", 1.into()), ("as", "0.1E+1".into())])));
    assert_eq!(client.scan().table_name(&table).send().await.expect("scanned").count, 1);
}

pub(crate) async fn what_keys_refuse(place: Place) {
    let (client, table) = place.table(("p", KeyType::S), Some(("q", KeyType::N))).await;
    let kind = ErrorKind::Validation;
    let schema = "The provided key element does not match the schema";
    let get = || client.get_item().table_name(&table);
    refused(get().key("p", "a").send().await, kind, schema);
    refused(get().key("p", "a").key("q", "text").send().await, kind, schema);
    refused(get().key("p", "a").key("q", 1).key("r", 1).send().await, kind, schema);
    let put = || client.put_item().table_name(&table);
    refused(
        put().item("p", "a").send().await,
        kind,
        "One or more parameter values were invalid: Missing the key q in the item",
    );
    refused(
        put().item("p", 1).item("q", 1).send().await,
        kind,
        "One or more parameter values were invalid: Type mismatch for key p expected: S actual: N",
    );
    let empty = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
                 empty string value. Key: p";
    refused(put().item("p", "").item("q", 1).send().await, kind, empty);
    refused(get().key("p", "").key("q", 1).send().await, kind, empty);
}
