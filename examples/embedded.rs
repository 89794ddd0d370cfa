//! A database in the process, in ten lines: `cargo run --example embedded`.

#![allow(clippy::print_stdout)]

use stator::{KeyType, ReturnValues};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = stator::in_memory().await?; // or stator::open("./data")
    let client = database.client();
    client.create_table().table_name("plays").partition_key("song", KeyType::S).send().await?;
    client.wait_until_active("plays").await?;
    for _ in 0..3 {
        let play = client.update_item().table_name("plays").key("song", "Happy Day");
        let play = play.update_expression("ADD times :one").expression_attribute_values(":one", 1);
        println!("{:?}", play.return_values(ReturnValues::AllNew).send().await?.attributes);
    }
    drop(client);
    database.close().await;
    Ok(())
}
