//! The command line: one flag for every setting of XDT's own, and the `keyring` subcommand.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::settings::SETTINGS;
use crate::{
    telemetry::log::COMMIT,
    trust::{KeyId, KeyRingFile},
};

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// Run the proxy, with these settings given as flags (under their variables' names).
    Serve(BTreeMap<String, String>),
    /// Make a key ring.
    KeyringNew(KeyRingFile, Option<KeyId>),
    /// Add a key to a ring.
    KeyringAdd(KeyRingFile, Option<KeyId>, bool),
    /// Print the reference of all settings.
    ConfigReference,
}

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    let flags = SETTINGS.iter().filter_map(|setting| {
        let flag = setting.flag()?;
        let help = match setting.default {
            Some(default) => format!("{} [default: {default}] [env: {}]", setting.meaning, setting.name),
            None => format!("{} [env: {}]", setting.meaning, setting.name),
        };
        Some(Arg::new(setting.name).long(flag).value_name("VALUE").help(help))
    });
    Command::new("xdt-queue-proxy")
        .version(version())
        .about("Knative queue-proxy sidecar that moves objects between functions by reference")
        .after_help("Knative's own settings come from the environment; docs/config.md lists all of them.")
        .args_conflicts_with_subcommands(true)
        .args(flags)
        .subcommand(keyring())
        .subcommand(
            Command::new("config-reference")
                .about("Prints docs/config.md")
                .hide(true),
        )
}

/// The version, and the revision of the source where the build knew it.
fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    COMMIT.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"))
}

fn keyring() -> Command {
    let file = Arg::new("FILE")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The key ring file");
    let id = Arg::new("id")
        .long("id")
        .value_name("ID")
        .help("Name of the key: 1 to 16 characters of [A-Za-z0-9-] [default: the month]")
        .value_parser(|text: &str| KeyId::parse(text).ok_or("an id is 1 to 16 characters of [A-Za-z0-9-]"));
    let primary = Arg::new("primary")
        .long("primary")
        .action(ArgAction::SetTrue)
        .help("New references use this key; safe once every queue-proxy has read a ring that lists it");
    Command::new("keyring")
        .about("Makes and changes key rings")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("new")
                .about("Makes a ring with one random key")
                .args([file.clone(), id.clone()]),
        )
        .subcommand(
            Command::new("add")
                .about("Adds a random key to a ring")
                .args([file, id, primary]),
        )
}

/// Reads what [`command`] matched.
#[must_use]
pub fn task(matches: &ArgMatches) -> Task {
    let file = |matches: &ArgMatches| KeyRingFile::new(matches.get_one::<PathBuf>("FILE").cloned().unwrap_or_default());
    let id = |matches: &ArgMatches| matches.get_one::<KeyId>("id").cloned();
    match matches.subcommand() {
        Some(("keyring", keyring)) => match keyring.subcommand() {
            Some(("add", add)) => Task::KeyringAdd(file(add), id(add), add.get_flag("primary")),
            Some((_, new)) => Task::KeyringNew(file(new), id(new)),
            None => Task::ConfigReference, // clap demands a subcommand
        },
        Some(_) => Task::ConfigReference,
        None => Task::Serve(flags(matches)),
    }
}

fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    let given = SETTINGS
        .iter()
        .filter(|setting| setting.flag().is_some())
        .filter_map(|setting| {
            let value = matches.get_one::<String>(setting.name)?;
            Some((setting.name.to_owned(), value.clone()))
        });
    given.collect()
}

/// `docs/config.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\nMade by `xdt-queue-proxy config-reference`; a test compares the two.\n\n\
         Every variable of XDT's own is also a flag, which wins. Sizes take `KiB`, `MiB`, `GiB` and bare bytes; durations\n\
         `ms`, `s`, `m`, `h`. All faults are told together at start. An unknown `XDT_*` variable is named in a warning.\n",
    );
    let sections = [("XDT", true), ("Knative", false)];
    for (title, own) in sections {
        let _infallible = write!(
            page,
            "\n## {title}\n\n| variable | flag | default | meaning |\n| --- | --- | --- | --- |\n"
        );
        for setting in SETTINGS.iter().filter(|setting| setting.flag().is_some() == own) {
            let flag = setting.flag().map_or_else(String::new, |flag| format!("`--{flag}`"));
            let default = setting
                .default
                .map_or_else(String::new, |default| format!("`{default}`"));
            let _infallible = writeln!(
                page,
                "| `{}` | {flag} | {default} | {} |",
                setting.name, setting.meaning
            );
        }
    }
    page
}
