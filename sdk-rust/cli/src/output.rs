//! What the command says: results on standard output, errors on standard error, for people or as JSON.

use std::process::ExitCode;

use anyhow::Error;
use indicatif::ProgressDrawTarget;
use serde_json::{Value, json};

/// How to speak.
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Where bars are drawn: nowhere, unless standard error is a terminal.
    pub(crate) fn bars(&self) -> ProgressDrawTarget {
        if self.quiet || self.json {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        }
    }

    /// A result: one line of JSON, or these lines.
    pub(crate) fn told(&self, json: &Value, lines: &str) {
        if self.json {
            println!("{json}");
        } else if !lines.is_empty() {
            println!("{lines}");
        }
    }

    /// As [`Self::told`], with the number of bytes; nothing for people, who have the bytes.
    pub(crate) fn sized(&self, mut json: Value, size: u64) {
        if let Some(told) = json.as_object_mut() {
            told.insert("size".to_owned(), size.into());
        }
        self.told(&json, "");
    }

    /// An error, and the exit code for it.
    pub(crate) fn failed(&self, error: &Error) -> ExitCode {
        if self.json {
            let of_xdt = error.downcast_ref::<xdt::Error>();
            let word = of_xdt.map_or("failed", |error| error.kind().as_str());
            let detail = of_xdt.map_or_else(|| format!("{error:#}"), |error| error.detail().to_owned());
            let retryable = of_xdt.is_some_and(xdt::Error::is_retryable);
            eprintln!("{}", json!({ "error": word, "detail": detail, "retryable": retryable }));
        } else {
            eprintln!("xdt: {error:#}");
        }
        ExitCode::FAILURE
    }
}
