//! Setting a node's engine aside, to make it anew from the other nodes.
//!
//! ```text
//! DIR/rebuilding       there while it is under way: where the former engine went, and whether the new one has begun
//! DIR/engine.aside-1   the former engine, until an operator deletes it
//! ```
//!
//! ```text
//!   note written ──▶ engine renamed ──▶ empty engine ──▶ note: begun ──▶ ... replicas get their data ... ──▶ note removed
//! ```
//!
//! # Invariants
//! - Each step is durable before the next. A crash between any two is gone on from at the next start, for which nobody has to ask
//!   again: the note is enough.
//! - The former engine is renamed once, to a name that nothing had. Nothing is deleted or overwritten.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DataDir, DirError, make, sync_directory, sync_parent, write_whole};

const NOTE: &str = "rebuilding";
const ASIDE: &str = "engine.aside-";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// What the former engine's directory is called now; nothing if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aside: Option<String>,
    /// Whether the directory `engine` is the new one's.
    begun: bool,
}

impl DataDir {
    /// Whether the engine is being made anew.
    ///
    /// # Errors
    /// A fault of the disk, or a note that cannot be understood.
    pub fn is_rebuilding(&self) -> Result<bool, DirError> {
        Ok(self.note()?.is_some())
    }

    /// Sets the engine aside, or goes on where a crash interrupted that; afterwards the engine's directory is the new one's. Gives
    /// where the former engine is, if there was one.
    ///
    /// # Errors
    /// A fault of the disk; it may be called again.
    pub fn begin_rebuild(&self) -> Result<Option<PathBuf>, DirError> {
        let mut note = match self.note()? {
            Some(note) => note,
            None => {
                let note = Note { aside: self.name_aside()?, begun: false };
                self.store_note(&note)?;
                note
            }
        };
        let aside = note.aside.as_ref().map(|name| self.path.join(name));
        if !note.begun {
            let engine = self.engine();
            if let Some(aside) = aside.as_ref().filter(|aside| !aside.exists()) {
                fs::rename(&engine, aside).map_err(DirError::io("renaming", &engine))?;
                sync_parent(aside)?;
            }
            make(&engine)?;
            note.begun = true;
            self.store_note(&note)?;
        }
        Ok(aside)
    }

    /// The new engine holds durably all that it has to.
    ///
    /// # Errors
    /// A fault of the disk; it may be called again.
    pub fn end_rebuild(&self) -> Result<(), DirError> {
        let file = self.path.join(NOTE);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(DirError::io("removing", &file)(error))
            }
            _ => sync_directory(&self.path),
        }
    }

    fn note(&self) -> Result<Option<Note>, DirError> {
        let file = self.path.join(NOTE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DirError::io("reading", &file)(error)),
        };
        let damaged = |reason: String| DirError::Damaged { file: file.clone(), reason };
        let note: Note =
            toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
        let is_ours = |name: &String| name.strip_prefix(ASIDE).is_some_and(is_number);
        if note.aside.as_ref().is_some_and(|name| !is_ours(name)) {
            return Err(damaged("it names another directory than an engine's".to_owned()));
        }
        Ok(Some(note))
    }

    fn store_note(&self, note: &Note) -> Result<(), DirError> {
        let file = self.path.join(NOTE);
        let text = toml::to_string(note)
            .map_err(|error| DirError::Damaged { file, reason: error.to_string() })?;
        write_whole(&self.path, NOTE, &text)
    }

    /// A name that nothing has, if there is an engine to be called so.
    fn name_aside(&self) -> Result<Option<String>, DirError> {
        let engine = self.engine();
        let mut entries = fs::read_dir(&engine).map_err(DirError::io("reading", &engine))?;
        if entries.next().is_none() {
            return Ok(None);
        }
        let is_free = |name: &String| fs::symlink_metadata(self.path.join(name)).is_err();
        Ok((1_u64..).map(|number| format!("{ASIDE}{number}")).find(is_free))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::EngineKind;
    use crate::dir::Mode;

    /// A data directory with something in its engine.
    fn made(path: &Path, content: &str) -> DataDir {
        let dir = DataDir::open(path, EngineKind::Fjall, Mode::Cluster).expect("opened");
        fs::write(dir.engine().join("data"), content).expect("written");
        dir
    }

    fn reopened(path: &Path) -> DataDir {
        DataDir::open(path, EngineKind::Fjall, Mode::Cluster).expect("opened")
    }

    fn held(folder: &Path) -> String {
        fs::read_to_string(folder.join("data")).expect("it is there")
    }

    fn is_empty(folder: &Path) -> bool {
        fs::read_dir(folder).expect("a folder").next().is_none()
    }

    #[test]
    fn an_engine_is_set_aside_and_none_ever_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        for round in 1..=3 {
            let dir = made(&path, &round.to_string());
            assert!(!dir.is_rebuilding().expect("asked"));
            let aside = dir.begin_rebuild().expect("begun").expect("there was one");
            assert_eq!(aside, path.join(format!("engine.aside-{round}")));
            assert!(dir.is_rebuilding().expect("asked") && is_empty(&dir.engine()));
            dir.end_rebuild().expect("ended");
            dir.end_rebuild().expect("ended before");
        }
        for round in 1..=3 {
            assert_eq!(held(&path.join(format!("engine.aside-{round}"))), round.to_string());
        }
        fs::remove_dir_all(path.join("engine")).expect("removed");
        assert_eq!(reopened(&path).begin_rebuild().expect("begun"), None, "nothing to set aside");
    }

    #[test]
    fn it_goes_on_after_a_crash_wherever_that_was() {
        for crash in ["noted", "renamed", "made", "begun"] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("data");
            let dir = made(&path, "former");
            let aside = path.join("engine.aside-1");
            if crash == "begun" {
                dir.begin_rebuild().expect("begun");
                fs::write(dir.engine().join("data"), "new").expect("written");
            } else {
                let note = Note { aside: dir.name_aside().expect("a name"), begun: false };
                dir.store_note(&note).expect("noted");
            }
            if crash == "renamed" || crash == "made" {
                fs::rename(dir.engine(), &aside).expect("renamed");
            }
            if crash == "made" {
                fs::create_dir(dir.engine()).expect("made");
            }
            drop(dir);
            let dir = reopened(&path);
            assert!(dir.is_rebuilding().expect("asked"), "{crash}");
            for _ in 0..2 {
                assert_eq!(dir.begin_rebuild().expect("gone on"), Some(aside.clone()), "{crash}");
            }
            assert_eq!(held(&aside), "former", "{crash}");
            assert!(!path.join("engine.aside-2").exists(), "{crash}");
            match crash {
                "begun" => assert_eq!(held(&dir.engine()), "new", "what it has got so far stays"),
                _ => assert!(is_empty(&dir.engine()), "{crash}"),
            }
        }
    }

    #[test]
    fn a_note_that_is_none_is_refused() {
        for text in [
            "",
            "begun = 1",
            "begun = false\naside = \"../x\"",
            "begun = false\naside = \"engine.aside-\"",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let dir = made(folder.path(), "former");
            fs::write(folder.path().join(NOTE), text).expect("written");
            let error = dir.begin_rebuild().expect_err("refused");
            assert!(error.to_string().contains("rebuilding"), "{error}");
            assert_eq!(held(&dir.engine()), "former");
        }
    }
}
