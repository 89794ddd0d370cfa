//! The layers that settings come in, and how they are put together.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names;
use super::value::Value;
#[cfg(feature = "cli")]
use super::value::parse;
use super::{AdminListen, ByteSize, ConfigError, EngineKind, LogFormat, NodeConfig, ReadMode};

/// A file of settings that is longer is none.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One layer of settings: what it does not give, the layer below does. The comments are the manual.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
pub struct PartialConfig {
    /// Where the node keeps its data. Made if it is not there; one process at a time has it [default: stator-data]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DIR", value_parser = parse::<PathBuf>))]
    pub data_dir: Option<PathBuf>,

    /// The address that clients and other nodes connect to. Anything beyond loopback needs --insecure, for nothing is
    /// encrypted or authenticated yet [default: 127.0.0.1:7400]
    #[cfg_attr(feature = "cli", arg(long, value_name = "IP:PORT", value_parser = parse::<SocketAddr>))]
    pub listen: Option<SocketAddr>,

    /// The address by which others reach this node, if it is not the one it listens on: behind a container's or a cloud's
    /// address translation, or with a host name [default: the value of --listen]
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST:PORT"))]
    pub advertise: Option<String>,

    /// The address of the admin port, with /livez, /readyz and /metrics over HTTP, or `off`
    /// [default: as --listen, with the next port]
    #[cfg_attr(feature = "cli", arg(long, value_name = "IP:PORT|off", value_parser = parse::<AdminListen>))]
    pub admin_listen: Option<AdminListen>,

    /// The nodes that found a cluster together, as they advertise themselves, this one among them. Give the same list to
    /// each of them. Matters at the first start only. Without it and --join, the node is a cluster of its own
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST:PORT,...", value_delimiter = ','))]
    pub initial_nodes: Option<Vec<String>>,

    /// A node of the cluster that this one is to join, or several, of which one must answer. Matters at the first start only
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOST:PORT,...", value_delimiter = ','))]
    pub join: Option<Vec<String>>,

    /// What this node shares its fate with: a rack, a data center. The replicas of a partition are put into different zones
    /// where they can be
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME"))]
    pub zone: Option<String>,

    /// The name of the whole cluster, as it will be called among clusters that replicate to each other [default: local]
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME"))]
    pub region: Option<String>,

    /// The engine under the data: fjall or sled. A data directory keeps the one that it was made with [default: fjall]
    #[cfg_attr(feature = "cli", arg(long, value_name = "NAME", value_parser = parse::<EngineKind>))]
    pub engine: Option<EngineKind>,

    /// The memory to keep to, caches, buffers and queues together; at least 128MiB [default: 512MiB]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = parse::<ByteSize>))]
    pub memory: Option<ByteSize>,

    /// The most disk space that the log takes. A replica that is too far behind for it gets a snapshot instead of the log;
    /// at least four segments [default: 1GiB]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = parse::<ByteSize>))]
    pub log_budget: Option<ByteSize>,

    /// The size of the log's files, a multiple of 4KiB; at least 8MiB [default: 64MiB]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = parse::<ByteSize>))]
    pub log_segment: Option<ByteSize>,

    /// The free disk space below which the node refuses writes, so that the engine never meets a full disk
    /// [default: 256MiB]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = parse::<ByteSize>))]
    pub min_free: Option<ByteSize>,

    /// How fast the node sends snapshots of partitions to replicas that are too far behind, in bytes a second, all of them
    /// together; at least 1MiB [default: 64MiB]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = parse::<ByteSize>))]
    pub snapshot_rate: Option<ByteSize>,

    /// How strongly consistent reads are served: lease (a leader answers alone while it holds one) or read-index (a majority
    /// is asked each time: for virtual machines that are paused with their clocks) [default: lease]
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOW", value_parser = parse::<ReadMode>))]
    pub reads: Option<ReadMode>,

    /// Listen beyond loopback although nothing is encrypted or authenticated: whoever reaches the port can read and write
    /// everything [default: false]
    #[cfg_attr(feature = "cli", arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = parse::<bool>))]
    pub insecure: Option<bool>,

    /// Make the node's engine anew from the other nodes, if it is damaged or cannot be believed after a power cut. What there is
    /// is set aside, not deleted; the other nodes must run. For one start: with it, each start does so [default: false]
    #[cfg_attr(feature = "cli", arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = parse::<bool>))]
    pub rebuild_engine: Option<bool>,

    /// How the node writes what it has to say, on standard error: text or json [default: text]
    #[cfg_attr(feature = "cli", arg(long, value_name = "FORMAT", value_parser = parse::<LogFormat>))]
    pub log_format: Option<LogFormat>,

    /// How much of it: error, warn, info, debug or trace, also by module, as in info,stator_consensus=debug [default: info]
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILTER"))]
    pub log_filter: Option<String>,

    /// Log each request that took at least so long; 0 for none [default: 500ms]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME", value_parser = parse::<Duration>))]
    pub slow_request: Option<Duration>,

    /// The deadline of a request that names none [default: 5s]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME", value_parser = parse::<Duration>))]
    pub request_timeout: Option<Duration>,

    /// The most connections that are open at once [default: 1024]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", value_parser = parse::<usize>))]
    pub max_connections: Option<usize>,

    /// The most requests that are worked on at once; those beyond are told to slow down [default: 4096]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", value_parser = parse::<usize>))]
    pub max_in_flight_requests: Option<usize>,

    /// The partitions that a new table starts with, unless its creator says; at most 1024 [default: 4]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", value_parser = parse::<u32>))]
    pub table_partitions: Option<u32>,

    /// The threads that work on queries, scans and large batches [default: 4]
    #[cfg_attr(feature = "cli", arg(long, value_name = "COUNT", value_parser = parse::<usize>))]
    pub query_threads: Option<usize>,
}

/// Writes, for a list of all settings, what is done to each. A field that is missing in the list does not compile.
macro_rules! settings {
    ($($name:ident)+) => {
        /// The settings' names.
        pub(super) const NAMES: &[&str] = &[$(stringify!($name)),+];

        impl PartialConfig {
            /// These settings, and below them those of `base`.
            #[must_use]
            pub fn over(self, base: Self) -> Self {
                Self { $($name: self.$name.or(base.$name)),+ }
            }

            fn set_toml(&mut self, name: &str, value: &toml::Value) -> Result<(), Problem> {
                match name {
                    $(stringify!($name) => self.$name = Some(Value::from_toml(value)?),)+
                    _ => return Err(Problem::Unknown),
                }
                Ok(())
            }

            fn set_text(&mut self, name: &str, text: &str) -> Result<(), Problem> {
                match name {
                    $(stringify!($name) => self.$name = Some(Value::parse(text)?),)+
                    _ => return Err(Problem::Unknown),
                }
                Ok(())
            }
        }
    };
}

settings! {
    data_dir listen advertise admin_listen initial_nodes join zone region engine memory log_budget log_segment min_free
    snapshot_rate reads insecure rebuild_engine log_format log_filter slow_request request_timeout max_connections max_in_flight_requests
    table_partitions query_threads
}

/// Why a value was not taken.
enum Problem {
    Unknown,
    NotAllowed(String),
}

impl From<String> for Problem {
    fn from(allowed: String) -> Self {
        Self::NotAllowed(allowed)
    }
}

impl PartialConfig {
    /// The settings of a file's text.
    ///
    /// # Errors
    /// If it is not TOML, names an unknown setting, or has a value of the wrong form.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|error| not_toml(text, &error))?;
        let mut settings = Self::default();
        for (name, value) in &table {
            settings.set_toml(name, value).map_err(|problem| match (problem, value) {
                (Problem::NotAllowed(allowed), _) => ConfigError::new(name, value, allowed),
                (Problem::Unknown, toml::Value::Table(section)) => {
                    names::unknown_section(name, section)
                }
                (Problem::Unknown, _) => names::unknown_key(name),
            })?;
        }
        Ok(settings)
    }

    /// The settings of a file.
    ///
    /// # Errors
    /// If it cannot be read, or as [`PartialConfig::from_toml`].
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let text = read(file).map_err(|error| {
            ConfigError::text(format!("config = {} cannot be read: {error}", file.display()))
        })?;
        Self::from_toml(&text).map_err(|error| error.at(file.display()))
    }

    /// The settings among environment variables: those that begin with `STATOR_`. Empty ones count as not there.
    ///
    /// # Errors
    /// If one is no setting's, or has a value of the wrong form.
    pub fn from_env(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        for (variable, name, text) in names::setting(variables) {
            let refused = match settings.set_text(&name.to_ascii_lowercase(), &text) {
                Ok(()) => continue,
                Err(Problem::NotAllowed(allowed)) => ConfigError::new(&variable, text, allowed),
                Err(Problem::Unknown) => match names::stray(&variable, &name, &text) {
                    Some(refused) => refused,
                    None => continue,
                },
            };
            return Err(refused.at("environment"));
        }
        Ok(settings)
    }

    /// These settings over the defaults, checked.
    ///
    /// # Errors
    /// As [`NodeConfig::validate`].
    pub fn build(self) -> Result<NodeConfig, ConfigError> {
        let defaults = NodeConfig::default();
        let listen = self.listen.unwrap_or(defaults.listen);
        let config = NodeConfig {
            listen,
            admin_listen: admin_listen(self.admin_listen, listen)?,
            data_dir: self.data_dir.unwrap_or(defaults.data_dir),
            advertise: self.advertise,
            initial_nodes: self.initial_nodes.unwrap_or_default(),
            join: self.join.unwrap_or_default(),
            zone: self.zone,
            region: self.region.unwrap_or(defaults.region),
            engine: self.engine.unwrap_or(defaults.engine),
            memory: self.memory.unwrap_or(defaults.memory),
            log_budget: self.log_budget.unwrap_or(defaults.log_budget),
            log_segment: self.log_segment.unwrap_or(defaults.log_segment),
            min_free: self.min_free.unwrap_or(defaults.min_free),
            snapshot_rate: self.snapshot_rate.unwrap_or(defaults.snapshot_rate),
            reads: self.reads.unwrap_or(defaults.reads),
            insecure: self.insecure.unwrap_or(defaults.insecure),
            rebuild_engine: self.rebuild_engine.unwrap_or(defaults.rebuild_engine),
            log_format: self.log_format.unwrap_or(defaults.log_format),
            log_filter: self.log_filter.unwrap_or(defaults.log_filter),
            slow_request: self.slow_request.unwrap_or(defaults.slow_request),
            request_timeout: self.request_timeout.unwrap_or(defaults.request_timeout),
            max_connections: self.max_connections.unwrap_or(defaults.max_connections),
            max_in_flight_requests: self
                .max_in_flight_requests
                .unwrap_or(defaults.max_in_flight_requests),
            table_partitions: self.table_partitions.unwrap_or(defaults.table_partitions),
            query_threads: self.query_threads.unwrap_or(defaults.query_threads),
            timing: defaults.timing,
        };
        config.validate()?;
        Ok(config)
    }
}

/// Puts the layers together: defaults, the file if one is given, the environment, and `flags` on top; checked.
///
/// # Errors
/// The first setting that is not allowed.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: PartialConfig,
) -> Result<NodeConfig, ConfigError> {
    let file = file.map(PartialConfig::from_file).transpose()?.unwrap_or_default();
    flags.over(PartialConfig::from_env(variables)?).over(file).build()
}

/// Where the admin port listens: unless told, beside the other one.
fn admin_listen(
    asked: Option<AdminListen>,
    listen: SocketAddr,
) -> Result<Option<SocketAddr>, ConfigError> {
    match asked {
        Some(AdminListen::Off) => Ok(None),
        Some(AdminListen::At(address)) => Ok(Some(address)),
        None if listen.port() == 0 => Ok(Some(listen)),
        None => match listen.port().checked_add(1) {
            Some(port) => Ok(Some(SocketAddr::new(listen.ip(), port))),
            None => Err(ConfigError::new(
                "listen",
                listen,
                "the admin port has no next port; give admin_listen, or switch it off",
            )),
        },
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if fs::metadata(file)?.len() > FILE_BYTES_MAX {
        let message = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
    }
    fs::read_to_string(file)
}

fn not_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    ConfigError::text(format!("line {line} is not TOML: {}", error.message()))
}
