//! The settings checked against each other and against what a node can do.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use stator_model::limits::TABLE_PARTITIONS_MAX;

use super::value::show;
use super::{ByteSize, ConfigError, EngineKind, MemoryPlan, NodeConfig};

type Checked = Result<(), ConfigError>;

const NODES_MAX: usize = 64;
/// How long the list of founders may be with commas between them, in bytes: it goes whole with every call between nodes, for the
/// founders know each other by it.
const FOUNDERS_BYTES_MAX: usize = 4096;
const NAME_BYTES_MAX: usize = 64;
/// A host name has at most 253 bytes, and `:65535` follows.
const ADDRESS_BYTES_MAX: usize = 259;

impl NodeConfig {
    /// Checks the settings, before anything is touched.
    ///
    /// # Errors
    /// The first one that is not allowed: one line that names key, value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_engine()?;
        self.check_addresses()?;
        self.check_nodes()?;
        self.check_names()?;
        self.check_sizes()?;
        self.check_counts()?;
        self.timing.validate().map_err(ConfigError::text)
    }

    fn check_engine(&self) -> Checked {
        if self.engine != EngineKind::Memory {
            return Ok(());
        }
        // Its data would be gone at the next start, and the log and the catalog would still speak of them.
        let why = "it must be fjall or sled, for a node's directory outlives the node; \
                   a database in memory is opened in a process, by stator::in_memory";
        Err(ConfigError::new("engine", self.engine, why))
    }

    fn check_addresses(&self) -> Checked {
        self.check_bind("listen", self.listen)?;
        if let Some(admin) = self.admin_listen {
            self.check_bind("admin_listen", admin)?;
            if admin == self.listen && admin.port() != 0 {
                return Err(ConfigError::new("admin_listen", admin, "listen has that address"));
            }
        }
        match &self.advertise {
            Some(advertise) => check_address("advertise", advertise),
            None if self.listen.ip().is_unspecified() => {
                let why = "others cannot connect to that; give advertise as well";
                Err(ConfigError::new("listen", self.listen, why))
            }
            None => Ok(()),
        }
    }

    fn check_bind(&self, key: &str, address: SocketAddr) -> Checked {
        if self.insecure || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let why = "beyond loopback nothing is encrypted or authenticated yet; \
                   listen on 127.0.0.1 or [::1], or accept it with insecure = true (--insecure)";
        Err(ConfigError::new(key, address, why))
    }

    fn check_nodes(&self) -> Checked {
        for (key, nodes) in [("initial_nodes", &self.initial_nodes), ("join", &self.join)] {
            if nodes.len() > NODES_MAX {
                let why = format!("it has at most {NODES_MAX} nodes");
                return Err(ConfigError::new(key, format_args!("{} nodes", nodes.len()), why));
            }
            nodes.iter().try_for_each(|node| check_address(key, node))?;
            let twice = |(i, node)| nodes.iter().take(i).any(|earlier| earlier == node);
            if nodes.iter().enumerate().any(twice) {
                return Err(ConfigError::new(key, nodes.join(","), "it names a node twice"));
            }
        }
        if self.initial_nodes.is_empty() {
            return Ok(());
        }
        let nodes = self.initial_nodes.join(",");
        if nodes.len() > FOUNDERS_BYTES_MAX {
            let why = format!(
                "the addresses may have {FOUNDERS_BYTES_MAX} bytes together; found with fewer nodes, and let the others join"
            );
            return Err(ConfigError::new(
                "initial_nodes",
                format_args!("{} bytes", nodes.len()),
                why,
            ));
        }
        if !self.join.is_empty() {
            let why = "a node founds a cluster or joins one; give initial_nodes or join";
            return Err(ConfigError::new("join", self.join.join(","), why));
        }
        let own = self.advertised(self.listen);
        if !self.initial_nodes.contains(&own) {
            let why = format!("this node must be among them as it advertises itself, {own}");
            return Err(ConfigError::new("initial_nodes", nodes, why));
        }
        Ok(())
    }

    fn check_names(&self) -> Checked {
        check_name("region", &self.region)?;
        self.zone.as_ref().map_or(Ok(()), |zone| check_name("zone", zone))?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::new("data_dir", "", "it must be a path"));
        }
        if self.log_filter.trim().is_empty() {
            let why = "it must be error, warn, info, debug or trace, perhaps by module";
            return Err(ConfigError::new("log_filter", "", why));
        }
        Ok(())
    }

    fn check_sizes(&self) -> Checked {
        let memory_min = ByteSize::new(MemoryPlan::TOTAL_MIN);
        at_least("memory", self.memory, memory_min)?;
        // The largest item fits into an entry of the smallest one: see `entry_bytes_max`.
        within("log_segment", self.log_segment, ByteSize::mib(8)..=ByteSize::mib(1024))?;
        if !self.log_segment.bytes().is_multiple_of(4096) {
            let why = "it must be a multiple of 4KiB";
            return Err(ConfigError::new("log_segment", self.log_segment, why));
        }
        let budget_min = ByteSize::new(4 * self.log_segment.bytes());
        if self.log_budget < budget_min {
            let why = format!("it must be at least four times log_segment, {budget_min}");
            return Err(ConfigError::new("log_budget", self.log_budget, why));
        }
        at_least("min_free", self.min_free, ByteSize::mib(1))?;
        at_least("snapshot_rate", self.snapshot_rate, ByteSize::mib(1))
    }

    fn check_counts(&self) -> Checked {
        let ms = Duration::from_millis;
        check_time("slow_request", self.slow_request, ms(0)..=ms(600_000))?;
        check_time("request_timeout", self.request_timeout, ms(10)..=ms(600_000))?;
        within("max_connections", self.max_connections, 1..=65_536)?;
        within("max_in_flight_requests", self.max_in_flight_requests, 1..=1_000_000)?;
        within("table_partitions", self.table_partitions, 1..=TABLE_PARTITIONS_MAX)?;
        within("query_threads", self.query_threads, 1..=256)
    }
}

fn at_least(key: &str, value: ByteSize, min: ByteSize) -> Checked {
    if value >= min {
        return Ok(());
    }
    Err(ConfigError::new(key, value, format_args!("it must be at least {min}")))
}

fn within<T: PartialOrd + Display>(key: &str, value: T, allowed: RangeInclusive<T>) -> Checked {
    if allowed.contains(&value) {
        return Ok(());
    }
    let why = format!("it must be from {} to {}", allowed.start(), allowed.end());
    Err(ConfigError::new(key, value, why))
}

fn check_time(key: &str, value: Duration, allowed: RangeInclusive<Duration>) -> Checked {
    if allowed.contains(&value) {
        return Ok(());
    }
    let why = format!("it must be from {} to {}", show(*allowed.start()), show(*allowed.end()));
    Err(ConfigError::new(key, show(value), why))
}

/// A name that goes into metrics, routes and records: short, and of plain characters.
fn check_name(key: &str, name: &str) -> Checked {
    if is_name(name) {
        return Ok(());
    }
    let why = format!("it must be 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'");
    Err(ConfigError::new(key, name.escape_debug(), why))
}

pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// An address that others can connect to.
fn check_address(key: &str, address: &str) -> Checked {
    if is_address(address) {
        return Ok(());
    }
    let why = "it must be a host's name or IP address and a port, as in db1.example:7400";
    Err(ConfigError::new(key, address.escape_debug(), why))
}

pub(crate) fn is_address(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let port_fits = port.parse::<u16>().is_ok_and(|port| port != 0);
    let label_fits = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    // What looks like an IP address and was none above is not a name either.
    let numbers = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    port_fits && !numbers && address.len() <= ADDRESS_BYTES_MAX && host.split('.').all(label_fits)
}
