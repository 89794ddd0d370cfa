//! What is said of requests whose time is over is true.

use std::time::Duration;

use stator_model::api::PutItem;
use stator_model::error::Applied;
use stator_model::{AttributeValue, EncodedItem, Item};

use crate::cluster::{Cluster, get, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_never_begun_with_is_said_not_to_be_done() {
    let cluster = Cluster::start(1, |_| {}).await;
    cluster.create_table("music").await;
    let node = cluster.node(0);
    put(&node, "music", "first", "so that the table is known").await;
    let mut not_done = Vec::new();
    for n in 0..600 {
        let id = format!("song-{n}");
        let item = Item::from([
            ("id".to_owned(), AttributeValue::from(id.clone())),
            ("value".to_owned(), AttributeValue::from("there")),
        ]);
        let item = EncodedItem::encode(&item);
        let put = PutItem { table_name: "music".into(), item, ..PutItem::default() };
        // One that has no time at all is had by nobody.
        let now = node.call(put.clone().into(), "test".into(), Some(Duration::ZERO)).await;
        assert_eq!(now.expect_err("too late").applied(), Applied::No);
        // Some are over before the host sees them, some while they are written, some are done.
        let time = Duration::from_micros(1 + 3 * n);
        match node.call(put.into(), "test".into(), Some(time)).await {
            Err(error) if error.applied() == Applied::No => not_done.push(id),
            Ok(_) => assert_eq!(get(&node, "music", &id).await.as_deref(), Some("there")),
            Err(_) => {}
        }
    }
    assert!(!not_done.is_empty(), "all that was late is said to be uncertain");
    put(&node, "music", "last", "behind all of them").await;
    for id in not_done {
        assert_eq!(get(&node, "music", &id).await, None, "{id} was said not to be done");
    }
}
