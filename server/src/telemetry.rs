//! What a node says, and the names by which a request is followed through client, node and log.
//!
//! A library does not decide where traces go: only the binary calls [`install`].

use std::fmt::Write as _;
#[cfg(feature = "cli")]
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stator_model::Request;
use stator_model::limits::TABLE_NAME_BYTES_MAX;

#[cfg(feature = "cli")]
use crate::config::{ConfigError, LogFormat};
use crate::metrics::{Outcome, RequestKind};

#[cfg(test)]
mod tests;

/// Sends what the process traces to standard error, in a form for people or for programs, as far as `filter` lets it.
///
/// # Errors
/// If the filter is none. A subscriber that is already there stays, and that is an error, too.
#[cfg(feature = "cli")]
pub fn install(format: LogFormat, filter: &str) -> Result<(), ConfigError> {
    let refused = |why: &dyn std::fmt::Display| ConfigError::new("log_filter", filter, why);
    // What the engines tell of their own housekeeping is for those who ask for it by name.
    let whole = format!("fjall=warn,lsm_tree=warn,{filter}");
    let filter = tracing_subscriber::EnvFilter::try_new(whole).map_err(|error| {
        let allowed = "it must be error, warn, info, debug or trace, also by module, \
                       as in info,stator_consensus=debug";
        refused(&format_args!("{allowed} ({error})"))
    })?;
    // Colours are for terminals; in a file they are noise.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // It would tell of them by a macro that panics: where the lines go to a file, the disk may be full.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| ConfigError::text(format!("the log cannot be set up: {error}")))
}

/// Bytes of the longest name that a caller may give a request.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Makes the names of requests whose callers gave none: short, and never twice on a node, most likely over its restarts too.
#[derive(Debug)]
pub struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Names of a start, by a number that is its own, of the node whose directory has this incarnation: some digits of each
    /// keep the names of nodes and of starts apart, most likely.
    #[must_use]
    pub fn new(incarnation: u64, start: u64) -> Self {
        let prefix = format!("{:06x}-{:x}-", incarnation & 0xff_ffff, start & 0xff_ffff);
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// A name that no request of this node had, as in `9f03ac-2-1f`.
    #[must_use]
    pub fn make(&self) -> Arc<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(self.prefix.len() + 16);
        id.push_str(&self.prefix);
        // A string takes whatever is written to it.
        let _ = write!(id, "{number:x}");
        id.into()
    }

    /// The caller's name for a request if it is one, and else one made here: what is written into logs and answers must be
    /// short, and must not be able to look like another line of them.
    #[must_use]
    pub fn given_or_made(&self, given: Option<&str>) -> Arc<str> {
        match given {
            Some(given) if is_request_id(given) => given.into(),
            _ => self.make(),
        }
    }
}

/// Whether a text may name a request: 1 to 64 letters, digits and `-_.:`.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Lines of slow requests in a second; a node in trouble, where every request is slow, must not drown in its own log.
const SLOW_LINES_PER_SECOND: u64 = 20;

/// The log of slow requests.
#[derive(Debug)]
pub struct SlowLog {
    node: u64,
    threshold: Duration,
    begun: Instant,
    lines: Rate,
}

impl SlowLog {
    /// The log of a node, of requests that take at least `threshold`; of none, if that is zero.
    #[must_use]
    pub fn new(node: u64, threshold: Duration) -> Self {
        Self { node, threshold, begun: Instant::now(), lines: Rate::default() }
    }

    /// What a line about a request would say of it, kept while the request is served.
    #[must_use]
    pub fn begin(&self, request: &Request) -> Option<TableName> {
        (!self.threshold.is_zero()).then(|| TableName::of(request.table_name()))
    }

    /// Writes a line if the request was slow, and if there were not too many such lines lately: whether it did.
    pub fn ended(
        &self,
        request_id: &str,
        kind: RequestKind,
        table: Option<&TableName>,
        outcome: Outcome,
        took: Duration,
    ) -> bool {
        if self.threshold.is_zero() || took < self.threshold {
            return false;
        }
        let Some(unwritten) = self.lines.take(self.begun.elapsed().as_secs()) else {
            return false;
        };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            request_id,
            node = self.node,
            operation = kind.name(),
            table = table.map(TableName::as_str).unwrap_or_default(),
            result = outcome.name(),
            took_ms,
            unwritten,
            "slow request"
        );
        true
    }
}

/// The name of a request's table in a place of its own: nothing is allocated for requests of which nothing will be said.
#[derive(Clone, Copy, Debug)]
pub struct TableName {
    bytes: [u8; TABLE_NAME_BYTES_MAX],
    len: usize,
}

impl TableName {
    /// The name, or as much of one that is too long for a table as a table's may have.
    fn of(name: &str) -> Self {
        let end = (0..=name.len().min(TABLE_NAME_BYTES_MAX))
            .rev()
            .find(|end| name.is_char_boundary(*end));
        let name = &name[..end.unwrap_or(0)];
        let mut bytes = [0; TABLE_NAME_BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Self { bytes, len: name.len() }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// So many in a second, and how many were too many.
#[derive(Debug, Default)]
struct Rate {
    second: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Rate {
    /// Takes one in a second: how many were refused since the last one that was taken, or that this one is refused.
    fn take(&self, second: u64) -> Option<u64> {
        // Threads that change the second at the same moment may let a few more pass: it is a log.
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.taken.store(0, Ordering::Relaxed);
        }
        if self.taken.fetch_add(1, Ordering::Relaxed) < SLOW_LINES_PER_SECOND {
            Some(self.refused.swap(0, Ordering::Relaxed))
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}
