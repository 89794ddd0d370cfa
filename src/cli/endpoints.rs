//! Which nodes the commands talk to.

use std::path::Path;
use std::time::Duration;

use stator_client::{Client, GrpcTransport, RetryPolicy};

use super::cluster::Record;
use super::number;
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
        value_parser = number::from(1..=3600_u16),
        help_heading = "Connection"
    )]
    timeout: u16,
}

/// The endpoints to use when these are given, and where they come from.
pub(crate) fn known(given: &[String]) -> Result<(Vec<String>, &'static str), Failure> {
    let given = given.iter().map(|endpoint| endpoint.trim().to_owned());
    let given: Vec<String> = given.filter(|endpoint| !endpoint.is_empty()).collect();
    if !given.is_empty() {
        return Ok((given, "--endpoints or STATOR_ENDPOINTS"));
    }
    let record = Record::read(Path::new(CLUSTER_DIR)).map_err(Failure::refused)?;
    Ok(match record {
        Some(record) => (record.endpoints, "./stator-data/cluster.json"),
        None => (vec![ENDPOINT_DEFAULT.to_owned()], "the default"),
    })
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
        let (endpoints, source) = known(&self.endpoints)?;
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
        let what =
            "The write may have been applied or may be yet: read the item before writing it again.";
        self.failure_in_doubt(error.into(), what)
    }

    /// What an error of a change to a table means for the command.
    pub(crate) fn table_failure(
        &self,
        error: impl Into<stator_client::Error>,
        table: &str,
    ) -> Failure {
        let error = error.into();
        if error.is_validation() && error.message().contains("protected against deletion") {
            let hint =
                format!("`stator table update {table} --deletion-protection false` lifts it.");
            return Failure::refused(format!("{error}\n{hint}"));
        }
        let what = format!(
            "The change may have been made or may be yet: `stator table describe {table}` tells."
        );
        self.failure_in_doubt(error, &what)
    }

    fn failure_in_doubt(&self, error: stator_client::Error, in_doubt: &str) -> Failure {
        if error.is_uncertain() {
            return Failure::uncertain(format!("{error}\n{in_doubt}"));
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
        if error.is_validation()
            && let Some((_, word)) = error.message().rsplit_once("reserved keyword: ")
        {
            let hint = format!(
                "Call it by a name of your own: #{word} in the expression, and --names '{{\"#{word}\": \"{word}\"}}'."
            );
            return Failure::refused(format!("{error}\n{hint}"));
        }
        // The words are tonic's, for an answer in HTTP without anything of gRPC in it.
        if error.message().contains("grpc-status header missing") {
            return Failure::refused(format!(
                "{error}\nAsked: {} (from {}). What answers there speaks HTTP, but is no node's port for clients; is it an admin \
                 port? The port for clients is the one below it.",
                self.endpoints.join(", "),
                self.source
            ));
        }
        if error.is_throttled() {
            let hint = "Nothing was changed; try again a little later.";
            return Failure::refused(format!("{error}\n{hint}"));
        }
        Failure::refused(error)
    }
}
