//! What a template's text becomes: a list of nodes, each text or an action.

use crate::{funcs::Function, number::Number};

#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Print(Pipeline),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { name: String, data: Option<Pipeline> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// `$x := a b | c`
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// `=`, not `:=`.
    pub(crate) assigns: bool,
    /// Variables, with their `$`.
    pub(crate) variables: Vec<String>,
    pub(crate) commands: Vec<Command>,
}

/// What is called or given, and its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) first: Operand,
    pub(crate) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(Vec<u8>),
    Function(Function),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`
    Variable(String, Vec<String>),
    /// `( … )`
    Pipeline(Box<Pipeline>),
    /// `( … ).A.B`, or a function's result.
    Chain(Box<Operand>, Vec<String>),
}
