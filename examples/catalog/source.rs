//! Where the catalogue comes from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor};
use std::path::Path;
use std::process::{Command, Stdio};

/// What prints the package index, after `dumpavail`.
pub(crate) const INDEX: &str = "apt-cache";
/// What dpkg has installed.
pub(crate) const INSTALLED: &str = "/var/lib/dpkg/status";

/// The file that is given; or else what a program prints of the package index; or, where that is not there, what is installed.
pub(crate) fn open(
    file: Option<&Path>,
    index: &str,
    installed: &Path,
) -> io::Result<Box<dyn BufRead>> {
    if let Some(file) = file {
        return Ok(Box::new(BufReader::new(File::open(file)?)));
    }
    let printed = Command::new(index).arg("dumpavail").stderr(Stdio::null()).output();
    if let Ok(printed) = printed
        && printed.status.success()
        && !printed.stdout.is_empty()
    {
        return Ok(Box::new(Cursor::new(printed.stdout)));
    }
    Ok(Box::new(BufReader::new(File::open(installed)?)))
}
