//! Names that no setting has: which of them are somebody else's, and what was most likely meant by the others.

use super::ConfigError;
use super::layers::NAMES;

/// What the name of a setting's variable begins with.
const VARIABLE: &str = "STATOR_";
/// What else has a variable: the file of a node's settings, and where commands find a database.
const OTHER_VARIABLES: [&str; 2] = ["config", "endpoints"];

/// Of the environment's variables those that set something: what is left of the name, and the text, after the whole name. They begin
/// with `STATOR_`; empty ones count as not there.
pub(super) fn setting(
    variables: impl IntoIterator<Item = (String, String)>,
) -> impl Iterator<Item = (String, String, String)> {
    variables.into_iter().filter(|(_, text)| !text.is_empty()).filter_map(|(variable, text)| {
        let name = variable.strip_prefix(VARIABLE)?.to_owned();
        Some((variable, name, text))
    })
}

/// Checks that each of the environment's variables that set something is known, whatever its value.
///
/// # Errors
/// The first one that is neither a setting's nor a command's.
pub fn check_variables(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (variable, name, text) in setting(variables) {
        if !NAMES.contains(&name.to_ascii_lowercase().as_str())
            && let Some(refused) = stray(&variable, &name, &text)
        {
            return Err(refused.at("environment"));
        }
    }
    Ok(())
}

/// What is wrong with a variable that is no setting's, if it is nobody else's either.
pub(super) fn stray(variable: &str, name: &str, text: &str) -> Option<ConfigError> {
    let plain = name.to_ascii_lowercase();
    if OTHER_VARIABLES.contains(&plain.as_str()) || foreign(name, text) {
        return None;
    }
    if is_encryption(name) {
        return Some(encryption(variable));
    }
    let known = meant(&plain, &OTHER_VARIABLES);
    let known = known.map(|known| format!("{VARIABLE}{}", known.to_uppercase()));
    Some(unknown(variable, "", known.as_deref()))
}

/// A key of a file.
pub(super) fn unknown_key(name: &str) -> ConfigError {
    if is_encryption(name) { encryption(name) } else { unknown(name, "", meant(name, &[])) }
}

/// Whether a container platform made the variable, and not somebody who wants to set something: for a service `stator`, or
/// `stator-db`, each of its containers gets `STATOR_SERVICE_HOST`, `STATOR_DB_PORT=tcp://10.0.0.1:7400` and the like.
fn foreign(name: &str, text: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let ends = |end: &[&str]| words.ends_with(end);
    let service =
        words.windows(2).any(|two| two == ["SERVICE", "HOST"] || two == ["SERVICE", "PORT"]);
    let is_port = |word: &str| word.parse::<u16>().is_ok();
    let port = words.windows(3).any(|three| three[0] == "PORT" && is_port(three[1]));
    service || port || (ends(&["PORT"]) && text.contains("://"))
}

/// Whether somebody asks for what is not there yet, by whatever exact name.
fn is_encryption(name: &str) -> bool {
    name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("tls"))
}

/// Nobody may believe that a connection is protected.
fn encryption(name: &str) -> ConfigError {
    ConfigError::text(format!(
        "{name} is not allowed: encryption is not built yet; leave it out, and listen on loopback or in a closed network only"
    ))
}

fn unknown(name: &str, more: &str, known: Option<&str>) -> ConfigError {
    let perhaps = known.map_or_else(String::new, |known| format!(" (perhaps {known})"));
    let names = NAMES.join(", ");
    ConfigError::text(format!("{name} is not a setting{perhaps}: {more}the settings are {names}"))
}

/// A file has no sections: `[log]` with `budget` most likely means `log_budget`, and `[node]` with `listen` means `listen`.
pub(super) fn unknown_section(name: &str, section: &toml::Table) -> ConfigError {
    if is_encryption(name) {
        return encryption(&format!("[{name}]"));
    }
    let whole = section.keys().find_map(|key| meant(&format!("{name}_{key}"), &[]));
    let known = whole.or_else(|| section.keys().find_map(|key| meant(key, &[])));
    unknown(&format!("[{name}]"), "there are no sections, ", known.or_else(|| meant(name, &[])))
}

/// The setting, or one of these other names, that a misspelt name most likely means: one that differs by two letters at most,
/// and by fewer than half of its own.
fn meant(name: &str, others: &[&'static str]) -> Option<&'static str> {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    if plain.len() > 64 {
        return None;
    }
    let known = NAMES.iter().chain(others);
    let (letters, near) = known.map(|known| (distance(&plain, known), *known)).min()?;
    (letters <= 2 && 2 * letters < near.len() + 1).then_some(near)
}

/// How many letters have to be changed, added or left out to make one text the other.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
