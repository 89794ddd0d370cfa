//! Which nodes the commands talk to.

use std::path::Path;
use std::time::Duration;

use stator_client::{Client, GrpcTransport, RetryPolicy};

use super::cluster::Record;
use super::output::Failure;

/// Where a node listens unless told.
const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7400";
/// Where `stator cluster` keeps its data unless told.
const CLUSTER_DIR: &str = "stator-data";

/// How the database is reached.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Endpoints {
    /// Nodes of the cluster; one is enough, several are tried in turn [default: those of ./stator-data/cluster.json, or
    /// http://127.0.0.1:7400]
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        env = "STATOR_ENDPOINTS",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    endpoints: Vec<String>,

    /// How long a request may take, with all of its attempts, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        value_parser = clap::value_parser!(u16).range(1..=3600),
        help_heading = "Connection"
    )]
    timeout: u16,
}

/// A client, with what is to be said if nobody answers it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) endpoints: Vec<String>,
    source: &'static str,
}

impl Endpoints {
    /// A client of these nodes. It connects when it is used first.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        self.connect_with(RetryPolicy::default())
    }

    /// The same, with another policy of sending again.
    pub(crate) fn connect_with(&self, retry: RetryPolicy) -> Result<Connection, Failure> {
        let given: Vec<String> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.trim())
            .filter(|endpoint| !endpoint.is_empty())
            .map(str::to_owned)
            .collect();
        let (endpoints, source) = if !given.is_empty() {
            (given, "--endpoints or STATOR_ENDPOINTS")
        } else if let Some(record) =
            Record::read(Path::new(CLUSTER_DIR)).map_err(Failure::refused)?
        {
            (record.endpoints, "./stator-data/cluster.json")
        } else {
            (vec![ENDPOINT_DEFAULT.to_owned()], "the default")
        };
        let transport = GrpcTransport::builder().endpoints(endpoints.clone()).build();
        let transport =
            transport.map_err(|error| Failure::usage(format!("endpoints: {}", error.message())))?;
        let timeout = Duration::from_secs(self.timeout.into());
        let client = Client::builder(transport).retry(retry).timeout(timeout).build();
        Ok(Connection { client, endpoints, source })
    }
}

impl Connection {
    /// What an error of the database means for the command.
    pub(crate) fn failure(&self, error: impl Into<stator_client::Error>) -> Failure {
        let error = error.into();
        if error.is_uncertain() {
            return Failure::refused(format!(
                "{error}\nThe write may have been applied or may be yet: read the item before writing it again."
            ));
        }
        if error.is_unavailable() && !error.is_unreachable() {
            return Failure::unavailable(format!(
                "{error}\nThe database runs, but could not serve this in time: too few of its nodes may be up. `stator \
                 status` shows which are."
            ));
        }
        if error.is_unavailable() {
            return Failure::unavailable(format!(
                "{error}\nAsked: {} (from {}). Is the database running? `stator serve` runs a node, `stator cluster` \
                 several; --endpoints says where they are.",
                self.endpoints.join(", "),
                self.source
            ));
        }
        if error.is_resource_not_found() {
            let hint = "`stator table list` shows the tables, `stator table create` makes one.";
            return Failure::refused(format!("{error}\n{hint}"));
        }
        if error.is_validation() && error.message().contains("reserved keyword") {
            let hint = "Call it by a name of your own: '#y' in the expression, and --names '{\"#y\": \"year\"}'.";
            return Failure::refused(format!("{error}\n{hint}"));
        }
        if error.is_throttled() {
            let hint = "Nothing was changed; try again a little later.";
            return Failure::refused(format!("{error}\n{hint}"));
        }
        Failure::refused(error)
    }
}
