//! What is done with the catalogue: loaded, read by key, queried by prefix, changed on a condition, counted in parallel.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use stator::{Client, ErrorKind, Item, KeyType, ReturnValues, Select, put};

use super::packages::Package;

/// Packages in one step of the loading: a few batches, after which the bar moves.
const STEP: usize = 100;
/// Steps under way at once.
const STEPS_AT_ONCE: usize = 16;
/// Parts of the parallel scan.
const SEGMENTS: u32 = 4;

/// What the tour found, and how long each part of it took.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) loaded: usize,
    pub(crate) loading: Duration,
    pub(crate) read: Option<Item>,
    pub(crate) reading: Duration,
    pub(crate) section: String,
    pub(crate) prefix: String,
    pub(crate) found: Vec<String>,
    pub(crate) querying: Duration,
    pub(crate) starred: Option<Item>,
    pub(crate) starred_twice: bool,
    pub(crate) updating: Duration,
    pub(crate) counted: u64,
    pub(crate) counting: Duration,
}

/// Takes the tour. `loaded` is told how many packages more are in the table.
pub(crate) async fn take(
    client: &Client,
    table: &str,
    packages: &[Package],
    loaded: impl Fn(u64),
) -> stator::Result<Report> {
    make_table(client, table).await?;

    let begun = Instant::now();
    load(client, table, packages, loaded).await?;
    let loading = begun.elapsed();

    let begun = Instant::now();
    let some = packages.iter().find(|package| package.name == "bash").or(packages.first());
    let key = some.map(Package::key).unwrap_or_default();
    let read = client.get_item().table_name(table).set_key(key.clone()).send().await?.item;
    let reading = begun.elapsed();

    let (section, prefix) = place_of_interest(packages);
    let begun = Instant::now();
    let query = client
        .query()
        .table_name(table)
        .key_condition_expression("#section = :section AND begins_with(package, :prefix)")
        // A reserved word, as many a good name is.
        .expression_attribute_names("#section", "section")
        .expression_attribute_values(":section", section.as_str())
        .expression_attribute_values(":prefix", prefix.as_str())
        .projection_expression("package");
    let items: Vec<Item> = query.into_paginator().items().send().try_collect().await?;
    let name = |item: &Item| Some(item.get("package")?.as_s()?.to_owned());
    let found = items.iter().filter_map(name).collect();
    let querying = begun.elapsed();

    let begun = Instant::now();
    let starred = star(client, table, &key).await?;
    let starred_twice = star(client, table, &key).await?.is_some();
    let updating = begun.elapsed();

    let begun = Instant::now();
    let counted = count(client, table).await?;
    let counting = begun.elapsed();
    Ok(Report {
        loaded: packages.len(),
        loading,
        read,
        reading,
        section,
        prefix,
        found,
        querying,
        starred,
        starred_twice,
        updating,
        counted,
        counting,
    })
}

async fn make_table(client: &Client, table: &str) -> stator::Result<()> {
    let create = client.create_table().table_name(table);
    let create = create.partition_key("section", KeyType::S).sort_key("package", KeyType::S);
    match create.send().await {
        Err(error) if error.kind() != ErrorKind::ResourceInUse => return Err(error),
        _ => {}
    }
    client.wait_until_active(table).await
}

/// Loads by batches, several at once. A batch that may or may not have been written is written again: nobody else writes here.
async fn load(
    client: &Client,
    table: &str,
    packages: &[Package],
    loaded: impl Fn(u64),
) -> stator::Result<()> {
    let steps = stream::iter(packages.chunks(STEP).map(|step| async move {
        let mut left: Vec<_> = step.iter().map(|package| put(package.to_item())).collect();
        while !left.is_empty() {
            match client.write_all(table, left.clone()).await {
                Ok(rest) => left = rest,
                Err(error) if error.is_uncertain() || error.is_throttled() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(step.len() as u64)
    }));
    let mut steps = steps.buffer_unordered(STEPS_AT_ONCE);
    while let Some(count) = steps.try_next().await? {
        loaded(count);
    }
    Ok(())
}

/// The largest section, and a prefix that several of its packages share: that of the one in the middle.
fn place_of_interest(packages: &[Package]) -> (String, String) {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        sections.entry(&package.section).or_default().push(&package.name);
    }
    let largest = sections.into_iter().max_by_key(|(_, names)| names.len());
    let Some((section, mut names)) = largest else { return Default::default() };
    names.sort_unstable();
    let prefix = names[names.len() / 2].chars().take(6).collect();
    (section.to_owned(), prefix)
}

/// Marks an item, unless it is marked already: the item as it is then, or nothing.
async fn star(client: &Client, table: &str, key: &Item) -> stator::Result<Option<Item>> {
    let star = client
        .update_item()
        .table_name(table)
        .set_key(key.clone())
        .update_expression("SET starred = :yes")
        .condition_expression("attribute_exists(package) AND attribute_not_exists(starred)")
        .expression_attribute_values(":yes", true)
        .return_values(ReturnValues::AllNew);
    match star.send().await {
        Ok(output) => Ok(output.attributes),
        Err(error) if error.is_conditional_check_failed() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts all items, in segments that are read side by side.
async fn count(client: &Client, table: &str) -> stator::Result<u64> {
    let segments = (0..SEGMENTS).map(|segment| {
        let scan = client.scan().table_name(table).segment(segment).total_segments(SEGMENTS);
        let pages = scan.select(Select::Count).into_paginator().send();
        pages.try_fold(0, |sum, page| async move { Ok(sum + u64::from(page.count)) })
    });
    Ok(futures::future::try_join_all(segments).await?.into_iter().sum())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = self.loaded as f64 / self.loading.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "loaded {} packages in {:.1?}, {per_second:.0} a second",
            self.loaded, self.loading
        )?;
        if let Some(item) = &self.read {
            let of = |name: &str| item.get(name).and_then(|value| value.as_s()).unwrap_or("?");
            let about = of("description").lines().next().unwrap_or_default();
            writeln!(
                f,
                "read {} {} in {:.1?}: {about}",
                of("package"),
                of("version"),
                self.reading
            )?;
        }
        let (count, section) = (self.found.len(), &self.section);
        let some: Vec<_> = self.found.iter().take(5).map(String::as_str).collect();
        writeln!(
            f,
            "found {count} packages of {section} that begin with {} in {:.1?}: {}{}",
            self.prefix,
            self.querying,
            some.join(", "),
            if some.len() < count { ", ..." } else { "" }
        )?;
        let first = if self.starred.is_some() { "was" } else { "was already, by an earlier tour," };
        let second = if self.starred_twice {
            "again"
        } else {
            "and the second time the condition held it back"
        };
        writeln!(f, "it {first} starred, {second}: {:.1?} for both", self.updating)?;
        write!(f, "counted {} items in {SEGMENTS} segments in {:.1?}", self.counted, self.counting)
    }
}
