//! Faults of storage: what stops a replica or a node, loudly. What a caller did wrong is never here.

use std::fmt;

/// A result whose error is a storage fault.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an input or output.
    Io {
        /// What was being done, to which file.
        context: String,
        /// The operating system's answer.
        kind: std::io::ErrorKind,
        /// The same in words.
        message: String,
    },
    /// Bytes on disk are not what was written. Names the place: a file and offset, or a key.
    Corruption {
        /// The file, or the key in hexadecimal.
        place: String,
        /// The offset in the file, in bytes; zero for a key.
        offset: u64,
        /// What is wrong.
        message: String,
    },
    /// The data was written by a version of Stator that this one does not know.
    Version {
        /// What carries the version.
        place: String,
        /// The version found.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The engine failed and has to be reopened before it takes writes again.
    Engine(String),
    /// The log failed to sync, or was found damaged, and takes no more writes: what the disk holds is not known any more.
    LogFailed(String),
    /// The disk has no room.
    Full(String),
    /// The log's byte budget is used up by records that are still needed: truncate groups, then try again. Nothing of
    /// the batch was taken.
    LogFull(String),
    /// Too much waits to be written: try again when some of it is done. Nothing of the batch was taken.
    LogBusy(String),
    /// A batch contradicts what the log holds (a gap between entries, a group that was removed), or is too large for it.
    /// A fault of the caller; nothing of the batch was taken.
    LogMisuse(String),
    /// The entry asked for lies at or below its group's truncation mark.
    LogTruncated {
        /// The group.
        group: u64,
        /// The index asked for.
        index: u64,
    },
}

impl Error {
    /// Wraps an input/output error with what was being done.
    #[must_use]
    pub fn io(context: impl Into<String>, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::Full(context.into());
        }
        Self::Io { context: context.into(), kind: error.kind(), message: error.to_string() }
    }

    /// Corruption at an offset of a file.
    #[must_use]
    pub fn corruption(place: impl Into<String>, offset: u64, message: impl Into<String>) -> Self {
        Self::Corruption { place: place.into(), offset, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { context, message, .. } => write!(f, "{context}: {message}"),
            Self::Corruption { place, offset, message } => {
                write!(f, "corrupt data in {place} at offset {offset}: {message}")
            }
            Self::Version { place, found, known } => {
                write!(
                    f,
                    "{place} has format version {found}, and this version knows up to {known}"
                )
            }
            Self::Engine(message) => write!(f, "the engine failed: {message}"),
            Self::LogFailed(message) => write!(f, "the log failed: {message}"),
            Self::Full(context) => write!(f, "no space left on the disk: {context}"),
            Self::LogFull(message) => write!(f, "the log is full: {message}"),
            Self::LogBusy(message) => write!(f, "the log is busy: {message}"),
            Self::LogMisuse(message) => write!(f, "the log refuses a batch: {message}"),
            Self::LogTruncated { group, index } => {
                write!(f, "entry {index} of group {group} has been truncated")
            }
        }
    }
}

impl std::error::Error for Error {}
