//! Which crates may use which: the arrows of `ARCHITECTURE.md`, held against the manifests.

use std::collections::BTreeSet;
use std::path::Path;

/// Each crate, and those of the project's own that it may use. What may use all is not here.
const ARROWS: [(&str, &[&str]); 6] = [
    ("model", &[]),
    ("proto", &["model"]),
    ("storage", &["model"]),
    ("consensus", &["storage", "model"]),
    ("client", &["proto", "model"]),
    ("server", &["consensus", "storage", "proto", "model"]),
];

/// Crates that only these may use, and what for. The root's only use of gRPC is the bench's etcd target.
const KEPT: [(&[&str], &[&str]); 5] = [
    (&["fjall", "sled", "lsm-tree"], &["storage"]),
    (&["raft", "raft-proto", "protobuf", "slog"], &["consensus"]),
    (&["tonic", "tonic-prost", "prost", "h2"], &["proto", "client", "server", "root"]),
    (&["tokio", "tokio-stream"], &["client", "server", "root"]),
    (&["rand", "getrandom", "fastrand"], &[]),
];

/// What a crate's manifest says that it depends on, but for its tests and its build.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = if folder == "root" { root } else { root.join(folder) }.join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).expect("a manifest");
    let mut names = BTreeSet::new();
    let mut counts = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // Those of some targets alone count, too.
            counts = section == "dependencies" || section.ends_with(".dependencies");
            counts &= section != "workspace.dependencies";
            assert!(!section.contains("dependencies."), "{folder}: [{section}] is not read here");
        } else if counts && let Some(end) = line.find(['.', ' ', '=']).filter(|end| *end > 0) {
            let name = &line[..end];
            assert!(!line.contains("package ="), "{folder}: {name} is another one's name");
            if name != "#" {
                names.insert(name.to_owned());
            }
        }
    }
    assert!(!names.is_empty(), "{}", path.display());
    names
}

#[test]
fn nobody_below_imports_anybody_above() {
    for (folder, allowed) in ARROWS {
        for dependency in dependencies(folder) {
            if let Some(own) = dependency.strip_prefix("stator-") {
                assert!(allowed.contains(&own), "{folder} uses {own}");
            }
        }
    }
}

#[test]
fn each_foreign_crate_is_known_where_it_may_be() {
    let all = ARROWS.iter().map(|(folder, _)| *folder).chain(["sim", "root"]);
    for folder in all {
        let used = dependencies(folder);
        for (crates, allowed) in KEPT.iter().filter(|(_, allowed)| !allowed.contains(&folder)) {
            let found = crates.iter().find(|name| used.contains(**name));
            assert_eq!(found, None, "{folder} uses what only {allowed:?} may");
        }
    }
}
