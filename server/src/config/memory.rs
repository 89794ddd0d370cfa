//! How a node's memory is shared out.

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
    /// For what waits in mailboxes, in queues to peers and to be applied, of all groups together.
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
