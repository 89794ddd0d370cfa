//! What is known of the process, under the names that Prometheus expects, without the node's prefix.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

/// Registers the process's metrics; the one returned is to be kept up to date.
pub(super) fn register(registry: &mut Registry, started_ms: u64) -> Gauge<u64, AtomicU64> {
    let process = registry.sub_registry_with_prefix("process");
    let started = ConstGauge::new(started_ms as f64 / 1e3);
    process.register_with_unit(
        "start_time",
        "When the node started, since 1970",
        Unit::Seconds,
        started,
    );
    let resident = Gauge::default();
    process.register_with_unit("resident_memory", "Memory in use", Unit::Bytes, resident.clone());
    resident
}

/// The memory that the process has, where the system tells.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Finds it in the text of Linux' `/proc/self/status`.
pub(super) fn resident_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
