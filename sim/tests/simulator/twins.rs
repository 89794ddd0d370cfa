//! A planted bug that breaks the simulator's own shell alone names a test of the node's own code: that test is there.

use std::path::Path;

#[test]
fn every_twin_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
    };
    let mutations = read("storage/src/mutation.rs");
    let mut count = 0;
    for line in mutations.lines().filter_map(|line| line.trim().strip_prefix("/// Twin: ")) {
        let words: Vec<&str> = line.split('`').collect();
        let ["", test, " in ", path, "."] = words[..] else { panic!("{line}") };
        assert!(read(path).contains(&format!("fn {test}(")), "{path} has no test {test}");
        count += 1;
    }
    assert!(count > 0);
}
