//! What the README shows, held against what there is: its Rust is compiled and run, its commands are run or at least understood.

use std::collections::BTreeSet;

use crate::support::{Node, directory, finish, program};

const README: &str = include_str!("../../README.md");
const SERVICE: &str = include_str!("../../docs/stator.service");

/// The blocks of code in a language, and where each begins.
fn blocks(language: &str) -> Vec<(usize, &'static str)> {
    let fence = format!("```{language}\n");
    let begins = README.match_indices(&fence).map(|(at, fence)| at + fence.len());
    let block = |at: usize| Some((at, README.get(at..)?.split_once("\n```")?.0));
    begins.filter_map(block).collect()
}

/// The words of a line of a shell: quoted by `'` or not at all, up to a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut begun, mut quoted) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            '#' if !quoted && !begun => break,
            ' ' if !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    assert!(!quoted, "{line}");
    if begun {
        words.push(word);
    }
    words
}

/// The arguments of the commands that a text has as lines of their own.
fn commands(text: &str) -> Vec<Vec<String>> {
    let starts = ["stator ", "cargo run --release -- ", "ExecStart=/usr/local/bin/stator "];
    let lines =
        text.lines().filter_map(|line| starts.iter().find_map(|start| line.strip_prefix(start)));
    lines.map(words).collect()
}

/// What a command's `--help` prints, with these arguments in front of it, which have to be right for it.
#[track_caller]
fn help(arguments: &[&str]) -> String {
    let dir = directory();
    let mut command = program(dir.path());
    command.args(arguments).arg("--help");
    finish(command, "").ok()
}

#[test]
fn the_commands_are_understood() {
    let mut found = commands(SERVICE);
    found.extend(blocks("").into_iter().flat_map(|(_, text)| commands(text)));
    assert!(found.len() >= 8, "{found:?}");
    for arguments in found {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(help(&arguments).contains("Usage: stator"), "{arguments:?}");
    }
}

#[test]
fn the_flags_in_the_text_are_somebodys() {
    let top = help(&[]);
    let listed =
        top.split_once("Commands:\n").expect("a list").1.split_once("\n\n").expect("ends").0;
    // What a command is for may go on in lines that are indented further.
    let own = listed.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = own.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let mut helps = top.clone();
    for command in commands.filter(|command| *command != "help") {
        helps += &help(&[command]);
    }
    for (command, own) in [("table", "create"), ("item", "put"), ("item", "get")] {
        helps += &help(&[command, own]);
    }
    let flags = README.split('`').filter(|text| text.starts_with("--"));
    let flags: Vec<&str> = flags.filter_map(|text| text.split_whitespace().next()).collect();
    assert!(flags.contains(&"--ddb-json"), "{flags:?}");
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let known: BTreeSet<&str> = helps.split(|other| !letter(other)).collect();
    for flag in flags {
        assert!(known.contains(flag), "{flag}");
    }
}

#[test]
fn the_first_walk_goes_where_it_says() {
    let node = Node::start();
    let database = &node.database;
    let from = README.find("## A first walk").expect("the heading");
    let walk = blocks("").into_iter().find(|(at, _)| *at > from).expect("a block").1;
    let steps = commands(walk);
    assert_eq!(steps.len(), walk.lines().count(), "each line is a command");
    let mut said = Vec::new();
    for step in &steps {
        let arguments: Vec<&str> = step.iter().map(String::as_str).collect();
        said.push(database.run(&arguments).ok());
    }
    assert!(said[0].contains("ACTIVE"), "{said:?}");
    assert!(said[2].contains("1971") && said[3].contains("1971"), "{said:?}");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        stand_in::ENDPOINT.set(database.endpoints().to_owned()).expect("nobody else uses it");
        programs::put().await.expect("put");
        let again = programs::put().await.expect_err("the condition does not hold");
        assert!(!again.is_uncertain(), "{again}");
    });
    let count = database.run(&["scan", "music", "--count"]).json();
    assert_eq!(count["count"], 2);
}

/// The programs of the README, word by word.
mod programs {
    use super::stand_in as stator_client;

    #[rustfmt::skip]
    pub(super) async fn put() -> stator_client::Result<()> {
        use stator_client::{AttributeValue, Client};

        let client = Client::connect(["http://127.0.0.1:7400", "http://127.0.0.1:7410", "http://127.0.0.1:7420"])?;
        client
            .put_item()
            .table_name("music")
            .item("artist", AttributeValue::from("No One You Know"))
            .item("song", AttributeValue::from("Somewhere Down The Road"))
            .condition_expression("attribute_not_exists(artist)")
            .send()
            .await?;
        Ok(())
    }

    /// Compiled only: it would open a directory where the tests run.
    #[rustfmt::skip]
    #[expect(dead_code, reason = "it is compiled only")]
    pub(super) async fn embedded() -> Result<stator::Client, Box<dyn std::error::Error>> {
        let database = stator::open("./data").await?;     // crate `stator-db`; `stator::blocking` for programs without tokio
        let client = database.client();
        Ok(client)
    }
}

/// The crate `stator_client`, but for where the database is.
mod stand_in {
    use std::sync::OnceLock;

    pub(super) use ::stator_client::{AttributeValue, Result};

    pub(super) static ENDPOINT: OnceLock<String> = OnceLock::new();

    pub(super) struct Client;

    impl Client {
        pub(super) fn connect(_readme: [&str; 3]) -> Result<::stator_client::Client> {
            ::stator_client::Client::connect(ENDPOINT.get().expect("a node runs"))
        }
    }
}

#[test]
fn the_programs_are_these() {
    let lines = |text: &'static str| -> Vec<&str> { text.lines().map(str::trim).collect() };
    let here = lines(include_str!("readme.rs"));
    let programs = blocks("rust");
    assert_eq!(programs.len(), 2);
    for (_, program) in programs {
        let program = lines(program);
        let found = here.windows(program.len()).any(|window| window == program);
        assert!(found, "tests/main/readme.rs has to have the same: {program:#?}");
    }
}
