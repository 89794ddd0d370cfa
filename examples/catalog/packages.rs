//! Packages, as the files of Debian's tools describe them: stanzas of `Field: value` lines, with an empty line between two, in which
//! a line that begins with a space goes on with the field before it.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use stator::{AttributeValue, Item, Number};

/// A package.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Package {
    pub(crate) section: String,
    pub(crate) name: String,
    fields: BTreeMap<String, String>,
}

/// Reads all packages. Of those that are there more than once under one section and name, the first one counts.
pub(crate) fn read(from: impl BufRead) -> io::Result<Vec<Package>> {
    let mut found = BTreeMap::new();
    let mut order = Vec::new();
    for_each_stanza(from, |fields| {
        if let Some(package) = Package::from_fields(fields) {
            let key = (package.section.clone(), package.name.clone());
            found.entry(key).or_insert_with_key(|key| {
                order.push(key.clone());
                package
            });
        }
    })?;
    Ok(order.iter().filter_map(|key| found.remove(key)).collect())
}

fn for_each_stanza(
    from: impl BufRead,
    mut take: impl FnMut(BTreeMap<String, String>),
) -> io::Result<()> {
    let mut fields = BTreeMap::new();
    let mut last = String::new();
    for line in from.split(b'\n') {
        // Names of people are in all kinds of encodings.
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            if !fields.is_empty() {
                take(std::mem::take(&mut fields));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = fields.get_mut(&last) {
                let value: &mut String = value;
                value.push('\n');
                value.push_str(line.trim_start());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            last = name.to_ascii_lowercase();
            fields.insert(last.clone(), value.trim().to_owned());
        }
    }
    if !fields.is_empty() {
        take(fields);
    }
    Ok(())
}

impl Package {
    fn from_fields(mut fields: BTreeMap<String, String>) -> Option<Self> {
        let name = fields.remove("package").filter(|name| !name.is_empty())?;
        let section = fields.remove("section").filter(|section| !section.is_empty());
        Some(Self { section: section.unwrap_or_else(|| "unknown".to_owned()), name, fields })
    }

    /// The package as an item. The section is the partition key, for that is where one looks for software of a kind; the name is the
    /// sort key, so that `libssl` finds all that begins with it.
    pub(crate) fn to_item(&self) -> Item {
        let mut item = self.key();
        for (field, attribute) in [
            ("version", "version"),
            ("architecture", "architecture"),
            ("maintainer", "maintainer"),
            ("homepage", "homepage"),
            ("description", "description"),
        ] {
            if let Some(value) = self.fields.get(field) {
                item.insert(attribute.to_owned(), value.as_str().into());
            }
        }
        for (field, attribute) in [("size", "size_bytes"), ("installed-size", "installed_kib")] {
            let number = self.fields.get(field).and_then(|value| value.parse::<Number>().ok());
            if let Some(number) = number {
                item.insert(attribute.to_owned(), number.into());
            }
        }
        if let Some(depends) = self.fields.get("depends") {
            let list = split(depends).map(AttributeValue::from).collect();
            item.insert("depends".to_owned(), AttributeValue::L(list));
        }
        if let Some(tags) = self.fields.get("tag") {
            let tags: std::collections::BTreeSet<_> = split(tags).collect();
            if !tags.is_empty() {
                item.insert("tags".to_owned(), AttributeValue::Ss(tags));
            }
        }
        item
    }

    /// The item's primary key.
    pub(crate) fn key(&self) -> Item {
        let section = ("section".to_owned(), self.section.as_str().into());
        [section, ("package".to_owned(), self.name.as_str().into())].into()
    }
}

/// The members of a list that is separated by commas.
fn split(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|member| member.trim().to_owned()).filter(|member| !member.is_empty())
}
