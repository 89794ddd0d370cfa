//! How a node's memory is shared out.

use stator_consensus::Config;

/// What a node's memory goes to, in bytes. The parts sum up to less than the whole: the rest is for what nobody counts
/// (indexes and filters that an engine keeps outside its cache, connections, code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// For what the engine has read.
    pub engine_cache: u64,
    /// For what the engine has not yet written to its files.
    pub engine_buffers: u64,
    /// For what waits to be written to the log.
    pub log_buffers: u64,
    /// For entries, of all groups together: on their way, to be applied, kept for followers a little behind, and in queues to
    /// peers. [`MemoryPlan::consensus`] and [`MemoryPlan::peer_queues`] split it.
    pub queues: u64,
    /// For requests being worked on, and their answers.
    pub in_flight_requests: u64,
}

impl MemoryPlan {
    /// The least memory with which every part can do its work: the largest request, a batch of 16 MiB, must fit into what
    /// is for requests.
    pub const TOTAL_MIN: u64 = 128 << 20;

    /// Shares out `total` bytes, by sixteenths: 6 cache, 3 buffers, 1 log, 2 queues, 2 requests, and 2 for what nobody
    /// counts. The log has no use for more than half a segment of `log_segment` bytes; what is over goes to the cache.
    #[must_use]
    pub fn new(total: u64, log_segment: u64) -> Self {
        let sixteenth = total / 16;
        let log_buffers = sixteenth.min(log_segment / 2);
        Self {
            engine_cache: 6 * sixteenth + (sixteenth - log_buffers),
            engine_buffers: 3 * sixteenth,
            log_buffers,
            queues: 2 * sixteenth,
            in_flight_requests: 2 * sixteenth,
        }
    }

    /// The bounds of the groups, none above those of `most`. Entries on their way and those to be applied have three eighths of the
    /// queues' part each; what is kept besides may fill what these two leave.
    #[must_use]
    pub fn consensus(&self, most: Config) -> Config {
        let bytes = |eighths: u64| usize::try_from(self.queues / 8 * eighths).unwrap_or(usize::MAX);
        Config {
            in_flight_bytes_max: most.in_flight_bytes_max.min(bytes(3)),
            host_in_flight_bytes_max: most.host_in_flight_bytes_max.min(bytes(3)),
            apply_backlog_bytes_max: most.apply_backlog_bytes_max.min(bytes(3)),
            host_apply_backlog_bytes_max: most.host_apply_backlog_bytes_max.min(bytes(3)),
            host_cache_bytes_max: most.host_cache_bytes_max.min(bytes(6)),
            ..most
        }
    }

    /// For the queues to all peers together: the rest of the queues' part.
    #[must_use]
    pub fn peer_queues(&self) -> usize {
        usize::try_from(self.queues / 4).unwrap_or(usize::MAX)
    }

    /// All parts together.
    #[must_use]
    pub const fn counted(&self) -> u64 {
        self.engine_cache
            + self.engine_buffers
            + self.log_buffers
            + self.queues
            + self.in_flight_requests
    }
}
