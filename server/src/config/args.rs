//! The flags of `stator serve`. Their comments are its manual.

use std::path::PathBuf;

use super::{ConfigError, NodeConfig, PartialConfig, load};

/// Runs a node.
///
/// Every setting can be given in a file (as in `log_budget = "2GiB"`), by a variable (as in STATOR_LOG_BUDGET=2GiB) and by a
/// flag (as in --log-budget 2GiB). A flag goes before a variable, and a variable before the file. Sizes have a unit of
/// B, KiB, MiB, GiB or TiB, times one of ms, s or m; lists are separated by commas.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// A TOML file of settings; they have the names of the flags, with _ for -. Also STATOR_CONFIG
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings given as flags.
    #[command(flatten)]
    pub settings: PartialConfig,
}

impl ServeArgs {
    /// Puts all layers together, the environment's variables among them, and checks the settings.
    ///
    /// # Errors
    /// The first one that is not allowed: the binary prints the line and ends with exit code 2.
    pub fn load(
        self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<NodeConfig, ConfigError> {
        let variables: Vec<_> = variables.into_iter().collect();
        let named =
            variables.iter().find(|(name, file)| name == "STATOR_CONFIG" && !file.is_empty());
        let file = self.config.or_else(|| named.map(|(_, file)| PathBuf::from(file)));
        load(file.as_deref(), variables, self.settings)
    }
}

/// What is wrong with a command line, and what is allowed in its place, in one line: the parser of flags would go on about how to
/// get help.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let told =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told: Vec<_> = told.filter(|line| !line.is_empty()).collect();
    let told = told.join(" ").replace(" tip: ", "; ");
    told.strip_prefix("error: ").unwrap_or(&told).to_owned()
}
