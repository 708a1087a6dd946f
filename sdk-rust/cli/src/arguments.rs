//! The command line, as clap reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use xdt_queue_proxy::trust::KeyId;

/// Moves objects between functions by reference, through the sidecar of this pod.
///
/// The sidecar is found as the SDKs find it: XDT_LOCAL_SOCKET, XDT_LOCAL_ADDRESS, XDT_EGRESS_ADDRESS.
#[derive(Debug, Parser)]
#[command(name = "xdt", version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Results and errors as one line of JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress bars
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// How long one call may take, such as 500ms or 30s
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Puts a file as an object and prints its reference
    Put {
        /// The file; - or nothing: standard input
        file: Option<PathBuf>,
        /// Complete gets after which the object is freed, 1 to 65535
        #[arg(long, short = 'n', default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        retrievals: u16,
        /// The content type that consumers see
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        /// One item of metadata; may be given more than once
        #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair('='))]
        metadata: Vec<(String, String)>,
        /// How long the object may wait for its retrievals, such as 30s
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// Gets an object: one retrieval
    Get {
        /// The reference
        reference: String,
        /// Where to; without: standard output. The file is there only when it is whole
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Calls a function with a file of any size, and prints its answer
    Invoke {
        /// The function's URL
        url: String,
        /// The file; -: standard input; without: no data
        file: Option<PathBuf>,
        /// The method
        #[arg(long, short = 'X', default_value = "POST")]
        method: String,
        /// A header of the request; may be given more than once
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = pair(':'))]
        headers: Vec<(String, String)>,
        /// The content type of the data
        #[arg(long, value_name = "TYPE")]
        content_type: Option<String>,
        /// Where the answer's body goes; without: standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Frees an object early
    Delete {
        /// The reference
        reference: String,
    },
    /// Prints the sidecar's counts
    Status,
    /// Makes and changes key rings
    Keys {
        #[command(subcommand)]
        task: Keys,
    },
    /// Prints completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a ring with one random key
    New {
        /// The key ring file, which must not exist
        file: PathBuf,
        /// Name of the key; default: the month
        #[arg(long, value_parser = key_id)]
        id: Option<KeyId>,
    },
    /// Adds a random key: it opens at once, and seals when it is the primary
    Add {
        /// The key ring file
        file: PathBuf,
        /// Name of the key; default: the month
        #[arg(long, value_parser = key_id)]
        id: Option<KeyId>,
        /// Seal with it from now on
        #[arg(long)]
        primary: bool,
    },
    /// Makes a listed key the primary; safe once every sidecar has read a ring that lists it
    Promote {
        /// The key ring file
        file: PathBuf,
        /// The key
        #[arg(value_parser = key_id)]
        id: KeyId,
    },
    /// Takes a key out: references made under it are invalid from then on
    Retire {
        /// The key ring file
        file: PathBuf,
        /// The key
        #[arg(value_parser = key_id)]
        id: KeyId,
    },
    /// Lists the keys; secrets are not shown
    List {
        /// The key ring file
        file: PathBuf,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    xdt_proto::parse_duration(text).map_err(|error| error.to_string())
}

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or("an id is 1 to 16 characters of [A-Za-z0-9-]")
}

fn pair(separator: char) -> impl Fn(&str) -> Result<(String, String), String> + Clone + Send + Sync {
    move |text| {
        let (name, value) = text
            .split_once(separator)
            .ok_or_else(|| format!("must be a name, {separator} and a value"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    }
}
