//! The example that loads a catalogue, on one that is made up.

#[path = "../../examples/catalog/packages.rs"]
mod packages;
#[path = "../../examples/catalog/source.rs"]
mod source;
// The example's modules name each other from their crate's root.
#[path = "../../examples/catalog/tour.rs"]
mod tour;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use stator::{AttributeValue, Number};

use crate::support::directory;

/// So many packages in four sections, one of them twice, one without a section, and what real files have besides.
fn catalogue(count: usize) -> String {
    let mut text = String::from("\n\n");
    for n in 0..count {
        let section = ["libs", "admin", "libs", "contrib/games"][n % 4];
        text += &format!(
            "Package: lib{n:04}\nVersion: 1.{n}\nSection: {section}\nSize: {}\n",
            n * 1000
        );
        text += "Depends: libc6 (>= 2.34), zlib1g\nTag: role::program,\n uitoolkit::sdl, role::program\n";
        text += "Description: a package\n that is described\n .\n in several lines: four\n\n";
    }
    text += "Package: lib0000\nVersion: 2.0\nSection: libs\n\nPackage: alone\nMaintainer: \u{e9}\n\nNo: package\n\n";
    text
}

#[test]
fn stanzas_are_packages() {
    let read = packages::read(catalogue(8).as_bytes()).expect("read");
    assert_eq!(read.len(), 9, "the second lib0000 is left out, and what has no name");
    let item = read[1].to_item();
    assert_eq!(item["section"], "admin".into());
    assert_eq!(item["package"], "lib0001".into());
    assert_eq!(item["version"], "1.1".into());
    assert_eq!(item["size_bytes"], Number::from(1000u64).into());
    let depends = AttributeValue::L(vec!["libc6 (>= 2.34)".into(), "zlib1g".into()]);
    assert_eq!(item["depends"], depends);
    let tags = ["role::program".to_owned(), "uitoolkit::sdl".to_owned()];
    assert_eq!(item["tags"], AttributeValue::Ss(tags.into()));
    let description = "a package\nthat is described\n.\nin several lines: four";
    assert_eq!(item["description"], description.into());
    assert_eq!(read[0].to_item()["version"], "1.0".into());
    assert_eq!(read[8].to_item()["section"], "unknown".into());
    assert_eq!(packages::read(&b"Package: \xe9\nSection: x"[..]).expect("read").len(), 1);
}

#[test]
fn the_catalogue_is_the_file_given_or_the_index_or_what_is_installed() {
    let dir = directory();
    let [given, installed] = ["given", "installed"].map(|name| {
        let file = dir.path().join(name);
        fs::write(&file, format!("Package: {name}\n")).expect("written");
        file
    });
    let text = |file: Option<&Path>, index: &str| {
        let mut text = String::new();
        let opened = source::open(file, index, &installed);
        opened.expect("opened").read_to_string(&mut text).expect("read");
        text
    };
    // These print what they are given, nothing, and nothing with an exit code; and there is none.
    let programs = ["echo", "true", "false", "stator-test-no-such-program"];
    for program in programs {
        assert_eq!(text(Some(&given), program), "Package: given\n");
    }
    let texts = programs.map(|program| text(None, program));
    let fallback = "Package: installed\n";
    assert_eq!(texts, ["dumpavail\n", fallback, fallback, fallback]);
    assert!(source::open(None, "false", &dir.path().join("absent")).is_err());
    assert_eq!((source::INDEX, source::INSTALLED), ("apt-cache", "/var/lib/dpkg/status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_finds_what_was_loaded() {
    let database = stator::OpenOptions::new().table_partitions(4).in_memory().await.expect("opens");
    let client = database.client();
    let packages = packages::read(catalogue(600).as_bytes()).expect("read");
    let loaded = AtomicU64::new(0);
    let count = |more| _ = loaded.fetch_add(more, Ordering::Relaxed);
    let report = tour::take(&client, "packages", &packages, count).await.expect("the tour");
    assert_eq!((report.loaded, loaded.into_inner(), report.counted), (601, 601, 601));
    assert_eq!(report.read.as_ref(), Some(&packages[0].to_item()));
    assert_eq!((report.section.as_str(), report.prefix.as_str()), ("libs", "lib030"));
    assert_eq!(report.found, ["lib0300", "lib0302", "lib0304", "lib0306", "lib0308"]);
    assert_eq!(report.starred.as_ref().and_then(|item| item.get("starred")), Some(&true.into()));
    assert!(!report.starred_twice);
    assert!(report.to_string().contains("found 5 packages of libs that begin with lib030"));
    // The same table once more, as it is.
    let report = tour::take(&client, "packages", &packages, |_| {}).await.expect("the tour");
    assert_eq!(report.counted, 601);
}
