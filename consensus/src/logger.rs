//! raft-rs logs by `slog`; this sends its lines to `tracing`, with the group and replica in front.

use std::fmt::Write as _;

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record};

use crate::types::{GroupId, ReplicaId};

struct ToTracing {
    group: GroupId,
    replica: ReplicaId,
}

/// A logger for one replica.
pub(crate) fn logger(group: GroupId, replica: ReplicaId) -> Logger {
    Logger::root(ToTracing { group, replica }, slog::o!())
}

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        let enabled = match record.level() {
            Level::Critical | Level::Error => tracing::enabled!(tracing::Level::ERROR),
            Level::Warning => tracing::enabled!(tracing::Level::WARN),
            // Raft's own "info" is a line per vote and message: of use to a developer, not to an operator.
            _ => tracing::enabled!(tracing::Level::DEBUG),
        };
        if !enabled {
            return Ok(());
        }
        let mut line = Line(record.msg().to_string());
        let _ = record.kv().serialize(record, &mut line);
        let _ = values.serialize(record, &mut line);
        let (group, replica) = (self.group.0, self.replica.0);
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "stator::raft", group, replica, "{}", line.0);
            }
            Level::Warning => tracing::warn!(target: "stator::raft", group, replica, "{}", line.0),
            _ => tracing::debug!(target: "stator::raft", group, replica, "{}", line.0),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error => tracing::enabled!(tracing::Level::ERROR),
            Level::Warning => tracing::enabled!(tracing::Level::WARN),
            _ => tracing::enabled!(tracing::Level::DEBUG),
        }
    }
}

struct Line(String);

impl slog::Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}").map_err(|_| slog::Error::Other)
    }
}
