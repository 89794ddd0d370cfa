//! Notes the commit that the program is built from, where git knows it, for `stator --version`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    // Not `STATOR_...`: `cargo run` hands it on to the program, for which those are settings.
    println!("cargo::rustc-env=VERSION_AND_COMMIT={version}");
}

fn commit() -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    // Unpacked from a package inside somebody else's repository, that one's commit says nothing.
    let repository = PathBuf::from(git(&root, &["rev-parse", "--show-toplevel"])?);
    if repository.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // Each commit, checkout and merge adds a line to it.
    let log = git(&root, &["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={}", root.join(log).display());
    git(&root, &["rev-parse", "--short=12", "HEAD"])
}

/// What git answers, if there is git and it answers one line.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
