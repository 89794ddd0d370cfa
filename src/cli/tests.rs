use std::collections::BTreeSet;

use clap::ValueEnum as _;
use clap_complete::Shell;

use super::*;

/// The names of a command's own commands, and of theirs.
fn names(command: &clap::Command) -> Vec<String> {
    let own = command.get_subcommands();
    own.flat_map(|own| [vec![own.get_name().to_owned()], names(own)].concat()).collect()
}

#[test]
fn the_scripts_of_all_shells_complete_all_commands() {
    let commands = names(&Cli::command());
    for known in ["serve", "completions", "table", "describe"] {
        assert!(commands.iter().any(|name| name == known), "{commands:?}");
    }
    for shell in Shell::value_variants() {
        let script = Completions { shell: *shell }.script();
        let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        let words: BTreeSet<&str> = script.split(|other| !letter(other)).collect();
        for name in &commands {
            assert!(words.contains(name.as_str()), "{shell}: {name}");
        }
    }
}
