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
    /// The log failed to sync, and takes no more writes: what the disk holds is not known any more.
    LogFailed(String),
    /// The disk has no room.
    Full(String),
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
                write!(f, "{place} has format version {found}, and this version knows up to {known}")
            }
            Self::Engine(message) => write!(f, "the engine failed: {message}"),
            Self::LogFailed(message) => write!(f, "the log failed: {message}"),
            Self::Full(context) => write!(f, "no space left on the disk: {context}"),
        }
    }
}

impl std::error::Error for Error {}
