//! The database in the process, end to end.
use stator::{AttributeValue, KeyType};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_after_the_directory_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    {
        let database = stator::open(&path).await.expect("opens");
        let client = database.client();
        client
            .create_table()
            .table_name("music")
            .partition_key("artist", KeyType::S)
            .send()
            .await
            .expect("created");
        client.wait_until_active("music").await.expect("active");
        for n in 0..100 {
            client
                .put_item()
                .table_name("music")
                .item("artist", AttributeValue::from(format!("a{n}")))
                .item("n", AttributeValue::from(n))
                .send()
                .await
                .expect("put");
        }
        drop(client);
        assert!(database.close().await, "nobody is left who could keep it open");
    }
    let database = stator::open(&path).await.expect("opens again");
    let client = database.client();
    for n in 0..100 {
        let found = client
            .get_item()
            .table_name("music")
            .key("artist", AttributeValue::from(format!("a{n}")))
            .send()
            .await
            .expect("got");
        assert_eq!(
            found.item.as_ref().and_then(|item| item.get("n")),
            Some(&AttributeValue::from(n))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_left_keeps_the_database_open() {
    let database = stator::in_memory().await.expect("opens");
    let client = database.client();
    assert!(!database.close().await);
    client.list_tables().send().await.expect("it is open");
}

#[test]
fn a_program_without_tokio_finds_what_it_wrote() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    let key = || AttributeValue::from("Acme");
    {
        let database = stator::blocking::open(&path).expect("opens");
        let client = database.client();
        let create = client.create_table().table_name("music").partition_key("artist", KeyType::S);
        database.wait(create.send()).expect("created");
        database.wait(client.wait_until_active("music")).expect("active");
        let put = client.put_item().table_name("music").item("artist", key());
        database.wait(put.send()).expect("put");
        drop(client);
        assert!(database.close(), "nobody is left who could keep it open");
    }
    let database = stator::blocking::open(&path).expect("opens again");
    let get = database.client().get_item().table_name("music").key("artist", key());
    assert!(database.wait(get.send()).expect("got").item.is_some());
    assert!(stator::blocking::open(&path).is_err(), "two programs would not have one directory");
}
