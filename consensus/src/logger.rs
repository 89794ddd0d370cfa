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
        if !self.is_enabled(record.level()) {
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
            Level::Critical | Level::Error => {
                tracing::enabled!(target: "stator::raft", tracing::Level::ERROR)
            }
            Level::Warning => tracing::enabled!(target: "stator::raft", tracing::Level::WARN),
            // Raft's own "info" is a line per vote and message: of use to a developer, not to an operator.
            _ => tracing::enabled!(target: "stator::raft", tracing::Level::DEBUG),
        }
    }
}

struct Line(String);

impl slog::Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}").map_err(|_| slog::Error::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Somebody who wants to hear of Raft, down to a level, and of nothing else.
    struct Listener {
        down_to: tracing::Level,
        heard: Arc<Mutex<Vec<tracing::Level>>>,
    }

    impl Subscriber for Listener {
        fn enabled(&self, of: &Metadata<'_>) -> bool {
            of.target() == "stator::raft" && *of.level() <= self.down_to
        }

        fn event(&self, event: &Event<'_>) {
            self.heard.lock().expect("no panic").push(*event.metadata().level());
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn who_listens_to_raft_alone_hears_it_and_down_to_his_level() {
        use tracing::Level;

        let heard_down_to = |down_to| {
            let heard = Arc::<Mutex<Vec<_>>>::default();
            let listener = Listener { down_to, heard: heard.clone() };
            tracing::subscriber::with_default(listener, || {
                let logger = logger(GroupId(7), ReplicaId(1));
                slog::error!(logger, "a node lost its head");
                slog::warn!(logger, "a node is about to"; "term" => 3);
                slog::info!(logger, "a vote");
            });
            heard.lock().expect("no panic").clone()
        };
        assert_eq!(heard_down_to(Level::DEBUG), [Level::ERROR, Level::WARN, Level::DEBUG]);
        assert_eq!(heard_down_to(Level::WARN), [Level::ERROR, Level::WARN]);
    }
}
