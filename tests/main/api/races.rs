//! Many at once: what conditions and counters promise.

use futures::future::join_all;
use stator::{KeyType, Number};

use super::items::get;
use super::places::Place;

pub(crate) async fn one_of_many_conditional_puts_wins(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    for round in 0..10 {
        let id = format!("prize-{round}");
        let puts = (0..16).map(|caller| {
            let put = client.put_item().table_name(&table).item("id", id.clone());
            let put = put.item("winner", caller).condition_expression("attribute_not_exists(id)");
            async move { (caller, put.send().await) }
        });
        let mut winners = Vec::new();
        for (caller, outcome) in join_all(puts).await {
            match outcome {
                Ok(_) => winners.push(caller),
                Err(error) => assert!(error.is_conditional_check_failed(), "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?} won");
        let found = get(&client, &table, &id).await.expect("an item");
        assert_eq!(found["winner"], winners[0].into());
    }
}

pub(crate) async fn counters_count_every_addition(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    let callers = (0..10).map(|caller| {
        let (client, table) = (client.clone(), table.clone());
        async move {
            for _ in 0..20 {
                let id = if caller % 2 == 0 { "even" } else { "odd" };
                let update = client.update_item().table_name(&table).key("id", id);
                let update = update.update_expression("ADD n :one, total :one");
                let update = update.expression_attribute_values(":one", 1);
                update.send().await.expect("counted");
            }
        }
    });
    join_all(callers).await;
    for id in ["even", "odd"] {
        let found = get(&client, &table, id).await.expect("an item");
        assert_eq!((&found["n"], &found["total"]), (&100.into(), &100.into()));
    }
}

/// Read, then write on the condition that nothing has changed: as a lock-free counter, so each success counts once.
pub(crate) async fn optimistic_updates_lose_nothing(place: Place) {
    let (client, table) = place.table(("id", KeyType::S), None).await;
    client.put_item().table_name(&table).item("id", "a").item("n", 0).send().await.expect("put");
    let callers = (0..4).map(|_| {
        let (client, table) = (client.clone(), table.clone());
        async move {
            let mut done = 0;
            while done < 10 {
                let found = get(&client, &table, "a").await.expect("an item");
                let n = found["n"].as_n().and_then(Number::to_u64).expect("a number");
                let n = i64::try_from(n).expect("small");
                let put = client.put_item().table_name(&table).item("id", "a").item("n", n + 1);
                let put = put.condition_expression("n = :n").expression_attribute_values(":n", n);
                match put.send().await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(error.is_conditional_check_failed(), "{error}"),
                }
            }
        }
    });
    join_all(callers).await;
    assert_eq!(get(&client, &table, "a").await.expect("an item")["n"], 40.into());
}
