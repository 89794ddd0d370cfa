use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{CatalogMember, DataDir, DirError, FORMAT, Identity, Lengths, Mode, free_bytes};
use crate::config::EngineKind::{Fjall, Sled};

fn open(dir: &Path) -> Result<DataDir, DirError> {
    DataDir::open(dir, Fjall, Mode::Cluster)
}

/// Every file and directory below, with its bytes: what "nothing touched" is judged by.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("readable") {
            let path = entry.expect("entry").path();
            let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).expect("read") };
            if path.is_dir() {
                left.push(path.clone());
            }
            found.insert(path.display().to_string(), bytes);
        }
    }
    found
}

/// Opening the directory is refused with these words, and leaves it as it was.
fn refused(dir: &Path, engine: crate::config::EngineKind, mode: Mode, words: &str) {
    let before = contents(dir);
    let error = DataDir::open(dir, engine, mode).expect_err("refused").to_string();
    assert!(error.contains(words), "{error:?} should say {words:?}");
    assert_eq!(error.lines().count(), 1, "{error:?}");
    assert_eq!(contents(dir), before, "touched");
}

#[test]
fn a_directory_is_made_and_known_again() {
    let parent = tempfile::tempdir().expect("tempdir");
    let path = parent.path().join("deep/data");
    let dir = open(&path).expect("made");
    let first = dir.identity();
    assert_eq!((first.cluster_id.clone(), first.node_id), (None, None));
    for made in [dir.log(), dir.engine(), dir.snapshots()] {
        assert!(made.is_dir() && made.starts_with(&path), "{made:?}");
    }
    drop(dir);
    let before = contents(&path);
    assert_eq!(open(&path).expect("opened").identity(), first);
    assert_eq!(contents(&path), before, "an opening writes nothing");
}

#[test]
fn two_directories_are_told_apart() {
    let parent = tempfile::tempdir().expect("tempdir");
    let incarnation =
        |name: &str| open(&parent.path().join(name)).expect("made").identity().incarnation;
    assert_ne!(incarnation("a"), incarnation("b"));
}

#[test]
fn what_a_node_learns_survives() {
    let dir = tempfile::tempdir().expect("tempdir");
    let member =
        CatalogMember { node_id: 1, replica_id: 1, address: "db1:7400".into(), incarnation: None };
    let known = CatalogMember { incarnation: Some(u64::MAX), ..member.clone() };
    let members = vec![member, known];
    let lengths = Some(Lengths { election_us: 800_000, lease_us: 725_000 });
    let opened = open(dir.path()).expect("made");
    opened.join("c-17", 3).expect("joined");
    opened.join("c-17", 3).expect("the same again");
    let remembered = opened.remember(|identity| {
        identity.catalog = members.clone();
        identity.lengths = lengths;
    });
    remembered.expect("written");
    let known = opened.identity();
    drop(opened);
    let again = open(dir.path()).expect("opened");
    assert_eq!(again.identity(), known);
    assert_eq!(again.identity().catalog, members);
    assert_eq!(again.identity().lengths, lengths);
    for (cluster, node) in [("c-18", 3), ("c-17", 4)] {
        let error = again.join(cluster, node).expect_err("another's").to_string();
        assert!(error.contains("is that of node 3 of c-17, not of node"), "{error}");
    }
    assert_eq!(again.identity().node_id, Some(3));
}

#[test]
fn one_process_opens_it_once() {
    let dir = tempfile::tempdir().expect("tempdir");
    let first = open(dir.path()).expect("made");
    refused(dir.path(), Fjall, Mode::Cluster, "is in use by this process");
    drop(first);
    open(dir.path()).expect("free again");
}

/// The other process is this test, run again by name.
#[test]
fn two_processes_do_not_share_it() {
    const VARIABLE: &str = "STATOR_TEST_HOLD_DIRECTORY";
    if let Some(dir) = std::env::var_os(VARIABLE) {
        let _held = open(Path::new(&dir)).expect("made");
        eprintln_line("holding");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let mut other = Command::new(std::env::current_exe().expect("test binary"))
        .args(["--exact", "dir::tests::two_processes_do_not_share_it", "--nocapture"])
        .env(VARIABLE, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(other.stderr.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("line") == "holding"), "the other never had it");
    refused(dir.path(), Fjall, Mode::Cluster, &format!("is in use by process {}", other.id()));
    other.kill().expect("killed");
    other.wait().expect("gone");
    open(dir.path()).expect("a lock ends with its process, however that ends");
}

#[expect(clippy::print_stderr, reason = "the other process is told by a line")]
fn eprintln_line(line: &str) {
    eprintln!("{line}");
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("thesis.txt"), "years").expect("written");
    refused(dir.path(), Fjall, Mode::Cluster, "was not made by Stator: it holds thesis.txt");
    let file = dir.path().join("thesis.txt");
    let error = open(&file).expect_err("a file").to_string();
    assert!(error.ends_with("thesis.txt is not a directory"), "{error}");
}

#[test]
fn an_empty_directory_or_one_cut_short_is_taken() {
    for left in [&[][..], &["lost+found"], &["lock"], &["lock", "node.toml.new"]] {
        let dir = tempfile::tempdir().expect("tempdir");
        left.iter().for_each(|name| fs::write(dir.path().join(name), "x").expect("written"));
        let _opened = open(dir.path()).expect("taken");
        assert!(!dir.path().join("node.toml.new").exists());
    }
}

#[test]
fn another_engine_or_use_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("tempdir");
    drop(open(dir.path()).expect("made"));
    // The lock file is signed by whoever opened the directory, which a process that is refused has not.
    fs::write(dir.path().join("lock"), "1\n").expect("written");
    let words = format!(
        "the directory {} was made with --engine fjall, and --engine sled was asked for",
        dir.path().display()
    );
    refused(dir.path(), Sled, Mode::Cluster, &words);
    refused(dir.path(), Fjall, Mode::Embedded, "is that of a cluster's node");

    let dir = tempfile::tempdir().expect("tempdir");
    drop(DataDir::open(dir.path(), Fjall, Mode::Embedded).expect("made"));
    refused(dir.path(), Fjall, Mode::Cluster, "is that of an embedded database");
}

#[test]
fn a_newer_format_is_refused_whatever_else_it_holds() {
    let dir = tempfile::tempdir().expect("tempdir");
    drop(open(dir.path()).expect("made"));
    let newer = format!("format = {}\nflux = 'capacitor'\n", FORMAT + 1);
    fs::write(dir.path().join("node.toml"), newer).expect("written");
    refused(dir.path(), Fjall, Mode::Cluster, "has format 2, of a newer version");
}

#[test]
fn a_damaged_identity_is_refused_and_not_made_anew() {
    let dir = tempfile::tempdir().expect("tempdir");
    drop(open(dir.path()).expect("made"));
    let file = dir.path().join("node.toml");
    let whole = fs::read_to_string(&file).expect("read");
    for (text, words) in [
        (String::new(), "names no format"),
        ("format = ".into(), "node.toml cannot be understood"),
        (whole.replace("format = 1", "format = 0"), "it has format 0"),
        (whole.replace("format = 1", "format = -2"), "it has format -2"),
        (whole.replace("format = 1", "format = 1\nodd = 1"), "unknown field `odd`"),
        (whole.replace("mode = \"cluster\"", "mode = 1"), "invalid type"),
        (whole.replace("incarnation = \"", "incarnation = \"+"), "16 hexadecimal digits"),
        (format!("{whole}#{}", "x".repeat(1 << 20)), "longer than"),
    ] {
        fs::write(&file, text).expect("written");
        refused(dir.path(), Fjall, Mode::Cluster, words);
    }
    fs::write(&file, [0xff, 0xfe]).expect("written");
    refused(dir.path(), Fjall, Mode::Cluster, "node.toml");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let error = open(Path::new("/proc/stator-data")).expect_err("no such place").to_string();
    assert!(error.starts_with("making /proc/stator-data: "), "{error}");
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn free_space_is_that_of_the_file_system() {
    let dir = tempfile::tempdir().expect("tempdir");
    assert!(free_bytes(dir.path()).expect("known") > 0);
    assert!(free_bytes(Path::new("/nowhere/at/all")).is_err());
    #[cfg(target_os = "linux")]
    assert_eq!(free_bytes(Path::new("/proc")).expect("known"), 0, "nothing can be written there");
}

#[test]
fn all_bits_of_an_incarnation_survive() {
    for incarnation in [0, 1, u64::MAX, 1 << 63] {
        let dir = tempfile::tempdir().expect("tempdir");
        let identity = Identity::new(Sled, Mode::Embedded, incarnation);
        super::store(dir.path(), &identity).expect("stored");
        let read = super::identity::read(&dir.path().join("node.toml")).expect("read");
        assert_eq!(read, Some(identity));
    }
}
