//! Nodes that go and come back: service goes on, and nothing that was acknowledged is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use stator::{Client, KeyType, Number, TableStatus};

use super::items::get;
use super::places::{self, Nodes, PATIENCE, wait_until_gone};

async fn create(client: &Client, table: &str) {
    let create = client.create_table().table_name(table).partition_key("id", KeyType::S);
    create.partitions(4).timeout(PATIENCE).send().await.expect("created");
    client.wait_until_active(table).await.expect("active");
}

/// Puts one item after the other until it is told to stop, and answers the ids that were acknowledged, and how long the longest
/// one took.
async fn write_until(
    client: Client,
    table: &str,
    writer: usize,
    stop: Arc<AtomicBool>,
) -> (BTreeSet<String>, Duration) {
    let (mut acknowledged, mut longest) = (BTreeSet::new(), Duration::ZERO);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{writer}-{n}");
        let begun = Instant::now();
        let put = client.put_item().table_name(table).item("id", id.clone());
        match put.timeout(PATIENCE).send().await {
            Ok(_) => {
                acknowledged.insert(id);
            }
            Err(error) => assert!(error.is_uncertain() || error.is_unavailable(), "{error}"),
        }
        longest = longest.max(begun.elapsed());
    }
    (acknowledged, longest)
}

async fn all_ids(client: &Client, table: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut start = None;
    loop {
        let page = client.scan().table_name(table).set_exclusive_start_key(start).timeout(PATIENCE);
        let page = page.send().await.expect("scanned");
        found.extend(page.items.iter().filter_map(|item| item["id"].as_s().map(str::to_owned)));
        start = page.last_evaluated_key;
        if start.is_none() {
            return found;
        }
    }
}

#[test]
fn a_crashed_node_is_survived_and_comes_back() {
    places::run(async {
        let mut nodes = Nodes::start("crash", 3).await;
        let client = nodes.client();
        create(&client, "music").await;
        for number in 0..3 {
            let stop = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (client, stop) = (client.clone(), stop.clone());
                    let writer = number * 10 + writer;
                    tokio::spawn(async move { write_until(client, "music", writer, stop).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(200)).await;
            nodes.crash(number).await;
            tokio::time::sleep(Duration::from_millis(1200)).await;
            stop.store(true, Ordering::Relaxed);
            let mut acknowledged = BTreeSet::new();
            for writer in writers {
                let (ids, longest) = writer.await.expect("a writer");
                assert!(longest < Duration::from_secs(6), "one waited for {longest:?}");
                acknowledged.extend(ids);
            }
            assert!(acknowledged.len() > 20, "hardly any: {}", acknowledged.len());
            // All that was acknowledged is there, asked of either node that is left.
            for other in (0..3).filter(|other| *other != number) {
                let found = all_ids(&nodes.client_of(other), "music").await;
                let lost: Vec<_> = acknowledged.difference(&found).collect();
                assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
            }
            nodes.restart(number).await;
        }
        // A node that was away has caught up.
        let direct = nodes.client_of(0);
        let item = direct.put_item().table_name("music").item("id", "after").send().await;
        item.expect("put");
        assert!(get(&nodes.client_of(1), "music", "after").await.is_some());
        nodes.stop().await;
    });
}

#[test]
fn tables_come_and_go_while_a_node_is_away() {
    places::run(async {
        let mut nodes = Nodes::start("away", 3).await;
        let client = nodes.client();
        create(&client, "before").await;
        client.put_item().table_name("before").item("id", "a").send().await.expect("put");
        nodes.crash(2).await;
        create(&client, "during").await;
        client.put_item().table_name("during").item("id", "a").send().await.expect("put");
        // A table goes, and its name is free, though a node still holds replicas of it.
        client.delete_table().table_name("before").timeout(PATIENCE).send().await.expect("deleted");
        wait_until_gone(&client, "before").await;
        create(&client, "before").await;
        let put = client.put_item().table_name("before").item("id", "new").send().await;
        put.expect("put");
        nodes.restart(2).await;

        // The node that was away answers for the new tables, and not for the old one.
        let direct = nodes.client_of(2);
        assert!(get(&direct, "during", "a").await.is_some());
        assert!(get(&direct, "before", "new").await.is_some());
        assert_eq!(get(&direct, "before", "a").await, None);
        // With it, another may go.
        nodes.crash(0).await;
        let deadline = Instant::now() + PATIENCE;
        for id in 0.. {
            let put = direct.put_item().table_name("during").item("id", format!("{id}"));
            match put.send().await {
                Ok(_) if id >= 20 => break,
                Ok(_) => {}
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        }
        let told = direct.describe_table().table_name("during").send().await.expect("told");
        assert_eq!(told.table.status, TableStatus::Active);
        nodes.stop().await;
    });
}

#[test]
fn a_node_that_stops_in_good_order_fails_nobody() {
    places::run(async {
        let mut nodes = Nodes::start("orderly", 3).await;
        let client = nodes.client();
        create(&client, "music").await;
        let counted = |client: Client| async move {
            let mut counted = 0;
            for _ in 0..150 {
                let add = client.update_item().table_name("music").key("id", "count");
                let add =
                    add.update_expression("ADD n :one").expression_attribute_values(":one", 1);
                match add.timeout(PATIENCE).send().await {
                    Ok(_) => counted += 1,
                    Err(error) => panic!("nothing is lost in good order: {error}"),
                }
            }
            counted
        };
        let callers = (0..4).map(|_| tokio::spawn(counted(nodes.client_of(1))));
        let callers: Vec<_> = callers.collect();
        nodes.shut_down(0).await;
        let counted: u64 =
            join_all(callers).await.into_iter().map(|made| made.expect("made")).sum();
        let found = get(&nodes.client_of(2), "music", "count").await.expect("an item");
        assert_eq!(found["n"].as_n().and_then(Number::to_u64), Some(counted));
        nodes.stop().await;
    });
}

#[test]
fn without_a_majority_nothing_is_acknowledged() {
    places::run(async {
        let mut nodes = Nodes::start("minority", 3).await;
        let client = nodes.client();
        create(&client, "music").await;
        client.put_item().table_name("music").item("id", "a").send().await.expect("put");
        nodes.crash(0).await;
        nodes.crash(1).await;
        // The lease of whoever led, and then its leadership, end.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let alone = nodes.client_of(2);
        let begun = Instant::now();
        let brief = Duration::from_millis(700);
        let put = alone.put_item().table_name("music").item("id", "b").timeout(brief).send().await;
        let error = put.expect_err("there is no majority");
        assert!(error.is_unavailable() || error.is_uncertain(), "{error}");
        let strong =
            alone.get_item().table_name("music").key("id", "a").timeout(brief).send().await;
        assert!(strong.expect_err("there is no majority").is_unavailable());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        let eventual = alone.get_item().table_name("music").key("id", "a").consistent_read(false);
        assert!(eventual.send().await.expect("any replica will do").item.is_some());
        nodes.restart_without_waiting(0).await;
        let put = alone.put_item().table_name("music").item("id", "b").timeout(PATIENCE);
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = put.clone().send().await {
            assert!(Instant::now() < deadline, "{error}");
        }
        assert!(get(&alone, "music", "a").await.is_some());
        nodes.stop().await;
    });
}
