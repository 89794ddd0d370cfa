//! Times and bounds, in one table, checked against each other.

use std::time::Duration;

/// How a host runs its groups. Lease and election lengths are one setting of the whole cluster (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The length of a tick.
    pub tick: Duration,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader's message after which the first-ranked replica campaigns; each rank waits two more.
    pub election_ticks: usize,
    /// Of a lease, what is given up against clocks that run at different rates.
    pub drift_margin: Duration,
    /// Whether strong reads may be served under a lease at all; if not, each asks a quorum.
    pub leases: bool,
    /// Ticks after which an unanswered read index is asked again: raft-rs drops such requests silently.
    pub read_retry_ticks: u64,
    /// Ticks without work after which a group goes to sleep; 0 never.
    pub sleep_ticks: u64,
    /// Bytes of one entry, beyond which a turn makes another.
    pub entry_bytes_max: usize,
    /// Bytes of entries proposed and not yet applied, and of what is to be answered for them, per group.
    pub in_flight_bytes_max: usize,
    /// Bytes of requests that wait, and of entries and answers as above, over all groups of a host.
    pub host_in_flight_bytes_max: usize,
    /// Requests that wait in one group for a leader to be ready; and, apart from these, readers that wait for a quorum.
    pub waiting_max: usize,
    /// Bytes of the requests that wait in one group.
    pub waiting_bytes_max: usize,
    /// Bytes of entries in one message.
    pub message_bytes_max: u64,
    /// Messages with entries on their way to one follower.
    pub messages_in_flight_max: usize,
    /// Bytes of committed entries handed to the applier at once.
    pub apply_bytes_max: u64,
    /// Bytes of entries handed to the applier and not yet applied, per group.
    pub apply_backlog_bytes_max: usize,
    /// Bytes of entries of leaders elsewhere, committed and not yet applied, over all groups of a host: beyond it none are taken.
    pub host_apply_backlog_bytes_max: usize,
    /// Bytes of entries that a group keeps in memory besides the log, for followers a little behind.
    pub cache_bytes_max: usize,
    /// The same over all groups of a host: beyond it a group keeps only what it needs.
    pub host_cache_bytes_max: usize,
    /// Entries applied since the last truncation that make a leader truncate its log again.
    pub truncate_entries: u64,
    /// Ticks after which a snapshot that was wanted, and of which nothing was reported since, is given up.
    pub snapshot_ticks: u64,
    /// Bytes of entries that may be added to the log while it is kept for a snapshot under way, before it is no longer kept.
    pub snapshot_log_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(50),
            heartbeat_ticks: 2,
            election_ticks: 16,
            drift_margin: Duration::from_millis(25),
            leases: true,
            read_retry_ticks: 4,
            sleep_ticks: 60,
            entry_bytes_max: 1 << 20,
            in_flight_bytes_max: 16 << 20,
            host_in_flight_bytes_max: 24 << 20,
            waiting_max: 4096,
            waiting_bytes_max: 16 << 20,
            message_bytes_max: 1 << 20,
            messages_in_flight_max: 64,
            apply_bytes_max: 4 << 20,
            apply_backlog_bytes_max: 32 << 20,
            host_apply_backlog_bytes_max: 64 << 20,
            cache_bytes_max: 4 << 20,
            host_cache_bytes_max: 256 << 20,
            truncate_entries: 256,
            snapshot_ticks: 12_000,
            snapshot_log_bytes_max: 256 << 20,
        }
    }
}

impl Config {
    /// Checks the table.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        if self.tick.is_zero() {
            return Err("tick = 0 is not allowed: it must be at least 1 ms".into());
        }
        if self.heartbeat_ticks == 0 {
            return Err("heartbeat_ticks = 0 is not allowed: it must be at least 1".into());
        }
        if self.election_ticks < 3 * self.heartbeat_ticks {
            return Err(format!(
                "election_ticks = {} is not allowed: it must be at least three heartbeats ({})",
                self.election_ticks,
                3 * self.heartbeat_ticks
            ));
        }
        if self.election_timeout() > Duration::from_secs(1) {
            return Err(format!(
                "election_ticks = {} of {:?} is not allowed: an election timeout is at most 1 s",
                self.election_ticks, self.tick
            ));
        }
        if self.lease_length().is_zero() {
            return Err(format!(
                "drift_margin = {:?} is not allowed: it leaves nothing of a lease",
                self.drift_margin
            ));
        }
        if self.entry_bytes_max > self.in_flight_bytes_max {
            return Err(format!(
                "entry_bytes_max = {} is not allowed: it must fit in in_flight_bytes_max = {}",
                self.entry_bytes_max, self.in_flight_bytes_max
            ));
        }
        if self.message_bytes_max > self.in_flight_bytes_max as u64 {
            return Err(format!(
                "message_bytes_max = {} is not allowed: it must fit in in_flight_bytes_max = {}",
                self.message_bytes_max, self.in_flight_bytes_max
            ));
        }
        if self.in_flight_bytes_max > self.host_in_flight_bytes_max {
            return Err(format!(
                "in_flight_bytes_max = {} is not allowed: it must fit in host_in_flight_bytes_max = {}",
                self.in_flight_bytes_max, self.host_in_flight_bytes_max
            ));
        }
        if self.messages_in_flight_max == 0 || self.waiting_max == 0 || self.read_retry_ticks == 0 {
            return Err(
                "messages_in_flight_max, waiting_max and read_retry_ticks must be at least 1"
                    .into(),
            );
        }
        Ok(())
    }

    /// For how long a follower keeps its promise to a leader it has heard from (R2).
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.tick * u32::try_from(self.election_ticks).unwrap_or(u32::MAX)
    }

    /// How long a lease holds from the moment before it was asked for. raft-rs counts from a tick boundary, hence a tick less.
    #[must_use]
    pub fn lease_length(&self) -> Duration {
        self.election_timeout().saturating_sub(self.tick).saturating_sub(self.drift_margin)
    }
}

#[cfg(test)]
mod tests;
