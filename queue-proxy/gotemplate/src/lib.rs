//! The language of Go's `text/template`: parsed once, executed often, over data that is looked up lazily.
//!
//! Used for Knative's request log, whose template is written by the operator of a cluster for Go. What parses there
//! parses here and prints the same; what fails there fails here (functions and variables when parsing, types when
//! executing). Left out: complex constants, functions as values (`call` always fails), options of Go's `Template`.
//! Errors have texts of their own, because nothing of Go's shows in the request log.
//!
//! - [`Template`]: parse and execute.
//! - [`Value`], [`Struct`], [`Map`]: the data; [`Table`] is a map made at once.
//!
//! Bounded: nesting ([`MAX_NESTING`], [`MAX_DEPTH`]), output ([`MAX_OUTPUT`]) and work ([`MAX_WORK`]); no template panics
//! or hangs, whatever its text. Strings are bytes, as in Go.
//!
//! Source: documentation of `text/template` and `fmt` of Go 1.25; the cases in `tests/`.

mod buffer;
mod exec;
mod fmt;
mod funcs;
mod lex;
mod node;
mod number;
mod parse;
mod quote;
mod table;
mod unquote;
mod value;

use std::{borrow::Cow, collections::HashMap};

pub use buffer::MAX_OUTPUT;
pub use exec::{MAX_DEPTH, MAX_WORK};
pub use parse::MAX_NESTING;
pub use table::Table;
pub use value::{List, Map, Param, Struct, Text, Value};

/// A parsed template with everything that it defines.
#[derive(Debug)]
pub struct Template {
    name: String,
    all: HashMap<String, Vec<node::Node>>,
}

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line of the template, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// Why an execution ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecError(Cow<'static, str>);

impl ExecError {
    /// With this text.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl Template {
    /// Parses `text`; `name` is the template's own, which the text may also define.
    ///
    /// # Errors
    /// [`ParseError`], where Go's parser gives one.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            name: name.to_owned(),
            all: parse::parse(name, text)?,
        })
    }

    /// Appends the output for `data` to `out`.
    ///
    /// # Errors
    /// [`ExecError`]; what was written before stays in `out`, as in Go.
    pub fn execute<'v>(&'v self, data: &Value<'v>, out: &mut Vec<u8>) -> Result<(), ExecError> {
        exec::execute(&self.all, &self.name, data, out)
    }
}

/// What Go's `fmt.Sprint` makes of one value.
#[must_use]
pub fn print(value: &Value<'_>) -> String {
    let bytes = fmt::sprint(std::slice::from_ref(value)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
