//! Golden scripts: `goldens/*.txt` hold expressions and what comes of them.
//!
//! A script is made of blocks with an empty line between them. What stands over the `---` of a block is run, and what
//! comes of it stands under it. The lines are:
//!
//! ```text
//! item {a: 1}             the item from here on
//! #name = name            a placeholder from here on
//! :value = 1              the same
//! schema pk S, sk N       the key from here on
//! filter TEXT             whether it holds for the item
//! update TEXT             the item after it, and what it touched before and after; the script's item stays as it was
//! project TEXT            what it names of the item
//! query TEXT              the key condition
//! ```
//!
//! `UPDATE_GOLDENS=1 cargo test -p stator-model goldens` writes the outcomes anew; the diff is then for a human to judge.

use std::fmt::Write as _;
use std::path::Path;

use super::notation::{item, show, show_item, value};
use super::{Given, schema};
use crate::error::Result;
use crate::expr::SortCondition;
use crate::schema::{KeySchema, KeyType};
use crate::value::Item;

struct Script {
    given: Given,
    item: Item,
    schema: KeySchema,
}

#[test]
fn goldens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expr/goldens");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of the scripts")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there are no scripts");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a script");
        let outcome = run(&text);
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&file, &outcome).expect("the script can be written");
        } else {
            assert_eq!(text, outcome, "in {}", file.display());
        }
    }
}

/// The script with the outcomes that its blocks have now.
fn run(text: &str) -> String {
    let mut script = Script {
        given: Given::default(),
        item: Item::new(),
        schema: schema(("pk", KeyType::S), Some(("sk", KeyType::N))),
    };
    let blocks = text.trim_end().split("\n\n").map(|block| {
        let commands = block.split("\n---").next().unwrap_or_default();
        let mut shown = format!("{commands}\n---\n");
        for line in commands.lines().filter(|line| !line.starts_with("//")) {
            shown.push_str(&script.line(line));
        }
        shown.trim_end().to_owned()
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

impl Script {
    fn line(&mut self, line: &str) -> String {
        let (word, rest) = line.split_once(' ').expect("a command and what it is about");
        let outcome = match word {
            "item" => {
                self.item = item(rest);
                return String::new();
            }
            "schema" => {
                self.schema = parse_schema(rest);
                return String::new();
            }
            name if name.starts_with('#') => {
                let name = rest.trim_start_matches("= ");
                self.given.names.insert(word.to_owned(), name.to_owned());
                return String::new();
            }
            key if key.starts_with(':') => {
                self.given.values.insert(word.to_owned(), value(rest.trim_start_matches("= ")));
                return String::new();
            }
            "filter" => self.filter(rest),
            "update" => self.update(rest),
            "project" => self.project(rest),
            "query" => self.query(rest),
            _ => panic!("not a command: {line}"),
        };
        outcome.unwrap_or_else(|error| format!("error: {}\n", error.message()))
    }

    fn filter(&self, text: &str) -> Result<String> {
        Ok(format!("{}\n", self.given.filter(text)?.holds(&self.item)))
    }

    fn update(&self, text: &str) -> Result<String> {
        let update = self.given.update(text)?;
        let new = update.apply(&self.item)?;
        let (old_part, new_part) = (update.touched(&self.item), update.touched(&new));
        let mut shown = format!("{}\n", show_item(&new));
        writeln!(shown, "  before {}, after {}", show_item(&old_part), show_item(&new_part))
            .expect("a string takes all");
        Ok(shown)
    }

    fn project(&self, text: &str) -> Result<String> {
        Ok(format!("{}\n", show_item(&self.given.projection(text)?.project(&self.item))))
    }

    fn query(&self, text: &str) -> Result<String> {
        let condition = self.given.key_condition(text, &self.schema)?;
        let sort = condition.sort.as_ref().map_or_else(|| "any".to_owned(), show_sort);
        Ok(format!("partition {}, sort {sort}\n", show(&condition.partition)))
    }
}

fn show_sort(condition: &SortCondition) -> String {
    let operator = match condition {
        SortCondition::Equal(_) => "=",
        SortCondition::Less(_) => "<",
        SortCondition::LessOrEqual(_) => "<=",
        SortCondition::Greater(_) => ">",
        SortCondition::GreaterOrEqual(_) => ">=",
        SortCondition::Between(..) => "between",
        SortCondition::BeginsWith(_) => "begins with",
    };
    let values: Vec<_> = condition.values().into_iter().map(show).collect();
    format!("{operator} {}", values.join(" and "))
}

fn parse_schema(text: &str) -> KeySchema {
    let mut attributes = text.split(", ").map(|attribute| {
        let (name, key_type) = attribute.split_once(' ').expect("a name and a type");
        let key_type = match key_type {
            "S" => KeyType::S,
            "N" => KeyType::N,
            _ => KeyType::B,
        };
        (name, key_type)
    });
    schema(attributes.next().expect("a partition key"), attributes.next())
}
