//! A small file system of a test's own, to be filled.

#![allow(dead_code, reason = "not every binary that has this asks for all of it")]

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

/// A file system in memory, mounted for as long as this lives.
pub(crate) struct SmallDisk {
    dir: TempDir,
    /// What fills it.
    ballast: String,
}

impl SmallDisk {
    /// Mounts one of so many mebibytes. None, and that is said aloud, where this process may not mount.
    ///
    /// # Panics
    /// There, if `STATOR_TEST_MUST_MOUNT` is set: nobody reads of a test that is skipped.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn mount(mib: u64) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("stator-disk-").tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=755"), "stator-test"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => {
                return Some(Self { dir, ballast: "ballast".to_owned() });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let must = std::env::var_os("STATOR_TEST_MUST_MOUNT").is_some();
        assert!(!must, "a file system in memory cannot be mounted here: {why}");
        eprintln!("SKIPPED: a file system in memory cannot be mounted here: {why}");
        None
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its free bytes.
    pub(crate) fn free(&self) -> u64 {
        let found = statvfs(self.path()).expect("it is there");
        found.f_bavail * found.f_frsize
    }

    /// Fills it until so much is free.
    pub(crate) fn fill_to(&self, free: u64) {
        let more = self.free().saturating_sub(free);
        let ballast = self.open_ballast();
        let len = ballast.metadata().expect("a file").len();
        if more > 0 {
            // Others may take it first.
            let _ = fallocate(&ballast, FallocateFlags::empty(), len, more);
        }
    }

    /// Fills it to the brim, whoever else writes. What others give up once it is full is theirs: no piece is written twice after
    /// the first that finds no room.
    pub(crate) fn fill(&self) {
        let ballast = self.open_ballast();
        let mut at = ballast.metadata().expect("a file").len();
        let (mut piece, mut is_full) = (vec![1; 1 << 20], false);
        while piece.len() >= 4096 {
            match ballast.write_at(&piece, at) {
                Ok(written) => at += written as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => is_full = true,
                Err(error) => panic!("{error}"),
            }
            if is_full {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    /// Fills it to the brim in far less time than whoever looks at it now and then, and stops writing below this mark, lets pass
    /// between two looks.
    pub(crate) fn fill_at_once(&self, mark: u64) {
        self.fill_to(mark + (8 << 20));
        self.fill();
    }

    /// Takes away what filled it.
    pub(crate) fn give_back(&self) {
        std::fs::remove_file(self.path().join(&self.ballast)).expect("it was filled");
    }

    fn open_ballast(&self) -> File {
        let path = self.path().join(&self.ballast);
        File::options()
            .create(true)
            .append(false)
            .truncate(false)
            .write(true)
            .open(path)
            .expect("a file")
    }

    /// Makes it read-only, or not any more.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", mode]).arg(self.path()).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may take a moment to let go of it.
        let status = Command::new("umount").arg("-l").arg(self.path()).status();
        if !status.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("{} stays mounted", self.path().display());
        }
    }
}
