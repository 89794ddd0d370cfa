use std::io::ErrorKind;

use tempfile::TempDir;

use super::*;

#[test]
fn kinds_have_names() {
    for kind in [EngineKind::Memory, EngineKind::Fjall, EngineKind::Sled] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert!("rocksdb".parse::<EngineKind>().unwrap_err().contains("`rocksdb`"));
}

#[test]
fn a_budget_is_shared_out_and_not_exceeded() {
    for budget in [0, 100 << 20, 64 << 30] {
        let options = EngineOptions::within(budget);
        assert!(options.cache_bytes + options.buffer_bytes <= budget.max(32 << 20), "{options:?}");
        assert!(options.cache_bytes >= 16 << 20 && options.buffer_bytes >= 8 << 20, "{options:?}");
    }
}

#[test]
fn the_engine_in_memory_leaves_the_directory_alone() {
    let opened = open(Path::new("/nowhere/at/all"), EngineKind::Memory, &EngineOptions::default());
    assert_eq!(opened.unwrap().engine.name(), "memory");
}

#[test]
fn a_directory_is_claimed_for_one_engine() {
    let dir = TempDir::new().unwrap();
    claim(dir.path(), EngineKind::Fjall).unwrap();
    claim(dir.path(), EngineKind::Fjall).unwrap();
    let marker = fs::read_to_string(dir.path().join("engine")).unwrap();
    assert_eq!(marker, "stator engine 1 fjall\n");
    let error = claim(dir.path(), EngineKind::Sled).unwrap_err();
    assert!(matches!(error, Error::Io { kind: ErrorKind::InvalidInput, .. }));
    let said = error.to_string();
    assert!(said.contains("`fjall`") && said.contains("`sled`"), "{said}");
}

#[test]
fn a_marker_of_a_newer_layout_is_told_apart_from_garbage() {
    let dir = TempDir::new().unwrap();
    let claim_with = |text: &str| {
        fs::write(dir.path().join("engine"), text).unwrap();
        claim(dir.path(), EngineKind::Fjall).unwrap_err()
    };
    let newer = claim_with("stator engine 2 fjall\n");
    assert!(matches!(newer, Error::Version { found: 2, known: 1, .. }), "{newer}");
    for garbage in ["", "stator engine x fjall", "stator engine 1", "another thing 1 fjall"] {
        let error = claim_with(garbage);
        assert!(matches!(error, Error::Corruption { .. }), "{garbage:?}: {error}");
    }
}

#[test]
fn data_of_unknown_origin_is_not_touched() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    let error = claim(dir.path(), EngineKind::Fjall).unwrap_err();
    assert!(matches!(error, Error::Io { kind: ErrorKind::AlreadyExists, .. }), "{error}");
    assert!(!dir.path().join("engine").exists());
}

#[test]
#[cfg(not(feature = "engine-sled"))]
fn an_engine_that_was_not_built_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let error = open(dir.path(), EngineKind::Sled, &EngineOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Io { kind: ErrorKind::Unsupported, .. }));
    assert!(error.to_string().contains("`sled`"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
