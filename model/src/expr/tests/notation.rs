//! A short way to write values in tests: `1`, `"text"`, `x"00ff"` (binary), `true`, `null`, `<1, 2>` (a set),
//! `[1, "two"]`, `{name: 1}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use bytes::Bytes;

use crate::value::{AttributeValue, Item};

/// Reads a value; panics if it is not one, this being for tests.
pub(super) fn value(text: &str) -> AttributeValue {
    let mut reader = Reader { rest: text.trim() };
    let value = reader.value();
    assert!(reader.rest.is_empty(), "more than a value: {text}");
    value
}

/// Reads an item.
pub(super) fn item(text: &str) -> Item {
    match value(text) {
        AttributeValue::M(map) => map,
        other => panic!("not an item: {other:?}"),
    }
}

/// Writes a value.
pub(super) fn show(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) => format!("{text:?}"),
        AttributeValue::N(number) => number.to_string(),
        AttributeValue::B(bytes) => show_bytes(bytes),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::Null => "null".to_owned(),
        AttributeValue::Ss(set) => join('<', set.iter().map(|text| format!("{text:?}")), '>'),
        AttributeValue::Ns(set) => join('<', set.iter().map(ToString::to_string), '>'),
        AttributeValue::Bs(set) => join('<', set.iter().map(|bytes| show_bytes(bytes)), '>'),
        AttributeValue::L(list) => join('[', list.iter().map(show), ']'),
        AttributeValue::M(map) => show_item(map),
    }
}

/// Writes an item.
pub(super) fn show_item(item: &Item) -> String {
    join('{', item.iter().map(|(name, value)| format!("{name}: {}", show(value))), '}')
}

fn show_bytes(bytes: &[u8]) -> String {
    let mut text = "x\"".to_owned();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text + "\""
}

fn join(open: char, parts: impl Iterator<Item = String>, close: char) -> String {
    format!("{open}{}{close}", parts.collect::<Vec<_>>().join(", "))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, prefix: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(prefix) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn word(&mut self, what: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !what(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn quoted(&mut self) -> &'a str {
        let end = self.rest.find('"').expect("a closing quote");
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest[1..].trim_start();
        text
    }

    fn list<T>(&mut self, close: &str, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut elements = Vec::new();
        while !self.take(close) {
            elements.push(element(self));
            assert!(self.take(",") || self.rest.starts_with(close), "at {}", self.rest);
        }
        elements
    }

    fn value(&mut self) -> AttributeValue {
        if let Some(rest) = self.rest.strip_prefix('"') {
            self.rest = rest;
            return AttributeValue::from(self.quoted());
        }
        if self.take("x\"") {
            return AttributeValue::B(bytes_of(self.quoted()));
        }
        if self.take("<") {
            return set(&self.list(">", Self::value));
        }
        if self.take("[") {
            return AttributeValue::L(self.list("]", Self::value));
        }
        if self.take("{") {
            let entries = self.list("}", |reader| {
                let name = reader.word(|letter| letter.is_alphanumeric() || "_.-".contains(letter));
                assert!(reader.take(":"), "at {}", reader.rest);
                (name.to_owned(), reader.value())
            });
            return AttributeValue::M(entries.into_iter().collect::<BTreeMap<_, _>>());
        }
        match self.word(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter)) {
            "true" => AttributeValue::Bool(true),
            "false" => AttributeValue::Bool(false),
            "null" => AttributeValue::Null,
            number => AttributeValue::N(number.parse().expect("a number")),
        }
    }
}

fn bytes_of(hex: &str) -> Bytes {
    let digits: Vec<u8> =
        hex.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into()
}

fn set(elements: &[AttributeValue]) -> AttributeValue {
    match elements.first() {
        Some(AttributeValue::S(_)) => AttributeValue::Ss(
            elements.iter().map(|value| value.as_s().expect("a string").to_owned()).collect(),
        ),
        Some(AttributeValue::N(_)) => AttributeValue::Ns(
            elements.iter().map(|value| *value.as_n().expect("a number")).collect::<BTreeSet<_>>(),
        ),
        Some(AttributeValue::B(_)) => AttributeValue::Bs(
            elements.iter().map(|value| value.as_b().expect("binary").clone()).collect(),
        ),
        _ => panic!("not the elements of a set: {elements:?}"),
    }
}

#[test]
fn what_is_written_reads_back() {
    let text =
        r#"{a: 1.5, b: "x", c: x"00ff", d: [true, null, {}], e: <"a", "b">, f: <-1, 2>, g: <x"">}"#;
    assert_eq!(show_item(&item(text)), text);
}
